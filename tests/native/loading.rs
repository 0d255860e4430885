//! Envoy loads the native module, or refuses the configuration with a reason.

use crate::support::bootstrap::each_value;
use crate::support::{
    Bootstrap, EnvoyProcess, GateModule, H1, H2, Options, TestDelivery, TestGate, Upstream, Version,
    eventually, repository,
};
use crate::{named, native, native_with, on_every_envoy};
use blobgate::contract::header;
use serde_json::json;
use std::path::Path;

#[track_caller]
fn refused(version: &Version, change: impl FnOnce(Bootstrap) -> Bootstrap) -> String {
    let bootstrap = TestGate::bootstrap(&Upstream::off(), &Upstream::off()).with(GateModule::Native);
    EnvoyProcess::refuses(version, &change(bootstrap))
}

#[test]
fn a_wrong_file_is_refused() {
    on_every_envoy(|version| {
        let folder = tempfile::TempDir::with_prefix("blobgate-test-").unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let whole = std::fs::read(GateModule::Native.file()).unwrap();
        for (path, reason) in [
            (folder.path().join("gone.so"), "cannot open shared object file"),
            (file("empty.so", b""), "file too short"),
            (file("text.so", &[b'x'; 4096]), "invalid ELF header"),
            (GateModule::Wasm.file(), "invalid ELF header"),
        ] {
            let log = refused(version, |bootstrap| bootstrap.file(path.clone()));
            assert!(log.contains(reason), "{}: {log}", path.display());
        }
        // The control.
        let copy = file("libblobgate.so", &whole);
        native(version, |shipped| shipped.file(copy)).accepts(H2, &TestDelivery::completed());
    });
}

/// A library that is no Envoy module.
#[test]
fn another_library_is_refused() {
    on_every_envoy(|version| {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let libc = maps
            .lines()
            .find_map(|line| Some(&line[line.find('/')?..]).filter(|path| path.contains("libc.so")));
        let log = refused(version, |bootstrap| bootstrap.file(Path::new(libc.expect("libc.so")).to_owned()));
        assert!(log.contains("Failed to resolve symbol envoy_dynamic_module_"), "{log}");
    });
}

/// Envoy 1.36 knows fewer fields, exports fewer functions, and expects the hash of its own interface.
#[test]
fn an_older_envoy_refuses_the_module() {
    let binary = repository(".tools/envoy-1.36.4/envoy/_bin/envoy");
    assert!(binary.is_file(), "cannot start Envoy 1.36.4: it is not in .tools. Run `dev/envoy 1.36.4`.");
    let version = Version { name: "1.36.4".to_owned(), binary };
    assert!(!GateModule::Native.runs_on(&version), "`on_every_envoy` leaves it out");
    let log = refused(&version, |bootstrap| bootstrap);
    assert!(log.contains("'metrics_namespace') has unknown fields"), "{log}");
    let log = refused(&version, by_name);
    assert!(log.contains("undefined symbol: envoy_dynamic_module_callback_"), "{log}");
}

/// Lets Envoy find the module by its name alone, which every version can.
fn by_name(bootstrap: Bootstrap) -> Bootstrap {
    let file = GateModule::Native.file().canonicalize().unwrap();
    let folder = file.parent().unwrap().display().to_string();
    bootstrap.variable("ENVOY_DYNAMIC_MODULES_SEARCH_PATH", &folder).finally(|json| {
        each_value(json, &mut |value| {
            if let Some(config) = value.get_mut("dynamic_module_config") {
                *config = json!({"name": "blobgate"});
            }
        });
    })
}

/// As a control plane without the other fields loads it.
#[test]
fn loads_by_name_alone() {
    on_every_envoy(|version| {
        let gate = native(version, by_name);
        for protocol in [H1, H2] {
            gate.accepts(protocol, &TestDelivery::completed());
            gate.refuses(protocol, &TestDelivery::of("{"), 400, "json-invalid");
        }
    });
}

#[test]
fn a_bad_configuration_is_refused_with_one_sentence() {
    on_every_envoy(|version| {
        let sentence = "blobgate: cannot load the configuration: hooks[0].source is \"all\"; write a list";
        let log = refused(version, |bootstrap| bootstrap.hook(&json!({"source": "all"})));
        let lines: Vec<&str> =
            log.lines().filter(|line| line.contains("cannot load the configuration")).collect();
        assert!(!lines.is_empty() && lines.iter().all(|line| line.contains(sentence)), "{log}");
        // Once for each listener of the gate at most, on the main thread alone.
        assert!(lines.len() <= 2, "{lines:#?}");
        assert!(!log.contains("panicked"), "{log}");
    });
}

#[test]
fn a_bad_listener_leaves_the_old_one() {
    on_every_envoy(|version| {
        let options = Options { listeners_by_file: true, concurrency: 4, ..Options::default() };
        let gate = native_with(version, options, |shipped| shipped.gate(&named("first", &json!({}))));
        let next = || TestGate::bootstrap(&gate.video, &gate.failure).with(GateModule::Native);
        let hook_now = || gate.accepts(H1, &TestDelivery::completed()).header(header::HOOK);
        let rejected = || gate.envoy.stat("listener_manager.lds.update_rejected").unwrap();
        let bad = [
            next().gate(&named("second", &json!({"nonsense": 1}))),
            next().gate(&named("second", &json!({}))).file("/nowhere/libblobgate.so".into()),
            next().gate(&named("second", &json!({}))).file(GateModule::Wasm.file()),
        ];
        for (number, bootstrap) in (1..).zip(bad) {
            gate.envoy.replace_listeners(&bootstrap);
            eventually("rejection", || (rejected() == number).then_some(()));
            for _ in 0..8 {
                assert_eq!(hook_now().as_deref(), Some("first"));
            }
        }
        gate.envoy.replace_listeners(&next().gate(&named("third", &json!({}))));
        eventually("new listeners", || hook_now().filter(|name| name == "third"));
    });
}

/// Envoy merges what a Struct repeats, and passes texts as they are.
#[test]
fn reads_each_form_of_a_configuration() {
    on_every_envoy(|version| {
        let configuration = named("by-form", &json!({}));
        let bytes = base64(configuration.to_string().as_bytes());
        for form in [
            json!({"@type": "type.googleapis.com/google.protobuf.Struct", "value": configuration}),
            json!({"@type": "type.googleapis.com/google.protobuf.StringValue", "value": configuration.to_string()}),
            json!({"@type": "type.googleapis.com/google.protobuf.BytesValue", "value": bytes}),
        ] {
            let gate = native(version, |shipped| shipped.any(&form));
            let arrival = gate.accepts(H1, &TestDelivery::completed());
            assert_eq!(arrival.header(header::HOOK).as_deref(), Some("by-form"), "{form}");
        }
    });
}

fn base64(bytes: &[u8]) -> String {
    use ::base64::Engine;
    ::base64::engine::general_purpose::STANDARD.encode(bytes)
}
