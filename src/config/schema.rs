//! The configuration as JSON Schema, for editors. Keys, texts and values are those of the sections; only the rules between
//! keys are written here. `tests/schema.rs` holds the schema and the loader against each other.

use crate::markdown::without_links;
use crate::settings::{Section, SectionKey};
use serde_json::{Map, Value, json};

/// The schema of a whole configuration, draft 2020-12. It refuses no configuration that the loader accepts.
pub fn schema() -> Value {
    let mut sections: Map<String, Value> =
        super::sections().iter().map(|section| (section.name().to_owned(), object(section))).collect();
    let mut whole = sections.remove("configuration").unwrap_or_default();
    put(&mut whole, "$schema", "https://json-schema.org/draft/2020-12/schema");
    put(&mut whole, "title", "The configuration of Blobgate's gate");
    put(&mut whole, "$defs", sections);
    whole
}

fn put(schema: &mut Value, keyword: &str, value: impl Into<Value>) {
    if let Some(keywords) = schema.as_object_mut() {
        keywords.insert(keyword.to_owned(), value.into());
    }
}

fn object(section: &Section) -> Value {
    let properties: Map<String, Value> =
        section.keys.iter().map(|key| (key.key.to_owned(), property(key))).collect();
    let required: Vec<&str> =
        section.keys.iter().filter(|key| key.default.is_none()).map(|key| key.key).collect();
    let mut object = json!({
        "title": section.name(),
        "description": plain(&section.docs),
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
        "allOf": rules(section.name()),
    });
    // Draft 4 has no empty lists.
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|_, value| value.as_array().is_none_or(|list| !list.is_empty()));
        if !required.is_empty() {
            fields.insert("required".to_owned(), json!(required));
        }
    }
    object
}

fn property(key: &SectionKey) -> Value {
    let mut schema = key.value.schema.clone();
    let value = plain(&key.value.written);
    let default = key.default.as_deref();
    let end = default.map_or("Required.".to_owned(), |default| format!("Default: {}.", plain(default)));
    put(&mut schema, "description", format!("{} Value: {value}. {end}", plain(&key.docs)));
    if let Some(default) = default.and_then(|text| text.strip_prefix('`')?.strip_suffix('`')) {
        put(&mut schema, "default", default.parse::<u64>().map_or_else(|_| default.into(), Value::from));
    }
    schema
}

/// Markdown without its links, which lead to pages of the book.
fn plain(markdown: &str) -> String {
    without_links(markdown, |_page| String::new())
}

/// The rules between the keys of a section, and between sections.
fn rules(section: &str) -> Value {
    match section {
        "configuration" => json!([
            {"if": at_hook(names("token")), "then": {"required": ["token"]}},
            {"if": at_hook(names("confirmed")), "then": {"required": ["confirm"]}},
        ]),
        "hook" => hook_rules(),
        "trust" => json!([
            {"anyOf": [{"required": ["any_of"]}, {"required": ["all_of"]}]},
            {"if": {"required": ["any_of"]}, "then": forbid("all_of")},
            {"if": confirmed_alone(), "then": {"required": ["unprotected_budget"]}},
            {"if": names("token"), "then": forbid("unprotected_budget")},
        ]),
        "key" => json!([
            {"if": algorithm("EdDSA"), "then": {"required": ["public"], "allOf": [forbid("env")]}},
            {"if": algorithm("HS256"), "then": {"required": ["env"], "allOf": [forbid("public")]}},
        ]),
        _ => json!([]),
    }
}

fn hook_rules() -> Value {
    let path = |pattern: &str, advice: &str| json!({"properties": {"path": {"pattern": pattern, "patternErrorMessage": advice}}});
    let takes_token = path(
        r"/\{token\}$",
        "takes no token, and trust or the prompt's check needs one; write /{token} at its end",
    );
    let takes_none = path("^[^{]*$", "takes a token, and trust names none; write the path without {token}");
    let unauthenticated = "needs authenticated senders, and trust is open; write none";
    let needs_token =
        json!({"required": ["prompt"], "properties": {"prompt": {"enum": ["enforce", "observe"]}}});
    json!([
        {"if": at_trust(names("token")), "then": takes_token},
        {"if": at_trust(json!({"anyOf": [{"const": "open"}, confirmed_alone()]})), "then": takes_none},
        {
            "if": at_trust(json!({"const": "open"})),
            "then": {"properties": {"quarantine": {"const": "none", "errorMessage": unauthenticated}}},
        },
        {"if": {"required": ["checks"], "properties": {"checks": needs_token}}, "then": takes_token},
    ])
}

/// A hook with such a trust rule.
fn at_trust(rule: Value) -> Value {
    json!({"required": ["trust"], "properties": {"trust": rule}})
}

/// A configuration with such a trust rule.
fn at_hook(rule: Value) -> Value {
    let hooks = json!({"type": "array", "contains": at_trust(rule)});
    json!({"required": ["hooks"], "properties": {"hooks": hooks}})
}

/// A trust rule that names a proof.
fn names(proof: &str) -> Value {
    let list = json!({"type": "array", "contains": {"const": proof}});
    let in_list = |key: &str| json!({"required": [key], "properties": {key: list}});
    json!({"type": "object", "anyOf": [in_list("any_of"), in_list("all_of")]})
}

/// A trust rule that names only the confirmation.
fn confirmed_alone() -> Value {
    json!({"allOf": [names("confirmed"), {"not": names("token")}]})
}

fn algorithm(name: &str) -> Value {
    json!({"required": ["alg"], "properties": {"alg": {"const": name}}})
}

fn forbid(key: &str) -> Value {
    json!({"properties": {key: false}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_links_from_markdown() {
        for (markdown, expected) in [
            ("`open`, or a [rule](#trust)", "`open`, or a rule"),
            ("`a`, [`{behind_proxy: [...]}`](#transport) or `any`", "`a`, `{behind_proxy: [...]}` or `any`"),
            ("a name, `[a-z]{1,32}`, by [A](https://a.example). [B](b.md)", "a name, `[a-z]{1,32}`, by A. B"),
        ] {
            assert_eq!(plain(markdown), expected);
        }
    }
}
