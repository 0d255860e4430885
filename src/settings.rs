//! The reader of configuration values: a value and where it stands, so that every error can say so.

mod keys;

#[cfg(not(target_family = "wasm"))]
pub(crate) use keys::join_lines;
pub(crate) use keys::keys;
#[cfg(not(target_family = "wasm"))]
pub use keys::{Section, SectionKey};

use crate::contract::token::is_name;
use crate::json::Value;
use std::fmt;
use std::time::Duration;

/// The environment variables that the host hands over: keys are named in the configuration, not written there.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// Why a configuration does not load, as one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl ConfigError {
    pub(crate) fn new(field: &str, sentence: impl fmt::Display) -> Self {
        Self(format!("{field} {sentence}"))
    }

    pub(crate) fn of_file(sentence: &str) -> Self {
        Self::new("the configuration", sentence)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
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

/// Whether somebody may have written a key where its name belongs: errors are logged, and must not show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Redaction {
    None,
    LongTexts,
}

impl<'v> Node<'v> {
    pub(crate) fn root(value: &'v Value<'v>) -> Self {
        Self { path: String::new(), value, redaction: Redaction::None }
    }

    /// The same, whose texts no error shows where they are long enough for a key.
    pub(crate) fn redact_values(self) -> Self {
        Self { redaction: Redaction::LongTexts, ..self }
    }

    /// The object, if it has no other keys than `known`.
    pub(crate) fn fields(&self, known: &[&str], expected: &str) -> Result<Fields<'v>, ConfigError> {
        let Value::Object(fields) = self.value else {
            return Err(self.invalid(expected));
        };
        match fields.iter().find(|(key, _)| !known.contains(&key.as_ref())) {
            Some((key, _)) => {
                let key = join(&self.path, &on_one_line(key));
                Err(ConfigError::new(
                    &key,
                    format_args!("is not a key; the keys here are {}", known.join(", ")),
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

    /// The entries of an object whose keys are names of the user's own.
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

    /// Where it stands.
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

    /// A length of time as Envoy writes it, `3s` or `0.25s`, within limits.
    pub(crate) fn duration(&self, least: Duration, most: Duration) -> Result<Duration, ConfigError> {
        let invalid =
            || self.invalid(&format!("a time from {}s to {}s", least.as_secs_f64(), most.as_secs_f64()));
        let number = self.as_text().and_then(|text| text.strip_suffix('s')).ok_or_else(invalid)?;
        if !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return Err(invalid());
        }
        let seconds = number.parse().map_err(|_| invalid())?;
        let duration = Duration::try_from_secs_f64(seconds).map_err(|_| invalid())?;
        if (least..=most).contains(&duration) { Ok(duration) } else { Err(invalid()) }
    }

    /// A word out of a list.
    pub(crate) fn one_of<T: Copy>(&self, words: &[(&str, T)]) -> Result<T, ConfigError> {
        let found = words.iter().find(|(word, _)| self.value.as_text() == Some(word));
        found.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.invalid(&words.join(" or "))
        })
    }

    /// A name for headers, logs and counters, whose labels end at a dot.
    pub(crate) fn name(&self) -> Result<String, ConfigError> {
        const EXPECTED: &str = "1 to 32 of a-z, 0-9 and -, such as veo3";
        let name = self.text(EXPECTED)?;
        if is_name(name) { Ok(name.to_owned()) } else { Err(self.invalid(EXPECTED)) }
    }

    /// A whole number within limits. Every number of a Struct arrives as a double.
    pub(crate) fn whole_number(&self, least: usize, most: usize) -> Result<usize, ConfigError> {
        let invalid = || {
            let range = format!("a whole number from {least} to {most}");
            self.invalid(if least == most { "1" } else { &range })
        };
        let Value::Number(number) = self.value else {
            return Err(invalid());
        };
        // Written out in decimal, a double that is whole reads back as an integer, and no other does.
        match number.to_string().parse() {
            Ok(whole) if (least..=most).contains(&whole) => Ok(whole),
            _ => Err(invalid()),
        }
    }

    /// What is here is not what would be right.
    pub(crate) fn invalid(&self, expected: &str) -> ConfigError {
        ConfigError::new(&self.name_of_field(), format_args!("is {}; write {expected}", self.show()))
    }

    /// The key itself is not what would be right.
    pub(crate) fn misnamed(&self, expected: &str) -> ConfigError {
        ConfigError::new(
            &self.name_of_field(),
            format_args!("is misnamed; write {expected} before the colon"),
        )
    }

    pub(crate) fn conflict(&self, why: &str, expected: &str) -> ConfigError {
        ConfigError::new(
            &self.name_of_field(),
            format_args!("is {}, which {why}; write {expected}", self.show()),
        )
    }

    pub(crate) fn clash(&self, key: &str, value: &str) -> ConfigError {
        ConfigError::new(
            &join(&self.path, key),
            format_args!("is {value:?}, as another hook's is; give each hook its own"),
        )
    }

    /// Two different paths of which one lies where the other takes its token.
    pub(crate) fn meeting(&self, path: &str, other: &str) -> ConfigError {
        ConfigError::new(
            &join(&self.path, "path"),
            format_args!(
                "leads to {path}, and another hook's to {other}: below a hook with {{token}} there can be none; \
                 write paths side by side"
            ),
        )
    }

    fn show(&self) -> String {
        /// The shortest key that could load, 24 bytes of Standard Webhooks, has 32 characters.
        const MAX_SHOWN: usize = 31;
        match self.value.as_text() {
            Some(text) if self.redaction == Redaction::LongTexts && text.len() > MAX_SHOWN => {
                format!("a text of {} bytes", text.len())
            }
            _ => show(self.value),
        }
    }

    fn name_of_field(&self) -> String {
        if self.path.is_empty() { "the configuration".to_owned() } else { self.path.clone() }
    }
}

impl<'v> Fields<'v> {
    pub(crate) fn optional(&self, key: &str) -> Option<Node<'v>> {
        let (_, value) = self.fields.iter().find(|(name, _)| name == key)?;
        Some(Node { path: join(&self.path, key), value, redaction: self.redaction })
    }

    /// Refuses keys that mean nothing here.
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

/// A value as an error shows it: short, and never a whole list.
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

/// A key as an error shows it: a line break in it must not begin another line of the log.
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
