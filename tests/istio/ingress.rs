//! An ingress gateway as Istio configures it, in an Envoy.

use super::patches::Gateway;
use super::support::{Bootstrap, EnvoyProcess, GateModule, Options, TestGate, Upstream, Version, envoy, tls};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The hook's host: SNI and authority of the tests' clients.
pub(crate) const HOST: &str = tls::NAME;
/// Another team's host on the same gateway, with another certificate.
pub(crate) const NEIGHBOUR: &str = "app.example.com";
const TYPE: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";

/// Istio's connection settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    Default,
    /// `connectionSettings: {profile: EDGE}`, after `connection_settings.go` of istio/istio.
    Edge,
}

/// The unpatched gateway for the Gateways `istio-system/blobgate`, which has the hook, and `istio-system/app`, as istioctl
/// installs it.
pub(crate) fn gateway(profile: Profile, neighbour: &tls::Certificate) -> Gateway {
    let sds = json!({"tls_certificate_sds_secret_configs": [{"name": "edge", "sds_config": {}}]});
    let own = json!({"tls_certificates": [{
        "certificate_chain": {"inline_string": neighbour.pem},
        "private_key": {"inline_string": neighbour.key},
    }]});
    let mut https = json!({
        "name": "0.0.0.0_8443",
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": 8443}},
        "traffic_direction": "OUTBOUND",
        "listener_filters": [{
            "name": "envoy.filters.listener.tls_inspector",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
            },
        }],
        "filter_chains": [
            chain(profile, NEIGHBOUR, &own, "https.443.https-app.app.istio-system"),
            chain(profile, HOST, &sds, "https.443.https-blobgate.blobgate.istio-system"),
        ],
    });
    if profile == Profile::Edge {
        https["per_connection_buffer_limit_bytes"] = json!(32_768);
    }
    let http = json!({
        "name": "0.0.0.0_8080",
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": 8080}},
        "traffic_direction": "OUTBOUND",
        "filter_chains": [{"filters": [manager(profile, "http.8080")]}],
    });
    let app = json!({"name": "default", "match": {"prefix": "/"}, "route": {"cluster": cluster_name("app")}});
    let neighbour = json!({"name": "app.example.com:443", "domains": [NEIGHBOUR], "routes": [app]});
    Gateway {
        listeners: vec![https, http],
        route_configurations: vec![
            routes("https.443.https-app.app.istio-system", &neighbour),
            // Istio writes this when no VirtualService is bound.
            routes(
                "https.443.https-blobgate.blobgate.istio-system",
                &json!({"name": "blackhole:443", "domains": ["*"], "routes": []}),
            ),
            routes("http.8080", &neighbour),
        ],
    }
}

fn routes(name: &str, virtual_host: &Value) -> Value {
    json!({
        "@type": TYPE,
        "name": name,
        "virtual_hosts": [virtual_host],
        "validate_clusters": false,
        "ignore_port_in_host_matching": true,
        "max_direct_response_body_size_bytes": 1_048_576,
    })
}

fn chain(profile: Profile, host: &str, certificate: &Value, routes: &str) -> Value {
    let mut context = certificate.clone();
    context["alpn_protocols"] = json!(["h2", "http/1.1"]);
    json!({
        "filter_chain_match": {"server_names": [host]},
        "filters": [manager(profile, routes)],
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                "common_tls_context": context,
                "require_client_certificate": false,
            },
        },
    })
}

fn manager(profile: Profile, routes: &str) -> Value {
    let filter = |name: &str, kind: &str| {
        let kind = format!("type.googleapis.com/envoy.extensions.filters.http.{kind}");
        json!({"name": name, "typed_config": {"@type": kind}})
    };
    let mut config = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "outbound_0.0.0.0_8443",
        "rds": {"route_config_name": routes, "config_source": {}},
        "http_filters": [
            filter("envoy.filters.http.grpc_stats", "grpc_stats.v3.FilterConfig"),
            filter("envoy.filters.http.fault", "fault.v3.HTTPFault"),
            filter("envoy.filters.http.cors", "cors.v3.Cors"),
            filter("envoy.filters.http.router", "router.v3.Router"),
        ],
        "http_protocol_options": {},
        "server_name": "istio-envoy",
        "use_remote_address": true,
        "forward_client_cert_details": "SANITIZE_SET",
        "set_current_client_cert_details": {"subject": true, "cert": true, "dns": true, "uri": true},
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "stream_idle_timeout": "0s",
        "normalize_path": true,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
    });
    if profile == Profile::Edge {
        config["common_http_protocol_options"] =
            json!({"idle_timeout": "3600s", "headers_with_underscores_action": "REJECT_REQUEST"});
        config["stream_idle_timeout"] = json!("300s");
        config["request_timeout"] = json!("300s");
        config["request_headers_timeout"] = json!("60s");
        config["http2_protocol_options"] = json!({
            "max_concurrent_streams": 100,
            "initial_stream_window_size": 65_536,
            "initial_connection_window_size": 1_048_576,
        });
        config["merge_slashes"] = json!(true);
        config["path_with_escaped_slashes_action"] = json!("UNESCAPE_AND_REDIRECT");
    }
    json!({"name": "envoy.filters.network.http_connection_manager", "typed_config": config})
}

