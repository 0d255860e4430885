//! Finds the gate's configuration in an envoy.yaml.

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use std::path::Path;

/// The gate's configuration in an envoy.yaml: a Struct, or JSON text, wherever it stands.
pub(crate) fn gate_configuration(file: &Path) -> Result<Value> {
    let name = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("{name} cannot be read"))?;
    let yaml: Value = serde_saphyr::from_str(&text)
        .map_err(|error| anyhow!("{name} is no YAML that Envoy would take: {}", error.without_snippet()))?;
    let mut found = Vec::new();
    collect(&yaml, &mut found);
    found.dedup();
    match &mut found[..] {
        [] => bail!("{name} has no filter with the gate's configuration (an object with hooks)"),
        [one] => Ok(one.take()),
        _ => bail!("{name} has more than one configuration of the gate: name a file with one"),
    }
}

fn collect(value: &Value, found: &mut Vec<Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(object) => {
            if let Some(value) = object.get("configuration").and_then(|any| any.get("value")) {
                let text = value.as_str().and_then(|text| serde_json::from_str(text).ok());
                let gate = text.unwrap_or_else(|| value.clone());
                if gate.get("hooks").is_some() {
                    found.push(gate);
                }
            }
            object.values().for_each(|item| collect(item, found));
        }
        _ => {}
    }
}
