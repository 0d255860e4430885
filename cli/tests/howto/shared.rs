//! docs/howto/shared-listener.md.

use crate::page_edge::PageEdge;
use crate::page_file::{LISTED, PageAddresses, PageFile};
use blobgate::contract::{Kind, Verdict, header};
use blobgate_testkit::book::block;
use blobgate_testkit::{Connector, H1, H2, ServiceRequest, TestDelivery, Upstream, Version, on_every_envoy};
use serde_json::{Value, json};
use std::net::Ipv4Addr;

const ALLOWED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const UNLISTED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 8);
/// The names of the page.
const HOOK_NAME: &str = "hooks.example.com";
const APP_NAME: &str = "app.example.com";

/// A listener of one manager for the hook and the app.
fn one_manager(addresses: PageAddresses) -> PageFile {
    PageFile::production(addresses).with_app().public_block(&block("shared-manager"), |public, edge| {
        let own = &mut manager(public)["route_config"]["virtual_hosts"][0]["routes"];
        let after = own.as_array().unwrap().clone();
        let rendered =
            manager(edge)["route_config"]["virtual_hosts"][0]["routes"].as_array().unwrap().clone();
        let first = rendered.iter().position(|route| route["name"] == "inbox").expect("a route inbox");
        let of_hook = |route: &Value| route["match"]["path_separated_prefix"].is_string();
        let last = rendered.iter().rposition(of_hook).expect("a route with the hook's path");
        *own = rendered[first..=last].iter().cloned().chain(after).collect();
    })
}

