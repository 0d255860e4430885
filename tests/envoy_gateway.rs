//! `deploy/envoy-gateway`: the manifests against their definitions, and what Envoy Gateway makes of them in a real Envoy. The
//! tests run no Envoy Gateway: they translate the manifests after its sources.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

#[path = "crds/check.rs"]
mod crd;
#[path = "envoy_gateway/proxy.rs"]
mod proxy;
#[path = "envoy_gateway/translate.rs"]
mod translate;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use blobgate::config::Config;
use blobgate::contract::{Kind, Verdict, header};
use blobgate_testkit as support;
use blobgate_testkit::book::block;
use hmac::{Hmac, KeyInit, Mac};
use proxy::Proxy;
use serde_json::{Value, json};
use sha2::Sha256;
use support::control_plane::assert_judges_and_routes;
use support::envoy::TOKEN_KEY;
use support::*;
use translate::{Generated, Manifests};

/// The hook's host: SNI and authority of the tests' clients.
const HOST: &str = tls::NAME;

fn shipped() -> String {
    let path = repository("deploy/envoy-gateway/gate.yaml");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The manifest with a user's changes: the host and the sender's addresses.
fn customized() -> Manifests {
    let mut manifest = shipped();
    for (shipped, own) in [("hooks.example.com", HOST), ("203.0.113.0/24", "127.0.0.1")] {
        assert!(manifest.contains(shipped), "{shipped}");
        manifest = manifest.replace(shipped, own);
    }
    Manifests::of(&manifest)
}

fn on_every_envoy_natively(test: impl Fn(&Version) + Sync) {
    on_every_envoy_with(GateModule::Native, test);
}

#[test]
fn manifests_are_valid() {
    let files = std::fs::read_dir(repository("deploy/envoy-gateway")).unwrap();
    let files: Vec<_> = files.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["gate.yaml"], "a manifest without a test");
    let manifests = Manifests::of(&shipped()).0;
    let kinds: Vec<&str> = manifests.iter().map(|it| it["kind"].as_str().unwrap()).collect();
    // The routes come last: none is there before the gate is.
    assert_eq!(
        kinds,
        [
            "EnvoyProxy",
            "Gateway",
            "ClientTrafficPolicy",
            "EnvoyExtensionPolicy",
            "BackendTrafficPolicy",
            "HTTPRouteFilter",
            "HTTPRoute"
        ]
    );
    for manifest in &manifests {
        assert_eq!(crd::faults(manifest), Vec::<String>::new(), "{}", manifest["kind"]);
        assert_eq!(
            manifest["metadata"],
            json!({"name": manifest["metadata"]["name"], "namespace": "default"})
        );
    }
}

#[test]
fn rejects_broken_manifests() {
    #[track_caller]
    fn row(kind: &str, pointer: &str, value: Value, place: &str, what: &str) {
        let mut manifests = Manifests::of(&shipped()).0;
        let manifest = manifests.iter_mut().find(|it| it["kind"] == kind).unwrap();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        manifest.pointer_mut(parent).unwrap()[key] = value;
        let faults = crd::faults(manifest);
        let found = faults.iter().any(|it| it.starts_with(&format!("{place}: ")) && it.contains(what));
        assert!(found, "{faults:?}");
    }
    row("Gateway", "/apiVersion", json!("gateway.networking.k8s.io/v2"), "/apiVersion", "v1");
    row("Gateway", "/apiVersion", json!("gateway.example.com/v1"), "/kind", "gateway.example.com/v1");
    row("Gateway", "/kind", json!("Gateways"), "/kind", "Gateways");
    row(
        "Gateway",
        "/spec/infrastructure/parametersRef/names",
        json!(""),
        "/spec/infrastructure/parametersRef",
        "names",
    );
    row("EnvoyProxy", "/spec/dynamicModules/0/filename", json!(""), "/spec/dynamicModules/0", "filename");
    row(
        "EnvoyProxy",
        "/spec/dynamicModules/0/source/type",
        json!("Image"),
        "/spec/dynamicModules/0/source/type",
        "Image",
    );
    row(
        "EnvoyProxy",
        "/spec/provider/kubernetes/envoyDeployment/container/mounts",
        json!([]),
        "/spec/provider/kubernetes/envoyDeployment/container",
        "mounts",
    );
    row("EnvoyExtensionPolicy", "/spec/dynamicModules", json!([]), "/spec", "dynamicModules");
    row("EnvoyExtensionPolicy", "/spec/dynamicModule/0/filter", json!(""), "/spec/dynamicModule/0", "filter");
    row(
        "ClientTrafficPolicy",
        "/spec/headers/withUnderscoresAction",
        json!("DROP_HEADER"),
        "/spec/headers/withUnderscoresAction",
        "DROP_HEADER",
    );
    row("ClientTrafficPolicy", "/spec/http2/streams", json!(1), "/spec/http2", "streams");
    row(
        "ClientTrafficPolicy",
        "/spec/connection/bufferLimit",
        json!("1 MiB"),
        "/spec/connection/bufferLimit",
        "1 MiB",
    );
    row("BackendTrafficPolicy", "/spec/retry/retries", json!(1), "/spec/retry", "retries");
    row("HTTPRouteFilter", "/spec/directResponse/status", json!(503), "/spec/directResponse", "status");
    row("HTTPRoute", "/spec/rules/0/timeouts/request", json!("20"), "/spec/rules/0/timeouts/request", "20");
}

