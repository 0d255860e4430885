//! Prints for a person. Names, answers and reasons come from clients, services and files: their control characters could
//! command the terminal, or reorder the text.

mod stdout;

pub(crate) use stdout::{Stdout, StdoutError, check, end, until_full};

use std::borrow::Cow;
use std::fmt::{Arguments, Display};
use std::io::{self, Write};
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// A line on standard output.
pub(crate) fn print_line(line: Arguments<'_>) {
    print(&escape(&line.to_string()));
}

/// Lines on standard output.
pub(crate) fn print_lines(text: &str) {
    print(&escape_lines(text));
}

/// JSON on standard output: the same value in visible characters.
pub(crate) fn print_json(json: impl Display) {
    print(&escape_json(&json.to_string()));
}

/// Text that is escaped already, with styles, on standard output.
pub(crate) fn print_styled(text: &str) {
    print(text);
}

/// Exact bytes on standard output, for a program.
pub(crate) fn print_bytes(bytes: &[u8]) {
    let _noted = Stdout.write_all(bytes);
}

fn print(line: &str) {
    print_bytes(format!("{line}\n").as_bytes());
}

/// A line on standard error.
pub(crate) fn eprint_line(line: Arguments<'_>) {
    let _gone = writeln!(io::stderr(), "{}", escape(&line.to_string()));
}

/// The start of a line on standard error.
pub(crate) fn eprint_prompt(question: Arguments<'_>) {
    eprint_part(format_args!("{}", escape(&question.to_string())));
}

/// A part of a line on standard error: of fixed words, numbers and carriage returns.
pub(crate) fn eprint_part(part: Arguments<'_>) {
    let mut out = io::stderr();
    let _gone = write!(out, "{part}").and_then(|()| out.flush());
}

/// Controls (Cc), formats (Cf: directions, joiners, tags), and separators of lines and paragraphs (Zl, Zp): a terminal
/// obeys them or shows nothing.
fn is_hidden(character: char) -> bool {
    use GeneralCategory::{Control, Format, LineSeparator, ParagraphSeparator};
    !matches!(character, ' '..='~')
        && matches!(character.general_category(), Control | Format | LineSeparator | ParagraphSeparator)
}

/// One line, with hidden characters as `\u{1b}` and line breaks as `\n`.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    escape_where(text, is_hidden, |character, out| out.extend(character.escape_debug()))
}

/// Lines: as [`escape`], with unchanged line breaks and tabs.
pub(crate) fn escape_lines(text: &str) -> Cow<'_, str> {
    let hidden = |character| is_hidden(character) && !matches!(character, '\n' | '\t');
    escape_where(text, hidden, |character, out| out.extend(character.escape_debug()))
}

/// JSON text. Its only hidden characters outside strings are line breaks, which strings cannot contain (RFC 8259, section 7).
pub(crate) fn escape_json(text: &str) -> Cow<'_, str> {
    let hidden = |character| is_hidden(character) && character != '\n';
    escape_where(text, hidden, |character, out| {
        for unit in character.encode_utf16(&mut [0; 2]) {
            out.push_str(&format!("\\u{unit:04x}"));
        }
    })
}

fn escape_where(
    text: &str,
    hidden: impl Fn(char) -> bool,
    write: impl Fn(char, &mut String),
) -> Cow<'_, str> {
    if !text.contains(&hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if hidden(character) { write(character, &mut out) } else { out.push(character) }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// C0, DEL, C1, soft hyphen, Arabic marks, joiners, directions, isolates, separators, BOM, annotations, tags.
    const HIDDEN: &str = "\0\u{7}\t\n\r\u{1b}\u{7f}\u{85}\u{9b}\u{ad}\u{600}\u{61c}\u{200b}\u{200d}\u{200e}\u{202e}\
        \u{2028}\u{2029}\u{2060}\u{2066}\u{2069}\u{feff}\u{fff9}\u{110bd}\u{1d173}\u{e0001}\u{e0041}";

    #[test]
    fn escapes_every_hidden_character() {
        for character in HIDDEN.chars() {
            let shown = escape(&format!("a{character}b")).into_owned();
            assert!(shown.len() > 3 && shown.chars().all(|it| !is_hidden(it)), "{shown:?}");
        }
        assert_eq!(escape("\u{1b}[2J\nx\u{202e}"), "\\u{1b}[2J\\nx\\u{202e}");
        assert_eq!(escape_lines("{\n\t\u{1b}"), "{\n\t\\u{1b}");
    }

    #[test]
    fn leaves_visible_text_unchanged() {
        let text = "veo3 — é e\u{301} Жанна 東京 हिन्दी \\ \"quoted\" …";
        assert!(matches!(escape(text), Cow::Borrowed(same) if same == text));
        assert!(matches!(escape_json(text), Cow::Borrowed(same) if same == text));
    }

    #[test]
    fn keeps_the_value_of_json() {
        let value = json!({HIDDEN: [HIDDEN, "東京", 7, null]});
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let shown = escape_json(&text);
            assert!(shown.chars().all(|it| it == '\n' || !is_hidden(it)), "{shown:?}");
            assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
        }
    }
}
