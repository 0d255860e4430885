//! An existing configuration of Envoy, with the native module in place of the Wasm module.

use blobgate_inbox::envoy_yaml::{has_gate_configuration, parse_yaml};
use blobgate_inbox::yaml::YamlError;
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

/// The block of the native module, for people and tests too.
static NATIVE: LazyLock<Value> =
    LazyLock::new(|| parse_yaml(include_str!("../../../deploy/native/filter.yaml")).unwrap_or_default());

const WASM_FILTER: &str = "envoy.extensions.filters.http.wasm.v3.Wasm";
const NATIVE_FILTER: &str = "envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter";

#[derive(Debug, thiserror::Error)]
pub(crate) enum SwapError {
    #[error("it is no YAML: {0}. Correct it")]
    NotYaml(YamlError),
    #[error(
        "it has no Wasm filter with the gate's configuration. Name an envoy.yaml of Blobgate, whose HTTP filters have one"
    )]
    NoGate,
}

/// The configuration with the module at this path. Every other field stays, and so does a native module that is there already.
pub(crate) fn with_native_module(text: &str, module: &str) -> Result<Value, SwapError> {
    let mut tree = parse_yaml(text).map_err(SwapError::NotYaml)?;
    let mut gates = 0_usize;
    swap_filters(&mut tree, module, &mut gates);
    if gates == 0 {
        return Err(SwapError::NoGate);
    }
    set_counter_names(&mut tree);
    Ok(tree)
}

fn swap_filters(tree: &mut Value, module: &str, gates: &mut usize) {
    match tree {
        Value::Array(items) => items.iter_mut().for_each(|item| swap_filters(item, module, gates)),
        Value::Object(object) => {
            let kind = object.get("@type").and_then(Value::as_str).unwrap_or_default();
            let kind = kind.rsplit('/').next().unwrap_or_default();
            if kind == NATIVE_FILTER && object.get("filter_config").is_some_and(has_gate_configuration) {
                *gates = gates.saturating_add(1);
            } else if kind == WASM_FILTER
                && let Some(configuration) = gate_configuration(object)
            {
                *gates = gates.saturating_add(1);
                *tree = native_filter(configuration, module);
            } else {
                object.values_mut().for_each(|item| swap_filters(item, module, gates));
            }
        }
        _ => {}
    }
}

/// The `Any` with the gate's configuration, in a Wasm filter.
fn gate_configuration(filter: &Map<String, Value>) -> Option<Value> {
    let configuration = filter.get("config")?.get("configuration")?;
    has_gate_configuration(configuration).then(|| configuration.clone())
}

/// The native module's filter, with the gate's configuration.
fn native_filter(configuration: Value, module: &str) -> Value {
    let mut filter = NATIVE.pointer("/filter/typed_config").cloned().unwrap_or_default();
    for (place, value) in
        [("/dynamic_module_config/module/local/filename", json!(module)), ("/filter_config", configuration)]
    {
        if let Some(field) = filter.pointer_mut(place) {
            *field = value;
        }
    }
    filter
}

