//! Mutations of a configuration: each value replaced, removed, doubled, and changed by a character.

use proptest::sample::Index;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// Values in the place of each value.
fn replacements() -> Vec<Value> {
    let mut values = vec![
        json!(null),
        json!(true),
        json!(false),
        json!([]),
        json!({}),
        json!([[]]),
        json!([{}]),
        json!([null]),
        json!({"a": {}}),
        json!(["any", 1]),
        json!({"hooks": []}),
    ];
    let numbers = [
        0.0, -0.0, 1.0, -1.0, 1.5, 2.0, 3.0, 64.0, 65.0, 1023.0, 1024.0, 6000.0, 6001.0, 65536.5, 1e6,
        1000001.0, 1e300,
    ];
    values.extend(numbers.map(|number| json!(number)));
    values.extend([json!(1), json!(64), json!(6000), json!(u64::MAX), json!(i64::MIN)]);
    let texts = [
        "",
        " ",
        "a",
        "A",
        "a-1",
        "a.b",
        "a_b",
        "any",
        "open",
        "token",
        "confirmed",
        "enforce",
        "observe",
        "off",
        "route",
        "none",
        "tolerant",
        "strict",
        "status",
        "receipt",
        "tls_here",
        "veo3",
        "EdDSA",
        "HS256",
        "/",
        "/a",
        "/a/",
        "/a/.",
        "/a/..",
        "/a/.b",
        "/a/...",
        "/{token}",
        "/a/{token}",
        "/a/{token}/b",
        "/hooks/veo3/x",
        "/hooks/veo3/x/{token}",
        "/b/{token}",
        "0s",
        "s",
        "1s",
        "1.5s",
        "0.05s",
        "0.04s",
        "4s",
        "4.0s",
        "4.1s",
        "3600s",
        "3600.1s",
        "-1s",
        "1.0000000000s",
        "0.0.0.0/0",
        "0.0.0.0/1",
        "::/0",
        "10.0.0.1/8",
        "10.0.0.0/08",
        "::ffff:10.0.0.0/104",
        "2000::/3",
        "localhost",
        "localhost:1",
        "a.b:65535",
        "a.b:65536",
        "[::1]:443",
        "127.0.0.1",
        "*.a.b",
        "*.b",
        "xn--a.b",
        "https://a",
        "https://a/?b",
        "https://a@b",
        "HTTPS://A/b/",
        "http://a",
        "UNSET",
        "SHORT",
        "SAME",
        "SAME_TOO",
        "NO_BASE64",
        "TOKEN",
        "SIGN",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB",
        "ä",
        "a\nb",
        "a\0",
    ];
    values.extend(texts.map(Value::from));
    values.extend([31, 32, 33, 64, 300].map(|length| "a".repeat(length).into()));
    let lists = [
        json!(["token"]),
        json!(["confirmed"]),
        json!(["token", "confirmed"]),
        json!(["token", "token"]),
        json!(["open"]),
        json!(["0.0.0.0/0"]),
        json!(["0.0.0.0/1", "128.0.0.0/1"]),
        json!(["16.0.0.0/4", "32.0.0.0/8"]),
        json!(["::1", "1.2.3.4"]),
        json!(["a.b"]),
        json!(["SAME", "SAME_TOO"]),
        json!(["UNSET"]),
        json!(["SIGN", "SIGN"]),
        json!(["A", "B", "C"]),
    ];
    values.extend(lists);
    let objects = [
        json!({"any_of": ["token"]}),
        json!({"all_of": ["token", "confirmed"]}),
        json!({"any_of": ["confirmed"]}),
        json!({"any_of": ["confirmed"], "unprotected_budget": true}),
        json!({"any_of": ["token"], "unprotected_budget": true}),
        json!({"any_of": ["token"], "all_of": ["confirmed"]}),
        json!({"unprotected_budget": true}),
        json!({"behind_proxy": "any"}),
        json!({"prompt": "observe"}),
        json!({"alg": "EdDSA"}),
        json!({"alg": "HS256", "env": "OTHER"}),
        json!({"alg": "HS256", "env": "A", "public": "A"}),
        json!({"a": {"alg": "HS256", "env": "A"}, "A": {"alg": "HS256", "env": "B"}}),
        json!({"a b": {"alg": "HS256", "env": "A"}}),
        json!({"env": ["A"]}),
        json!({"keys": {}}),
        json!({
            "a": {"alg": "EdDSA", "public": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
            "b": {"alg": "EdDSA", "public": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
        }),
    ];
    values.extend(objects);
    values
}

/// Characters that a text gets at each place, and that pass for others in some parsers.
const CHARACTERS: &[char] = &['a', 'A', '0', '-', '_', '.', '/', ':', '%', '@', '[', ' ', '\n', 'é', '１'];

/// Each configuration with one change.
pub fn mutants(config: &Value) -> impl Iterator<Item = Value> {
    pointers(config).into_iter().flat_map(move |pointer| {
        let at = config.pointer(&pointer).unwrap();
        changed(at).into_iter().map(move |value| with(config, &pointer, value)).collect::<Vec<_>>()
    })
}

/// One of the configurations with one change.
pub fn mutant(config: &Value, place: Index, change: Index) -> Value {
    let pointer = place.get(&pointers(config)).clone();
    let value = change.get(&changed(config.pointer(&pointer).unwrap())).clone();
    with(config, &pointer, value)
}

fn with(config: &Value, pointer: &str, value: Value) -> Value {
    let mut mutant = config.clone();
    *mutant.pointer_mut(pointer).unwrap() = value;
    mutant
}

/// The values in the place of one.
fn changed(value: &Value) -> Vec<Value> {
    static REPLACEMENTS: LazyLock<Vec<Value>> = LazyLock::new(replacements);
    let mut values = REPLACEMENTS.clone();
    match value {
        Value::String(text) => values.extend(changed_texts(text).into_iter().map(Value::from)),
        Value::Array(items) => values.extend(changed_lists(items).into_iter().map(Value::from)),
        Value::Object(fields) => values.extend(changed_objects(fields).into_iter().map(Value::from)),
        _ => {}
    }
    values
}

fn changed_objects(fields: &Map<String, Value>) -> Vec<Map<String, Value>> {
    let mut objects = Vec::new();
    for (key, value) in fields {
        let mut without = fields.clone();
        without.remove(key);
        for other in [format!("{key}s"), key.to_uppercase(), format!("{key} "), "x".repeat(33)] {
            let mut renamed = without.clone();
            renamed.insert(other, value.clone());
            objects.push(renamed);
        }
        objects.push(without);
    }
    for (key, value) in
        [("unknown", json!(null)), ("env", json!("A")), ("public", json!("A")), ("", json!(1))]
    {
        let mut more = fields.clone();
        more.insert(key.to_owned(), value);
        objects.push(more);
    }
    objects
}

fn changed_lists(items: &[Value]) -> Vec<Vec<Value>> {
    let mut lists = vec![items.iter().rev().cloned().collect(), [items, items].concat()];
    lists.extend((0..items.len()).map(|place| [&items[..place], &items[place + 1..]].concat()));
    lists
}

fn changed_texts(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let mut texts = vec![text.to_uppercase(), text.to_lowercase(), text.repeat(2), format!("{text}\n")];
    for place in 0..=characters.len() {
        let (before, after) = characters.split_at(place);
        let with = |middle: &[char], after: &[char]| {
            [before, middle, after].concat().into_iter().collect::<String>()
        };
        texts.extend(CHARACTERS.iter().map(|character| with(&[*character], after)));
        if let [_, rest @ ..] = after {
            texts.push(with(&[], rest));
        }
    }
    texts
}

/// The JSON pointer of each value.
fn pointers(value: &Value) -> Vec<String> {
    let children: Vec<(String, &Value)> = match value {
        Value::Array(items) => {
            items.iter().enumerate().map(|(place, item)| (place.to_string(), item)).collect()
        }
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| (key.replace('~', "~0").replace('/', "~1"), value)).collect()
        }
        _ => Vec::new(),
    };
    let below = children
        .into_iter()
        .flat_map(|(key, child)| pointers(child).into_iter().map(move |rest| format!("/{key}{rest}")));
    std::iter::once(String::new()).chain(below).collect()
}

/// The keys of all objects.
pub fn keys(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
        Value::Object(fields) => {
            found.extend(fields.keys().cloned());
            fields.values().for_each(|value| keys(value, found));
        }
        _ => {}
    }
}
