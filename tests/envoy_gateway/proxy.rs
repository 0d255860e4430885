//! A Gateway's proxy as Envoy Gateway configures it, in an Envoy.

use super::support::{Bootstrap, EnvoyProcess, GateModule, Options, TestGate, Upstream, Version, envoy};
use super::translate::Generated;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A path that no rule of the gate matches. The tests add a route for it.
const BESIDE: &str = "/app";

/// An Envoy with a Gateway's listener. Its routes come from a file instead of Envoy Gateway's RDS.
pub(crate) struct Proxy {
    pub(crate) gate: TestGate,
    _routes: TempDir,
}

impl Proxy {
    #[track_caller]
    pub(crate) fn start(version: &Version, generated: &Generated) -> Self {
        Self::before(version, generated, Upstream::start())
    }

    #[track_caller]
    pub(crate) fn before(version: &Version, generated: &Generated, video: Upstream) -> Self {
        let folder = tempfile::Builder::new().prefix("blobgate-gateway-").tempdir().unwrap();
        let mut listener = generated.listener.clone();
        let manager = manager(&mut listener);
        let path = folder.path().join("routes");
        manager["rds"]["config_source"] = json!({"path_config_source": {"path": path}});
        for filter in manager["http_filters"].as_array_mut().unwrap() {
            if filter["typed_config"]["@type"] == GateModule::Native.type_url() {
                let local = &mut filter["typed_config"]["dynamic_module_config"]["module"]["local"];
                assert_eq!(local["filename"], "/etc/blobgate/libblobgate.so");
                local["filename"] = json!(GateModule::Native.file());
            }
        }
        let mut routes = generated.route_configuration.clone();
        // For `TestGate::nothing_arrives`.
        let beside =
            json!({"match": {"prefix": BESIDE}, "route": {"cluster": generated.clusters[0].0["name"]}});
        routes["virtual_hosts"][0]["routes"].as_array_mut().unwrap().push(beside);
        envoy::replace(&path, &json!({"resources": [routes]}).to_string());

        let failure = Upstream::start();
        let clusters: Vec<&Value> = generated.clusters.iter().map(|(cluster, _)| cluster).collect();
        let mut bootstrap = Bootstrap::of(json!({
            "node": {"id": "proxy", "cluster": "default/blobgate"},
            "admin": {"address": {"pipe": {}}},
            "layered_runtime": generated.bootstrap["layered_runtime"],
            "stats_config": generated.bootstrap["stats_config"],
            "static_resources": {"listeners": [listener], "clusters": clusters},
        }));
        for (cluster, service) in &generated.clusters {
            let port = match service.as_str() {
                "video" => video.port,
                "failure" => failure.port,
                other => panic!("there is no service {other}"),
            };
            bootstrap = bootstrap.endpoint(cluster["name"].as_str().unwrap(), port);
        }
        let envoy = EnvoyProcess::start(version, &bootstrap, Options::default());
        // The hook has no proofs, so it needs no quarantine service and no provider.
        let (quarantine, provider) = (Upstream::off(), Upstream::off());
        Self { gate: TestGate { envoy, video, failure, quarantine, provider }, _routes: folder }
    }
}

/// The connection manager of a listener. A filter of connections may stand before it.
pub(crate) fn manager(listener: &mut Value) -> &mut Value {
    let filters = listener["filter_chains"][0]["filters"].as_array_mut().unwrap();
    &mut filters.last_mut().unwrap()["typed_config"]
}
