//! Finds the gate's configuration in an envoy.yaml.

use crate::check::yaml::{self, YamlError, YamlNode, YamlReader};
use anyhow::{Result, anyhow, bail};
use serde_json::Value;
use std::path::Path;

/// The gate's configuration in an envoy.yaml, as a Struct or as JSON text in any filter.
pub(crate) fn gate_configuration(file: &Path) -> Result<Value> {
    let name = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|why| anyhow!("cannot read {name}: {why}. Name an envoy.yaml with --config"))?;
    let yaml = parse_yaml(&text).map_err(|why| {
        anyhow!("cannot read {name} as YAML: {why}. Correct it, or name another with --config")
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

/// Parses an envoy.yaml. Envoy reads only the first document.
pub(crate) fn parse_yaml(text: &str) -> Result<Value, YamlError> {
    let documents = yaml::parse_yaml(text, YamlReader::Envoy)?;
    Ok(documents.first().map_or(Value::Null, YamlNode::to_json))
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

#[cfg(test)]
mod tests {
    use super::*;
    use blobgate::Config;
    use std::fmt::Write;

    /// Envoy loads this file: see `loads_150_000_ranges` in tests/host.
    #[test]
    fn reads_150_000_ranges_behind_an_alias() {
        let mut yaml = String::from(
            "filters: &http\n- configuration:\n    value:\n      version: 1\n      environment: test\n      hooks:\n      \
             - {name: a, path: /a, dialect: veo3, trust: open, result_url: any, quarantine: none, source: [",
        );
        for number in 0..150_000_u32 {
            let [_, a, b, c] = (number * 2).to_be_bytes();
            let _ = write!(yaml, "10.{a}.{b}.{c}/32, ");
        }
        yaml.push_str("]}\nplaintext: *http\n");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("envoy.yaml");
        std::fs::write(&file, yaml).unwrap();
        let configuration = gate_configuration(&file).unwrap().to_string();
        assert_eq!(Config::load(configuration.as_bytes(), &|_| None).unwrap().hooks.len(), 1);
    }
}
