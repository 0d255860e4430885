//! Validates a manifest against its definition in `tests/crds`, like an API server.

use super::support::repository;
use serde_json::{Value, json};

/// The faults of a manifest, each as `path: fault`.
pub(crate) fn faults(manifest: &Value) -> Vec<String> {
    let Some(definition) = definition(manifest) else {
        return vec![format!("/kind: tests/crds has no {} of {}", manifest["kind"], manifest["apiVersion"])];
    };
    let validator = jsonschema::draft7::new(&schema(&definition)).expect("the definition is a schema");
    validator.iter_errors(manifest).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// The definition of a manifest's kind and group.
fn definition(manifest: &Value) -> Option<Value> {
    let group = manifest["apiVersion"].as_str()?.split('/').next()?;
    let files = std::fs::read_dir(repository("tests/crds")).unwrap().map(|file| file.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    let definitions = files.map(|path| {
        let text = std::fs::read_to_string(path).unwrap();
        serde_saphyr::from_str::<Value>(&text).unwrap()
    });
    let mut definitions = definitions.filter(|it| it["spec"]["group"] == group);
    definitions.find(|it| it["spec"]["names"]["kind"] == manifest["kind"])
}

/// The definition's schema without unknown properties. An API server prunes unknown properties, with or without a warning;
/// here they are faults. The tests skip `x-kubernetes-validations`, which are CEL.
fn schema(definition: &Value) -> Value {
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

/// Only schemas with a type: the others are alternatives, as in `oneOf`.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            let open = object.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
            let is_object = object.get("type") == Some(&json!("object")) && object.contains_key("properties");
            if is_object && !open && !object.contains_key("additionalProperties") {
                object.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
            object.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}
