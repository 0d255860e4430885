//! The names of the native module's counters, with and without Envoy's prefix.

use crate::support::module::PLAIN_NAMES;
use crate::support::{H2, TestDelivery, TestGate, eventually};
use crate::{native, on_every_envoy};

/// The prefix that Envoy adds without the runtime key.
const PREFIX: &str = "envoy_wasmcustom_";

#[track_caller]
fn names(gate: &TestGate) -> Vec<String> {
    gate.accepts(H2, &TestDelivery::completed());
    gate.refuses(H2, &TestDelivery::of("{"), 400, "json-invalid");
    let samples = eventually("counters", || {
        let all = gate.envoy.prometheus();
        let own = all.into_iter().filter(|sample| sample.name.contains("blobgate_")).collect::<Vec<_>>();
        own.iter()
            .any(|sample| sample.labels.contains(&("reason".into(), "json-invalid".into())))
            .then_some(own)
    });
    let mut names: Vec<String> = samples
        .into_iter()
        .filter(|sample| !sample.name.contains("cluster"))
        .map(|sample| {
            let labels: Vec<String> =
                sample.labels.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("{} {}", sample.name, labels.join(","))
        })
        .collect();
    names.sort();
    names
}

#[test]
fn the_runtime_key_alone_removes_the_prefix() {
    on_every_envoy(|version| {
        let plain = names(&native(version, |shipped| shipped));
        let prefixed = names(&native(version, |shipped| {
            shipped.finally(|json| {
                let layer = &mut json["layered_runtime"]["layers"][0]["static_layer"];
                layer.as_object_mut().unwrap().remove(PLAIN_NAMES).expect("the runtime key");
            })
        }));
        assert!(plain.len() > 10, "{plain:?}");
        let expected: Vec<String> = plain.iter().map(|name| format!("{PREFIX}{name}")).collect();
        assert_eq!(prefixed, expected);
    });
}
