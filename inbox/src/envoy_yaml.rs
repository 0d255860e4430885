//! Finds the gate's configuration in an envoy.yaml, in Kubernetes manifests, or as it is.

use crate::yaml::{self, YamlError, YamlNode, YamlReader};
use serde_json::Value;

/// Each configuration of the gate in a text, as a Struct or as JSON text in any filter.
///
/// # Errors
/// [`YamlError`] for a text that is no YAML.
pub fn find_configurations(text: &str) -> Result<Vec<Value>, YamlError> {
    let mut found: Vec<Value> = Vec::new();
    for document in &parse_documents(text)? {
        collect(document, MAX_NESTED, &mut found);
    }
    // An alias puts one configuration at several listeners.
    let mut distinct: Vec<Value> = Vec::new();
    for configuration in found {
        if !distinct.contains(&configuration) {
            distinct.push(configuration);
        }
    }
    Ok(distinct)
}

/// Every document of a file, as its reader resolves it: Envoy, or Kubernetes for manifests.
fn parse_documents(text: &str) -> Result<Vec<Value>, YamlError> {
    let documents = yaml::parse_yaml(text, YamlReader::Envoy)?;
    let is_manifest = |node: &YamlNode| node.get("apiVersion").is_some() && node.get("kind").is_some();
    let documents = if documents.iter().any(is_manifest) {
        yaml::parse_yaml(text, YamlReader::Kubernetes)?
    } else {
        documents
    };
    Ok(documents.iter().map(YamlNode::to_json).collect())
}

/// Parses an envoy.yaml. Envoy reads only the first document.
///
/// # Errors
/// [`YamlError`] for a text that is no YAML.
pub fn parse_yaml(text: &str) -> Result<Value, YamlError> {
    let documents = yaml::parse_yaml(text, YamlReader::Envoy)?;
    Ok(documents.first().map_or(Value::Null, YamlNode::to_json))
}

/// Whether a part of a file has the gate's configuration, as an object or as text.
pub fn has_gate_configuration(value: &Value) -> bool {
    let mut found = Vec::new();
    collect(value, MAX_NESTED, &mut found);
    !found.is_empty()
}

/// A ConfigMap has an envoy.yaml as a text, and that may have the configuration as a text.
const MAX_NESTED: usize = 2;

/// Collects configurations: objects, and texts in YAML or JSON, also in manifests.
fn collect(value: &Value, nested: usize, found: &mut Vec<Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, nested, found)),
        Value::Object(object) => {
            let has = |key: &str| object.contains_key(key);
            if has("hooks") && (has("version") || has("environment")) {
                found.push(value.clone());
            } else {
                object.values().for_each(|item| collect(item, nested, found));
            }
        }
        Value::String(text) if nested > 0 && text.contains("hooks") => {
            let documents = parse_documents(text).unwrap_or_default();
            documents.iter().for_each(|document| collect(document, nested.saturating_sub(1), found));
        }
        _ => {}
    }
}