/// In the first static layer, or in a new one. Without `layered_runtime`, Envoy has a layer for its admin page.
fn set_counter_names(tree: &mut Value) {
    let Some(root) = tree.as_object_mut() else { return };
    let runtime = root
        .entry("layered_runtime")
        .or_insert_with(|| json!({"layers": [{"name": "operator", "admin_layer": {}}]}));
    let Some(runtime) = runtime.as_object_mut() else { return };
    let layers = runtime.entry("layers").or_insert_with(|| json!([]));
    let Some(layers) = layers.as_array_mut() else { return };
    let of_file = layers.iter_mut().find_map(|layer| layer.get_mut("static_layer")?.as_object_mut());
    match of_file {
        Some(layer) => {
            for (key, value) in NATIVE.get("static_layer").and_then(Value::as_object).into_iter().flatten() {
                layer.entry(key).or_insert_with(|| value.clone());
            }
        }
        None => layers.insert(0, json!({"name": "blobgate", "static_layer": NATIVE.get("static_layer")})),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../../envoy.yaml");
    const COUNTER_NAMES: &str = "envoy.reloadable_features.dynamic_modules_strip_custom_stat_prefix";
    const MODULE: &str = "./target/native/libblobgate.so";

    /// The paths at which two trees differ.
    fn differences(one: &Value, other: &Value, path: &str, found: &mut Vec<String>) {
        match (one, other) {
            (Value::Object(one), Value::Object(other)) => {
                let keys: std::collections::BTreeSet<_> = one.keys().chain(other.keys()).collect();
                for key in keys {
                    let null = Value::Null;
                    let value = |object: &Map<String, Value>| object.get(key).unwrap_or(&null).clone();
                    differences(&value(one), &value(other), &format!("{path}/{key}"), found);
                }
            }
            (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
                for (index, (one, other)) in one.iter().zip(other).enumerate() {
                    differences(one, other, &format!("{path}/{index}"), found);
                }
            }
            _ if one == other => {}
            _ => found.push(path.to_owned()),
        }
    }

    #[test]
    fn changes_the_filter_and_the_names_of_counters_alone() {
        let before = parse_yaml(SHIPPED).unwrap();
        let after = with_native_module(SHIPPED, MODULE).unwrap();
        let mut found = Vec::new();
        differences(&before, &after, "", &mut found);
        let filter = |listener: u8, end: &str| {
            format!(
                "/static_resources/listeners/{listener}/filter_chains/0/filters/0/typed_config/http_filters/0/typed_config/{end}"
            )
        };
        let mut expected = vec![format!("/layered_runtime/layers/0/static_layer/{COUNTER_NAMES}")];
        for listener in [0, 1] {
            let ends = ["@type", "config", "dynamic_module_config", "filter_config", "filter_name"];
            expected.extend(ends.map(|end| filter(listener, end)));
        }
        assert_eq!(found, expected);
        let configuration = |tree: &Value, path: &str| tree.pointer(&filter(0, path)).cloned().unwrap();
        assert_eq!(
            configuration(&after, "filter_config").to_string(),
            configuration(&before, "config/configuration").to_string()
        );
        // A second call changes nothing.
        assert_eq!(with_native_module(&after.to_string(), "other.so").unwrap(), after);
    }

    #[test]
    fn leaves_other_filters() {
        let other = "static_resources: {listeners: [{filters: [{typed_config: {\"@type\": \
                     type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm, config: {name: other}}}]}]}";
        for text in ["", "a: [1]", "- 1", other] {
            assert!(matches!(with_native_module(text, MODULE), Err(SwapError::NoGate)), "{text}");
        }
        assert!(matches!(with_native_module("a: [", MODULE), Err(SwapError::NotYaml(_))));
    }

    #[test]
    fn keeps_text_configurations_and_finds_a_runtime_layer() {
        let text = |runtime: &str| {
            format!(
                "{runtime}filters:\n- typed_config:\n    \"@type\": type.googleapis.com/{WASM_FILTER}\n    config:\n      \
                 configuration: {{\"@type\": type.googleapis.com/google.protobuf.StringValue, value: '{{\"version\": 1, \"hooks\": []}}'}}\n"
            )
        };
        let layers = |runtime: &str| {
            with_native_module(&text(runtime), MODULE).unwrap()["layered_runtime"]["layers"].clone()
        };
        let own = json!({"name": "blobgate", "static_layer": {COUNTER_NAMES: true}});
        let operator = json!({"name": "operator", "admin_layer": {}});
        assert_eq!(layers(""), json!([own, operator]));
        assert_eq!(layers("layered_runtime: {}\n"), json!([own]));
        assert_eq!(
            layers("layered_runtime: {layers: [{name: a, rtds_layer: {}}]}\n"),
            json!([own, {"name": "a", "rtds_layer": {}}])
        );
        // A person's own choice stays.
        let chosen =
            format!("layered_runtime: {{layers: [{{name: a, static_layer: {{{COUNTER_NAMES}: false}}}}]}}\n");
        assert_eq!(layers(&chosen), json!([{"name": "a", "static_layer": {COUNTER_NAMES: false}}]));
        let value = with_native_module(&text(""), MODULE).unwrap();
        assert_eq!(
            value["filters"][0]["typed_config"]["filter_config"]["value"],
            r#"{"version": 1, "hooks": []}"#
        );
    }
}
