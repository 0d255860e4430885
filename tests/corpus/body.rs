//! The bytes of a row, and bodies made of samples.

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

const PROMPT: &str = "A cat playing with a ball in a sunny room";

/// Bytes: a text, `{hex = "ff"}`, `{repeat = "ab", times = 3}`, or a list of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Bytes {
    Text(String),
    Hex { hex: String },
    Repeat { repeat: String, times: usize },
    Parts(Vec<Bytes>),
}

impl Bytes {
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Bytes::Text(text) => text.clone().into_bytes(),
            Bytes::Hex { hex } => unhex(hex),
            Bytes::Repeat { repeat, times } => repeat.repeat(*times).into_bytes(),
            Bytes::Parts(parts) => parts.iter().flat_map(Bytes::bytes).collect(),
        }
    }
}

#[track_caller]
fn unhex(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|byte| *byte != b' ').collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    assert!(digits.len().is_multiple_of(2), "half a byte in {hex}");
    digits.chunks(2).map(byte).collect()
}

/// Removes the fields `without` from an object, sets those of `patch`, and writes the object on one line.
#[track_caller]
pub fn patched(sample: &str, patch: Option<&str>, without: &[String]) -> String {
    let mut object: Value = serde_json::from_str(sample).unwrap();
    let fields = object.as_object_mut().unwrap();
    for name in without {
        assert!(fields.remove(name).is_some(), "the sample has no {name}");
    }
    if let Some(patch) = patch {
        let patch: Value = serde_json::from_str(patch).unwrap_or_else(|error| panic!("{patch}: {error}"));
        fields.extend(patch.as_object().unwrap().clone());
    }
    object.to_string()
}

/// Replaces each key by its value. A key must occur exactly once.
#[track_caller]
pub fn replaced(mut body: Vec<u8>, replace: &BTreeMap<String, Bytes>) -> Vec<u8> {
    for (from, to) in replace {
        let mut found = body.windows(from.len()).enumerate().filter(|(_, window)| *window == from.as_bytes());
        let at = found.next().unwrap_or_else(|| panic!("the body has no {from}")).0;
        assert!(found.next().is_none(), "the body has {from} twice");
        body.splice(at..at + from.len(), to.bytes());
    }
    body
}

/// Lengthens the prompt until the body has `size` bytes.
#[track_caller]
pub fn grown(body: Vec<u8>, size: usize) -> Vec<u8> {
    let room = size + PROMPT.len() - body.len();
    let to = Bytes::Repeat { repeat: "p".to_owned(), times: room };
    let grown = replaced(body, &BTreeMap::from([(PROMPT.to_owned(), to)]));
    assert_eq!(grown.len(), size);
    grown
}
