//! The value of a scalar, which depends on the reader.

use super::{YamlReader, YamlValue};

/// The value of a plain scalar.
pub(super) fn resolve(text: &str, reader: YamlReader) -> YamlValue {
    match reader {
        YamlReader::Envoy => resolve_for_envoy(text),
        YamlReader::Json => resolve_json(text),
        YamlReader::Kubernetes => resolve_for_kubernetes(text),
        YamlReader::Setup => resolve_for_setup(text),
    }
}

/// As yaml-cpp and Envoy's `parseYamlNode` do.
fn resolve_for_envoy(text: &str) -> YamlValue {
    if is_null(text) {
        return YamlValue::Null;
    }
    if let Some(value) = parse_bool(text) {
        return YamlValue::Bool(value);
    }
    match parse_c_integer(text) {
        Some(number) => match i32::try_from(number) {
            Ok(small) => YamlValue::Number(small.into()),
            Err(_) => YamlValue::Text(number.to_string()),
        },
        None => YamlValue::Text(text.to_owned()),
    }
}

fn resolve_json(text: &str) -> YamlValue {
    match text {
        "null" => YamlValue::Null,
        "true" => YamlValue::Bool(true),
        "false" => YamlValue::Bool(false),
        _ => parse_decimal(text).map_or_else(|| YamlValue::Text(text.to_owned()), YamlValue::Number),
    }
}

/// Numbers and truth values that no reader of YAML takes for another value.
fn resolve_for_setup(text: &str) -> YamlValue {
    let has_leading_zero = text.len() > 1 && text.starts_with('0') && !text.starts_with("0.");
    match text {
        _ if is_null(text) => YamlValue::Null,
        _ if has_leading_zero || text.starts_with('+') => YamlValue::Text(text.to_owned()),
        _ => resolve_json(text),
    }
}

/// As sigs.k8s.io/yaml does.
fn resolve_for_kubernetes(text: &str) -> YamlValue {
    if is_null(text) {
        return YamlValue::Null;
    }
    if let Some(value) = parse_bool(text) {
        return YamlValue::Bool(value);
    }
    let plain = text.replace('_', "");
    let whole = parse_c_integer(&plain).or_else(|| parse_go_integer(&plain));
    // A Struct has doubles.
    let number = whole.and_then(|whole| whole.to_string().parse().ok()).or_else(|| parse_decimal(&plain));
    number.map_or_else(|| YamlValue::Text(text.to_owned()), YamlValue::Number)
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// In lower case, in upper case, or capitalized.
fn parse_bool(text: &str) -> Option<bool> {
    let rest = text.get(1..)?;
    let is_of_one_case = rest.bytes().all(|byte| byte.is_ascii_lowercase())
        || text.bytes().all(|byte| byte.is_ascii_uppercase());
    match text.to_ascii_lowercase().as_str() {
        "y" | "yes" | "true" | "on" if is_of_one_case => Some(true),
        "n" | "no" | "false" | "off" if is_of_one_case => Some(false),
        _ => None,
    }
}

/// An integer as C reads it: `0x` is hexadecimal, and a leading 0 is octal.
fn parse_c_integer(text: &str) -> Option<i64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (digits, radix) = match unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if unsigned.len() > 1 && unsigned.starts_with('0') => (unsigned, 8),
        None => (unsigned, 10),
    };
    parse_radix(text, digits, radix)
}

/// `0o600` and `0b11`.
fn parse_go_integer(text: &str) -> Option<i64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let octal = unsigned.strip_prefix("0o").map(|digits| (digits, 8));
    let (digits, radix) = octal.or_else(|| unsigned.strip_prefix("0b").map(|digits| (digits, 2)))?;
    parse_radix(text, digits, radix)
}

fn parse_radix(text: &str, digits: &str, radix: u32) -> Option<i64> {
    // `from_str_radix` would accept a second sign.
    if !digits.starts_with(|first: char| first.is_ascii_hexdigit()) {
        return None;
    }
    let number = i128::from_str_radix(digits, radix).ok()?;
    i64::try_from(if text.starts_with('-') { number.checked_neg()? } else { number }).ok()
}

/// A decimal number; never `inf` or `nan`, which `parse` accepts.
fn parse_decimal(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_decimal = unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        && unsigned.contains(|any: char| any.is_ascii_digit());
    text.parse().ok().filter(|number: &f64| is_decimal && number.is_finite())
}
