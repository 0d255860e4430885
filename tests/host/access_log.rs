//! The access log of refusals: a listener that is away, hangs or reads slowly changes no delivery.

use crate::support::{Bootstrap, H1, H2, TestDelivery, TestGate, closed_port, eventually, on_every_envoy};
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

/// More than the buffers of Envoy and of the sockets.
const REFUSALS: usize = 400;
const DELIVERIES: usize = 100;
/// For all deliveries together. Each would take a second longer if it waited for a connection.
const MAX_TIME: Duration = Duration::from_secs(60);

/// Sends refused and good deliveries in turn to an Envoy whose access log goes to this port.
#[track_caller]
fn deliveries_are_as_without(what: &str, port: u16) {
    on_every_envoy(|version| {
        let gate = TestGate::with(version, |shipped: Bootstrap| shipped.endpoint("inbox_access_log", port));
        // A path of Envoy's own 404 has no place in memory beyond the bound.
        let long = format!("/nobody/{}", "a".repeat(4_000));
        // Without a body, so that Envoy keeps the connection.
        let refused = TestDelivery::without_body().method("GET").path(&long);
        let begun = Instant::now();
        for protocol in [H1, H2] {
            let mut client = gate.tls(protocol).open();
            for number in 0..REFUSALS {
                assert_eq!(client.send(&refused).status, 404);
                if number % (REFUSALS / DELIVERIES * 2) == 0 {
                    assert_eq!(client.send(&TestDelivery::completed()).status, 200);
                    gate.video.take_one();
                }
            }
        }
        assert!(begun.elapsed() < MAX_TIME, "{what}: {:?}", begun.elapsed());
        let tried = || gate.envoy.stat("cluster.inbox_access_log.upstream_cx_total");
        eventually("a connection for the access log", || tried().filter(|count| *count > 0));
        // Healthy after it, too.
        assert_eq!(gate.send(H1, &TestDelivery::completed()).status, 200);
        gate.video.take_one();
        assert!(gate.envoy.resident_bytes() < 400 << 20, "{what}");
    });
}

#[test]
fn an_absent_listener_changes_no_delivery() {
    let closed = closed_port();
    deliveries_are_as_without("absent", closed.address.port());
}

#[test]
fn a_hanging_listener_changes_no_delivery() {
    // The kernel takes its connections, and nobody reads them.
    let hanging = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    deliveries_are_as_without("hanging", hanging.local_addr().unwrap().port());
}

#[test]
fn a_slow_listener_changes_no_delivery() {
    let slow = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = slow.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in slow.incoming().flatten() {
            thread::spawn(move || {
                let mut stream = stream;
                // A byte at a time, and never an answer.
                while stream.read(&mut [0]).is_ok_and(|read| read > 0) {
                    thread::sleep(Duration::from_millis(50));
                }
            });
        }
    });
    deliveries_are_as_without("slow", port);
}
