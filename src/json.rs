//! Stage 7: strict JSON within limits.

use crate::request::BODY;
use crate::violation::Detail;
use crate::{Reason, Violation};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

/// A JSON value. A string without escapes borrows from the text.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// Any number, as the nearest double.
    Number(f64),
    /// A string.
    String(Cow<'a, str>),
    /// An array.
    Array(Vec<Value<'a>>),
    /// An object in the order of the text, without repeated keys.
    Object(Vec<(Cow<'a, str>, Value<'a>)>),
}

/// The documented keys of an object, each with the documented object below it. A key below another is its whole path:
/// `error.message`.
pub type KnownKeys = &'static [(&'static str, Option<&'static KnownObject>)];

/// The documented keys of a nested object.
#[derive(Debug)]
pub struct KnownObject(pub KnownKeys);

/// Parses exactly one JSON value.
///
/// `max_depth` limits nested arrays and objects. The outermost counts as 1. Keys of one object that differ only in case are
/// duplicates, because some readers ignore case (Go's encoding/json, .NET's Newtonsoft). For the same reason a key must not
/// differ from a `known` key only in case.
///
/// # Errors
/// The first violation in the text: [`Reason::JsonInvalid`] (also for bytes that are not UTF-8, lone surrogates, numbers
/// beyond a double, and anything after the value), [`Reason::JsonTooDeep`], [`Reason::JsonDuplicateKey`].
pub fn parse<'a>(text: &'a [u8], max_depth: usize, known: KnownKeys) -> Result<Value<'a>, Violation> {
    let failed = Cell::new(None);
    // One UTF-8 check of the whole text: for bytes, serde_json checks each string separately.
    let readable = readable(text);
    let mut deserializer = serde_json::Deserializer::from_str(readable);
    // serde_json's limit of 128 is above every valid max_depth.
    let reader = ValueReader { depth_left: max_depth, known, above: 0, failed: &failed };
    let is_text = readable.len() == text.len();
    let invalid = |error: serde_json::Error| match (is_text, error.is_eof()) {
        // The text ends at the byte that is not UTF-8.
        (false, true) => INVALID_UTF8,
        (true, true) => ENDS_EARLY,
        (_, false) if readable.starts_with('\u{feff}') => BYTE_ORDER_MARK,
        (_, false) => NOT_JSON,
    };
    let value = reader
        .deserialize(&mut deserializer)
        .map_err(|error| failed.get().map_or_else(|| invalid(error), |failed| failed.violation(max_depth)))?;
    deserializer.end().map_err(|_| TRAILING)?;
    if is_text { Ok(value) } else { Err(INVALID_UTF8) }
}

const ONE_VALUE: &str = "one JSON value in UTF-8";
const INVALID_UTF8: Violation = invalid("is not UTF-8");
const ENDS_EARLY: Violation = invalid("has no whole JSON value");
const BYTE_ORDER_MARK: Violation = invalid("begins with a byte order mark");
const NOT_JSON: Violation = invalid("is not JSON");
const TRAILING: Violation = invalid("has bytes after its JSON value");

const fn invalid(found: &'static str) -> Violation {
    Detail::new(BODY, found, ONE_VALUE).of(Reason::JsonInvalid)
}