/// A listener with a chain for each name.
fn two_chains(addresses: PageAddresses) -> PageFile {
    PageFile::production(addresses).with_app().public_block(&block("shared-chains"), |public, edge| {
        let rendered = edge["filter_chains"][0].clone();
        for key in ["transport_socket_connect_timeout", "transport_socket", "filters"] {
            public["filter_chains"][0][key] = rendered[key].clone();
        }
        public["filter_chains"][1]["transport_socket"] = rendered["transport_socket"].clone();
        public["filter_chains"][1]["filters"] = json!([{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": rendered["filters"][0]["typed_config"]["@type"],
                "stat_prefix": "app",
                "http_filters": [{"name": "router", "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
                "route_config": {"name": "app", "virtual_hosts": [{"name": "app", "domains": ["*"], "routes": [
                    {"match": {"prefix": "/"}, "route": {"cluster": "app"}},
                ]}]},
            },
        }]);
    })
}

fn manager(listener: &mut Value) -> &mut Value {
    &mut listener["filter_chains"][0]["filters"][0]["typed_config"]
}

/// An edge, and the app beside the hook.
fn start(version: &Version, file: &PageFile) -> (PageEdge, Upstream) {
    let app = Upstream::start();
    let edge = PageEdge::with(version, file, |bootstrap| bootstrap.endpoint("app", app.port));
    (edge, app)
}

/// Gate headers of a client.
fn judged(delivery: TestDelivery) -> TestDelivery {
    delivery.header(header::VERDICT, Verdict::Accepted.name()).header(header::EVENT, Kind::Completed.name())
}

fn to_app(path: &str) -> TestDelivery {
    TestDelivery::of("a=b")
        .method("PUT")
        .path(path)
        .header(header::IDEMPOTENCY_KEY, "own")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
}

#[track_caller]
fn has_passed(arrival: &ServiceRequest, path: &str) {
    assert_eq!((arrival.method.as_str(), arrival.path.as_str(), &*arrival.body), ("PUT", path, &b"a=b"[..]));
    assert_eq!(arrival.header(header::IDEMPOTENCY_KEY).as_deref(), Some("own"));
    assert!(
        arrival.header("traceparent").is_some_and(|value| value.contains("0af7651916cd43dd8448eb211c80319c"))
    );
    assert!(arrival.headers.iter().all(|(name, _)| !name.starts_with(header::PREFIX)), "{arrival:?}");
}

#[test]
fn edited_files_pass_the_check() {
    for edited in [one_manager, two_chains] {
        edited(PageAddresses::OfPage).passes_check();
    }
}

/// Everything in the page's manager that is not the app's is as rendered.
#[test]
fn the_manager_is_as_rendered() {
    const OF_THE_PAGE: [&str; 5] =
        ["stat_prefix", "early_header_mutation_extensions", "access_log", "route_config", "http_filters"];
    let mut edge = Value::Null;
    let _unchanged = PageFile::production(PageAddresses::OfPage).listener(|listener| edge = listener.clone());
    let mut public = Value::Null;
    let _unchanged = one_manager(PageAddresses::OfPage).listener(|listener| public = listener.clone());
    for key in ["per_connection_buffer_limit_bytes", "ignore_global_conn_limit"] {
        assert_eq!(public[key], edge[key], "{key}");
    }
    let [rendered, of_page] = [&mut edge, &mut public].map(manager);
    let filter = |of: &Value| {
        of["http_filters"].as_array().unwrap().iter().find(|one| one["name"] == "blobgate").cloned()
    };
    let [mut gate, mut shown] = [&*rendered, &*of_page].map(|of| filter(of).expect("a filter blobgate"));
    for one in [&mut gate, &mut shown] {
        one["typed_config"]["config"]["vm_config"]["code"] = json!("the module");
        one["typed_config"]["config"]["configuration"]["value"]["hooks"][0]["name"] = json!("veo3");
    }
    assert_eq!(shown, gate);
    let (rendered, of_page) = (rendered.as_object().unwrap(), of_page.as_object().unwrap());
    for (key, value) in of_page.iter().filter(|(key, _)| !OF_THE_PAGE.contains(&key.as_str())) {
        assert_eq!(Some(value), rendered.get(key), "{key}");
    }
    let left_out: Vec<&String> = rendered.keys().filter(|key| !of_page.contains_key(*key)).collect();
    assert_eq!(left_out, ["request_id_extension", "tracing"]);
}

/// Spellings of the hook's path. Only the judged ones may go on, and never to the app.
const TRICKS: [&str; 17] = [
    "//webhook",
    "/%77ebhook",
    "/x/../webhook",
    "/webhook%2F",
    "/%2Fwebhook",
    "/\\webhook",
    "/%5cwebhook",
    "/./webhook",
    "/x/%2e%2e/webhook",
    "/x/%2e%2e%2fwebhook",
    "/webhook/",
    "/webhook//x",
    "/webhook/a.b.c",
    "/webhook;a=b",
    "/WEBHOOK",
    "/WebHook/a.b.c",
    "/webhook?x=/app",
];

#[test]
fn one_manager_serves_the_app_and_the_hook() {
    on_every_envoy(|version| {
        let (edge, app) = start(version, &one_manager(PageAddresses::OfTest));
        let port = edge.envoy.port("edge");
        for protocol in [H1, H2] {
            let client = |from: Ipv4Addr| Connector::tls(port, protocol).from(from);
            edge.accepts(&client(ALLOWED));
            edge.refuses(&client(UNLISTED), &edge.forged(), "source-denied");
            let claims = edge.forged().header("x-forwarded-for", LISTED);
            edge.refuses(&client(UNLISTED), &judged(claims), "source-denied");
            for path in ["/", "/orders/7?a=b", "/webhooks", "/app/webhook"] {
                assert_eq!(client(UNLISTED).open().send(&to_app(path)).status, 200, "{path}");
                has_passed(&app.take_one(), path);
            }
            for path in TRICKS.iter().filter(|path| protocol == H1 || !path.contains('\\')) {
                for delivery in [edge.forged(), judged(edge.forged()), edge.forged().method("GET")] {
                    let answer = client(UNLISTED).open().send(&delivery.path(path));
                    assert!([403, 404, 405].contains(&answer.status), "{path}: {answer:?}");
                }
            }
            edge.accepts(&client(ALLOWED));
            assert_eq!(app.take().len(), 0, "the app got none of them");
        }
    });
}

#[test]
fn one_manager_without_the_gate_is_closed() {
    on_every_envoy(|version| {
        let app = Upstream::start();
        let file = one_manager(PageAddresses::OfTest);
        let edge =
            PageEdge::with(version, &file, |bootstrap| bootstrap.endpoint("app", app.port).without_gate());
        let client = Connector::tls(edge.envoy.port("edge"), H1).from(ALLOWED);
        for delivery in [edge.genuine(), edge.forged(), judged(edge.genuine()), judged(edge.forged())] {
            let answer = client.open().send(&delivery);
            assert_eq!((answer.status, answer.reason().as_deref()), (503, Some("not-judged")), "{answer:?}");
        }
        for path in TRICKS {
            let answer = client.open().send(&judged(edge.forged()).path(path));
            assert!([404, 503].contains(&answer.status), "{path}: {answer:?}");
        }
        assert_eq!(client.open().send(&to_app("/orders")).status, 200);
        has_passed(&app.take_one(), "/orders");
        edge.got_nothing();
    });
}

/// What the page's table says of parts that are missing.
#[test]
fn each_missing_part_ends_as_the_page_says() {
    let without = |key: &'static str| {
        one_manager(PageAddresses::OfTest).listener(|public| {
            manager(public).as_object_mut().unwrap().remove(key).expect("the key");
        })
    };
    let app_first = || {
        one_manager(PageAddresses::OfTest).listener(|public| {
            let hosts = &mut manager(public)["route_config"]["virtual_hosts"];
            let routes = hosts[0]["routes"].as_array_mut().unwrap();
            let app = routes.pop().unwrap();
            routes.insert(0, app);
        })
    };
    on_every_envoy(|version| {
        for (file, path) in [
            (without("normalize_path"), "/x/../webhook"),
            (without("merge_slashes"), "//webhook"),
            (without("path_with_escaped_slashes_action"), "/%2Fwebhook"),
            (app_first(), "/webhook"),
        ] {
            let findings = file.findings();
            assert!(findings.iter().any(|found| found.starts_with("\"error\"")), "{path}: {findings:?}");
            let (edge, app) = start(version, &file);
            let client = Connector::tls(edge.envoy.port("edge"), H1).from(UNLISTED);
            assert_eq!(client.open().send(&edge.forged().path(path)).status, 200, "{path}");
            app.take_one();
        }
    });
}

