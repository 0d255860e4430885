//! A node of an Envoy configuration with its path, read as Envoy's protobuf JSON reads it.

use blobgate_inbox::yaml::{YamlNode, YamlValue, join};
use std::time::Duration;

/// A node with its path in the file.
#[derive(Clone, Debug)]
pub(crate) struct YamlCursor<'y> {
    node: &'y YamlNode,
    spot: Spot,
}

/// The place of a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) line: usize,
    pub(crate) column: usize,
    /// Such as `static_resources.listeners[0].address`.
    pub(crate) field: String,
}

impl<'y> YamlCursor<'y> {
    pub(crate) fn new(node: &'y YamlNode, path: &str) -> Self {
        Self { node, spot: Spot { line: node.line, column: node.column, field: path.to_owned() } }
    }

    /// The place of the key, or of the node in a list.
    pub(crate) fn spot(&self) -> Spot {
        self.spot.clone()
    }

    /// The place of a key. Of a missing one, the place of the first key of this object.
    pub(crate) fn spot_of(&self, key: &str) -> Spot {
        match self.get(key) {
            Some(value) => value.spot,
            None => {
                Spot { line: self.node.line, column: self.node.column, field: join(&self.spot.field, key) }
            }
        }
    }

    /// The value of a key in snake case. Envoy also reads it in camel case. Null is absent.
    pub(crate) fn get(&self, key: &str) -> Option<YamlCursor<'y>> {
        let found = |name: &str| Some((self.node.key(name)?, self.node.get(name)?));
        let (name, node) = found(key).or_else(|| found(&camel(key)))?;
        let field = join(&self.spot.field, &name.text);
        let spot = Spot { line: name.line, column: name.column, field };
        (node.value != YamlValue::Null).then_some(YamlCursor { node, spot })
    }

    pub(crate) fn at(&self, keys: &[&str]) -> Option<YamlCursor<'y>> {
        keys.iter().try_fold(self.clone(), |cursor, key| cursor.get(key))
    }

    /// The items of a list.
    pub(crate) fn items(&self) -> Vec<YamlCursor<'y>> {
        let item = |(index, node): (usize, &'y YamlNode)| {
            YamlCursor::new(node, &format!("{}[{index}]", self.spot.field))
        };
        self.node.list().iter().enumerate().map(item).collect()
    }

    /// The items of a list at a key.
    pub(crate) fn list(&self, key: &str) -> Vec<YamlCursor<'y>> {
        self.get(key).map(|list| list.items()).unwrap_or_default()
    }

    pub(crate) fn list_is_empty(&self, keys: &[&str]) -> bool {
        self.at(keys).is_none_or(|list| list.items().is_empty())
    }

    /// The pairs of an object.
    pub(crate) fn pairs(&self) -> Vec<(&'y str, YamlCursor<'y>)> {
        let pairs = self.node.map().iter();
        pairs
            .map(|(key, node)| {
                let field = join(&self.spot.field, &key.text);
                (
                    key.text.as_str(),
                    YamlCursor { node, spot: Spot { line: key.line, column: key.column, field } },
                )
            })
            .collect()
    }

    pub(crate) fn text(&self) -> Option<&'y str> {
        self.node.text()
    }

    pub(crate) fn text_at(&self, keys: &[&str]) -> Option<&'y str> {
        self.at(keys)?.text()
    }

    pub(crate) fn is_true(&self, key: &str) -> bool {
        self.get(key).and_then(|value| value.node.bool()) == Some(true)
    }

    /// A number, also in quotes.
    pub(crate) fn number(&self) -> Option<f64> {
        self.node.number().or_else(|| self.text()?.trim().parse().ok())
    }

    pub(crate) fn number_at(&self, keys: &[&str]) -> Option<f64> {
        self.at(keys)?.number()
    }

    /// A duration such as `0.5s`.
    pub(crate) fn duration(&self) -> Option<Duration> {
        let seconds = self.text()?.strip_suffix('s')?.parse().ok()?;
        Duration::try_from_secs_f64(seconds).ok()
    }

    pub(crate) fn duration_at(&self, keys: &[&str]) -> Option<Duration> {
        self.at(keys)?.duration()
    }

    /// Whether an enum has this value, by its name or its number.
    pub(crate) fn is_enum(&self, name: &str, number: f64) -> bool {
        self.text() == Some(name) || self.node.number() == Some(number)
    }

    /// The message of an `Any`: the last part of its type, such as `Router`, and the fields. A TypedStruct has them one level
    /// below.
    pub(crate) fn message(&self) -> Option<(&'y str, YamlCursor<'y>)> {
        let short = |url: &'y str| url.rsplit(['.', '/']).next().unwrap_or(url);
        match short(self.text_at(&["@type"])?) {
            "TypedStruct" => Some((short(self.text_at(&["type_url"])?), self.get("value")?)),
            kind => Some((kind, self.clone())),
        }
    }

    /// The message at a key, if it is of this type.
    pub(crate) fn message_at(&self, key: &str, kind: &str) -> Option<YamlCursor<'y>> {
        let (found, message) = self.get(key)?.message()?;
        (found == kind).then_some(message)
    }

    /// Every text below, with its place.
    pub(crate) fn texts(&self, found: &mut Vec<(&'y str, Spot)>) {
        found.extend(self.text().map(|text| (text, self.spot())));
        self.items().iter().for_each(|item| item.texts(found));
        self.pairs().iter().for_each(|(_, value)| value.texts(found));
    }

    pub(crate) fn node(&self) -> &'y YamlNode {
        self.node
    }
}

/// `per_try_timeout` as `perTryTimeout`.
fn camel(key: &str) -> String {
    let mut words = key.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut text, word| {
        let mut letters = word.chars();
        text.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        text.push_str(letters.as_str());
        text
    })
}
