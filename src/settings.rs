//! Readers of configuration values. Each value has its path, so that every error can name the field.

#[cfg(not(target_family = "wasm"))]
mod form;
mod keys;

#[cfg(not(target_family = "wasm"))]
pub use form::ValueForm;
#[cfg(not(target_family = "wasm"))]
pub(crate) use keys::join_lines;
pub(crate) use keys::keys;
#[cfg(not(target_family = "wasm"))]
pub use keys::{Section, SectionKey};

use crate::contract::token::is_name;
use crate::json::Value;
use std::fmt;
use std::time::Duration;

/// The environment variables that the host passes. The configuration names keys by their variables.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// Why a configuration does not load, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    sentence: String,
    /// The length of the field at the start of the sentence.
    #[cfg(not(target_family = "wasm"))]
    field_bytes: usize,
}

/// The field of an error that concerns the whole configuration.
const WHOLE: &str = "the configuration";

impl ConfigError {
    pub(crate) fn new(field: &str, sentence: impl fmt::Display) -> Self {
        Self {
            sentence: format!("{field} {sentence}"),
            #[cfg(not(target_family = "wasm"))]
            field_bytes: field.len(),
        }
    }

    pub(crate) fn of_file(sentence: &str) -> Self {
        Self::new(WHOLE, sentence)
    }

    /// The path of the field, such as `hooks[0].source`. Nothing for the whole configuration.
    #[cfg(not(target_family = "wasm"))]
    pub fn field(&self) -> Option<&str> {
        self.sentence.get(..self.field_bytes).filter(|field| *field != WHOLE)
    }

    /// The sentence without the field, such as `is 2; write 1`.
    #[cfg(not(target_family = "wasm"))]
    pub fn fault(&self) -> &str {
        self.sentence.get(self.field_bytes..).unwrap_or_default().trim_start()
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for ConfigError {}

/// A value and its path, such as `hooks[0].source`.
#[derive(Clone, Debug)]
pub(crate) struct Node<'v> {
    path: String,
    value: &'v Value<'v>,
    redaction: Redaction,
}

/// An object whose keys are all known.
pub(crate) struct Fields<'v> {
    path: String,
    fields: &'v [(std::borrow::Cow<'v, str>, Value<'v>)],
    redaction: Redaction,
}

/// Whether a person could write a secret key into this value by mistake. Envoy logs errors, and they must not show a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Redaction {
    None,
    LongTexts,
}

impl<'v> Node<'v> {
    pub(crate) fn root(value: &'v Value<'v>) -> Self {
        Self { path: String::new(), value, redaction: Redaction::None }
    }

    /// The same node; its errors show no text of a key's length.
    pub(crate) fn redact_values(self) -> Self {
        Self { redaction: Redaction::LongTexts, ..self }
    }

