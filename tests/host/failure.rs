//! Bad configurations, and a module that traps.

use crate::support::bootstrap::merge;
use crate::support::client::Protocol;
use crate::support::{
    Bootstrap, Delivery, Envoy, Gate, H1, Upstream, crashing_module, envoy, eventually, module,
    on_every_envoy,
};
use crate::{access_line, log_line};
use serde_json::{Value, json};

#[test]
fn a_bad_configuration_does_not_start() {
    on_every_envoy(|version| {
        for (changes, sentence) in [
            (
                json!({"source": ["10.0.0.1/8"]}),
                "hooks[0].source[0] is \"10.0.0.1/8\"; write the range's first",
            ),
            (json!({"source": "all"}), "hooks[0].source is \"all\"; write a list"),
            (json!({"mod": "observe"}), "hooks[0].mod is not a key"),
        ] {
            let bootstrap = Gate::bootstrap(&Upstream::off(), &Upstream::off()).hook(&changes);
            let log = Envoy::refuses(version, &bootstrap);
            assert!(log.contains(&format!("blobgate does not load: {sentence}")), "{log}");
        }
    });
}

#[test]
fn json_text_configures_as_well() {
    on_every_envoy(|version| {
        let mut configuration = Bootstrap::shipped_gate();
        configuration["hooks"][0]["name"] = "by-text".into();
        let gate = Gate::with(version, |shipped| shipped.gate_text(&configuration));
        let arrival = gate.accepts(H1, &Delivery::completed());
        assert_eq!(arrival.header("blobgate-hook").as_deref(), Some("by-text"));
    });
}

#[test]
fn a_bad_reload_keeps_the_old_configuration() {
    on_every_envoy(|version| {
        let configuration = |name: &str, source: Value| {
            let mut configuration = Bootstrap::shipped_gate();
            merge(&mut configuration["hooks"][0], &json!({"name": name, "source": source}));
            configuration
        };
        let folder = tempfile::TempDir::with_prefix("blobgate-").unwrap();
        let shared = folder.path().join("filter.json");
        let mut resource = Value::Null;
        let gate = Gate::with(version, |shipped| {
            // The filter comes from a file that Envoy watches.
            let shipped = shipped.filter(|filter| {
                filter["typed_config"]["config"]["vm_config"]["code"]["local"]["filename"] = json!(module());
                resource = filter["typed_config"].take();
                *filter = json!({
                    "name": "blobgate",
                    "disabled": true,
                    "config_discovery": {
                        "config_source": {"path_config_source": {
                            "path": shared, "watched_directory": {"path": folder.path()},
                        }},
                        "type_urls": ["type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"],
                    },
                });
            });
            write(&shared, &resource, "1", configuration("first", json!(["127.0.0.0/8"])));
            shipped
        });
        let hook_now = || gate.accepts(H1, &Delivery::completed()).header("blobgate-hook");
        assert_eq!(hook_now().as_deref(), Some("first"));
        write(&shared, &resource, "2", configuration("second", json!("all")));
        log_line(&gate.envoy, "blobgate does not load: hooks[0].source is \"all\"");
        assert_eq!(hook_now().as_deref(), Some("first"));
        write(&shared, &resource, "3", configuration("third", json!(["127.0.0.0/8"])));
        eventually("new configuration", || hook_now().filter(|name| name == "third"));
    });
}

fn write(path: &std::path::Path, filter: &Value, version: &str, configuration: Value) {
    let mut filter = filter.clone();
    filter["config"]["configuration"]["value"] = configuration;
    let resource = json!({
        "version_info": version,
        "resources": [{
            "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
            "name": "blobgate",
            "typed_config": filter,
        }],
    });
    envoy::replace(path, &resource.to_string());
}

#[test]
fn a_trapped_module_comes_back_and_lets_nothing_through() {
    on_every_envoy(|version| {
        let gate = Gate::with(version, |shipped| shipped.module(crashing_module()));
        for protocol in Protocol::BOTH {
            gate.accepts(protocol, &Delivery::completed());
            let crash = Delivery::completed().header("x-crash-test", "headers");
            let answer = gate.nothing_arrives(|| gate.send(protocol, &crash));
            assert_eq!((answer.status, answer.reason()), (503, None), "{answer:?}");
            let back = eventually("module again", || {
                let answer = gate.nothing_arrives(|| gate.send(protocol, &Delivery::of("{")));
                assert!(answer.status == 400 || answer.status == 503, "{answer:?}");
                (answer.status == 400).then_some(answer)
            });
            back.assert_refused(400, "json-invalid");
            gate.accepts(protocol, &Delivery::completed());
        }
        assert_eq!(gate.envoy.stat("wasm.blobgate.vm_reload_success"), Some(2));
        access_line(&gate.envoy, |line| {
            line["details"].as_str().is_some_and(|details| details.contains("wasm_fail_stream"))
        });
    });
}
