//! The series that a PromQL expression selects.

use std::fmt::{self, Display};

/// `name{label="value"}` in an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selector {
    metric: String,
    /// Each as it stands: `label="value"`.
    matchers: Vec<String>,
}

impl Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.matchers.is_empty() {
            return f.write_str(&self.metric);
        }
        write!(f, "{}{{{}}}", self.metric, self.matchers.join(","))
    }
}

impl Selector {
    /// A selector for each alternative of each `=~"a|b"`, with the other matchers. Without one, the selector itself.
    pub(crate) fn alternatives(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (at, matcher) in self.matchers.iter().enumerate() {
            let Some((label, values)) = matcher.split_once("=~") else { continue };
            for value in values.trim_matches('"').split('|') {
                let mut one = self.clone();
                one.matchers[at] = format!("{label}=~\"{value}\"");
                found.push(one.to_string());
            }
        }
        if found.is_empty() { vec![self.to_string()] } else { found }
    }
}

/// The selectors of an expression, from left to right. It has no comment.
pub(crate) fn selectors(expression: &str) -> Vec<Selector> {
    const GROUPING: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
    const KEYWORDS: [&str; 5] = ["and", "or", "unless", "offset", "bool"];
    // Of `sum by (hook) (...)`.
    const BEFORE_GROUPING: [&str; 2] = ["by", "without"];
    let mut rest = expression.trim_start();
    let mut found = Vec::new();
    while let Some(first) = rest.chars().next() {
        if first == '"' {
            rest = after_text(rest);
        } else if first == '[' {
            rest = rest.split_once(']').unwrap().1;
        } else if first.is_ascii_digit() {
            // A number, or a duration with its unit.
            rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '.');
        } else if first.is_ascii_alphabetic() || first == '_' {
            let end =
                rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':').unwrap_or(rest.len());
            let word = &rest[..end];
            rest = rest[end..].trim_start();
            if GROUPING.contains(&word) {
                rest = if rest.starts_with('(') { rest.split_once(')').unwrap().1 } else { rest };
            } else if !KEYWORDS.contains(&word)
                && !rest.starts_with('(')
                && !BEFORE_GROUPING.contains(&rest.split([' ', '(']).next().unwrap())
            {
                let (matchers, after) = matchers(rest);
                found.push(Selector { metric: word.to_owned(), matchers });
                rest = after;
            }
        } else {
            assert_ne!(first, '{', "a selector without a name: {expression}");
            rest = &rest[first.len_utf8()..];
        }
        rest = rest.trim_start();
    }
    found
}

/// The text after a quoted one.
fn after_text(text: &str) -> &str {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|(_, c)| {
        let ends = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    &text[end.unwrap_or_else(|| panic!("a text without an end: {text}")).0 + 1..]
}

/// The matchers in braces, if there are any, and the text after them.
fn matchers(text: &str) -> (Vec<String>, &str) {
    let Some(mut rest) = text.strip_prefix('{') else { return (Vec::new(), text) };
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', ',']);
        if let Some(after) = rest.strip_prefix('}') {
            return (found, after);
        }
        let value = rest.find('"').unwrap_or_else(|| panic!("no matcher: {rest}"));
        let after = after_text(&rest[value..]);
        found.push(rest[..rest.len() - after.len()].replace(' ', ""));
        rest = after;
    }
}

#[test]
fn finds_each_selector() {
    let rows: [(&str, &[&str]); 6] = [
        ("up", &["up"]),
        ("vector(1) > 2e3 or time() - 5m", &[]),
        (
            "sum by (a, b) (rate(x_total{a=\"}\\\"\", b!~\"c|d\"}[5m] offset 1d)) > bool 1",
            &["x_total{a=\"}\\\"\",b!~\"c|d\"}"],
        ),
        ("a:b and on (x) group_left c unless ignoring (y) d", &["a:b", "c", "d"]),
        ("max_over_time(a[1h:30s]) / count(b) by (c)", &["a", "b"]),
        ("label_replace(a, \"b\", \"$1\", \"c\", \"(.+)\")", &["a"]),
    ];
    for (expression, expected) in rows {
        let found: Vec<String> = selectors(expression).iter().map(Selector::to_string).collect();
        assert_eq!(found, expected, "{expression}");
    }
    let several = &selectors("x{a=~\"b|c.+\",d=\"e\"}")[0];
    assert_eq!(several.alternatives(), ["x{a=~\"b\",d=\"e\"}", "x{a=~\"c.+\",d=\"e\"}"]);
}
