//! Builds the tree from the parser's events, within limits: an alias is a copy, and aliases of aliases multiply.

use super::scalar::resolve;
use super::{YamlError, YamlKey, YamlNode, YamlReader, YamlValue};
use granit_parser::{Event, Marker, Options, Parser, ScalarStyle, ScanError, Span, Tag};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

/// An allowlist of 150,000 ranges, which Envoy loads, has some 150,000 nodes for each listener.
const MAX_NODES: usize = 5_000_000;
/// The texts of all nodes. A file with such an allowlist has 3 MB.
const MAX_TEXT_BYTES: usize = 256 << 20;
/// Envoy's own limit is 100. A shipped file has 24.
const MAX_DEPTH: usize = 128;

/// The tag of a key that Envoy ignores, such as a place for anchors.
const IGNORE: &str = "ignore";

pub(super) fn documents(text: &str, reader: YamlReader) -> Result<Vec<YamlNode>, YamlError> {
    let mut options = Options::default();
    options.set_emit_comments(false);
    let mut builder = Builder {
        reader,
        documents: Vec::new(),
        open: Vec::new(),
        anchors: HashMap::new(),
        nodes: 0,
        text_bytes: 0,
    };
    for next in Parser::new_from_str_with_options(text, options) {
        let (event, span) = next.map_err(|error| scan_error(&error))?;
        builder.add(event, &span)?;
    }
    Ok(builder.documents)
}

fn scan_error(error: &ScanError) -> YamlError {
    let why = error.info();
    at(error.marker(), why.split('\n').next().unwrap_or_default())
}

fn at(marker: &Marker, why: &str) -> YamlError {
    YamlError { line: marker.line().max(1), column: marker.col().saturating_add(1), why: why.to_owned() }
}

struct Builder {
    reader: YamlReader,
    documents: Vec<YamlNode>,
    /// The lists and objects that have not ended.
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    nodes: usize,
    text_bytes: usize,
}

/// A list or an object that has not ended.
struct Open {
    node: YamlNode,
    anchor: usize,
    size: Size,
    /// The key whose value comes next.
    key: Option<PendingKey>,
}

enum PendingKey {
    Key(YamlKey),
    /// A key with the tag `!ignore`: Envoy drops it with its value.
    Ignored,
}

struct Anchored {
    node: YamlNode,
    size: Size,
}

/// The size of a node with everything in it.
#[derive(Clone, Copy, Default)]
struct Size {
    nodes: usize,
    text_bytes: usize,
    depth: usize,
}

impl Size {
    fn add(&mut self, child: Size) {
        self.nodes = self.nodes.saturating_add(child.nodes);
        self.text_bytes = self.text_bytes.saturating_add(child.text_bytes);
        self.depth = self.depth.max(child.depth.saturating_add(1));
    }
}

/// A node's tag, as far as a reader looks at it.
struct TagOf {
    is_ignore: bool,
    is_text: bool,
    is_any: bool,
}

impl TagOf {
    fn read(tag: Option<&Cow<'_, Tag>>) -> Self {
        Self {
            is_ignore: tag.is_some_and(|tag| tag.suffix() == IGNORE && tag.handle() == "!"),
            is_text: tag.is_some_and(|tag| tag.is_yaml_core_schema_tag("str")),
            is_any: tag.is_some(),
        }
    }
}

impl Builder {
    fn add(&mut self, event: Event<'_>, span: &Span) -> Result<(), YamlError> {
        let start = &span.start;
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tag = TagOf::read(tag.as_ref());
                if self.takes_key() {
                    return self.add_key(&text, &tag, anchor, start);
                }
                let value = self.scalar(&text, style, &tag);
                let size = Size { nodes: 1, text_bytes: text.len(), depth: 1 };
                self.count(size, start)?;
                self.add_node(node(start, value), size, anchor, start)
            }
            Event::SequenceStart(_, anchor, _) => self.open(YamlValue::List(Vec::new()), anchor, start),
            Event::MappingStart(_, anchor, _) => self.open(YamlValue::Map(Vec::new()), anchor, start),
            Event::SequenceEnd | Event::MappingEnd => self.close(start),
            Event::Alias(anchor) => self.add_alias(anchor, start),
            Event::DocumentEnd => {
                self.anchors.clear();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn scalar(&self, text: &str, style: ScalarStyle, tag: &TagOf) -> YamlValue {
        let is_plain = style == ScalarStyle::Plain;
        let is_resolved = match self.reader {
            // Of every tag, yaml-cpp keeps only that it is not a quoted text's own.
            YamlReader::Envoy => is_plain || tag.is_any,
            YamlReader::Json => is_plain,
            YamlReader::Kubernetes | YamlReader::Setup => is_plain && !tag.is_text,
        };
        if is_resolved { resolve(text, self.reader) } else { YamlValue::Text(text.to_owned()) }
    }

    /// Whether the next node is a key.
    fn takes_key(&self) -> bool {
        self.open
            .last()
            .is_some_and(|open| matches!(open.node.value, YamlValue::Map(_)) && open.key.is_none())
    }

    fn add_key(&mut self, text: &str, tag: &TagOf, anchor: usize, start: &Marker) -> Result<(), YamlError> {
        let size = Size { nodes: 1, text_bytes: text.len(), depth: 1 };
        self.count(size, start)?;
        if anchor != 0 {
            let node = node(start, YamlValue::Text(text.to_owned()));
            self.anchors.insert(anchor, Anchored { node, size });
        }
        let is_ignored = tag.is_ignore && self.reader == YamlReader::Envoy;
        let key = YamlKey { line: line(start), column: column(start), text: text.to_owned() };
        if let Some(open) = self.open.last_mut() {
            open.size.add(size);
            open.key = Some(if is_ignored { PendingKey::Ignored } else { PendingKey::Key(key) });
        }
        Ok(())
    }

    fn open(&mut self, value: YamlValue, anchor: usize, start: &Marker) -> Result<(), YamlError> {
        if self.takes_key() {
            return Err(at(start, "a key is a list or an object; write a text"));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(too_deep(start));
        }
        let size = Size { nodes: 1, text_bytes: 0, depth: 1 };
        self.count(size, start)?;
        self.open.push(Open { node: node(start, value), anchor, size, key: None });
        Ok(())
    }

    fn close(&mut self, end: &Marker) -> Result<(), YamlError> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let mut node = open.node;
        if self.reader == YamlReader::Kubernetes {
            merge(&mut node);
        }
        self.add_node(node, open.size, open.anchor, end)
    }