/// A violation that serde_json does not find.
#[derive(Clone, Copy)]
enum ReadFailure {
    TooDeep,
    /// A key twice: this documented one, or another.
    Repeated(Option<&'static str>),
    /// This documented key, which differs in case.
    OtherCase(&'static str),
}

impl ReadFailure {
    fn violation(self, max_depth: usize) -> Violation {
        let repeat = |field, found| Detail::new(field, found, "each key once").of(Reason::JsonDuplicateKey);
        match self {
            ReadFailure::TooDeep => {
                let detail = Detail::new(BODY, "is nested too deeply", "at most # levels");
                detail.with_number(max_depth).of(Reason::JsonTooDeep)
            }
            ReadFailure::Repeated(Some(key)) => repeat(key, "is a key twice"),
            ReadFailure::Repeated(None) => repeat(BODY, "has a key twice"),
            ReadFailure::OtherCase(key) => {
                Detail::new(key, "differs in case", "the documented spelling").of(Reason::JsonDuplicateKey)
            }
        }
    }
}

/// The text before the first byte that is not UTF-8. It may have an earlier violation.
fn readable(text: &[u8]) -> &str {
    std::str::from_utf8(text).unwrap_or_else(|error| {
        let readable = text.get(..error.valid_up_to()).unwrap_or_default();
        std::str::from_utf8(readable).unwrap_or_default()
    })
}

impl<'a> Value<'a> {
    /// The text of a string.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The value of an object's key.
    pub fn field(&self, key: &str) -> Option<&Value<'a>> {
        match self {
            Value::Object(fields) => fields.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }
}

/// Reads one value. It stores the violation in `failed`, because serde's error has no place for one.
#[derive(Clone, Copy)]
struct ValueReader<'f> {
    depth_left: usize,
    known: KnownKeys,
    /// The size of the path above the known keys, with its dot.
    above: usize,
    failed: &'f Cell<Option<ReadFailure>>,
}

impl<'f> ValueReader<'f> {
    fn fail<E: Error>(self, failure: ReadFailure) -> E {
        self.failed.set(Some(failure));
        E::custom("")
    }

    fn below<E: Error>(self) -> Result<Self, E> {
        match self.depth_left.checked_sub(1) {
            Some(depth_left) => Ok(Self { depth_left, known: &[], above: 0, ..self }),
            None => Err(self.fail(ReadFailure::TooDeep)),
        }
    }

    /// The known key of this name.
    fn find(self, key: &str) -> Option<&'static (&'static str, Option<&'static KnownObject>)> {
        self.known.iter().find(|(path, _)| path.get(self.above..) == Some(key))
    }

    /// The reader of the value of `key` in an object that `self` reads, and whether the key is known. A known key in another
    /// case is an error.
    fn reader_of<E: Error>(self, item: Self, key: &str) -> Result<(Self, bool), E> {
        if let Some((path, below)) = self.find(key) {
            let known = below.map_or(&[][..], |below| below.0);
            return Ok((Self { known, above: path.len().saturating_add(1), ..item }, true));
        }
        match self.find(&fold(key)) {
            Some((path, _)) => Err(self.fail(ReadFailure::OtherCase(path))),
            None => Ok((item, false)),
        }
    }
}

