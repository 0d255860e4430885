//! The counters of the native module under a control plane that sets no runtime key: Envoy gives them a prefix.

use blobgate_testkit::module::PLAIN_NAMES;
use blobgate_testkit::{
    GateModule, H1, PrometheusProcess, TestDelivery, TestGate, eventually, needs, repository, versions,
};

#[needs(Prometheus)]
#[test]
fn prometheus_removes_the_prefix() {
    let version = versions().pop().unwrap();
    let gate = TestGate::with(&version, |shipped| {
        shipped.with(GateModule::Native).finally(|json| {
            let layer = &mut json["layered_runtime"]["layers"][0]["static_layer"];
            layer.as_object_mut().unwrap().remove(PLAIN_NAMES).expect("the runtime key");
        })
    });
    gate.refuses(H1, &TestDelivery::of("{"), 400, "json-invalid");
    let prefixed = gate.envoy.prometheus();
    let is_prefixed = |name: &str| name == "envoy_wasmcustom_blobgate_responses_total";
    assert!(prefixed.iter().any(|sample| is_prefixed(&sample.name)), "Envoy gives no prefix");

    let shipped = std::fs::read_to_string(repository("deploy/prometheus/prometheus.yaml")).unwrap();
    let target = format!("127.0.0.1:{}", gate.envoy.port("metrics"));
    let config = shipped
        .replace("127.0.0.1:9901", &target)
        .replace("scrape_interval: 5s", "scrape_interval: 1s")
        .replace("rule_files: [rules.yaml]", "rule_files: []");
    assert!(config.contains(&target) && config.contains("rule_files: []"), "{config}");
    let prometheus = PrometheusProcess::start(&config);
    let refused = "blobgate_responses_total{job=\"blobgate-gate\", reason=\"json-invalid\", hook=\"veo3\"}";
    eventually("the refusal", || {
        let samples = prometheus.query(refused).unwrap();
        samples.first().filter(|sample| (sample.value - 1.0).abs() < f64::EPSILON).map(|_| ())
    });
    let names = prometheus.metric_names();
    assert!(names.iter().any(|name| name == "blobgate_module_panics_total"), "{names:?}");
    assert!(names.iter().all(|name| !name.contains("_blobgate_")), "{names:?}");
    // Other names of Envoy stay.
    assert!(names.iter().any(|name| name == "envoy_server_live"), "{names:?}");
}
