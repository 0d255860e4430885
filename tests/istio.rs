//! `deploy/istio`: the manifests against their CRD, and the patched ingress gateway in a real Envoy. The tests run no
//! Istio: they build its listeners and apply its patches after its sources.

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
#[path = "istio/ingress.rs"]
mod ingress;
#[path = "istio/patches.rs"]
mod patches;

use blobgate::contract::{Kind, Verdict, header};
use blobgate_testkit as support;
use blobgate_testkit::book::block;
use ingress::{HOST, Ingress, NEIGHBOUR, Profile};
use patches::Gateway;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};
use support::control_plane::assert_judges_and_routes;
use support::*;

const HOOK: &str = "/webhook";
static APP: LazyLock<tls::Certificate> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(vec![NEIGHBOUR.to_owned()]).unwrap();
    let der = rustls::pki_types::CertificateDer::from(made.cert.der().to_vec());
    tls::Certificate { pem: made.cert.pem(), key: made.signing_key.serialize_pem(), der }
});

fn text(name: &str) -> String {
    let path = repository("deploy/istio").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The manifest with this module.
fn file(module: GateModule) -> &'static str {
    match module {
        GateModule::Wasm => "envoyfilter.yaml",
        GateModule::Native => "envoyfilter-native.yaml",
    }
}

fn envoy_filter() -> Value {
    envoy_filter_with(GateModule::Wasm)
}

fn envoy_filter_with(module: GateModule) -> Value {
    serde_saphyr::from_str(&text(file(module))).unwrap()
}

fn customized() -> Value {
    customized_with(GateModule::Wasm)
}

/// The manifest with a user's changes: the host and the sender's addresses.
fn customized_with(module: GateModule) -> Value {
    let mut manifest = text(file(module));
    for (shipped, own) in [("hooks.example.com", HOST), ("203.0.113.0/24", "127.0.0.1")] {
        assert!(manifest.contains(shipped), "{shipped}");
        manifest = manifest.replace(shipped, own);
    }
    serde_saphyr::from_str(&manifest).unwrap()
}

fn patch<'a>(manifest: &'a mut Value, apply_to: &str) -> &'a mut Value {
    let patches = manifest["spec"]["configPatches"].as_array_mut().unwrap();
    patches.iter_mut().find(|patch| patch["applyTo"] == apply_to).unwrap()
}

fn without(mut manifest: Value, apply_to: &str) -> Value {
    manifest["spec"]["configPatches"].as_array_mut().unwrap().retain(|patch| patch["applyTo"] != apply_to);
    manifest
}

fn patched(profile: Profile, manifest: &Value) -> Gateway {
    let mut gateway = ingress::gateway(profile, &APP);
    gateway.apply(manifest);
    let hosts = gateway.route_configurations[1]["virtual_hosts"].as_array_mut().unwrap();
    let host = hosts.iter_mut().find(|host| host["domains"] == json!([HOST])).unwrap();
    host["routes"].as_array_mut().unwrap().push(sentinel());
    gateway
}

/// A route without the gate, for [`TestGate::nothing_arrives`].
fn sentinel() -> Value {
    json!({
        "match": {"prefix": "/app"},
        "route": {"cluster": "outbound|80||video.default.svc.cluster.local"},
    })
}

