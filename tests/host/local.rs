//! Envoy's own ports, as a web page in a browser on this machine can reach them.

use crate::support::client::Protocol;
use crate::support::delivery::GENERATION;
use crate::support::{Connector, H1, TestDelivery, TestGate, on_every_envoy};
use blobgate::contract::{Kind, Verdict, header};
use std::collections::BTreeSet;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};

/// The ports that a process listens on.
fn listening_ports(pid: u32) -> BTreeSet<u16> {
    const LISTENING: &str = "0A";
    let links = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let open: BTreeSet<String> =
        links.filter_map(|link| Some(std::fs::read_link(link.path()).ok()?.to_str()?.to_owned())).collect();
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
    let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row[3] == LISTENING && open.contains(&format!("socket:[{}]", row[9])))
        .map(|row| u16::from_str_radix(row[1].split(':').nth(1).unwrap(), 16).unwrap())
        .collect()
}

fn get(path: &str) -> TestDelivery {
    TestDelivery::without_body().method("GET").path(path).header("host", "127.0.0.1:9901")
}

#[test]
fn admin_page_is_a_socket_with_mode_600() {
    on_every_envoy(|envoy| {
        let gate = TestGate::start(envoy);
        let socket = std::fs::metadata(gate.envoy.admin_socket()).unwrap();
        assert!(socket.file_type().is_socket());
        assert_eq!(socket.permissions().mode() & 0o777, 0o600);
        // The process has these ports and no port for the admin page.
        let known = ["edge", "plaintext", "services", "metrics"].map(|name| gate.envoy.port(name));
        assert_eq!(listening_ports(gate.envoy.pid()), known.into());
    });
}

#[test]
fn metrics_listener_serves_two_pages() {
    on_every_envoy(|envoy| {
        let gate = TestGate::start(envoy);
        let metrics = Connector::plaintext(gate.envoy.port("metrics"), H1);
        // Envoy 1.38 lets the native module set the gauge `blobgate_info` only with a request.
        gate.accepts(H1, &TestDelivery::completed());
        for host in ["127.0.0.1:9901", "localhost:9901", "localhost", "[::1]:9901"] {
            for (path, contains) in [
                ("/ready", "LIVE"),
                ("/stats/prometheus", "blobgate_info"),
                ("/stats/prometheus?usedonly", "blobgate_info"),
            ] {
                let answer = metrics.open().send(&get(path).without_header("host").header("host", host));
                assert_eq!(answer.status, 200, "{path} of {host}");
                assert!(answer.text().contains(contains), "{path} of {host}");
            }
        }
        for path in [
            "/",
            "/stats",
            "/config_dump",
            "/clusters",
            "/runtime",
            "/help",
            "/ready/",
            "/ready/../stats",
            "/ready%2f..%2fstats",
            "//ready",
            "/stats/prometheus/../../config_dump",
            "/stats/prometheus/x",
            "/quitquitquit",
        ] {
            assert_eq!(metrics.open().send(&get(path)).status, 404, "{path}");
        }
        for path in [
            "/ready",
            "/stats/prometheus",
            "/quitquitquit",
            "/runtime_modify?blobgate.inbox=100",
            "/logging?level=trace",
        ] {
            assert_eq!(metrics.open().send(&get(path).method("POST")).status, 404, "POST {path}");
        }
        // DNS rebinding: the name of a web page resolves to this machine.
        for host in
            ["page.example", "page.example:9901", "127.0.0.1.page.example", "localhost.page.example:9901", ""]
        {
            let answer = metrics.open().send(&get("/ready").without_header("host").header("host", host));
            assert!([400, 404].contains(&answer.status), "{host}: {answer:?}");
        }
        let inbox = gate.envoy.admin("GET", "/runtime?format=json").json();
        assert_eq!(inbox["entries"]["blobgate.inbox"]["final_value"], "0", "the runtime value is unchanged");
    });
}

#[test]
fn service_routes_accept_only_local_hosts() {
    on_every_envoy(|envoy| {
        let gate = TestGate::start(envoy);
        let event = |host: &str| {
            TestDelivery::completed()
                .path("/hooks/veo3")
                .header("host", host)
                .header(header::VERDICT, Verdict::Accepted.name())
                .header(header::EVENT, Kind::Completed.name())
        };
        let status = |host: &str| {
            let path = format!("/v1/veo/generations/{GENERATION}");
            TestDelivery::without_body().method("GET").path(&path).header("host", host)
        };
        for protocol in Protocol::BOTH {
            let services = gate.envoy.services(protocol);
            for host in ["page.example", "page.example:8090", "127.0.0.1.page.example:8090"] {
                for delivery in [event(host), status(host)] {
                    let answer = gate.nothing_arrives(|| services.open().send(&delivery));
                    assert_eq!((answer.status, answer.reason().as_deref()), (421, Some("unknown-host")));
                }
            }
            // A web page could send this without reading the response. It would still cost a status call.
            let loaded = status("127.0.0.1:8090").header("sec-fetch-site", "cross-site");
            let answer = services.open().send(&loaded);
            assert_eq!((answer.status, answer.reason().as_deref()), (404, Some("no-route")));
            assert_eq!(gate.provider.heads(), 0);
            for host in ["127.0.0.1:8090", "localhost:8090", "[::1]:8090", "127.0.0.1"] {
                assert_eq!(services.open().send(&event(host)).status, 200, "{host}");
                gate.video.take_one();
            }
        }
        assert_eq!(gate.envoy.services(H1).open().send(&status("127.0.0.1:8090")).status, 200);
        assert_eq!(gate.provider.heads(), 1);
    });
}
