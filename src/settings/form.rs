//! The valid values of keys: as the book writes them, and as JSON Schema for editors. The module has none of this.

use crate::contract::token::MAX_NAME;
use serde_json::{Value, json};
use std::time::Duration;

/// The valid values of a key.
#[derive(Clone, Debug)]
pub struct ValueForm {
    /// In the book, as Markdown.
    pub written: String,
    /// As JSON Schema, draft 2020-12. Its patterns have no look-around, which several validators do not know.
    pub schema: Value,
}

impl ValueForm {
    fn new(written: impl Into<String>, schema: Value) -> Self {
        Self { written: written.into(), schema }
    }

    /// The same values in other words.
    pub(crate) fn written(self, written: impl Into<String>) -> Self {
        Self::new(written, self.schema)
    }

    /// The words of [`Node::one_of`](super::Node::one_of).
    pub(crate) fn words<T>(words: &[(&str, T)]) -> Self {
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let coded: Vec<String> = names.iter().map(|word| format!("`{word}`")).collect();
        let written = match &coded[..] {
            [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
            _ => coded.concat(),
        };
        Self::new(written, json!({ "enum": names }))
    }

    /// Exactly this value.
    pub(crate) fn exactly(value: Value) -> Self {
        Self::new(format!("`{value}`"), json!({ "const": value }))
    }

    /// The numbers of [`Node::whole_number`](super::Node::whole_number).
    pub(crate) fn whole_number(min: usize, max: usize) -> Self {
        Self::new(format!("{min} to {max}"), json!({"type": "integer", "minimum": min, "maximum": max}))
    }

    /// The texts of [`Node::duration`](super::Node::duration). `min` is below a second, and `max` has whole seconds.
    pub(crate) fn duration(min: Duration, max: Duration) -> Self {
        let written = format!("`{}s` to `{}s`", min.as_secs_f64(), max.as_secs_f64());
        let pattern = up_to(&max.as_secs().to_string());
        Self::text(format!("a time from {written}"), &pattern).without(&below(min)).written(written)
    }

    /// The texts of [`Node::name`](super::Node::name).
    pub(crate) fn name() -> Self {
        let pattern = format!("[a-z0-9-]{{1,{MAX_NAME}}}");
        Self::text(format!("a name, `{pattern}`"), &pattern)
    }

    /// Texts that a pattern matches as a whole.
    pub(crate) fn text(written: impl Into<String>, pattern: &str) -> Self {
        let written = written.into();
        let advice = format!("write {}", written.replace('`', ""));
        let schema = json!({
            "type": "string", "pattern": format!("^(?:{pattern})$"), "patternErrorMessage": advice,
        });
        Self::new(written, schema)
    }

    /// Without the texts that a pattern matches.
    pub(crate) fn without(self, pattern: &str) -> Self {
        self.with("not", json!({ "pattern": pattern }))
    }

    /// With a further keyword of JSON Schema.
    pub(crate) fn with(mut self, keyword: &str, value: Value) -> Self {
        if let Some(keywords) = self.schema.as_object_mut() {
            keywords.insert(keyword.to_owned(), value);
        }
        self
    }

    /// A list of at least one item.
    pub(crate) fn list(items: &Self) -> Self {
        Self::new(
            format!("a list of {}", items.written),
            json!({"type": "array", "items": items.schema, "minItems": 1}),
        )
    }

    /// A section, by its name in [`Section::name`](super::Section::name).
    pub(crate) fn section(name: &str) -> Self {
        Self::new(format!("[`{name}`](#{name})"), json!({ "$ref": format!("#/$defs/{name}") }))
    }

    /// An object of at least one section. Its keys are names that a pattern matches.
    pub(crate) fn sections_by_name(name: &str, pattern: &str) -> Self {
        let section = Self::section(name);
        let schema = json!({
            "type": "object", "minProperties": 1, "additionalProperties": false,
            "patternProperties": {format!("^(?:{pattern})$"): section.schema},
        });
        Self::new(section.written, schema)
    }

    /// The values of both.
    pub(crate) fn or(self, other: Self) -> Self {
        Self::new(
            format!("{}, or {}", self.written, other.written),
            json!({"anyOf": [self.schema, other.schema]}),
        )
    }
}

/// A pattern of times up to `max` seconds, given as its decimal digits. Times are texts, and patterns compare no numbers.
fn up_to(max: &str) -> String {
    let shorter = max.len().checked_sub(1).filter(|length| *length > 0);
    let shorter = shorter.map(|length| format!("[0-9]{{1,{length}}}"));
    let smaller = smaller_starts(max).map(|(start, rest)| match rest {
        0 => start,
        rest => format!("{start}[0-9]{{{rest}}}"),
    });
    let whole = shorter.into_iter().chain(smaller).collect::<Vec<_>>().join("|");
    format!(r"0*(?:(?:{whole})?(?:\.[0-9]{{0,9}})?|{max}(?:\.0{{0,9}})?)s")
}

/// A pattern of times below `min`, and of those without a digit.
fn below(min: Duration) -> String {
    let digits = format!("{:09}", min.subsec_nanos());
    let digits = digits.trim_end_matches('0');
    let Some(zeros) = digits.find(|digit| digit != '0') else { return r"^\.?s$".to_owned() };
    let smaller = smaller_starts(digits).map(|(start, _)| format!("{start}[0-9]*"));
    // The start of `min` itself, as 0.0 is of 0.05.
    let starts = (zeros..digits.len()).filter_map(|end| digits.get(..end).map(str::to_owned));
    let fraction = starts.chain(smaller).collect::<Vec<_>>().join("|");
    format!(r"^0*(?:\.(?:0*|{fraction}))?s$")
}

/// The starts of smaller numbers with as many digits, and the number of digits behind each.
fn smaller_starts(max: &str) -> impl Iterator<Item = (String, usize)> {
    max.char_indices().filter_map(|(place, digit)| {
        let (before, rest) = max.split_at_checked(place)?;
        let lower = digit.to_digit(10)?.checked_sub(1)?;
        Some((format!("{before}[0-{lower}]"), rest.len().saturating_sub(1)))
    })
}
