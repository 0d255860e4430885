//! Validates a manifest against its CRD, like an API server.

use super::support::repository;
use serde_json::{Value, json};

/// The faults of an EnvoyFilter, each as `path: fault`.
pub(crate) fn faults(manifest: &Value) -> Vec<String> {
    let validator = jsonschema::draft7::new(&schema()).expect("the definition is a schema");
    validator.iter_errors(manifest).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// The CRD's schema without unknown properties. An API server prunes unknown properties, with or without a warning; here
/// they are faults. The tests skip `x-kubernetes-validations`, which are CEL.
fn schema() -> Value {
    let text =
        std::fs::read_to_string(repository("tests/crds/envoyfilters.networking.istio.io.yaml")).unwrap();
    let definition: Value = serde_saphyr::from_str(&text).unwrap();
    let version = &definition["spec"]["versions"][0];
    let group_version =
        format!("{}/{}", definition["spec"]["group"].as_str().unwrap(), version["name"].as_str().unwrap());
    let mut schema = version["schema"]["openAPIV3Schema"].clone();
    close(&mut schema);
    // The API server itself checks these properties of every object.
    schema["required"] = json!(["apiVersion", "kind", "metadata", "spec"]);
    schema["properties"]["apiVersion"] = json!({"const": group_version});
    schema["properties"]["kind"] = json!({"const": definition["spec"]["names"]["kind"]});
    schema["properties"]["metadata"] = json!({
        "type": "object",
        "required": ["name", "namespace"],
        "additionalProperties": false,
        "properties": {"name": {"type": "string"}, "namespace": {"type": "string"}},
    });
    schema
}

fn close(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            let open = object.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
            if object.contains_key("properties") && !open && !object.contains_key("additionalProperties") {
                object.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
            object.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}
