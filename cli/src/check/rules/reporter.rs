//! Collects the findings of the rules.

use super::super::cursor::Spot;
use super::super::finding::{Finding, Level};
use super::catalog::Rule;

/// The findings so far. An alias leads to one place several times, which counts once.
#[derive(Default)]
pub(super) struct Reporter {
    findings: Vec<Finding>,
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
        let is_same = |known: &Finding| {
            (known.line, known.column, known.rule, &known.wrong) == (at.line, at.column, rule.name, &wrong)
        };
        if !self.findings.iter().any(is_same) {
            let Spot { line, column, field } = at;
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
        let is_same =
            |known: &Finding| (known.line, known.column, known.rule) == (at.line, at.column, rule.name);
        match self.findings.iter_mut().find(|known| is_same(known)) {
            Some(known) if known.level <= level => {}
            Some(known) => (known.level, known.wrong, known.remedy) = (level, wrong, remedy),
            None => self.add(level, rule, at, wrong, remedy),
        }
    }

    /// The findings in the order of the file.
    pub(super) fn finish(mut self) -> Vec<Finding> {
        self.findings.sort_by_key(|finding| (finding.line, finding.column));
        self.findings
    }
}
