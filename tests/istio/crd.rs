//! A manifest against its definition, the way an API server takes it.

use super::support::repository;
use serde_json::{Value, json};

/// What is wrong with an EnvoyFilter: `where: what`, each.
pub(crate) fn faults(manifest: &Value) -> Vec<String> {
    let validator = jsonschema::draft7::new(&schema()).expect("the definition is a schema");
    validator.iter_errors(manifest).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// The definition's schema, closed. An API server prunes what an object's definition does not know, in silence or
/// with a warning; here that is a fault. Not looked at: `x-kubernetes-validations`, which are CEL.
fn schema() -> Value {
    let text =
        std::fs::read_to_string(repository("tests/crds/envoyfilters.networking.istio.io.yaml")).unwrap();
    let definition: Value = serde_saphyr::from_str(&text).unwrap();
    let version = &definition["spec"]["versions"][0];
    let group_version =
        format!("{}/{}", definition["spec"]["group"].as_str().unwrap(), version["name"].as_str().unwrap());
    let mut schema = version["schema"]["openAPIV3Schema"].clone();
    close(&mut schema);
    // What every object has, and the definition leaves to the API server.
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
