//! Finds the gate's configuration in an envoy.yaml.

use anyhow::{Result, anyhow, bail};
use serde_json::Value;
use std::path::Path;

/// The gate's configuration in an envoy.yaml, as a Struct or as JSON text in any filter.
pub(crate) fn gate_configuration(file: &Path) -> Result<Value> {
    let name = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|why| anyhow!("cannot read {name}: {why}. Name an envoy.yaml with --config"))?;
    let yaml = parse(&text).map_err(|error| {
        anyhow!("cannot read {name} as YAML: {error}. Correct it, or name another with --config")
    })?;
    let mut found = Vec::new();
    collect(&yaml, &mut found);
    found.dedup();
    match &mut found[..] {
        [] => {
            bail!("{name} has no configuration of the gate, an object with hooks. Name another with --config")
        }
        [one] => Ok(one.take()),
        _ => bail!("{name} has several configurations of the gate. Name a file with one with --config"),
    }
}

/// Reads an operator's own file, so of any size. Envoy has no limit either.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    let options = serde_saphyr::options! {
        budget: None,
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: usize::MAX },
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| error.without_snippet().to_string())
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
