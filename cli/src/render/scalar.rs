//! Writes values as YAML that every reader reads as the same value. A text of a setup can therefore never end a scalar, or
//! begin another field.

use blobgate_inbox::yaml::{YamlReader, YamlValue, parse_yaml};
use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

/// A value in one line: a scalar, or a list or an object in flow style.
pub(super) fn flow(value: &Value) -> Result<String, Error> {
    Ok(match value.kind() {
        ValueKind::String => text(value.as_str().unwrap_or_default()),
        ValueKind::Number => value.to_string(),
        // Jinja's own form is `True`.
        ValueKind::Bool => value.is_true().to_string(),
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter()?.map(|item| flow(&item)).collect::<Result<Vec<_>, _>>()?;
            format!("[{}]", items.join(", "))
        }
        ValueKind::Map => {
            let keys = value.try_iter()?;
            let pair = |key: Value| Ok(format!("{}: {}", flow(&key)?, flow(&value.get_item(&key)?)?));
            let pairs = keys.map(pair).collect::<Result<Vec<_>, Error>>()?;
            format!("{{{}}}", pairs.join(", "))
        }
        kind => {
            return Err(Error::new(ErrorKind::InvalidOperation, format!("{kind} has no form in YAML")));
        }
    })
}

/// A text, plain where that is the same text for every reader, in block and in flow style.
pub(super) fn text(text: &str) -> String {
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte);
    plain_or_quoted(text, is_usual)
}

/// A text in block style, where braces inside a text are no object.
pub(super) fn block_text(text: &str) -> String {
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || b"._/-{}".contains(&byte);
    plain_or_quoted(text, is_usual)
}

fn plain_or_quoted(text: &str, is_usual: fn(u8) -> bool) -> String {
    let starts_plain = text.starts_with(|first: char| first.is_ascii_alphanumeric() || "./_".contains(first));
    if starts_plain && text.bytes().all(is_usual) && is_text_for_all(text) {
        text.to_owned()
    } else {
        quote(text)
    }
}

/// Whether no reader takes the plain scalar for a number, a truth value or nothing.
fn is_text_for_all(text: &str) -> bool {
    [YamlReader::Envoy, YamlReader::Json, YamlReader::Kubernetes].into_iter().all(|reader| {
        let read = parse_yaml(text, reader).unwrap_or_default();
        matches!(&*read, [node] if node.value == YamlValue::Text(text.to_owned()))
    })
}

/// A double-quoted text, with escapes that YAML 1.1 and 1.2 have.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len().saturating_add(2));
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            ' '..='~' => quoted.push(letter),
            _ => {
                let code = u32::from(letter);
                quoted.push_str(&if code > 0xffff {
                    format!("\\U{code:08x}")
                } else {
                    format!("\\u{code:04x}")
                });
            }
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn writes(text: &str, expected: &str) {
        assert_eq!(super::text(text), expected);
    }

    #[test]
    fn writes_plain_scalars_where_no_reader_differs() {
        for plain in ["runblob.io", "127.0.0.0/8", "./certs/edge.pem", "BLOBGATE_TOKEN_KEY", "2026-11", "any"]
        {
            writes(plain, plain);
        }
        for (text, quoted) in [
            ("", "\"\""),
            ("off", "\"off\""),
            ("010", "\"010\""),
            ("1.5", "\"1.5\""),
            ("443", "\"443\""),
            ("null", "\"null\""),
            ("::1", "\"::1\""),
            ("*.runblob.io", "\"*.runblob.io\""),
            ("a: b", "\"a: b\""),
            ("a\"\n}", "\"a\\\"\\u000a}\""),
            ("é\u{85}\u{1f600}", "\"\\u00e9\\u0085\\U0001f600\""),
        ] {
            writes(text, quoted);
        }
        assert_eq!(block_text("/hooks/veo3/{token}"), "/hooks/veo3/{token}");
        assert_eq!(super::text("/hooks/veo3/{token}"), "\"/hooks/veo3/{token}\"");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_reader_reads_the_same_value(text in any::<String>(), other in "[ -~\n\t]{0,12}") {
            let value = Value::from(minijinja::value::Serde(serde_json::json!({
                "a": [text, {other.clone(): other}], "b": text, "number": 7, "truth": true,
            })));
            let line = format!("before: 1\nvalue: {}\nafter: {}\n", flow(&value).unwrap(), super::text(&other));
            for reader in [YamlReader::Envoy, YamlReader::Json, YamlReader::Kubernetes] {
                let read = parse_yaml(&line, reader).unwrap();
                let expected = serde_json::json!({
                    "before": 1, "after": other,
                    "value": {"a": [text, {other.clone(): other}], "b": text, "number": 7, "truth": true},
                });
                // A key `<<` merges for Kubernetes, and an object cannot have it.
                prop_assume!(other != "<<");
                prop_assert_eq!(read[0].to_json(), expected);
            }
        }
    }
}
