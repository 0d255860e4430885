//! `render --diff`: what `render` would change, and what a person has edited. It shows no secret.

use super::files::{Present, RenderedFile, read};
use crate::check::key_text::mask_keys;
use crate::output::{escape, print_styled};
use crate::setup::{SetupError, env_file};
use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use similar::{ChangeTag, TextDiff};
use std::io;
use std::path::Path;

/// Lines around a change.
const CONTEXT: usize = 3;

/// Prints the differences, and returns whether there are any.
pub(super) fn print(folder: &Path, files: &[RenderedFile]) -> Result<bool, SetupError> {
    let mut shown = Vec::new();
    for file in files {
        shown.extend(show(folder, file)?);
    }
    if shown.is_empty() {
        return Ok(false);
    }
    let text = shown.join("\n");
    let has_colour = AutoStream::choice(&io::stdout()) != ColorChoice::Never;
    match has_colour {
        true => print_styled(&text),
        false => print_styled(&anstream::adapter::strip_str(&text).to_string()),
    }
    Ok(true)
}

fn show(folder: &Path, file: &RenderedFile) -> Result<Option<String>, SetupError> {
    let path = file.path.display();
    let now = match read(folder, &file.path)? {
        Present::File(now, _) if now == file.text.as_bytes() => return Ok(None),
        Present::File(now, _) => String::from_utf8_lossy(&now).into_owned(),
        Present::Absent => return Ok(Some(format!("{path} does not exist: `blobgate render` writes it"))),
        Present::Other => return Ok(Some(format!("{path} is no regular file: `blobgate render` leaves it"))),
    };
    Ok(Some(if file.is_secret() { secret(file, &now) } else { unified(file, &now) }))
}

/// A person may have written a password into a file that only the owner reads.
fn secret(file: &RenderedFile, now: &str) -> String {
    let path = file.path.display();
    let (Ok(old), Ok(new), true) = (
        env_file::parse(now),
        env_file::parse(&file.text),
        file.path.extension().is_some_and(|end| end == "env"),
    ) else {
        return format!("{path} differs");
    };
    let differs = |(name, value): &&(String, String)| {
        !(old.iter().any(|one| one.0 == *name && one.1 == *value)
            && new.iter().any(|one| one.0 == *name && one.1 == *value))
    };
    let mut names: Vec<&str> =
        old.iter().chain(&new).filter(differs).map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    match names.is_empty() {
        true => format!("{path} differs in its comments"),
        false => format!("{path} differs in {}", escape(&names.join(", "))),
    }
}

fn unified(file: &RenderedFile, now: &str) -> String {
    let path = file.path.display();
    let styled = |style: Style, line: &str| format!("{style}{line}{style:#}");
    let mut lines = vec![
        styled(Style::new().bold(), &format!("--- {path}")),
        styled(Style::new().bold(), &format!("+++ {path}, as rendered")),
    ];
    let diff = TextDiff::from_lines(now, &file.text);
    for hunk in diff.unified_diff().context_radius(CONTEXT).iter_hunks() {
        lines.push(styled(AnsiColor::Cyan.on_default(), &hunk.header().to_string()));
        for change in hunk.iter_changes() {
            let text = mask_keys(change.value().trim_end_matches(['\n', '\r']));
            let text = escape(&text);
            lines.push(match change.tag() {
                ChangeTag::Equal => format!(" {text}"),
                ChangeTag::Delete => styled(AnsiColor::Red.on_default(), &format!("-{text}")),
                ChangeTag::Insert => styled(AnsiColor::Green.on_default(), &format!("+{text}")),
            });
        }
    }
    lines.join("\n")
}