    /// The object. Keys outside `known` are an error.
    pub(crate) fn fields(&self, known: &[&str], expected: &str) -> Result<Fields<'v>, ConfigError> {
        let Value::Object(fields) = self.value else {
            return Err(self.invalid(expected));
        };
        match fields.iter().find(|(key, _)| !known.contains(&key.as_ref())) {
            Some((key, _)) => {
                let key = join(&self.path, &on_one_line(key));
                Err(ConfigError::new(
                    &key,
                    format_args!("is not a known key; write one of {}", known.join(", ")),
                ))
            }
            None => Ok(Fields { path: self.path.clone(), fields, redaction: self.redaction }),
        }
    }

    pub(crate) fn list(&self, expected: &str) -> Result<Vec<Node<'v>>, ConfigError> {
        let Value::Array(items) = self.value else {
            return Err(self.invalid(expected));
        };
        let node = |(index, value)| Node {
            path: format!("{}[{index}]", self.path),
            value,
            redaction: self.redaction,
        };
        Ok(items.iter().enumerate().map(node).collect())
    }

    /// The members of an object whose keys are the user's names.
    pub(crate) fn entries(&self, expected: &str) -> Result<Vec<(&'v str, Node<'v>)>, ConfigError> {
        let Value::Object(fields) = self.value else {
            return Err(self.invalid(expected));
        };
        let node = |(key, value): &'v (std::borrow::Cow<'v, str>, Value<'v>)| {
            (
                key.as_ref(),
                Node { path: join(&self.path, &on_one_line(key)), value, redaction: self.redaction },
            )
        };
        Ok(fields.iter().map(node).collect())
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn text(&self, expected: &str) -> Result<&'v str, ConfigError> {
        self.value.as_text().ok_or_else(|| self.invalid(expected))
    }

    pub(crate) fn as_text(&self) -> Option<&'v str> {
        self.value.as_text()
    }

    pub(crate) fn is_false(&self) -> bool {
        matches!(self.value, Value::Bool(false))
    }

    pub(crate) fn is_true(&self) -> bool {
        matches!(self.value, Value::Bool(true))
    }

    /// A duration as Envoy writes it, `3s` or `0.25s`, within limits. protobuf has nanoseconds, and refuses more digits.
    pub(crate) fn duration(&self, min: Duration, max: Duration) -> Result<Duration, ConfigError> {
        let invalid =
            || self.invalid(&format!("a time from {}s to {}s", min.as_secs_f64(), max.as_secs_f64()));
        let number = self.as_text().and_then(|text| text.strip_suffix('s')).ok_or_else(invalid)?;
        const MAX_DIGITS: usize = 9;
        let digits = number.split_once('.').map_or(0, |(_, digits)| digits.len());
        if digits > MAX_DIGITS || !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return Err(invalid());
        }
        let seconds = number.parse().map_err(|_| invalid())?;
        let duration = Duration::try_from_secs_f64(seconds).map_err(|_| invalid())?;
        if (min..=max).contains(&duration) { Ok(duration) } else { Err(invalid()) }
    }

    /// One word of a list.
    pub(crate) fn one_of<T: Copy>(&self, words: &[(&str, T)]) -> Result<T, ConfigError> {
        let found = words.iter().find(|(word, _)| self.value.as_text() == Some(word));
        found.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.invalid(&words.join(" or "))
        })
    }

    /// A name for headers, logs and counters, where a dot would end a label.
    pub(crate) fn name(&self) -> Result<String, ConfigError> {
        const EXPECTED: &str = "1 to 32 of a-z, 0-9 and -, such as veo3";
        let name = self.text(EXPECTED)?;
        if is_name(name) { Ok(name.to_owned()) } else { Err(self.invalid(EXPECTED)) }
    }

    /// A whole number within limits. Every number of a Struct is a double.
    pub(crate) fn whole_number(&self, min: usize, max: usize) -> Result<usize, ConfigError> {
        let invalid = || {
            let range = format!("a whole number from {min} to {max}");
            self.invalid(if min == max { "1" } else { &range })
        };
        let Value::Number(number) = self.value else {
            return Err(invalid());
        };
        // The decimal text of a double parses as an integer only if the double is whole.
        match number.to_string().parse() {
            Ok(whole) if (min..=max).contains(&whole) => Ok(whole),
            _ => Err(invalid()),
        }
    }

    /// The value is invalid by itself.
    pub(crate) fn invalid(&self, expected: &str) -> ConfigError {
        ConfigError::new(&self.name_of_field(), format_args!("is {}; write {expected}", self.show()))
    }

    /// The key is invalid.
    pub(crate) fn invalid_key(&self, expected: &str) -> ConfigError {
        ConfigError::new(&self.name_of_field(), format_args!("is not a valid key; write {expected}"))
    }

    /// The value is valid by itself, but conflicts with another part of the configuration.
    pub(crate) fn conflict(&self, why: &str, expected: &str) -> ConfigError {
        match self.value {
            // The kind of value is no part of the conflict.
            Value::Array(_) | Value::Object(_) => {
                ConfigError::new(&self.name_of_field(), format_args!("{why}; write {expected}"))
            }
            _ => ConfigError::new(
                &self.name_of_field(),
                format_args!("is {}, which {why}; write {expected}", self.show()),
            ),
        }
    }

    pub(crate) fn duplicate(&self, key: &str, value: &str) -> ConfigError {
        ConfigError::new(
            &join(&self.path, key),
            format_args!("is {value:?}, which another hook has; write a different {key} for each hook"),
        )
    }

    /// One of two paths is below the other, which takes a token there.
    pub(crate) fn overlapping_path(&self, path: &str, other: &str) -> ConfigError {
        ConfigError::new(
            &join(&self.path, "path"),
            format_args!(
                "is at {path}, and another hook is at {other}: a hook with {{token}} can have no other hook below its \
                 path; write paths that are not below each other"
            ),
        )
    }

    fn show(&self) -> String {
        /// The shortest valid key, 24 bytes of Standard Webhooks, has 32 characters in base64.
        const MAX_SHOWN: usize = 31;
        match self.value.as_text() {
            Some(text) if self.redaction == Redaction::LongTexts && text.len() > MAX_SHOWN => {
                format!("a text of {} bytes", text.len())
            }
            _ => show(self.value),
        }
    }

    fn name_of_field(&self) -> String {
        if self.path.is_empty() { WHOLE.to_owned() } else { self.path.clone() }
    }
}

impl<'v> Fields<'v> {
    pub(crate) fn optional(&self, key: &str) -> Option<Node<'v>> {
        let (_, value) = self.fields.iter().find(|(name, _)| name == key)?;
        Some(Node { path: join(&self.path, key), value, redaction: self.redaction })
    }

    /// Refuses keys without a meaning in this object.
    pub(crate) fn none_of(&self, keys: &[&str], why: &str) -> Result<(), ConfigError> {
        match keys.iter().find_map(|key| self.optional(key)) {
            Some(node) => Err(ConfigError::new(&node.path, format_args!("is {why}"))),
            None => Ok(()),
        }
    }

    pub(crate) fn required(&self, key: &str, expected: &str) -> Result<Node<'v>, ConfigError> {
        self.optional(key).ok_or_else(|| {
            ConfigError::new(&join(&self.path, key), format_args!("is missing; write {expected}"))
        })
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The value in an error: shortened, and without the items of a list.
fn show(value: &Value<'_>) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => value.to_string(),
        Value::String(text) => format!("{:?}", shorten(text)),
        Value::Array(items) if items.is_empty() => "an empty list".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// A key as the path of an error has it.
#[cfg(not(target_family = "wasm"))]
pub fn show_key(key: &str) -> String {
    on_one_line(key)
}

/// The key in an error. A line break in it must not start a new line of the log.
fn on_one_line(key: &str) -> String {
    shorten(key).escape_debug().to_string()
}

fn shorten(text: &str) -> String {
    const MAX_CHARS: usize = 60;
    let mut short: String = text.chars().take(MAX_CHARS).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