fn cluster_name(service: &str) -> String {
    format!("outbound|80||{service}.default.svc.cluster.local")
}

fn cluster(profile: Profile, service: &str) -> Value {
    let max = u32::MAX;
    let mut cluster = json!({
        "name": cluster_name(service),
        "type": "STATIC", // Istio uses EDS
        "connect_timeout": "10s",
        "circuit_breakers": {"thresholds": [{
            "max_connections": max, "max_pending_requests": max, "max_requests": max, "max_retries": max,
        }]},
        "load_assignment": {"cluster_name": cluster_name(service)},
    });
    if profile == Profile::Edge {
        cluster["per_connection_buffer_limit_bytes"] = json!(32_768);
    }
    cluster
}

/// An Envoy with a gateway's listeners. Its routes come from files instead of Istio's RDS.
pub(crate) struct Ingress {
    /// Its listener `edge` is `0.0.0.0_8443`, and `plaintext` is `0.0.0.0_8080`.
    pub(crate) gate: TestGate,
    pub(crate) app: Upstream,
    _routes: TempDir,
}

impl Ingress {
    #[track_caller]
    pub(crate) fn start(version: &Version, profile: Profile, gateway: &Gateway) -> Self {
        Self::before(version, profile, gateway, Upstream::start())
    }

    #[track_caller]
    pub(crate) fn before(version: &Version, profile: Profile, gateway: &Gateway, video: Upstream) -> Self {
        let folder = tempfile::Builder::new().prefix("blobgate-istio-").tempdir().unwrap();
        let mut listeners = gateway.listeners.clone();
        listeners[0]["name"] = json!("edge");
        listeners[1]["name"] = json!("plaintext");
        for listener in &mut listeners {
            for chain in listener["filter_chains"].as_array_mut().unwrap() {
                let rds = &mut chain["filters"][0]["typed_config"]["rds"];
                let path = folder.path().join(rds["route_config_name"].as_str().unwrap());
                rds["config_source"] = json!({"path_config_source": {"path": path}});
                for filter in chain["filters"][0]["typed_config"]["http_filters"].as_array_mut().unwrap() {
                    if filter["typed_config"]["type_url"] == GateModule::Native.type_url() {
                        let config = &mut filter["typed_config"]["value"]["dynamic_module_config"];
                        config["module"]["local"]["filename"] = json!(GateModule::Native.file());
                    }
                }
            }
        }
        for routes in &gateway.route_configurations {
            let path = folder.path().join(routes["name"].as_str().unwrap());
            envoy::replace(&path, &json!({"resources": [routes]}).to_string());
        }
        let (failure, app) = (Upstream::start(), Upstream::start());
        let mut bootstrap = Bootstrap::shipped()
            .endpoint(&cluster_name("video"), video.port)
            .endpoint(&cluster_name("failure"), failure.port)
            .endpoint(&cluster_name("app"), app.port);
        let clusters = ["video", "failure", "app"].map(|service| cluster(profile, service));
        bootstrap.json = json!({
            "node": {"id": "gateway", "cluster": "istio-ingressgateway.istio-system"},
            "admin": {"address": {"pipe": {}}},
            "static_resources": {"listeners": listeners, "clusters": clusters},
        });
        let envoy = EnvoyProcess::start(version, &bootstrap, Options::default());
        // The hook has no proofs, so it needs no quarantine service and no provider.
        let (quarantine, provider) = (Upstream::off(), Upstream::off());
        Self { gate: TestGate { envoy, video, failure, quarantine, provider }, app, _routes: folder }
    }
}
