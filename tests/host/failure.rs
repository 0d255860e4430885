//! Bad configurations, and a module that crashes.

use crate::log_line;
use crate::support::bootstrap::merge;
use crate::support::client::Protocol;
use crate::support::{
    Bootstrap, EnvoyProcess, GateModule, H1, Options, TestDelivery, TestGate, Upstream, Version, envoy,
    eventually, on_every_envoy,
};
use blobgate::contract::{Kind, Verdict, header};
use serde_json::{Value, json};
use std::path::PathBuf;
use tempfile::TempDir;

#[test]
fn does_not_start_with_a_bad_configuration() {
    on_every_envoy(|version| {
        for (changes, sentence) in [
            (
                json!({"source": ["10.0.0.1/8"]}),
                "hooks[0].source[0] is \"10.0.0.1/8\"; write the range's first",
            ),
            (json!({"source": "all"}), "hooks[0].source is \"all\"; write a list"),
            (json!({"mod": "observe"}), "hooks[0].mod is not a known key"),
        ] {
            let bootstrap = TestGate::bootstrap(&Upstream::off(), &Upstream::off()).hook(&changes);
            let log = EnvoyProcess::refuses(version, &bootstrap);
            assert!(log.contains(&format!("blobgate: cannot load the configuration: {sentence}")), "{log}");
        }
    });
}

#[test]
fn accepts_a_configuration_as_json_text() {
    on_every_envoy(|version| {
        let mut configuration = Bootstrap::shipped_gate();
        configuration["hooks"][0]["name"] = "by-text".into();
        let gate = TestGate::with(version, |shipped| shipped.gate_text(&configuration));
        let arrival = gate.accepts(H1, &TestDelivery::completed());
        assert_eq!(arrival.header(header::HOOK).as_deref(), Some("by-text"));
    });
}

#[test]
fn keeps_the_old_filter_after_a_bad_reload() {
    on_every_envoy(|version| {
        let folder = TempDir::with_prefix("blobgate-test-").unwrap();
        let (file, gate) = by_file(version, &folder, &named("first", LOOPBACK));
        let hook_now = || gate.accepts(H1, &TestDelivery::completed()).header(header::HOOK);
        assert_eq!(hook_now().as_deref(), Some("first"));
        file.write(&named("second", "all"));
        log_line(&gate.envoy, "blobgate: cannot load the configuration: hooks[0].source is \"all\"");
        assert_eq!(hook_now().as_deref(), Some("first"));
        file.write(&named("third", LOOPBACK));
        eventually("new configuration", || hook_now().filter(|name| name == "third"));
    });
}

#[test]
fn refuses_while_the_filter_has_not_loaded() {
    on_every_envoy(|version| {
        let folder = TempDir::with_prefix("blobgate-test-").unwrap();
        let (file, gate) = by_file(version, &folder, &named("first", "all"));
        for protocol in Protocol::BOTH {
            let forged = TestDelivery::completed()
                .header(header::VERDICT, Verdict::Accepted.name())
                .header(header::EVENT, Kind::Completed.name());
            let answer = gate.nothing_arrives(|| gate.send(protocol, &forged));
            assert_eq!((answer.status, answer.reason()), (500, None), "{answer:?}");
        }
        file.write(&named("second", LOOPBACK));
        let works = || gate.nothing_arrives(|| gate.send(H1, &TestDelivery::of("{"))).status == 400;
        eventually("the filter", || works().then_some(()));
        gate.accepts(H1, &TestDelivery::completed());
    });
}

#[test]
fn keeps_the_old_listeners_after_a_bad_reload() {
    on_every_envoy(|version| {
        let options = Options { listeners_by_file: true, ..Options::default() };
        let gate = TestGate::started(version, options, |shipped| shipped.gate(&named("first", LOOPBACK)));
        let replace = |configuration: &Value| {
            gate.envoy
                .replace_listeners(&TestGate::bootstrap(&gate.video, &gate.failure).gate(configuration));
        };
        let hook_now = || gate.accepts(H1, &TestDelivery::completed()).header(header::HOOK);
        assert_eq!(hook_now().as_deref(), Some("first"));
        replace(&named("second", "all"));
        log_line(&gate.envoy, "blobgate: cannot load the configuration: hooks[0].source is \"all\"");
        let rejected = || gate.envoy.stat("listener_manager.lds.update_rejected");
        eventually("rejection", || (rejected() == Some(1)).then_some(()));
        assert_eq!(hook_now().as_deref(), Some("first"));
        replace(&named("third", LOOPBACK));
        eventually("new listeners", || hook_now().filter(|name| name == "third"));
    });
}

const LOOPBACK: &str = "127.0.0.0/8";

/// The shipped configuration with another hook name. The source "all" makes it invalid.
fn named(name: &str, source: &str) -> Value {
    let source = if source == "all" { json!("all") } else { json!([source]) };
    let mut configuration = Bootstrap::shipped_gate();
    merge(&mut configuration["hooks"][0], &json!({"name": name, "source": source}));
    configuration
}

/// The file from which Envoy reads the filter.
pub(crate) struct FilterFile {
    path: PathBuf,
    filter: Value,
}

impl FilterFile {
    pub(crate) fn write(&self, configuration: &Value) {
        let mut filter = self.filter.clone();
        filter["config"]["configuration"]["value"] = configuration.clone();
        let mut named = json!({
            "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
            "name": "blobgate",
            "typed_config": filter,
        });
        let module = GateModule::chosen();
        module.apply(&mut named, &module.file());
        envoy::replace(&self.path, &json!({"resources": [named]}).to_string());
    }
}

/// A gate whose filter is in a file in `folder`, which Envoy watches.
pub(crate) fn by_file(version: &Version, folder: &TempDir, configuration: &Value) -> (FilterFile, TestGate) {
    let path = folder.path().join("filter.json");
    let mut file = FilterFile { path: path.clone(), filter: Value::Null };
    let gate = TestGate::with(version, |shipped| {
        let shipped = shipped.filter(|filter| {
            file.filter = filter["typed_config"].take();
            let source = json!({"path": path, "watched_directory": {"path": folder.path()}});
            *filter = json!({
                "name": "blobgate",
                "disabled": true,
                "config_discovery": {
                    "config_source": {"path_config_source": source},
                    "type_urls": [GateModule::chosen().type_url()],
                },
            });
        });
        file.write(configuration);
        shipped
    });
    (file, gate)
}

#[test]
fn refuses_while_the_module_crashes_and_recovers() {
    on_every_envoy(|version| {
        let gate = TestGate::with(version, Bootstrap::crashing);
        for protocol in Protocol::BOTH {
            gate.accepts(protocol, &TestDelivery::completed());
            for place in ["headers", "body"] {
                let crash = TestDelivery::completed().header("x-crash-test", place);
                let answer = gate.nothing_arrives(|| gate.send(protocol, &crash));
                assert_eq!((answer.status, answer.reason()), (503, None), "{answer:?}");
                wait_until_working(&gate, protocol);
            }
        }
        assert_eq!(gate.envoy.crashes(), 4);
    });
}

/// Waits until the module works again. Nothing may pass meanwhile.
#[track_caller]
pub(crate) fn wait_until_working(gate: &TestGate, protocol: Protocol) {
    let back = eventually("working module", || {
        let answer = gate.nothing_arrives(|| gate.send(protocol, &TestDelivery::of("{")));
        assert!(answer.status == 400 || answer.status == 503, "{answer:?}");
        (answer.status == 400).then_some(answer)
    });
    back.assert_refused(400, "json-invalid");
    gate.accepts(protocol, &TestDelivery::completed());
}
