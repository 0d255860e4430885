//! Shows any text as text: control characters, invisible ones and those that turn the direction become marks.

use minijinja::value::Value;
use std::fmt::Write;

/// The most marks with a title of their own. A hostile megabyte of control characters must not become 60 MB of HTML.
const MAX_TITLES: usize = 500;

/// A text as HTML. Everything that a person could not see, or that would move other text, is a mark.
#[expect(clippy::needless_pass_by_value, reason = "a filter gets its arguments by value")]
pub(super) fn visible(text: String) -> Value {
    Value::from_safe_string(to_html(&text))
}

fn to_html(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    let mut marks = 0_usize;
    for character in text.chars() {
        match character {
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '&' => html.push_str("&amp;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#x27;"),
            '\n' | '\t' => html.push(character),
            other if is_hidden(other) => {
                marks = marks.saturating_add(1);
                push_mark(&mut html, other, marks <= MAX_TITLES);
            }
            other => html.push(other),
        }
    }
    html
}

fn push_mark(html: &mut String, character: char, has_title: bool) {
    let code = u32::from(character);
    let name = usize::try_from(code).ok().and_then(|code| NAMES.get(code));
    let _written = match (has_title, name) {
        (true, Some(name)) => write!(html, "<span class=\"mark\" title=\"U+{code:04X}\">{name}</span>"),
        (true, None) => write!(html, "<span class=\"mark\">U+{code:04X}</span>"),
        (false, Some(name)) => write!(html, "⟨{name}⟩"),
        (false, None) => write!(html, "⟨U+{code:04X}⟩"),
    };
}

/// The names of ASCII's control characters, by their codes.
const NAMES: [&str; 32] = [
    "NUL", "SOH", "STX", "ETX", "EOT", "ENQ", "ACK", "BEL", "BS", "TAB", "LF", "VT", "FF", "CR", "SO", "SI",
    "DLE", "DC1", "DC2", "DC3", "DC4", "NAK", "SYN", "ETB", "CAN", "EM", "SUB", "ESC", "FS", "GS", "RS",
    "US",
];

/// Whether a character has no shape of its own, or changes that of others.
const fn is_hidden(character: char) -> bool {
    matches!(
        character,
        // Controls.
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}'
        // Soft hyphen, grapheme joiner, Arabic letter mark, fillers, Mongolian separators.
        | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        // Zero width, marks and overrides of the direction, line separators, invisible operators, isolates.
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0d}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        // Musical controls, tags, and variation selectors.
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_markup_and_marks_hidden_characters() {
        for (text, html) in [
            ("plain\ttext\n", "plain\ttext\n"),
            ("<script>alert('1')</script>", "&lt;script&gt;alert(&#x27;1&#x27;)&lt;/script&gt;"),
            ("a&b\"c", "a&amp;b&quot;c"),
            ("\u{1b}[2J", "<span class=\"mark\" title=\"U+001B\">ESC</span>[2J"),
            (
                "\0\r",
                "<span class=\"mark\" title=\"U+0000\">NUL</span><span class=\"mark\" title=\"U+000D\">CR</span>",
            ),
            ("a\u{202e}b", "a<span class=\"mark\">U+202E</span>b"),
            ("\u{feff}\u{e0041}", "<span class=\"mark\">U+FEFF</span><span class=\"mark\">U+E0041</span>"),
            ("مرحبا 中文 é", "مرحبا 中文 é"),
        ] {
            assert_eq!(to_html(text), html);
        }
    }

    #[test]
    fn a_flood_of_marks_stays_small() {
        let html = to_html(&"\0\u{202e}".repeat(50_000));
        assert_eq!(html.matches("<span").count(), MAX_TITLES);
        assert!(html.len() < 1_200_000, "{}", html.len());
        assert!(html.ends_with("⟨NUL⟩⟨U+202E⟩"));
    }
}
