//! Prints the findings of all files.

use super::finding::{Finding, Level};
use crate::output::{print_json, print_styled};
use anstream::{AutoStream, ColorChoice};
use serde_json::{Value, json};
use std::io::{self, IsTerminal};

pub(super) struct CheckReport {
    pub(super) files: Vec<CheckedFile>,
}

pub(super) struct CheckedFile {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) findings: Vec<Finding>,
}

impl CheckedFile {
    fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }
}

impl CheckReport {
    pub(super) fn count(&self, level: Level) -> usize {
        self.files.iter().map(|file| file.count(level)).sum()
    }

    /// Each finding in a line, on a terminal with the line of the file. At the end the counts.
    pub(super) fn print(&self) {
        let is_terminal = io::stdout().is_terminal();
        let mut shown = Vec::new();
        for file in &self.files {
            let lines: Vec<&str> = file.text.lines().collect();
            for finding in &file.findings {
                shown.push(finding.show(&file.name));
                shown.extend(finding.excerpt(&lines).filter(|_| is_terminal));
            }
        }
        let (errors, warnings) = (self.count(Level::Error), self.count(Level::Warning));
        let not_checked = self.count(Level::NotChecked);
        shown.push(format!(
            "{}, {}, {not_checked} not checked",
            count(errors, "error"),
            count(warnings, "warning")
        ));
        let text = shown.join("\n");
        let has_colour = AutoStream::choice(&io::stdout()) != ColorChoice::Never;
        if has_colour {
            print_styled(&text);
        } else {
            print_styled(&anstream::adapter::strip_str(&text).to_string());
        }
    }

    pub(super) fn print_json(&self) {
        let counts = |count: &dyn Fn(Level) -> usize| {
            [("errors", Level::Error), ("warnings", Level::Warning), ("not_checked", Level::NotChecked)]
                .map(|(name, level)| (name.to_owned(), Value::from(count(level))))
        };
        let file = |file: &CheckedFile| {
            let mut object =
                serde_json::Map::from_iter([("file".to_owned(), Value::from(file.name.clone()))]);
            object.extend(counts(&|level| file.count(level)));
            object.insert("findings".to_owned(), file.findings.iter().map(Finding::to_json).collect());
            Value::Object(object)
        };
        let mut whole = serde_json::Map::from_iter(counts(&|level| self.count(level)));
        whole.insert("files".to_owned(), self.files.iter().map(file).collect());
        print_json(json!(whole));
    }
}

fn count(number: usize, noun: &str) -> String {
    let end = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{end}")
}
