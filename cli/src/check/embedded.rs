//! A text in a file that is a file itself: JSON in a StringValue, or an envoy.yaml in a ConfigMap.

use blobgate_inbox::yaml::{YamlError, YamlNode, YamlReader, YamlValue, parse_yaml};
use serde::de::IgnoredAny;

/// A text in a file, and the place of its parts.
pub(crate) struct Embedded<'t> {
    text: &'t str,
    shape: Shape,
    /// The place of the whole text.
    line: usize,
    column: usize,
}

enum Shape {
    /// A literal block: each line of the text is a line of the file, from the index `first` and after a margin.
    Block { first: usize, margins: Vec<usize> },
    /// A single line without an escape, from this column.
    Line(usize),
    /// Escaped or folded.
    Other,
}

impl<'t> Embedded<'t> {
    /// The text of a node; `lines` are those of the file.
    pub(crate) fn new(node: &YamlNode, text: &'t str, lines: &[&str]) -> Self {
        let shape = block(node, text, lines).or_else(|| single_line(node, text, lines));
        Self { text, shape: shape.unwrap_or(Shape::Other), line: node.line, column: node.column }
    }

    /// A text of which the file shows no part, such as one in base64.
    pub(crate) fn at_one_place(node: &YamlNode, text: &'t str) -> Self {
        Self { text, shape: Shape::Other, line: node.line, column: node.column }
    }

    /// The tree of JSON text, with the places of the file. Otherwise the place where it is no JSON.
    pub(crate) fn parse_json(&self) -> Result<YamlNode, (usize, usize)> {
        serde_json::from_str::<IgnoredAny>(self.text)
            .map_err(|error| self.place(error.line(), error.column().max(1)))?;
        let first = self.parse_all(YamlReader::Json).map(|trees| trees.into_iter().next());
        first.ok().flatten().ok_or((self.line, self.column))
    }

    /// Every document, with the places of the file.
    pub(crate) fn parse_all(&self, reader: YamlReader) -> Result<Vec<YamlNode>, YamlError> {
        let mut documents = parse_yaml(self.text, reader).map_err(|error| {
            let (line, column) = self.place(error.line, error.column);
            YamlError { line, column, ..error }
        })?;
        documents.iter_mut().for_each(|document| self.shift(document));
        Ok(documents)
    }

    fn shift(&self, node: &mut YamlNode) {
        (node.line, node.column) = self.place(node.line, node.column);
        match &mut node.value {
            YamlValue::List(items) => items.iter_mut().for_each(|item| self.shift(item)),
            YamlValue::Map(pairs) => {
                for (key, node) in pairs {
                    (key.line, key.column) = self.place(key.line, key.column);
                    self.shift(node);
                }
            }
            _ => {}
        }
    }

    /// The place in the file of a place in the text.
    fn place(&self, line: usize, column: usize) -> (usize, usize) {
        match &self.shape {
            Shape::Block { first, margins } => {
                let margin = line.checked_sub(1).and_then(|index| margins.get(index)).copied();
                (first.saturating_add(line), column.saturating_add(margin.unwrap_or_default()))
            }
            Shape::Line(start) if line == 1 => (self.line, start.saturating_add(column).saturating_sub(1)),
            _ => (self.line, self.column),
        }
    }
}

/// A literal block. Its node has the place of its first line that is not empty.
fn block(node: &YamlNode, text: &str, lines: &[&str]) -> Option<Shape> {
    let empty = text.lines().take_while(|line| line.is_empty()).count();
    let first = node.line.checked_sub(1)?.checked_sub(empty)?;
    let header = lines.get(first.checked_sub(1)?)?.trim_end();
    if !header.contains('|') {
        return None;
    }
    let mut margins = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let source = lines.get(first.saturating_add(index)).copied().unwrap_or_default();
        let margin = source.trim_end_matches('\r').strip_suffix(line)?;
        margins.push(margin.chars().count());
    }
    Some(Shape::Block { first, margins })
}

/// A text in one line, with or without quotes.
fn single_line(node: &YamlNode, text: &str, lines: &[&str]) -> Option<Shape> {
    let source = lines.get(node.line.checked_sub(1)?)?;
    let start = node.column.checked_sub(1)?;
    let (byte, first) = source.char_indices().nth(start)?;
    let quoted = matches!(first, '\'' | '"');
    let from = byte.saturating_add(usize::from(quoted));
    let is_same = source.get(from..)?.starts_with(text) && !text.contains('\n');
    is_same.then_some(Shape::Line(node.column.saturating_add(usize::from(quoted))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The places of `b` in a text at `data`.
    #[track_caller]
    fn place(file: &str) -> (usize, usize) {
        let lines: Vec<&str> = file.lines().collect();
        let tree = parse_yaml(file, YamlReader::Kubernetes).unwrap().remove(0);
        let node = tree.get("data").unwrap();
        let inner = Embedded::new(node, node.text().unwrap(), &lines).parse_all(YamlReader::Envoy).unwrap();
        inner[0].key("b").map(|key| (key.line, key.column)).unwrap()
    }

    #[test]
    fn finds_the_place_in_the_file() {
        assert_eq!(place("x: 1\ndata: |\n  a: 1\n\n  b: 2\n"), (5, 3));
        assert_eq!(place("x: 1\r\ndata: |-\r\n    a: 1\r\n    b: 2\r\n"), (4, 5));
        assert_eq!(place("data: | # text\n\n\n  a: 1\n  b: 2\n"), (5, 3));
        assert_eq!(place("data: |2\n    a: 1\n    b: 2\n"), (3, 5));
        assert_eq!(place("data: '{a: 1, b: 2}'\n"), (1, 15));
        assert_eq!(place("data: \"{a: 1, b: 2}\"\n"), (1, 15));
        // Escapes and folded lines have no place of their own.
        assert_eq!(place("x: 1\ndata: \"{a: 1,\\n b: 2}\"\n"), (2, 7));
        assert_eq!(place("data: >\n  {a: 1,\n  b: 2}\n"), (2, 3));
    }
}
