//! Collects the findings of the rules.

use super::super::cursor::Spot;
use super::super::finding::{Finding, Level};
use super::catalog::Rule;
use std::collections::{HashMap, HashSet};

/// The findings so far. An alias leads to one place several times, which counts once.
#[derive(Default)]
pub(super) struct Reporter {
    findings: Vec<Finding>,
    /// The sentences of a rule at a place: a file may have thousands of findings.
    known: HashSet<(usize, usize, &'static str, String)>,
    /// The first finding of a rule at a place.
    first: HashMap<(usize, usize, &'static str), usize>,
}

impl Reporter {
    pub(super) fn error(
        &mut self,
        rule: &'static Rule,
        at: Spot,
        wrong: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Level::Error, rule, at, wrong.into(), remedy.into());
    }

    pub(super) fn warn(
        &mut self,
        rule: &'static Rule,
        at: Spot,
        wrong: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Level::Warning, rule, at, wrong.into(), remedy.into());
    }

    pub(super) fn not_checked(
        &mut self,
        rule: &'static Rule,
        at: Spot,
        wrong: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Level::NotChecked, rule, at, wrong.into(), remedy.into());
    }

    pub(super) fn add(&mut self, level: Level, rule: &'static Rule, at: Spot, wrong: String, remedy: String) {
        let Spot { line, column, field } = at;
        if self.known.insert((line, column, rule.name, wrong.clone())) {
            self.first.entry((line, column, rule.name)).or_insert(self.findings.len());
            self.findings.push(Finding { line, column, field, level, rule: rule.name, wrong, remedy });
        }
    }

    /// Adds a finding unless the rule has one at this place: each hook shows the same mistake.
    pub(super) fn add_once(
        &mut self,
        level: Level,
        rule: &'static Rule,
        at: Spot,
        wrong: String,
        remedy: String,
    ) {
        let first = self.first.get(&(at.line, at.column, rule.name)).copied();
        match first.and_then(|index| self.findings.get_mut(index)) {
            Some(known) if known.level <= level => {}
            Some(known) => (known.level, known.wrong, known.remedy) = (level, wrong, remedy),
            None => self.add(level, rule, at, wrong, remedy),
        }
    }

    pub(super) fn has(&self, level: Level) -> bool {
        self.findings.iter().any(|finding| finding.level == level)
    }

    /// The findings in the order of the file.
    pub(super) fn finish(mut self) -> Vec<Finding> {
        self.findings.sort_by_key(|finding| (finding.line, finding.column));
        self.findings
    }
}