impl<'de> DeserializeSeed<'de> for ValueReader<'_> {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueReader<'_> {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value<'de>, E> {
        Ok(Value::Bool(value))
    }

    #[expect(clippy::as_conversions, reason = "the nearest double is what Value::Number promises")]
    fn visit_u64<E: Error>(self, value: u64) -> Result<Value<'de>, E> {
        Ok(Value::Number(value as f64))
    }

    #[expect(clippy::as_conversions, reason = "the nearest double is what Value::Number promises")]
    fn visit_i64<E: Error>(self, value: i64) -> Result<Value<'de>, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value<'de>, E> {
        Ok(Value::Number(value))
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::String(Cow::Borrowed(value)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value<'de>, E> {
        Ok(Value::String(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Value<'de>, A::Error> {
        let item = self.below()?;
        let mut items = Vec::new();
        while let Some(value) = array.next_element_seed(item)? {
            items.push(value);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value<'de>, A::Error> {
        let item = self.below()?;
        let mut fields: Vec<(Cow<'de, str>, Value<'de>)> = Vec::with_capacity(self.known.len());
        // An object of distinct known keys has no repeat, and skips the folding of its keys.
        let mut may_repeat = false;
        while let Some(key) = object.next_key_seed(ObjectKey)? {
            let (reader, is_known) = self.reader_of(item, &key)?;
            may_repeat = may_repeat || !is_known || fields.iter().any(|(other, _)| *other == key);
            fields.push((key, object.next_value_seed(reader)?));
        }
        if may_repeat && let Some(key) = repeated(fields.iter().map(|(key, _)| fold(key)).collect()) {
            return Err(self.fail(ReadFailure::Repeated(self.find(&key).map(|(path, _)| *path))));
        }
        Ok(Value::Object(fields))
    }
}

/// Reads a key. A key without escapes borrows from the text.
struct ObjectKey;

impl<'de> DeserializeSeed<'de> for ObjectKey {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for ObjectKey {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E: Error>(self, key: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}

/// A repeated key.
fn repeated(mut keys: Vec<Cow<'_, str>>) -> Option<Cow<'_, str>> {
    /// Up to this number, comparing each pair is faster than sorting. A documented payload has eight keys.
    const MAX_PAIRWISE: usize = 16;
    if keys.len() > MAX_PAIRWISE {
        keys.sort_unstable();
        return keys.windows(2).find_map(|pair| match pair {
            [a, b] if a == b => Some(a.clone()),
            _ => None,
        });
    }
    let mut rest = keys.as_slice();
    while let [first, others @ ..] = rest {
        if others.contains(first) {
            return Some(first.clone());
        }
        rest = others;
    }
    None
}

/// Folds case: first upper, then lower, so that `ſ` becomes `s` and the Kelvin sign becomes `k`.
fn fold(key: &str) -> Cow<'_, str> {
    if key.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        return Cow::Borrowed(key);
    }
    Cow::Owned(key.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BELOW: KnownObject = KnownObject(&[("error.message", None)]);
    const KNOWN: KnownKeys = &[("status", None), ("kind", None), ("error", Some(&BELOW))];

    #[track_caller]
    fn bad(text: impl AsRef<[u8]>, expected: Reason) {
        assert_eq!(parse(text.as_ref(), 3, KNOWN).map_err(|violation| violation.reason), Err(expected));
    }

    #[track_caller]
    fn detail(text: impl AsRef<[u8]>, expected: &str) {
        let violation = parse(text.as_ref(), 3, KNOWN).unwrap_err();
        assert_eq!(violation.text().as_deref(), Some(expected));
    }

    #[test]
    fn details_name_the_fault_and_only_documented_keys() {
        const ONE: &str = "expected one JSON value in UTF-8";
        const ONCE: &str = "expected each key once";
        for text in ["", " ", "{", "{\"a\":", "[1", "\"secret"] {
            detail(text, &format!("body: has no whole JSON value, {ONE}"));
        }
        for text in ["nul ", "{a:1}", "{\"a\":1,}", "\"\\ud800\""] {
            detail(text, &format!("body: is not JSON, {ONE}"));
        }
        for text in ["\u{feff}{}", "\u{feff}"] {
            detail(text, &format!("body: begins with a byte order mark, {ONE}"));
        }
        for text in ["{}x", "{} {}", "1 2"] {
            detail(text, &format!("body: has bytes after its JSON value, {ONE}"));
        }
        for text in [&b"\"\xff\""[..], b"{}\xff", b"\xff", b"{\"a\":\xff"] {
            detail(text, &format!("body: is not UTF-8, {ONE}"));
        }
        detail("[[[[", "body: is nested too deeply, expected at most 3 levels");
        detail("{\"secret\":1,\"secret\":1}", &format!("body: has a key twice, {ONCE}"));
        detail("{\"x\":{\"status\":1,\"status\":1}}", &format!("body: has a key twice, {ONCE}"));
        detail("{\"status\":1,\"secret\":2,\"status\":1}", &format!("status: is a key twice, {ONCE}"));
        detail("{\"STATUS\":1}", "status: differs in case, expected the documented spelling");
        detail(
            "{\"error\":{\"message\":1,\"message\":1}}",
            &format!("error.message: is a key twice, {ONCE}"),
        );
        detail(
            "{\"error\":{\"Message\":1}}",
            "error.message: differs in case, expected the documented spelling",
        );
        good("{\"error\":{\"error.message\":1}}");
        let many: Vec<_> = (1..40).map(|number| format!("\"k{number}\":1")).collect();
        let many = many.join(",");
        detail(format!("{{\"kind\":1,{many},\"kind\":1}}"), &format!("kind: is a key twice, {ONCE}"));
    }

    #[track_caller]
    fn good(text: &str) -> Value<'_> {
        parse(text.as_bytes(), 3, KNOWN).unwrap()
    }

    #[test]
    fn accepts_exactly_one_value() {
        for text in [
            "",
            " ",
            "{",
            "{}x",
            "{} {}",
            "[1,]",
            "{\"a\":1,}",
            "'a'",
            "nul",
            "\u{feff}{}",
            "01",
            "NaN",
            "{a:1}",
        ] {
            bad(text, Reason::JsonInvalid);
        }
        for text in ["\"\\ud800\"", "\"a\nb\"", "1e999", "\"\\x41\""] {
            bad(text, Reason::JsonInvalid);
        }
        bad(b"\"\xff\"", Reason::JsonInvalid);
        bad(b"\"\xc0\xaf\"", Reason::JsonInvalid);
        bad(b"{}\0", Reason::JsonInvalid);
        assert_eq!(good(" {} \n"), Value::Object(vec![]));
        assert_eq!(good("\"\\u0000\\ud83d\\ude00\"").as_text(), Some("\0😀"));
        assert_eq!(good("-0.5e1"), Value::Number(-5.0));
        assert_eq!(good("18446744073709551616"), Value::Number(18_446_744_073_709_551_616.0));
    }

    #[test]
    fn counts_arrays_and_objects_as_depth() {
        good("[[[1]]]");
        good("{\"a\":{\"b\":{}}}");
        bad("[[[[]]]]", Reason::JsonTooDeep);
        bad("{\"a\":[{\"b\":{}}]}", Reason::JsonTooDeep);
        bad("[".repeat(60_000), Reason::JsonTooDeep);
    }

    #[test]
    fn rejects_keys_that_differ_only_in_case() {
        good("{\"a\":{\"x\":1},\"b\":{\"x\":1}}");
        for text in [
            "{\"a\":1,\"a\":1}",
            "{\"a\":1,\"A\":1}",
            "{\"a\":1,\"\\u0061\":2}",
            "{\"x\":[{\"ä\":1,\"Ä\":1}]}",
            "{\"Status\":1}",
            "{\"ſtatus\":1}",
            "{\"\u{212a}ind\":1}",
            "{\"error\":{\"MESSAGE\":1}}",
        ] {
            bad(text, Reason::JsonDuplicateKey);
        }
        good("{\"details\":{\"Message\":1}}");
        for count in [2, 15, 16, 40] {
            let keys: Vec<_> = (1..count).map(|number| format!("\"k{number}\":1")).collect();
            let keys = keys.join(",");
            good(&format!("{{{keys},\"other\":1}}"));
            bad(format!("{{{keys},\"K1\":1}}"), Reason::JsonDuplicateKey);
        }
        good("{\"status_\":1,\"message\":1,\"error\":[{\"Message\":1}]}");
    }

    #[test]
    fn returns_the_first_violation_in_the_text() {
        bad("[[[[]]]", Reason::JsonTooDeep);
        bad("{\"a\":1,\"a\":2}x", Reason::JsonDuplicateKey);
        bad("{\"a\":x,\"a\":2}", Reason::JsonInvalid);
        bad(b"[[[[\xff", Reason::JsonTooDeep);
        bad(b"{\"a\":1,\"a\":2}\xff", Reason::JsonDuplicateKey);
        bad(b"{\"a\":\"\xff\",\"a\":2}", Reason::JsonInvalid);
        bad(b"1\xff", Reason::JsonInvalid);
    }
}
