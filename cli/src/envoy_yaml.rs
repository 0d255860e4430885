//! Finds the gate's configuration in an envoy.yaml.

use crate::check::input;
use anyhow::{Result, anyhow, bail};
use blobgate_inbox::envoy_yaml::find_configurations;
use serde_json::Value;
use std::path::Path;

/// The gate's configuration in an envoy.yaml, as a Struct or as JSON text in any filter.
pub(crate) fn gate_configuration(file: &Path) -> Result<Value> {
    let mut found = gate_configurations(file)?;
    match (found.pop(), found.is_empty()) {
        (Some(one), true) => Ok(one),
        _ => bail!(
            "{} has several configurations of the gate. Name a file with one with --config",
            file.display()
        ),
    }
}

/// Each configuration of the gate in a file, at least one: an envoy.yaml, Kubernetes manifests, or the bare configuration.
pub(crate) fn gate_configurations(file: &Path) -> Result<Vec<Value>> {
    let name = file.display();
    let text = input::read(file)
        .map_err(|(fault, remedy)| anyhow!("cannot use {name}: it {fault}. For --config, {remedy}"))?;
    let distinct = find_configurations(&text).map_err(|why| {
        anyhow!("cannot read {name} as YAML: {why}. Correct it, or name another with --config")
    })?;
    if distinct.is_empty() {
        bail!("{name} has no configuration of the gate, an object with hooks. Name another with --config");
    }
    Ok(distinct)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn names(text: &str, expected: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file.yaml");
        std::fs::write(&file, text).unwrap();
        let found = gate_configurations(&file).unwrap();
        let names: Vec<_> = found.iter().map(|found| found["hooks"][0]["name"].as_str().unwrap()).collect();
        assert_eq!(names, expected, "{text}");
    }

    #[test]
    fn finds_configurations_in_every_kind_of_file() {
        const BARE: &str = "{version: 1, hooks: [{name: a}]}";
        names(BARE, &["a"]);
        let filter = |name: &str| {
            format!("configuration: {{value: {}}}", BARE.replace("name: a", &format!("name: {name}")))
        };
        names(&format!("filters:\n- &f {{{}}}\n- *f\n- {{{}}}\n", filter("a"), filter("b")), &["a", "b"]);
        let text = r#"{configuration: {value: '{"version": 1, "hooks": [{"name": "text"}]}'}}"#;
        names(text, &["text"]);
        let manifest =
            |name: &str| format!("apiVersion: v1\nkind: EnvoyFilter\nspec: {{{}}}\n", filter(name));
        names(&format!("{}---\n{}", manifest("a"), manifest("b")), &["a", "b"]);
        let plugin = format!("apiVersion: v1\nkind: WasmPlugin\nspec: {{pluginConfig: {BARE}}}\n");
        names(&plugin, &["a"]);
        let text = format!(
            "apiVersion: v1\nkind: ConfigMap\ndata:\n  envoy.yaml: |\n    filters: [{{{}}}]\n",
            filter("in")
        );
        names(&text, &["in"]);
    }
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