#[test]
fn manifests_are_valid() {
    let files =
        std::fs::read_dir(repository("deploy/istio")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut manifests: Vec<String> =
        files.map(|name| name.into_string().unwrap()).filter(|name| name.ends_with(".yaml")).collect();
    manifests.sort();
    let known = ["envoyfilter-native.yaml", "envoyfilter.yaml", "gateway-volume.yaml"];
    assert_eq!(manifests, known, "a manifest without a test");
    for module in GateModule::BOTH {
        assert_eq!(crd::faults(&envoy_filter_with(module)), Vec::<String>::new());
    }
}

/// The two manifests differ in the filter alone, and have the same gate.
#[test]
fn manifests_differ_in_the_filter_alone() {
    let [mut wasm, mut native] = GateModule::BOTH.map(envoy_filter_with);
    let [wasm_filter, mut native_filter] = [&mut wasm, &mut native]
        .map(|manifest| patch(manifest, "HTTP_FILTER")["patch"]["value"]["typed_config"].take());
    assert_eq!(wasm, native);
    let gate = native_filter["value"]["filter_config"].take();
    assert_eq!(gate, wasm_filter["value"]["config"]["configuration"]);
    let expected = json!({
        "@type": wasm_filter["@type"],
        "type_url": GateModule::Native.type_url(),
        "value": {
            "dynamic_module_config": {
                "module": {"local": {"filename": "/etc/blobgate/libblobgate.so"}},
                "do_not_close": true,
                "metrics_namespace": "wasmcustom",
            },
            "filter_name": "blobgate",
            "filter_config": null,
        },
    });
    assert_eq!(native_filter, expected);
}

#[test]
fn rejects_broken_manifests() {
    #[track_caller]
    fn row(break_it: impl Fn(&mut Value), place: &str, what: &str) {
        let mut manifest = envoy_filter();
        break_it(&mut manifest);
        let faults = crd::faults(&manifest);
        assert!(
            faults.iter().any(|it| it.starts_with(&format!("{place}: ")) && it.contains(what)),
            "{faults:?}"
        );
    }
    let first = |change: fn(&mut Value)| move |m: &mut Value| change(&mut m["spec"]["configPatches"][0]);
    row(|m| m["kind"] = json!("EnvoyFilters"), "/kind", "EnvoyFilter");
    row(|m| m["apiVersion"] = json!("networking.istio.io/v1"), "/apiVersion", "v1alpha3");
    row(|m| m["metadata"] = json!({"name": "blobgate"}), "/metadata", "namespace");
    row(|m| m["spec"]["patches"] = json!([]), "/spec", "patches");
    row(
        |m| m["spec"]["workloadSelector"] = json!({"istio": "ingressgateway"}),
        "/spec/workloadSelector",
        "istio",
    );
    row(|m| m["spec"]["configPatches"] = json!({}), "/spec/configPatches", "array");
    row(first(|p| p["applyTo"] = json!("FILTER")), "/spec/configPatches/0/applyTo", "FILTER");
    row(
        first(|p| p["patch"]["operation"] = json!("PREPEND")),
        "/spec/configPatches/0/patch/operation",
        "PREPEND",
    );
    row(first(|p| p["patch"]["values"] = json!({})), "/spec/configPatches/0/patch", "values");
    row(first(|p| p["patch"]["value"] = json!("")), "/spec/configPatches/0/patch/value", "object");
    row(first(|p| p["match"]["routeConfiguration"] = json!({})), "/spec/configPatches/0/match", "oneOf");
    row(
        first(|p| p["match"]["listener"]["portNumber"] = json!("8443")),
        "/spec/configPatches/0/match/listener/portNumber",
        "integer",
    );
    row(
        first(|p| p["match"]["listener"]["filterchain"] = json!({})),
        "/spec/configPatches/0/match/listener",
        "filterchain",
    );
}

/// The page's command, the volume and the filter use the same names.
#[test]
fn mounts_the_module_at_the_filters_path() {
    let command = "kubectl -n istio-system create configmap blobgate \
                   --from-file=blobgate.wasm=target/wasm32-wasip1/release/blobgate.wasm";
    assert!(block("istio-install").contains(command));
    let native = "kubectl -n istio-system create configmap blobgate \
                  --from-file=libblobgate.so=target/artefacts/libblobgate-x86_64.so";
    assert!(block("istio-native").contains(native));
    assert!(block("istio-native").contains("kubectl apply -f deploy/istio/envoyfilter-native.yaml"));
    let spec: Value = serde_saphyr::from_str(&text("gateway-volume.yaml")).unwrap();
    let pod = &spec["spec"]["template"]["spec"];
    assert_eq!(pod["volumes"], json!([{"name": "blobgate", "configMap": {"name": "blobgate"}}]));
    assert_eq!(pod["containers"][0]["name"], "istio-proxy");
    let mount = &pod["containers"][0]["volumeMounts"][0];
    assert_eq!(mount["name"], "blobgate");
    let mut manifest = envoy_filter();
    let wasm = &patch(&mut manifest, "HTTP_FILTER")["patch"]["value"]["typed_config"]["value"]["config"];
    assert_eq!(
        wasm["vm_config"]["code"]["local"]["filename"],
        format!("{}/blobgate.wasm", mount["mountPath"].as_str().unwrap())
    );
    assert_eq!(manifest["metadata"]["namespace"], "istio-system");
}

/// A ConfigMap has at most 1 MiB of data. `kubectl` writes a file that is not UTF-8 into `binaryData`.
#[test]
fn module_fits_into_a_config_map() {
    let module = std::fs::read(module()).unwrap();
    assert!(module.len() < 1_048_576, "{} bytes", module.len());
    assert!(std::str::from_utf8(&module).is_err());
}

/// A gateway loads and compiles the module at each start. An expensive dependency fails this test.
#[test]
fn module_is_small() {
    // 470,707 bytes and, for the details of all violations, 21,813.
    const MAX_BYTES: usize = 492_800;
    let module = std::fs::read(module()).unwrap();
    assert!(module.len() <= MAX_BYTES, "{} bytes", module.len());
}

/// The manifest and envoy.yaml have the same gate: a change of one needs a change of the other.
#[test]
fn gate_is_the_same_as_in_envoy_yaml() {
    let shipped = Bootstrap::shipped().json;
    let there =
        &shipped["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"];
    let mut manifest = envoy_filter();

    let mut here = patch(&mut manifest, "NETWORK_FILTER")["patch"]["value"]["typed_config"].clone();
    let early = &mut here["early_header_mutation_extensions"][0];
    early["typed_config"] = plain(&early["typed_config"]);
    let only_there = [
        "stat_prefix",
        "use_remote_address",
        "delayed_close_timeout",
        "max_request_headers_kb",
        "request_id_extension", // a mesh has its own tracing
        "tracing",
        "access_log",
        "http_filters",
        "route_config",
    ];
    let mut comparable = there.clone();
    comparable.as_object_mut().unwrap().retain(|key, _| !only_there.contains(&key.as_str()));
    let common = comparable["common_http_protocol_options"].as_object_mut().unwrap();
    common.retain(|key, _| !["idle_timeout", "max_headers_count"].contains(&key.as_str()));
    let mutations = |manager: &mut Value| {
        let mutations = manager["early_header_mutation_extensions"][0]["typed_config"]["mutations"].take();
        let mut mutations: Vec<Value> = serde_json::from_value(mutations).unwrap();
        (mutations.remove(0), mutations)
    };
    let ((gate_here, removed), (gate_there, ids)) = (mutations(&mut here), mutations(&mut comparable));
    assert_eq!((here, gate_here), (comparable, gate_there));
    // The gate logs this header as the request id.
    assert!(removed.contains(&json!({"remove": header::CLIENT_REQUEST_ID})), "{removed:?}");
    // Of the client's ids, envoy.yaml keeps the safe ones.
    assert!(!removed.is_empty() && removed.iter().all(|remove| ids.contains(remove)), "{removed:?}");

    let mut here = patch(&mut manifest, "HTTP_FILTER")["patch"]["value"].clone();
    here["typed_config"] = plain(&here["typed_config"]);
    let mut comparable = there["http_filters"][0].clone();
    // The manifest has one hook without proofs: no keys, no provider, no signature.
    let wasm = &mut comparable["typed_config"]["config"];
    wasm["vm_config"].as_object_mut().unwrap().remove("environment_variables").expect("the keys' variables");
    let gate = wasm["configuration"]["value"].as_object_mut().unwrap();
    gate.retain(|section, _| ["version", "environment", "hooks"].contains(&section.as_str()));
    gate["hooks"].as_array_mut().unwrap().truncate(1);
    for filter in [&mut here, &mut comparable] {
        let wasm = &mut filter["typed_config"]["config"];
        wasm["vm_config"]["code"]["local"]["filename"].take();
        wasm["configuration"]["value"]["environment"].take();
        wasm["configuration"]["value"]["hooks"][0]["source"].take();
    }
    assert_eq!(here, comparable);

    let mut here = patch(&mut manifest, "VIRTUAL_HOST")["patch"]["value"]["routes"].clone();
    let mut comparable = there["route_config"]["virtual_hosts"][0]["routes"].clone();
    let comparable_routes = comparable.as_array_mut().unwrap();
    comparable_routes.retain(|route| {
        route.get("typed_per_filter_config").is_some()
            && !["inbox", "quarantined", "not-judged-veo3-token"].contains(&route["name"].as_str().unwrap())
    });
    for route in comparable_routes {
        // A dedicated host shares routes among hooks. A shared host has each route for one hook.
        let place = route["match"].as_object_mut().unwrap();
        if place.remove("prefix").is_some() {
            place.insert("path_separated_prefix".to_owned(), HOOK.into());
        }
    }
    for (service, routes) in [("", &mut here), ("_service", &mut comparable)] {
        for route in routes.as_array_mut().unwrap().iter_mut().filter(|route| route.get("route").is_some()) {
            let cluster = route["route"]["cluster"].as_str().unwrap();
            let name = match service {
                "" => cluster.strip_prefix("outbound|80||").unwrap().split('.').next().unwrap(),
                suffix => cluster.strip_suffix(suffix).unwrap(),
            };
            route["route"]["cluster"] = json!(name);
        }
    }
    assert_eq!(here, comparable);
}

/// The message of a TypedStruct.
fn plain(typed_struct: &Value) -> Value {
    assert_eq!(typed_struct["@type"], "type.googleapis.com/udpa.type.v1.TypedStruct");
    let mut message = typed_struct["value"].clone();
    message["@type"] = typed_struct["type_url"].clone();
    message
}

/// Other hosts and ports of the gateway stay unchanged, except for the listener's buffer.
#[test]
fn leaves_neighbours_unchanged() {
    let before = ingress::gateway(Profile::Edge, &APP);
    let mut after = before.clone();
    after.apply(&customized());
    assert_ne!(after.listeners[0]["filter_chains"][1], before.listeners[0]["filter_chains"][1]);
    after.listeners[0]["filter_chains"][1] = before.listeners[0]["filter_chains"][1].clone();
    assert_eq!(after.listeners[0]["per_connection_buffer_limit_bytes"], 1_048_576);
    after.listeners[0]["per_connection_buffer_limit_bytes"] = json!(32_768);
    assert_ne!(after.route_configurations[1], before.route_configurations[1]);
    after.route_configurations[1] = before.route_configurations[1].clone();
    assert_eq!(after, before);
}

#[test]
fn judges_and_routes() {
    for module in GateModule::BOTH {
        on_every_envoy_with(module, |version| {
            let gateway = patched(Profile::Default, &customized_with(module));
            assert_judges_and_routes(&Ingress::start(version, Profile::Default, &gateway).gate, &[]);
        });
    }
}

/// The profile's buffers of 32 KiB, its redirect and its rejection of underscores would each lose deliveries.
#[test]
fn judges_and_routes_under_the_edge_profile() {
    on_every_envoy(|version| {
        for module in GateModule::BOTH.into_iter().filter(|module| module.runs_on(version)) {
            let gateway = patched(Profile::Edge, &customized_with(module));
            assert_judges_and_routes(&Ingress::start(version, Profile::Edge, &gateway).gate, &[]);
        }
        let manifest = customized();
        // The control: without the patches Envoy refuses these genuine deliveries.
        let gateway = patched(Profile::Edge, &without(without(manifest, "LISTENER"), "NETWORK_FILTER"));
        let ingress = Ingress::start(version, Profile::Edge, &gateway);
        let rows = [
            (TestDelivery::completed_of(65_536), 413),
            (TestDelivery::completed().header("generation_id", "1"), 400),
            (TestDelivery::completed().path("/x%2F..%2Fwebhook"), 307),
        ];
        for (delivery, status) in rows {
            assert_eq!(ingress.gate.nothing_arrives(|| ingress.gate.send(H1, &delivery)).status, status);
        }
    });
}

/// A delivery with forged gate headers.
fn forged() -> TestDelivery {
    TestDelivery::completed()
        .header(header::VERDICT, Verdict::Accepted.name())
        .header(header::EVENT, Kind::Completed.name())
}

#[test]
fn refuses_without_the_filter() {
    on_every_envoy(|version| {
        let gateway = patched(Profile::Default, &without(customized(), "HTTP_FILTER"));
        let ingress = Ingress::start(version, Profile::Default, &gateway);
        for protocol in Protocol::BOTH {
            for delivery in [TestDelivery::completed(), forged()] {
                let answer = ingress.gate.nothing_arrives(|| ingress.gate.send(protocol, &delivery));
                assert_eq!((answer.status, answer.reason().as_deref()), (503, Some("not-judged")));
            }
        }
        // The control: without the early mutation, which removes gate headers before routing, a forgery passes.
        let open =
            patched(Profile::Default, &without(without(customized(), "HTTP_FILTER"), "NETWORK_FILTER"));
        let ingress = Ingress::start(version, Profile::Default, &open);
        assert_eq!(ingress.gate.send(H1, &forged()).status, 200);
        assert_eq!(ingress.gate.video.take_one().header(header::HOOK), None);
    });
}

#[test]
fn serves_neighbours_as_before() {
    on_every_envoy(|version| {
        let gateway = patched(Profile::Default, &customized());
        let ingress = Ingress::start(version, Profile::Default, &gateway);
        let request =
            TestDelivery::of("{").header("host", NEIGHBOUR).header(header::EVENT, Kind::Completed.name());
        let client = APP.client("http/1.1", rustls::ALL_VERSIONS);
        let answer = within("answer", async {
            let address = ("127.0.0.1", ingress.gate.envoy.port("edge"));
            let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
            let name = ServerName::try_from(NEIGHBOUR).unwrap();
            let stream =
                tokio_rustls::TlsConnector::from(Arc::clone(&client)).connect(name, tcp).await.unwrap();
            h1::H1Connection::over(stream).send(&request).await.unwrap()
        });
        assert_eq!(answer.status, 200);
        assert_eq!(ingress.gate.envoy.plaintext(H1).open().send(&request).status, 200);
        let arrivals = ingress.app.take();
        assert_eq!(arrivals.len(), 2);
        for arrival in arrivals {
            assert_eq!(
                (&arrival.body[..], arrival.header(header::EVENT).as_deref()),
                (&b"{"[..], Some("completed"))
            );
        }
        // The neighbour's name and the plaintext port do not reach the hook.
        let hook = TestDelivery::completed();
        assert_eq!(ingress.gate.envoy.plaintext(H1).open().send(&hook).status, 404);
        assert_eq!(ingress.gate.send(H1, &hook.header("host", NEIGHBOUR)).status, 404);
    });
}

/// The page's alternative: one patch for each route, last first, before the routes of a VirtualService.
#[test]
fn shares_a_host_with_a_virtual_service() {
    let mut manifest = customized();
    let mut routes = patch(&mut manifest, "VIRTUAL_HOST")["patch"]["value"]["routes"].take();
    let mut manifest = without(manifest, "VIRTUAL_HOST");
    for route in routes.as_array_mut().unwrap().iter().rev() {
        manifest["spec"]["configPatches"].as_array_mut().unwrap().push(json!({
            "applyTo": "HTTP_ROUTE",
            "match": {"context": "GATEWAY", "routeConfiguration": {
                "gateway": "istio-system/blobgate", "portNumber": 443, "vhost": {"name": format!("{HOST}:443")},
            }},
            "patch": {"operation": "INSERT_FIRST", "value": route},
        }));
    }
    assert_eq!(crd::faults(&manifest), Vec::<String>::new());
    let mut gateway = ingress::gateway(Profile::Default, &APP);
    let everything =
        json!({"match": {"prefix": "/"}, "route": {"cluster": "outbound|80||app.default.svc.cluster.local"}});
    gateway.route_configurations[1]["virtual_hosts"] =
        json!([{"name": format!("{HOST}:443"), "domains": [HOST], "routes": [everything]}]);
    gateway.apply(&manifest);
    // The sentinel's route comes first, since `/` matches everything.
    let routes = gateway.route_configurations[1]["virtual_hosts"][0]["routes"].as_array_mut().unwrap();
    assert_eq!(routes.len(), 6);
    routes.insert(0, sentinel());
    on_every_envoy(|version| {
        let ingress = Ingress::start(version, Profile::Default, &gateway);
        assert_judges_and_routes(&ingress.gate, &[]);
        assert_eq!(ingress.gate.send(H1, &TestDelivery::of("{").path("/shop")).status, 200);
        let arrivals = ingress.app.take();
        assert_eq!(arrivals.iter().map(|arrival| &*arrival.path).collect::<Vec<_>>(), ["/shop"]);
    });
}

/// Within one attempt, with a body over the EDGE profile's upstream buffer of 32 KiB.
#[test]
fn waits_for_a_restarting_service() {
    on_every_envoy(|version| {
        let gateway = patched(Profile::Edge, &customized());
        let mut ingress = Ingress::before(version, Profile::Edge, &gateway, Upstream::off());
        let connect = ingress.gate.tls(H2);
        let delivery = TestDelivery::completed_of(65_536);
        let body = delivery.body();
        let sender = std::thread::spawn(move || connect.open().send(&delivery));
        let retries = "cluster.outbound|80||video.default.svc.cluster.local.upstream_rq_retry";
        eventually("retry", || {
            ingress.gate.envoy.stats("upstream_rq_retry$").get(retries).filter(|n| **n > 0).copied()
        });
        ingress.gate.video.on();
        let answer = sender.join().unwrap();
        assert_eq!((answer.status, answer.reason()), (200, None));
        assert_eq!(ingress.gate.video.take_one().body, body);
    });
}

/// The page's words for a proxy without dynamic modules, whose Envoy does not know the filter's type.
#[test]
fn a_proxy_without_the_filter_names_it() {
    let known = GateModule::Native.type_url();
    let page = std::fs::read_to_string(repository("docs/howto/istio.md")).unwrap();
    let line = "Didn't find a registered implementation for 'blobgate'";
    assert!(page.contains(&format!("`{line}`")));
    on_every_envoy_with(GateModule::Native, |version| {
        let bootstrap = TestGate::bootstrap(&Upstream::off(), &Upstream::off()).filter(|filter| {
            filter["typed_config"] = json!({
                "@type": "type.googleapis.com/udpa.type.v1.TypedStruct",
                "type_url": known.replace("DynamicModuleFilter", "Unknown"),
                "value": {},
            });
        });
        let log = EnvoyProcess::refuses(version, &bootstrap);
        assert!(log.contains(line), "{log}");
    });
}
