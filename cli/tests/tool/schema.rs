//! `blobgate schema`: what an editor makes of it.

use crate::running::{blobgate, text};
use jsonschema::Validator;
use serde_json::{Value, json};

#[track_caller]
fn schema(kind: &[&str]) -> Validator {
    let output = blobgate(&[&["schema"], kind].concat()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    jsonschema::validator_for(&serde_json::from_slice(&output.stdout).unwrap()).unwrap()
}

fn configuration() -> Value {
    json!({
        "version": 1, "environment": "production",
        "hooks": [{
            "name": "veo3", "path": "/webhook", "dialect": "veo3", "source": "any", "trust": "open", "result_url": "any",
            "quarantine": "none",
        }],
    })
}

/// The place of the first mistake.
fn mistake(schema: &Validator, file: &Value) -> Option<String> {
    schema.validate(file).err().map(|error| error.instance_path().to_string())
}

#[test]
fn describes_a_bare_configuration() {
    for kind in [&[][..], &["--for", "gate"]] {
        let schema = schema(kind);
        let mut file = configuration();
        assert_eq!(mistake(&schema, &file), None);
        file["hooks"][0]["quarantine"] = "route".into();
        assert_eq!(mistake(&schema, &file).as_deref(), Some("/hooks/0/quarantine"));
    }
}

#[test]
fn finds_a_configuration_anywhere_in_a_file() {
    let schema = schema(&["--for", "envoy"]);
    let at = |value: Value| json!({"a": [{"b": {"config": {"name": "x", "configuration": {"@type": "a.Struct", "value": value}}}}], "hooks": 1});
    const PLACE: &str = "/a/0/b/config/configuration/value";
    assert_eq!(mistake(&schema, &at(configuration())), None);
    for (key, value, place) in [
        ("version", json!(2), "/version"),
        ("hooks", json!([]), "/hooks"),
        ("hook", json!(1), ""),
        ("sign", json!({"env": []}), "/sign/env"),
    ] {
        let mut broken = configuration();
        broken[key] = value;
        assert_eq!(mistake(&schema, &at(broken)), Some(format!("{PLACE}{place}")), "{key}");
    }
    for missing in ["hooks", "version"] {
        let mut broken = configuration();
        broken.as_object_mut().unwrap().remove(missing);
        assert_eq!(mistake(&schema, &at(broken)).as_deref(), Some(PLACE), "without {missing}");
    }
    let native = |value: Value| json!({"typed_config": {"filter_name": "blobgate", "filter_config": {"@type": "a.Struct", "value": value}}});
    assert_eq!(mistake(&schema, &native(configuration())), None);
    let mut broken = configuration();
    broken["version"] = json!(2);
    assert_eq!(
        mistake(&schema, &native(broken)).as_deref(),
        Some("/typed_config/filter_config/value/version")
    );
    // Other filters have configurations too, and JSON text has no parts for an editor.
    for other in [json!({"rules": 1}), json!("{}"), json!(7), json!(null)] {
        assert_eq!(mistake(&schema, &at(other)), None);
    }
}

#[test]
fn accepts_the_shipped_files() {
    let schema = schema(&["--for", "envoy"]);
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for name in ["envoy.yaml", "deploy/istio/envoyfilter.yaml", "deploy/istio/envoyfilter-native.yaml"] {
        let yaml = std::fs::read_to_string(root.join(name)).unwrap();
        let broken = yaml.replacen("dialect: veo3", "dialect: veo4", 1);
        assert_ne!(broken, yaml);
        let read = |yaml: &str| -> Vec<Value> { serde_saphyr::from_multiple(yaml).unwrap() };
        for document in read(&yaml) {
            assert_eq!(mistake(&schema, &document), None, "{name}");
        }
        let found: Vec<String> = read(&broken).iter().filter_map(|it| mistake(&schema, it)).collect();
        assert!(matches!(&found[..], [one] if one.ends_with("/value/hooks/0/dialect")), "{name}: {found:?}");
    }
}
