//! The book and the tests. Tests render the reference pages, `docs/reference/`, from the code: a stale page fails, and
//! `make reference` writes it. And tests run the blocks that a page marks with `<!-- run: NAME -->`: see `dev/block`.

#![allow(clippy::panic)]

use std::fmt::Debug;
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

/// The first difference of two texts.
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

/// A marked block of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its name.
    pub name: String,
    /// Its text, with a line break at the end.
    pub text: String,
}

/// The block of this name, in README.md, docs/ or deploy/.
///
/// # Panics
/// Where no page has it, or two have.
#[track_caller]
pub fn block(name: &str) -> String {
    let mut found = all_blocks().into_iter().filter(|block| block.name == name);
    match (found.next(), found.next()) {
        (Some(block), None) => block.text,
        (None, _) => panic!("no page has a block {name}"),
        _ => panic!("two pages have a block {name}"),
    }
}

/// Every block of a kind, such as `hook/`.
///
/// # Panics
/// Where there is none: its test would pass without a run.
#[track_caller]
pub fn blocks(kind: &str) -> Vec<Block> {
    let found: Vec<Block> = all_blocks().into_iter().filter(|block| block.name.starts_with(kind)).collect();
    assert!(!found.is_empty(), "no page has a block {kind}...");
    found
}

fn all_blocks() -> Vec<Block> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut pages = vec![root.join("README.md")];
    let mut folders = vec![root.join("docs"), root.join("deploy")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    pages.iter().flat_map(|page| blocks_of(&fs::read_to_string(page).unwrap_or_default())).collect()
}

fn blocks_of(page: &str) -> Vec<Block> {
    let lines: Vec<&str> = page.lines().collect();
    let marked = lines.iter().enumerate().filter_map(|(number, line)| {
        let name = line.trim().strip_prefix("<!-- run: ")?.strip_suffix(" -->")?;
        let indent = line.len().saturating_sub(line.trim_start().len());
        let mut below = lines.iter().skip(number.saturating_add(1));
        below.next().filter(|fence| fence.trim().starts_with("```"))?;
        let body =
            below.take_while(|line| line.trim() != "```").map(|line| line.get(indent..).unwrap_or_default());
        Some(Block { name: name.to_owned(), text: body.map(|line| format!("{line}\n")).collect() })
    });
    marked.collect()
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

/// The items of a source between two of its texts, each by its name, with its doc comment.
///
/// # Panics
/// Where the source does not have the texts.
#[track_caller]
pub fn items_between(source: &str, begin: &str, end: &str) -> Vec<(String, String)> {
    let Some((_, body)) = source.split_once(begin) else { panic!("{begin} is not in the source") };
    let Some((body, _)) = body.split_once(end) else { panic!("{begin} has no {end} after it") };
    let name = |item: &str| item.split([' ', ',', '(']).next().unwrap_or_default().to_owned();
    documented(body).iter().map(|found| (name(&found.item), found.paragraphs.join(" "))).collect()
}

/// The values of an enum, each with the doc comment of its variant. `begin` is the enum's first line in the source.
///
/// # Panics
/// Where the values are not all variants, in the source's order.
#[track_caller]
pub fn documented_variants<T: Debug>(
    source: &str,
    begin: &str,
    values: impl IntoIterator<Item = T>,
) -> Vec<(T, String)> {
    let values: Vec<T> = values.into_iter().collect();
    let names: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
    let (variants, docs): (Vec<_>, Vec<_>) = items_between(source, begin, "\n}").into_iter().unzip();
    assert_eq!(names, variants);
    values.into_iter().zip(docs).collect()
}

/// A text as code in Markdown.
pub fn code(text: &str) -> String {
    format!("`{text}`")
}

/// Rows of the constants of these names in a source, each with its unit: the name, the value, and its doc comment.
///
/// # Panics
/// Where the source has no such constant with a doc comment.
#[track_caller]
pub fn constants(source: &str, names: &[(&str, &str)]) -> Vec<[String; 3]> {
    let found = documented(source);
    let row = |(name, unit): &(&str, &str)| {
        let start = format!("const {name}: ");
        let constant = found.iter().find(|found| found.item.contains(&start));
        let constant = constant.unwrap_or_else(|| panic!("no constant {name} with a doc comment"));
        let value = constant.item.split_once(" = ").map_or("", |(_, value)| value.trim_end_matches(';'));
        let value = shown(value, unit).unwrap_or_else(|| panic!("{name}: a value of another form: {value}"));
        [format!("`{name}`"), value, constant.paragraphs.join(" ")]
    };
    names.iter().map(row).collect()
}

/// `2 * 3_600` as `7,200 UNIT`, and a `Duration` in seconds.
fn shown(value: &str, unit: &str) -> Option<String> {
    let argument = |function: &str| value.strip_prefix(function)?.strip_suffix(')');
    if let Some(seconds) = argument("Duration::from_secs(") {
        return Some(format!("{} s", evaluate(seconds)?));
    }
    if let Some(milliseconds) = argument("Duration::from_millis(") {
        return Some(format!("{} ms", evaluate(milliseconds)?));
    }
    let number = evaluate(value)?;
    if unit == "microseconds" {
        return Some(format!("{} h", number.checked_div(3_600_000_000)?));
    }
    Some(format!("{} {unit}", with_separators(number)).trim_end().to_owned())
}

/// Products, sums and shifts of numbers, with parentheses around sums.
fn evaluate(text: &str) -> Option<u128> {
    let text = text.trim();
    if let Some((left, right)) = text.split_once("<<") {
        return evaluate(left)?.checked_shl(u32::try_from(evaluate(right)?).ok()?);
    }
    if let Some((left, right)) = text.split_once('*') {
        return evaluate(left)?.checked_mul(evaluate(right)?);
    }
    let inner = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')).unwrap_or(text);
    inner
        .split('+')
        .try_fold(0_u128, |sum, part| sum.checked_add(part.trim().replace('_', "").parse::<u128>().ok()?))
}

fn with_separators(number: u128) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok());
    groups.collect::<Vec<_>>().join(",")
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
    fn shows_values_of_constants() {
        let source = "/// Why.\npub(crate) const MAX: usize = 2 * (100 + 21);\n/// Long.\nconst TIME: Duration = Duration::from_secs(2 * 60);\n";
        let rows = constants(source, &[("MAX", "headers"), ("TIME", "")]);
        assert_eq!(rows, [["`MAX`", "242 headers", "Why."], ["`TIME`", "120 s", "Long."]]);
        assert_eq!(shown("128 << 10", "bytes").unwrap(), "131,072 bytes");
        assert_eq!(shown("72 * 3_600 * 1_000_000", "microseconds").unwrap(), "72 h");
        assert_eq!(shown("size_of::<u8>()", "bytes"), None);
    }

    #[test]
    fn finds_marked_blocks() {
        let page = "text\n<!-- run: one -->\n```sh\na\n\nb\n```\n\n  <!-- run: kind/two -->\n  ```\n  c\n    d\n  ```\n```sh\nnot this\n```\n";
        let block = |name: &str, text: &str| Block { name: name.to_owned(), text: text.to_owned() };
        assert_eq!(blocks_of(page), [block("one", "a\n\nb\n"), block("kind/two", "c\n  d\n")]);
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
