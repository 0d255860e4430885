//! `google.protobuf.Struct` as serialised bytes. Envoy passes these to a module for a Struct in `envoy.yaml`, although
//! its API reference promises JSON.

use crate::json::Value;
use prost::Message;
use prost_types::value::Kind;
use prost_types::{Struct, Value as Wire};

/// Whether the bytes are a Struct. JSON text that starts with a line break has the same first bytes: the line break is
/// the tag of a Struct's fields, and `{` is a length of 123.
pub(super) fn is_struct(bytes: &[u8]) -> bool {
    bytes.first() == Some(&b'\n') && Struct::decode(bytes).is_ok()
}

/// Reads a Struct; `None` for other bytes. prost refuses a nesting over 100.
pub(super) fn read_struct(bytes: &[u8]) -> Option<Value<'static>> {
    Some(object(Struct::decode(bytes).ok()?))
}

fn object(fields: Struct) -> Value<'static> {
    Value::Object(fields.fields.into_iter().map(|(key, value)| (key.into(), convert(value))).collect())
}

fn convert(value: Wire) -> Value<'static> {
    match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => Value::Bool(value),
        Some(Kind::NumberValue(value)) => Value::Number(value),
        Some(Kind::StringValue(text)) => Value::String(text.into()),
        Some(Kind::ListValue(list)) => Value::Array(list.values.into_iter().map(convert).collect()),
        Some(Kind::StructValue(fields)) => object(fields),
    }
}
