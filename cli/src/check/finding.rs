//! What `check` finds, and its forms: a line, with the line of the file on a terminal, and JSON.

use super::cursor::Spot;
use super::frame;
use super::key_text::mask_keys;
use super::rules::catalog::Rule;
use crate::output::escape;
use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

/// One thing that a check found in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// From 1; 0 for a whole file.
    pub(crate) line: usize,
    /// From 1, in characters.
    pub(crate) column: usize,
    /// The path in the file, such as `static_resources.listeners[0].name`; empty for the whole file.
    pub(crate) field: String,
    pub(crate) level: Level,
    /// The rule's name, such as `host-flag`.
    pub(crate) rule: &'static str,
    /// The predicate of the field: `is 2`.
    pub(crate) wrong: String,
    /// What to do: `write 1`. Empty if there is nothing to do.
    pub(crate) remedy: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Envoy or the gate refuses it, loses deliveries, or lets forged ones in.
    Error,
    /// It may be intended.
    Warning,
    /// The file alone does not show whether it is right.
    NotChecked,
}

impl Level {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::NotChecked => "not checked",
        }
    }

    fn style(self) -> Style {
        let colour = match self {
            Level::Error => AnsiColor::Red,
            Level::Warning => AnsiColor::Yellow,
            Level::NotChecked => AnsiColor::Cyan,
        };
        colour.on_default().bold()
    }
}

impl Finding {
    pub(crate) fn new(
        level: Level,
        rule: &'static Rule,
        at: Spot,
        wrong: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let Spot { line, column, field } = at;
        Self { line, column, field, level, rule: rule.name, wrong: wrong.into(), remedy: remedy.into() }
    }

    /// An error about a whole file.
    pub(crate) fn of_file(rule: &'static Rule, wrong: impl Into<String>, remedy: impl Into<String>) -> Self {
        let at = Spot { line: 0, column: 0, field: "the file".to_owned() };
        Self::new(Level::Error, rule, at, wrong, remedy)
    }

    /// The sentence: field, fault, remedy.
    pub(crate) fn sentence(&self) -> String {
        let gap = if self.field.is_empty() || self.wrong.is_empty() { "" } else { " " };
        let end = if self.remedy.is_empty() { String::new() } else { format!("; {}", self.remedy) };
        format!("{}{gap}{}{end}", self.field, self.wrong)
    }

    /// `FILE:LINE:COLUMN: error: SENTENCE [RULE]`, with styles.
    pub(crate) fn show(&self, file: &str) -> String {
        let Self { line, column, level, rule, .. } = self;
        let (style, name) = (level.style(), level.name());
        let sentence = self.sentence();
        let (file, sentence) = (escape(file), escape(&sentence));
        let place = if *line == 0 { String::new() } else { format!(":{line}:{column}") };
        format!("{file}{place}: {style}{name}{style:#}: {sentence} [{rule}]")
    }

    pub(crate) fn to_json(&self) -> Value {
        let Self { line, column, field, level, rule, wrong, remedy } = self;
        json!({
            "line": line, "column": column, "level": level.name(), "rule": rule, "field": field, "wrong": wrong,
            "remedy": remedy,
        })
    }

    /// The line of the file with a mark below the column. A key has stars, and a line about keys is not shown.
    pub(crate) fn excerpt(&self, lines: &[&str]) -> Option<String> {
        /// The most characters of a long line around the column.
        const MAX_SHOWN: usize = 90;
        const BEFORE: usize = 60;
        let about_keys = [frame::KEY_AS_NAME.name, frame::KEY_IN_FILE.name, frame::VARIABLE_NOT_PASSED.name];
        if about_keys.contains(&self.rule) {
            return None;
        }
        let text = mask_keys(lines.get(self.line.checked_sub(1)?)?);
        let before = self.column.saturating_sub(1);
        let skipped = before.saturating_sub(BEFORE);
        let start: String = text.chars().skip(skipped).take(before.saturating_sub(skipped)).collect();
        let rest: String = text.chars().skip(before).take(MAX_SHOWN.saturating_sub(start.len())).collect();
        let (start, rest) = (escape(&start).into_owned(), escape(&rest).into_owned());
        let (style, number) = (self.level.style(), self.line.to_string());
        let margin = " ".repeat(number.len());
        let gap: String = " ".repeat(unicode_width::UnicodeWidthStr::width(start.as_str()));
        Some(format!("{number} | {start}{rest}\n{margin} | {gap}{style}^{style:#}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(line: usize, column: usize) -> Finding {
        Finding {
            line,
            column,
            field: "hooks[0].mode".to_owned(),
            level: Level::Error,
            rule: "configuration",
            wrong: "is 2".to_owned(),
            remedy: "write 1".to_owned(),
        }
    }

    #[test]
    fn shows_place_sentence_and_rule() {
        let plain = anstream::adapter::strip_str(&finding(3, 7).show("a\u{1b}.yaml")).to_string();
        assert_eq!(plain, "a\\u{1b}.yaml:3:7: error: hooks[0].mode is 2; write 1 [configuration]");
        let whole = Finding { field: String::new(), remedy: String::new(), ..finding(1, 1) };
        assert_eq!(whole.sentence(), "is 2");
    }

    #[test]
    fn marks_the_column() {
        let plain = |finding: Finding, line| {
            anstream::adapter::strip_str(&finding.excerpt(&["", line]).unwrap_or_default()).to_string()
        };
        assert_eq!(plain(finding(2, 4), "a: 東京"), "2 | a: 東京\n  |    ^");
        assert_eq!(plain(finding(2, 5), "a: 東京"), "2 | a: 東京\n  |      ^");
        assert_eq!(plain(finding(2, 1), "\u{1b}"), "2 | \\u{1b}\n  | ^");
        let long = "x".repeat(1_000_000);
        assert!(plain(finding(2, 500_000), &long).len() < 250);
        assert_eq!(finding(9, 1).excerpt(&["a"]), None);
    }

    #[test]
    fn shows_no_key() {
        let line = "    dev: {alg: HS512, env: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw}";
        let shown = finding(1, 11).excerpt(&[line]).unwrap();
        assert!(shown.contains("alg: HS512, env: ****") && !shown.contains("MfKQ"), "{shown}");
        for rule in [&frame::KEY_AS_NAME, &frame::KEY_IN_FILE, &frame::VARIABLE_NOT_PASSED] {
            let about_keys = Finding { rule: rule.name, ..finding(1, 11) };
            assert_eq!(about_keys.excerpt(&["env: {NAME: short}"]), None);
        }
    }
}
