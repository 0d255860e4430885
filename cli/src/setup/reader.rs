//! Reads the keys of a setup file. Each fault has its place, so reading goes on to the next one.

use super::error::SetupFault;
use crate::check::cursor::{Spot, YamlCursor};
use crate::check::key_text::is_like_key;
use blobgate_inbox::yaml::{YamlNode, YamlValue};
use std::path::PathBuf;

/// Less alike words are no typing mistakes.
const MIN_LIKENESS: f64 = 0.8;
/// The end of a file's name after its dot, such as `yaml`.
const MAX_EXTENSION: usize = 5;
/// The most characters of a value in a sentence.
const MAX_SHOWN: usize = 60;

/// Collects faults.
#[derive(Default)]
pub(super) struct SetupReader {
    pub(super) faults: Vec<SetupFault>,
}

impl SetupReader {
    pub(super) fn fault(&mut self, at: Spot, wrong: impl Into<String>, remedy: impl Into<String>) {
        let Spot { line, column, field } = at;
        let fault = SetupFault { line, column, field, wrong: wrong.into(), remedy: remedy.into() };
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    /// An object whose keys are known, each once, each with a value.
    pub(super) fn object(
        &mut self,
        at: &YamlCursor<'_>,
        known: &[&str],
        extra: &dyn Fn(&str) -> Option<String>,
    ) -> bool {
        let YamlValue::Map(pairs) = &at.node().value else {
            let expected = format!(
                "write {}",
                known.iter().map(|key| format!("{key}: ...")).collect::<Vec<_>>().join(", ")
            );
            self.fault(at.spot(), format!("is {}", show(at.node())), expected);
            return false;
        };
        for (index, (key, value)) in pairs.iter().enumerate() {
            let field = blobgate_inbox::yaml::join(&at.spot().field, &key.text);
            let spot = Spot { line: key.line, column: key.column, field };
            let first = pairs.iter().take(index).find(|(other, _)| other.text == key.text);
            if let Some((first, _)) = first {
                self.fault(spot, format!("is there twice, also in line {}", first.line), "write it once");
            } else if !known.contains(&key.text.as_str()) {
                let remedy = extra(&key.text).unwrap_or_else(|| unknown(&key.text, known));
                self.fault(spot, "is not a known key", remedy);
            } else if value.value == YamlValue::Null {
                self.fault(spot, "has no value", "write one, or remove the key");
            }
        }
        true
    }

    pub(super) fn missing(&mut self, at: &YamlCursor<'_>, key: &str, expected: &str) {
        // A key without a value is a fault of its own.
        if at.node().key(key).is_none() {
            self.fault(at.spot_of(key), "is missing", format!("write {expected}"));
        }
    }

    /// A text of visible characters.
    pub(super) fn text<'y>(&mut self, value: &YamlCursor<'y>, expected: &str) -> Option<&'y str> {
        let Some(text) = value.text() else {
            self.fault(value.spot(), format!("is {}", show(value.node())), format!("write {expected}"));
            return None;
        };
        let wrong = match text {
            "" => "is empty",
            _ if text.chars().any(char::is_control) => "has a line break or another control character",
            _ => return Some(text),
        };
        self.fault(value.spot(), wrong, format!("write {expected}"));
        None
    }

    /// A path of a file or a folder, relative to the setup folder.
    pub(super) fn path(&mut self, value: &YamlCursor<'_>, expected: &str) -> Option<PathBuf> {
        let text = self.text(value, expected)?;
        let (wrong, remedy) = match text {
            _ if text.starts_with('~') => {
                ("begins with ~, which only a shell replaces".to_owned(), "write the whole path".to_owned())
            }
            _ if is_key_for_path(text) => {
                ("looks like a key, and not like a path".to_owned(), format!("write {expected}"))
            }
            _ if text.trim() != text => ("begins or ends with a space".to_owned(), "remove it".to_owned()),
            _ if text.contains("://") => ("is a URL".to_owned(), format!("write {expected}")),
            _ => return Some(PathBuf::from(text)),
        };
        self.fault(value.spot(), wrong, remedy);
        None
    }

    /// A port on 127.0.0.1.
    pub(super) fn port(&mut self, value: &YamlCursor<'_>) -> Option<u16> {
        let number =
            value.node().number().filter(|number| number.fract() == 0.0 && (1.0..=65535.0).contains(number));
        let port = number.and_then(|number| format!("{number:.0}").parse().ok());
        if port.is_none() {
            self.fault(value.spot(), format!("is {}", show(value.node())), "write a number from 1 to 65535");
        }
        port
    }
}

/// Whether a person has written a key in the place of a path. Paths may be long, with digits and both cases.
fn is_key_for_path(text: &str) -> bool {
    let has_extension =
        |name: &str| name.rsplit_once('.').is_some_and(|(_, end)| (1..=MAX_EXTENSION).contains(&end.len()));
    !text.starts_with(['/', '.']) && text.split('/').any(|name| is_like_key(name) && !has_extension(name))
}

fn unknown(key: &str, known: &[&str]) -> String {
    let likeness = |name: &&&str| strsim::jaro_winkler(name, &key.to_ascii_lowercase().replace('-', "_"));
    let nearest = known.iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
    match nearest.filter(|name| likeness(name) >= MIN_LIKENESS) {
        Some(name) => format!("write {name} (known are {})", known.join(", ")),
        None => format!("write one of {}", known.join(", ")),
    }
}

/// A value in a sentence. Keys are not shown.
pub(super) fn show(node: &YamlNode) -> String {
    match &node.value {
        YamlValue::Null => "empty".to_owned(),
        YamlValue::Bool(value) => value.to_string(),
        YamlValue::Number(number) => number.to_string(),
        YamlValue::List(_) => "a list".to_owned(),
        YamlValue::Map(_) => "an object".to_owned(),
        YamlValue::Text(text) if is_like_key(text) => "what looks like a key".to_owned(),
        YamlValue::Text(text) => {
            let start: String = text.chars().take(MAX_SHOWN).collect();
            let rest = if start.len() < text.len() { "..." } else { "" };
            format!("{start:?}{rest}")
        }
    }
}
