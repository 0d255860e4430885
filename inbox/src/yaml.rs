//! A YAML or JSON file as a tree in which each node has its place. Envoy, JSON and Kubernetes read scalars differently.

mod build;
mod scalar;

use serde_json::{Map, Number, Value};

/// A node. An alias is the node of its anchor, with the place of the anchor.
#[derive(Clone, Debug, PartialEq)]
pub struct YamlNode {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Its value.
    pub value: YamlValue,
}

/// The value of a node.
#[derive(Clone, Debug, PartialEq)]
pub enum YamlValue {
    /// No value.
    Null,
    /// True or false.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
    /// The items.
    List(Vec<YamlNode>),
    /// In the order of the file. A repeated key is there each time, and its last value counts.
    Map(Vec<(YamlKey, YamlNode)>),
}

/// A key of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct YamlKey {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The key.
    pub text: String,
}

/// Who reads the file. Each resolves plain scalars by its own rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum YamlReader {
    /// Envoy's yaml-cpp: `off` is false and `0600` is 384. A fraction, or an integer outside 32 bits, is a text. There are no
    /// merge keys, and `!ignore` removes a key.
    Envoy,
    /// JSON: a plain scalar is as in JSON.
    Json,
    /// The YAML 1.1 of Go, with merge keys.
    Kubernetes,
    /// This program, for a setup file: `off` and `010` are texts, since a person may mean either.
    Setup,
}

/// Why a file is no tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {why}")]
pub struct YamlError {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The fault.
    pub why: String,
}

/// Parses every document of a file. JSON is YAML, so this also reads JSON.
///
/// # Errors
/// [`YamlError`] for a text that is no YAML, and for one with too many nodes.
pub fn parse_yaml(text: &str, reader: YamlReader) -> Result<Vec<YamlNode>, YamlError> {
    build::documents(text, reader)
}

impl YamlNode {
    /// The value of a key. Of a repeated key, the last one counts, as for Envoy.
    pub fn get(&self, key: &str) -> Option<&YamlNode> {
        self.map().iter().rev().find(|(name, _)| name.text == key).map(|(_, node)| node)
    }

    /// The key itself, with its place.
    pub fn key(&self, key: &str) -> Option<&YamlKey> {
        self.map().iter().rev().find(|(name, _)| name.text == key).map(|(name, _)| name)
    }

    /// The value of a key in a key, and so on.
    pub fn at(&self, keys: &[&str]) -> Option<&YamlNode> {
        keys.iter().try_fold(self, |node, key| node.get(key))
    }

    /// The text; nothing unless the node is one.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            YamlValue::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number; nothing unless the node is one.
    pub fn number(&self) -> Option<f64> {
        match self.value {
            YamlValue::Number(number) => Some(number),
            _ => None,
        }
    }

    /// The value; nothing unless the node is true or false.
    pub fn bool(&self) -> Option<bool> {
        match self.value {
            YamlValue::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// The items; none unless the node is a list.
    pub fn list(&self) -> &[YamlNode] {
        match &self.value {
            YamlValue::List(items) => items,
            _ => &[],
        }
    }

    /// The pairs; none unless the node is an object.
    pub fn map(&self) -> &[(YamlKey, YamlNode)] {
        match &self.value {
            YamlValue::Map(pairs) => pairs,
            _ => &[],
        }
    }

    /// The value as Envoy makes it a `google.protobuf.Struct`.
    pub fn to_json(&self) -> Value {
        match &self.value {
            YamlValue::Null => Value::Null,
            YamlValue::Bool(value) => Value::Bool(*value),
            YamlValue::Number(number) => json_number(*number),
            YamlValue::Text(text) => Value::String(text.clone()),
            YamlValue::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            YamlValue::Map(pairs) => Value::Object(
                pairs.iter().map(|(key, node)| (key.text.clone(), node.to_json())).collect::<Map<_, _>>(),
            ),
        }
    }

    /// Calls `visit` for each node with its path, from the top down.
    pub fn walk<'n>(&'n self, path: &YamlPath<'_>, visit: &mut impl FnMut(&YamlPath<'_>, &'n YamlNode)) {
        visit(path, self);
        match &self.value {
            YamlValue::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    item.walk(&YamlPath::Item(path, index), visit);
                }
            }
            YamlValue::Map(pairs) => {
                for (key, node) in pairs {
                    node.walk(&YamlPath::Key(path, &key.text), visit);
                }
            }
            _ => {}
        }
    }
}

/// The path of a node. Its text is made where one is needed: a file has many nodes.
pub enum YamlPath<'p> {
    /// Of the root, or of a node with this path.
    Root(&'p str),
    /// Of the value of a key.
    Key(&'p YamlPath<'p>, &'p str),
    /// Of an item of a list.
    Item(&'p YamlPath<'p>, usize),
}

impl std::fmt::Display for YamlPath<'_> {
    /// Such as `static_resources.listeners[0].name`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Root(path) => f.write_str(path),
            Self::Key(Self::Root(""), key) => f.write_str(key),
            Self::Key(parent, key) => write!(f, "{parent}.{key}"),
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// The path of a key in an object.
pub fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// A whole number without `.0`, as Envoy's JSON of a Struct has it.
fn json_number(number: f64) -> Value {
    /// Every integer up to 2^53 is a double.
    const MAX_WHOLE: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= MAX_WHOLE {
        return format!("{number:.0}").parse::<i64>().map_or(Value::Null, Value::from);
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests;
