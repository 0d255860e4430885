//! The body of an entry, as text that a browser only shows.

use serde::Serialize;
use serde::de::IgnoredAny;

/// The shown bytes of a body at first. An event of the provider has about one kilobyte.
const SHORT: usize = 32 << 10;
/// The shown bytes of a whole body, after its indentation.
const WHOLE: usize = 4 << 20;
/// Levels that are indented. Deeper ones would fill the page with spaces.
const MAX_INDENT: usize = 24;

/// How much of a body a view shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyExtent {
    /// Its start.
    Short,
    /// All of it, up to a bound.
    Whole,
}

/// A body as text.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct BodyText {
    /// `JSON`, `text`, or `bytes`.
    kind: &'static str,
    /// The bytes of the whole body.
    bytes: usize,
    text: String,
    /// Whether more follows.
    cut: bool,
}

impl BodyText {
    /// JSON is indented, and otherwise unchanged: each number and each escape stays as it came. Bytes that are not UTF-8 become
    /// `\xff`.
    pub(super) fn new(body: &[u8], extent: BodyExtent) -> Self {
        let limit = match extent {
            BodyExtent::Short => SHORT,
            BodyExtent::Whole => WHOLE,
        };
        let (kind, (text, cut)) = match std::str::from_utf8(body) {
            Ok(text) if is_json(text) => ("JSON", indent(text, limit)),
            Ok(text) => ("text", cut(text, limit)),
            Err(_) => ("bytes", escape(body, limit)),
        };
        Self { kind, bytes: body.len(), text, cut }
    }
}

/// An object or an array. A single number or string is shown as the text that it is.
fn is_json(text: &str) -> bool {
    text.trim_start().starts_with(['{', '[']) && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// The start of a text, up to a whole character, and whether more follows.
fn cut(text: &str, limit: usize) -> (String, bool) {
    let end = text.floor_char_boundary(limit);
    let start = text.get(..end).unwrap_or_default();
    (start.to_owned(), start.len() < text.len())
}

fn escape(body: &[u8], limit: usize) -> (String, bool) {
    let mut text = String::new();
    for chunk in body.get(..limit).unwrap_or(body).utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    (text, body.len() > limit)
}

/// Indents valid JSON by its tokens, up to a limit of bytes.
fn indent(json: &str, limit: usize) -> (String, bool) {
    let mut text = String::new();
    let mut depth = 0_usize;
    let mut tokens = json.char_indices().filter(|(_, c)| !c.is_ascii_whitespace()).peekable();
    let mut skip_to = 0;
    while let Some((at, character)) = tokens.next() {
        if at < skip_to {
            continue;
        }
        if text.len() > limit {
            let end = text.floor_char_boundary(limit);
            text.truncate(end);
            return (text, true);
        }
        match character {
            '{' | '[' => {
                text.push(character);
                if tokens.peek().is_some_and(|(_, next)| matches!(next, '}' | ']')) {
                    text.extend(tokens.next().map(|(_, end)| end));
                } else {
                    depth = depth.saturating_add(1);
                    push_line(&mut text, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                push_line(&mut text, depth);
                text.push(character);
            }
            ',' => {
                text.push(',');
                push_line(&mut text, depth);
            }
            ':' => text.push_str(": "),
            '"' => {
                let string = string_at(json, at);
                text.push_str(string);
                skip_to = at.saturating_add(string.len());
            }
            other => text.push(other),
        }
    }
    let (text, is_cut) = if text.len() > limit { cut(&text, limit) } else { (text, false) };
    (text, is_cut)
}

fn push_line(text: &mut String, depth: usize) {
    text.push('\n');
    text.extend(std::iter::repeat_n("  ", depth.min(MAX_INDENT)));
}

/// The string that begins at a quotation mark, with both marks.
fn string_at(json: &str, at: usize) -> &str {
    let rest = json.get(at..).unwrap_or_default();
    let mut is_escaped = false;
    for (index, byte) in rest.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return rest.get(..=index).unwrap_or(rest),
            _ => {}
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn row(body: &[u8], kind: &str, text: &str) {
        let shown = BodyText::new(body, BodyExtent::Short);
        assert_eq!((shown.kind, shown.text.as_str(), shown.cut), (kind, text, false));
    }

    #[test]
    fn indents_json_without_changing_a_token() {
        row(b"{}", "JSON", "{}");
        row(b" [ ] ", "JSON", "[]");
        row(
            br#"{"a":1.10e+2,"a":[1,{}],"b": "x, {\"y\": [1]} \\","c":"\ud800"}"#,
            "JSON",
            "{\n  \"a\": 1.10e+2,\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": \"x, {\\\"y\\\": [1]} \\\\\",\n  \"c\": \"\\ud800\"\n}",
        );
        row("{\"é\":\"\u{202e}  z\"}".as_bytes(), "JSON", "{\n  \"é\": \"\u{202e}  z\"\n}");
    }

    #[test]
    fn shows_everything_else_as_it_is() {
        row(b"", "text", "");
        row(b"17", "text", "17");
        row(b"{\"a\":}", "text", "{\"a\":}");
        row(b"<b>\0</b>", "text", "<b>\0</b>");
        row(b"a\xffb\xc3", "bytes", "a\\xffb\\xc3");
    }

    #[test]
    fn a_large_or_deep_body_stays_small() {
        let flat = format!("[{}1]", "1,".repeat(500_000));
        let short = BodyText::new(flat.as_bytes(), BodyExtent::Short);
        assert!(short.cut && short.text.len() <= SHORT && short.kind == "JSON");
        let whole = BodyText::new(flat.as_bytes(), BodyExtent::Whole);
        assert!(!whole.cut && whole.text.ends_with("1\n]"));
        let deep = format!("{}{}", "[".repeat(500_000), "]".repeat(500_000));
        assert!(BodyText::new(deep.as_bytes(), BodyExtent::Whole).text.len() <= WHOLE);
        let line = BodyText::new("é".repeat(500_000).as_bytes(), BodyExtent::Short);
        assert!(line.cut && line.text.len() == SHORT);
        let bytes = BodyText::new(&[0xff; 1 << 20], BodyExtent::Short);
        assert!(bytes.cut && bytes.text.len() == 4 * SHORT);
    }
}