/// The page's commands, the volume and the registered module use the same names.
#[test]
fn mounts_the_module_at_the_registered_path() {
    let manifests = Manifests::of(&shipped());
    let proxy = manifests.spec("EnvoyProxy");
    let deployment = &proxy["provider"]["kubernetes"]["envoyDeployment"];
    assert_eq!(
        deployment["pod"]["volumes"],
        json!([{"name": "blobgate", "configMap": {"name": "blobgate"}}])
    );
    let mount = &deployment["container"]["volumeMounts"][0];
    assert_eq!(mount["name"], "blobgate");
    let path = format!("{}/libblobgate.so", mount["mountPath"].as_str().unwrap());
    assert_eq!(proxy["dynamicModules"][0]["source"]["local"]["path"], path);
    let command =
        "create configmap blobgate --from-file=libblobgate.so=target/artefacts/libblobgate-x86_64.so";
    assert!(block("envoy-gateway-install").contains(command));
    let gateway = manifests.spec("Gateway");
    assert_eq!(gateway["infrastructure"]["parametersRef"]["name"], "blobgate");
    assert_eq!(manifests.spec("HTTPRoute")["parentRefs"], json!([{"name": "blobgate"}]));
}

fn configuration(manifests: &Manifests) -> &Value {
    &manifests.spec("EnvoyExtensionPolicy")["dynamicModule"][0]["config"]
}

/// The manifest and envoy.yaml have the same gate: a change of one needs a change of the other.
#[test]
fn gate_is_the_same_as_in_envoy_yaml() {
    let manifests = Manifests::of(&shipped());
    let here = configuration(&manifests);
    let loaded = Config::load(here.to_string().as_bytes(), &|_: &str| None).map(|config| config.hooks.len());
    assert_eq!(loaded.map_err(|error| error.to_string()), Ok(1));
    let mut hook = Bootstrap::shipped_gate()["hooks"][0].clone();
    hook["source"] = json!(["203.0.113.0/24"]);
    assert_eq!(here["hooks"], json!([hook]));

    let there = Bootstrap::shipped().json;
    let edge = &there["static_resources"]["listeners"][0];
    let mut generated = manifests.translate();
    let limit = "per_connection_buffer_limit_bytes";
    assert_eq!(generated.listener[limit], edge[limit]);
    let there = &edge["filter_chains"][0];
    let timeout = "transport_socket_connect_timeout";
    assert_eq!(generated.listener["filter_chains"][0][timeout], there[timeout]);
    let there = &there["filters"][0]["typed_config"];
    let here = proxy::manager(&mut generated.listener);
    for key in [
        "use_remote_address",
        "normalize_path",
        "merge_slashes",
        "path_with_escaped_slashes_action",
        "request_timeout",
        "request_headers_timeout",
        "stream_idle_timeout",
        "http2_protocol_options",
    ] {
        assert!(!there[key].is_null() && here[key] == there[key], "{key}: {} and {}", here[key], there[key]);
    }
    for key in ["idle_timeout", "headers_with_underscores_action"] {
        assert_eq!(
            here["common_http_protocol_options"][key], there["common_http_protocol_options"][key],
            "{key}"
        );
    }
    let mutations = |manager: &Value| -> Vec<Value> {
        let mutations = &manager["early_header_mutation_extensions"][0]["typed_config"]["mutations"];
        mutations.as_array().unwrap().clone()
    };
    let removed = mutations(there);
    let (own, shared): (Vec<Value>, Vec<Value>) =
        mutations(here).into_iter().partition(|it| !removed.contains(it));
    // No address is internal in envoy.yaml, so Envoy removes these headers itself.
    assert_eq!(own, [json!({"remove_on_match": {"key_matcher": {"prefix": "x-envoy-"}}})]);
    assert_eq!(shared.len(), 6);
    // Each field of the log says the same there.
    let log = |manager: &Value| manager["access_log"][0]["typed_config"]["log_format"]["json_format"].clone();
    let (own, theirs) = (log(here), log(there));
    for (field, value) in own.as_object().unwrap() {
        assert!(field == "request_id" || theirs[field] == *value, "{field}: {value} and {}", theirs[field]);
    }
}