#[test]
fn a_chain_of_its_own_leaves_the_app_alone() {
    on_every_envoy(|version| {
        let (edge, app) = start(version, &two_chains(PageAddresses::OfTest));
        let port = edge.envoy.port("edge");
        for protocol in [H1, H2] {
            let client =
                |name: &'static str, from: Ipv4Addr| Connector::tls(port, protocol).named(name).from(from);
            edge.accepts(&client(HOOK_NAME, ALLOWED));
            edge.refuses(&client(HOOK_NAME, UNLISTED), &edge.forged(), "source-denied");
            let claims = judged(edge.forged()).header("x-forwarded-for", LISTED);
            edge.refuses(&client(HOOK_NAME, UNLISTED), &claims, "source-denied");
            assert_eq!(client(HOOK_NAME, UNLISTED).open().send(&to_app("/orders")).status, 404);
            assert_eq!(client(APP_NAME, UNLISTED).open().send(&to_app("/orders")).status, 200);
            has_passed(&app.take_one(), "/orders");
            edge.accepts(&client(HOOK_NAME, ALLOWED));
            // The page's warning: by the app's name in the handshake, the gate sees nothing.
            let other_host = edge.forged().header("host", HOOK_NAME);
            assert_eq!(client(APP_NAME, UNLISTED).open().send(&other_host).status, 200);
            assert_eq!(app.take_one().header(header::VERDICT), None);
        }
        edge.got_nothing();
    });
}