    fn add_alias(&mut self, anchor: usize, start: &Marker) -> Result<(), YamlError> {
        let Some(anchored) = self.anchors.get(&anchor) else {
            return Err(at(start, "an alias is within its own anchor; write the value"));
        };
        let size = anchored.size;
        if self.takes_key() {
            let YamlValue::Text(text) = anchored.node.value.clone() else {
                return Err(at(start, "a key is an alias of a value that is no text; write the key"));
            };
            return self.add_key(&text, &TagOf::read(None), 0, start);
        }
        if self.open.len().saturating_add(size.depth) > MAX_DEPTH {
            return Err(too_deep(start));
        }
        self.count(size, start)?;
        match self.anchors.get(&anchor).map(|anchored| anchored.node.clone()) {
            Some(node) => self.add_node(node, size, 0, start),
            None => Ok(()),
        }
    }

    /// Puts a complete node into its list, object or document.
    fn add_node(
        &mut self,
        node: YamlNode,
        size: Size,
        anchor: usize,
        place: &Marker,
    ) -> Result<(), YamlError> {
        if anchor != 0 {
            self.count(size, place)?;
            self.anchors.insert(anchor, Anchored { node: node.clone(), size });
        }
        let Some(open) = self.open.last_mut() else {
            self.documents.push(node);
            return Ok(());
        };
        open.size.add(size);
        match (&mut open.node.value, open.key.take()) {
            (YamlValue::List(items), _) => items.push(node),
            (YamlValue::Map(pairs), Some(PendingKey::Key(key))) => pairs.push((key, node)),
            _ => {}
        }
        Ok(())
    }

    /// Counts nodes before they exist.
    fn count(&mut self, size: Size, place: &Marker) -> Result<(), YamlError> {
        self.nodes = self.nodes.saturating_add(size.nodes);
        self.text_bytes = self.text_bytes.saturating_add(size.text_bytes);
        if self.nodes > MAX_NODES || self.text_bytes > MAX_TEXT_BYTES {
            return Err(at(
                place,
                "the file with its aliases has over 5,000,000 values or 256 MiB; write fewer aliases",
            ));
        }
        Ok(())
    }
}

fn too_deep(place: &Marker) -> YamlError {
    at(place, "the file is nested over 128 deep; write only documented fields")
}

fn node(start: &Marker, value: YamlValue) -> YamlNode {
    YamlNode { line: line(start), column: column(start), value }
}

fn line(start: &Marker) -> usize {
    start.line().max(1)
}

fn column(start: &Marker) -> usize {
    start.col().saturating_add(1)
}

/// Merges the objects of `<<`. A key of the object itself counts, then the earliest merged one (YAML 1.1).
fn merge(node: &mut YamlNode) {
    const MERGE: &str = "<<";
    let YamlValue::Map(pairs) = &mut node.value else { return };
    if !pairs.iter().any(|(key, _)| key.text == MERGE) {
        return;
    }
    let (merges, own): (Vec<_>, Vec<_>) =
        std::mem::take(pairs).into_iter().partition(|(key, _)| key.text == MERGE);
    let mut known: HashSet<String> = own.iter().map(|(key, _)| key.text.clone()).collect();
    let mut merged: Vec<(YamlKey, YamlNode)> = Vec::new();
    for (_, source) in merges {
        let sources = match source.value {
            YamlValue::List(items) => items,
            _ => vec![source],
        };
        for source in sources {
            let YamlValue::Map(more) = source.value else { continue };
            merged.extend(more.into_iter().filter(|(key, _)| known.insert(key.text.clone())));
        }
    }
    *pairs = own.into_iter().chain(merged).collect();
}
