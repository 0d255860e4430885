//! The reference pages of the book, `docs/reference/`. Tests render each from the code: a stale page fails, and
//! `make reference` writes it.

#![allow(clippy::panic)]

use std::fs;
use std::path::PathBuf;

/// Set to `write`, pages are written instead of compared.
const MODE: &str = "BLOBGATE_REFERENCE";
const NOTE: &str = "<!-- Generated from the code by `make reference`. -->\n\n";

/// Compares a page, or writes it.
///
/// # Panics
/// Where the page is stale.
#[track_caller]
pub fn check_page(page: &str, text: &str) {
    settle(page, &format!("{NOTE}{}\n", text.trim_end()));
}

/// Compares one part of a page that several crates render, or writes it. A new part goes to the end of the page.
///
/// # Panics
/// Where the part is stale.
#[track_caller]
pub fn check_part(page: &str, part: &str, text: &str) {
    let begin = format!("<!-- part: {part} -->\n");
    let end = format!("\n<!-- end of part: {part} -->\n");
    let written = fs::read_to_string(path(page)).unwrap_or_else(|_| NOTE.to_owned());
    let part = format!("{begin}{}{end}", text.trim_end());
    let whole = match (written.find(&begin), written.find(&end)) {
        (Some(from), Some(until)) => {
            let before = written.get(..from).unwrap_or_default();
            let after = written.get(until..).and_then(|rest| rest.strip_prefix(&end)).unwrap_or_default();
            format!("{before}{part}{after}")
        }
        _ => format!("{written}{part}"),
    };
    settle(page, &whole);
}

#[track_caller]
fn settle(page: &str, text: &str) {
    let path = path(page);
    let written = fs::read_to_string(&path).unwrap_or_default();
    let Some(difference) = difference(&written, text) else { return };
    if std::env::var(MODE).is_ok_and(|mode| mode == "write") {
        let folder = path.parent().map(fs::create_dir_all);
        let done = folder.unwrap_or(Ok(())).and_then(|()| fs::write(&path, text));
        return done.unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
    }
    panic!("docs/reference/{page}.md is stale: run `make reference` and commit the page. {difference}");
}

/// Where two texts differ first.
fn difference(written: &str, text: &str) -> Option<String> {
    if written == text {
        return None;
    }
    let same = written.lines().zip(text.lines()).take_while(|(old, new)| old == new).count();
    let lines: Vec<&str> = text.lines().skip(same).take(3).collect();
    Some(format!("From line {} on the code has:\n{}", same.saturating_add(1), lines.join("\n")))
}

fn path(page: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../../docs/reference/{page}.md"))
}

/// A table in Markdown.
pub fn table<const COLUMNS: usize>(
    head: [&str; COLUMNS],
    rows: impl IntoIterator<Item = [String; COLUMNS]>,
) -> String {
    let line = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let mut text = line(&head.map(str::to_owned));
    text.push_str(&format!("|{}\n", "---|".repeat(COLUMNS)));
    rows.into_iter().for_each(|row| text.push_str(&line(&row)));
    text
}

/// A doc comment and the line of code that it documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Documented {
    /// The comment's paragraphs, as Markdown without links to Rust items.
    pub paragraphs: Vec<String>,
    /// The first line of code after it.
    pub item: String,
}

/// Every doc comment (`///`) of a source.
pub fn documented(source: &str) -> Vec<Documented> {
    let mut found = Vec::new();
    let mut lines: Vec<&str> = Vec::new();
    for line in source.lines().map(str::trim) {
        match line.strip_prefix("///") {
            Some(text) => lines.push(text.trim()),
            None if lines.is_empty() || line.starts_with("#[") => {}
            None => {
                found.push(Documented { paragraphs: paragraphs(&lines), item: line.to_owned() });
                lines.clear();
            }
        }
    }
    found
}

fn paragraphs(lines: &[&str]) -> Vec<String> {
    let paragraphs = lines.split(|line| line.is_empty()).filter(|lines| !lines.is_empty());
    paragraphs.map(|lines| unlink(&lines.join(" "))).collect()
}

/// ``[`Verdict`](super::Verdict)`` and ``[`Verdict`]`` become `` `Verdict` ``. Links to pages stay.
fn unlink(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, linked)) = rest.split_once("[`") {
        out.push_str(before);
        let Some((name, after)) = linked.split_once("`]") else {
            out.push_str("[`");
            rest = linked;
            continue;
        };
        let target = after.strip_prefix('(').and_then(|after| after.split_once(')'));
        match target {
            Some((target, after)) if target.contains("::") => {
                out.push_str(&format!("`{name}`"));
                rest = after;
            }
            Some((target, after)) => {
                out.push_str(&format!("[`{name}`]({target})"));
                rest = after;
            }
            None => {
                out.push_str(&format!("`{name}`"));
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_doc_comments() {
        let source = "/// One\n/// line, of [`Two`](super::Two) and [`Three`].\n///\n/// See [`b`](b.md).\n#[derive(A)]\npub struct A;\n// no\nB,";
        let expected = Documented {
            paragraphs: vec!["One line, of `Two` and `Three`.".to_owned(), "See [`b`](b.md).".to_owned()],
            item: "pub struct A;".to_owned(),
        };
        assert_eq!(documented(source), [expected]);
    }

    #[test]
    fn escapes_bars_in_tables() {
        assert_eq!(
            table(["a", "b"], [["x|y".to_owned(), "z".to_owned()]]),
            "| a | b |\n|---|---|\n| x\\|y | z |\n"
        );
    }

    #[test]
    fn finds_the_first_difference() {
        assert_eq!(difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(difference("a\nb\n", "a\nc\n").unwrap(), "From line 2 on the code has:\nc");
        assert_eq!(difference("", "a\n").unwrap(), "From line 1 on the code has:\na");
    }
}