#[test]
fn judges_and_routes() {
    on_every_envoy_natively(|version| {
        let proxy = Proxy::start(version, &customized().translate());
        assert_judges_and_routes(&proxy.gate, &["x-envoy-upstream-rq-timeout-ms"]);
        let upgrade =
            TestDelivery::completed().header("connection", "upgrade").header("upgrade", "websocket");
        proxy.gate.accepts(Protocol::H1, &upgrade);
        // The names and labels of the rules and of the dashboard.
        let labels =
            [("environment", "production"), ("hook", "veo3"), ("status", "403"), ("reason", "source-denied")];
        eventually("the counter of refusals", || {
            let refused = metrics::sum(&proxy.gate.envoy.prometheus(), "blobgate_responses_total", &labels);
            (refused == 2.0).then_some(())
        });
    });
}

/// Envoy Gateway's defaults would lose some genuine deliveries. Whole bodies pass: the module sets its own limit.
#[test]
fn needs_the_traffic_policy() {
    on_every_envoy_natively(|version| {
        let proxy = Proxy::start(version, &customized().without("ClientTrafficPolicy").translate());
        let gate = &proxy.gate;
        for protocol in Protocol::BOTH {
            gate.accepts(protocol, &TestDelivery::completed_of(65_536));
        }
        let rows = [
            (TestDelivery::completed().header("generation_id", "1"), 400),
            (TestDelivery::completed().path("/x%2F..%2Fwebhook"), 307),
        ];
        for (delivery, status) in rows {
            assert_eq!(gate.nothing_arrives(|| gate.send(Protocol::H1, &delivery)).status, status);
        }
        // The gate itself removes forged gate headers too.
        gate.refuses(Protocol::H1, &forged(TestDelivery::of("{}")), 422, "schema-invalid");
    });
}

/// A delivery with forged gate headers.
fn forged(delivery: TestDelivery) -> TestDelivery {
    delivery.header(header::VERDICT, Verdict::Accepted.name()).header(header::EVENT, Kind::Completed.name())
}

#[test]
fn refuses_without_the_gate() {
    on_every_envoy_natively(|version| {
        let proxy = Proxy::start(version, &customized().without("EnvoyExtensionPolicy").translate());
        for protocol in Protocol::BOTH {
            for delivery in [TestDelivery::completed(), forged(TestDelivery::completed())] {
                let answer = proxy.gate.nothing_arrives(|| proxy.gate.send(protocol, &delivery));
                assert_eq!((answer.status, answer.reason().as_deref()), (503, Some("not-judged")));
            }
        }
        // The control: without both, a forgery passes.
        let open = customized().without("EnvoyExtensionPolicy").without("ClientTrafficPolicy");
        let proxy = Proxy::start(version, &open.translate());
        assert_eq!(proxy.gate.send(Protocol::H1, &forged(TestDelivery::completed())).status, 200);
        assert_eq!(proxy.gate.video.take_one().header(header::HOOK), None);
    });
}

/// Every rule to a service needs a verdict, in the order that Envoy Gateway gives them.
#[test]
fn orders_routes() {
    let Generated { route_configuration, .. } = customized().translate();
    let routes = route_configuration["virtual_hosts"][0]["routes"].as_array().unwrap();
    let order: Vec<(String, bool)> = routes
        .iter()
        .map(|route| {
            let headers = route["match"]["headers"].as_array().unwrap().iter();
            let values = headers.map(|it| it["string_match"]["exact"].as_str().unwrap());
            (values.collect::<Vec<_>>().join(" "), route.get("route").is_some())
        })
        .collect();
    let order: Vec<(&str, bool)> = order.iter().map(|(values, leads)| (values.as_str(), *leads)).collect();
    assert_eq!(
        order,
        [
            ("accepted completed", true),
            ("observed completed", true),
            ("accepted failed", true),
            ("accepted timeout", true),
            ("observed", true),
            ("", false),
        ]
    );
    for route in routes {
        assert_eq!(route["typed_per_filter_config"].as_object().unwrap().len(), 1, "{route}");
    }
}

/// An observed delivery reaches a service, whatever its event.
#[test]
fn observes() {
    let mut manifests = customized();
    let policy = manifests.0.iter_mut().find(|it| it["kind"] == "EnvoyExtensionPolicy").unwrap();
    policy["spec"]["dynamicModule"][0]["config"]["hooks"][0]["mode"] = json!("observe");
    let generated = manifests.translate();
    on_every_envoy_natively(|version| {
        let Proxy { gate, .. } = &Proxy::start(version, &generated);
        for (delivery, service) in
            [(TestDelivery::completed(), &gate.video), (TestDelivery::of("{}"), &gate.failure)]
        {
            assert_eq!(gate.send(Protocol::H2, &delivery).status, 200);
            let arrival = service.take_one();
            assert_eq!(arrival.header(header::VERDICT).as_deref(), Some(Verdict::Observed.name()));
        }
    });
}

/// Envoy Gateway's own format of the access log has the path, which may contain a token.
#[test]
fn logs_no_path() {
    on_every_envoy_natively(|version| {
        let generated = customized().translate();
        let mut listener = generated.listener.clone();
        let format =
            &proxy::manager(&mut listener)["access_log"][0]["typed_config"]["log_format"]["json_format"];
        assert!(format.as_object().unwrap().len() > 10);
        let Proxy { gate, .. } = &Proxy::start(version, &generated);
        gate.refuses(
            Protocol::H1,
            &TestDelivery::of("{}").path("/webhook?secret-of-a-path"),
            422,
            "schema-invalid",
        );
        let log = eventually("a line", || Some(gate.envoy.access_log()).filter(|lines| !lines.is_empty()));
        assert_eq!(
            (&log[0]["reason"], &log[0]["status"]),
            (&json!("schema-invalid"), &json!(422)),
            "{}",
            log[0]
        );
        assert!(!log[0].to_string().contains("secret-of-a-path"), "{}", log[0]);
    });
}

/// A callback token for the page's hook.
fn token(key: &str) -> String {
    let encode = |part: Value| URL_SAFE_NO_PAD.encode(part.to_string());
    // The year 2100. The gate has no longest lifetime.
    let claims = json!({"exp": 4_102_444_800_u64, "aud": "production/veo3", "jti": "t-1"});
    let signed = format!("{}.{}", encode(json!({"alg": "HS256", "kid": "main"})), encode(claims));
    let code = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap().chain_update(&signed).finalize();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(code.into_bytes()))
}

/// The page's hook with a token, and the variable with its key.
#[test]
fn judges_tokens() {
    let mut manifests = customized();
    let mut container =
        manifests.spec("EnvoyProxy")["provider"]["kubernetes"]["envoyDeployment"]["container"].clone();
    let env: Value = serde_saphyr::from_str(&block("envoy-gateway-env")).unwrap();
    assert_eq!(env["env"][0]["name"], TOKEN_KEY.0);
    container["env"] = env["env"].clone();
    let proxy = manifests.0.iter_mut().find(|it| it["kind"] == "EnvoyProxy").unwrap();
    proxy["spec"]["provider"]["kubernetes"]["envoyDeployment"]["container"] = container;
    assert_eq!(crd::faults(proxy), Vec::<String>::new());
    let policy = manifests.0.iter_mut().find(|it| it["kind"] == "EnvoyExtensionPolicy").unwrap();
    let config = block("envoy-gateway-token").replace("203.0.113.0/24", "127.0.0.1");
    policy["spec"]["dynamicModule"][0]["config"] = serde_saphyr::from_str(&config).unwrap();
    assert_eq!(crd::faults(policy), Vec::<String>::new());
    let generated = manifests.translate();
    on_every_envoy_natively(|version| {
        let Proxy { gate, .. } = &Proxy::start(version, &generated);
        for protocol in Protocol::BOTH {
            let with = |token: &str| TestDelivery::completed().path(&format!("/webhook/{token}"));
            let arrival = gate.accepts(protocol, &with(&token(TOKEN_KEY.1)));
            assert_eq!(arrival.header(header::PROOFS).as_deref(), Some("token"));
            assert!(!arrival.path.contains("eyJ"), "{}", arrival.path);
            gate.refuses(protocol, &with(&token("another key of the tests, 32 bytes")), 401, "token-invalid");
            gate.refuses(protocol, &TestDelivery::completed(), 401, "token-missing");
        }
        let log = gate.envoy.access_log();
        assert!(!log.iter().any(|line| line.to_string().contains("eyJ")), "{log:?}");
        assert!(!gate.envoy.log().contains("eyJ"));
    });
}

/// Within one attempt, with a body over Envoy Gateway's upstream buffer of 32 KiB.
#[test]
fn waits_for_a_restarting_service() {
    on_every_envoy_natively(|version| {
        let mut proxy = Proxy::before(version, &customized().translate(), Upstream::off());
        let connect = proxy.gate.tls(Protocol::H2);
        let delivery = TestDelivery::completed_of(65_536);
        let body = delivery.body();
        let sender = std::thread::spawn(move || connect.open().send(&delivery));
        let retries = "cluster.httproute/default/blobgate/rule/0.upstream_rq_retry";
        eventually("retry", || {
            proxy.gate.envoy.stats("upstream_rq_retry$").get(retries).filter(|n| **n > 0).copied()
        });
        proxy.gate.video.on();
        let answer = sender.join().unwrap();
        assert_eq!((answer.status, answer.reason()), (200, None));
        assert_eq!(proxy.gate.video.take_one().body, body);
    });
}
