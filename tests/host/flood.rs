//! One client uses up connections, time or memory; other clients still get service.

use crate::support::delivery::RequestEnding;
use crate::support::{
    Bootstrap, Client, Connector, EnvoyProcess, H1, H2, Length, TestDelivery, TestGate, eventually,
    on_every_envoy,
};
use blobgate::contract::{Kind, Verdict, header};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

/// The shipped limits are 1,000 each. A test with three times 1,000 sockets is too large.
const LIMIT: usize = 40;
const FLOOD: usize = LIMIT + 20;

fn with_small_limits(shipped: Bootstrap) -> Bootstrap {
    let edge = "envoy.resource_limits.listener.edge.connection_limit";
    let mut shipped = shipped;
    let layer = &mut shipped.json["layered_runtime"]["layers"][0]["static_layer"];
    assert_eq!(layer[edge], 1000);
    layer[edge] = LIMIT.into();
    let monitors = &mut shipped.json["overload_manager"]["resource_monitors"];
    let max = &mut monitors[0]["typed_config"]["max_active_downstream_connections"];
    assert_eq!(*max, 1000);
    *max = LIMIT.into();
    shipped
}

fn sockets(port: u16, first: &[u8]) -> Vec<TcpStream> {
    let open = |_| {
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        socket.set_read_timeout(Some(crate::support::MAX_WAIT)).unwrap();
        let _closed_already = socket.write_all(first);
        socket
    };
    (0..FLOOD).map(open).collect()
}

/// Waits until Envoy has closed every socket.
#[track_caller]
fn wait_until_closed(sockets: Vec<TcpStream>) {
    for mut socket in sockets {
        let mut buffer = [0; 1024];
        while let Ok(1..) = socket.read(&mut buffer).inspect_err(|error| {
            assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "a connection stays open");
        }) {}
    }
}

fn event() -> TestDelivery {
    TestDelivery::completed()
        .header("host", "localhost")
        .header(header::VERDICT, Verdict::Accepted.name())
        .header(header::EVENT, Kind::Completed.name())
}

#[track_caller]
fn assert_others_answer(envoy: &EnvoyProcess, others: &[&str]) {
    for name in others {
        let port = envoy.port(name);
        let (connect, delivery, status) = match *name {
            "edge" => (Connector::tls(port, H2), TestDelivery::completed(), 200),
            "plaintext" => (Connector::plaintext(port, H1), TestDelivery::completed(), 403),
            "services" => (Connector::plaintext(port, H1), event(), 200),
            _ => (
                Connector::plaintext(port, H1),
                TestDelivery::without_body().method("GET").path("/ready").header("host", "localhost"),
                200,
            ),
        };
        assert_eq!(connect.open().send(&delivery).status, status, "{name}");
    }
}

#[test]
fn serves_other_listeners_while_one_is_full() {
    on_every_envoy(|envoy| {
        let gate = TestGate::with(envoy, with_small_limits);
        let plaintext = gate.envoy.port("plaintext");
        // Silent connections, and connections with an unfinished request.
        let rejected = || gate.envoy.stats("downstream_global_cx_overflow$").values().sum::<u64>();
        for first in [&b""[..], b"POST /webhook HTTP/1.1\r\nhost: x\r\n"] {
            let before = rejected();
            let flood = sockets(plaintext, first);
            eventually("rejected connection", || (rejected() > before).then_some(()));
            assert_others_answer(&gate.envoy, &["edge", "services", "metrics"]);
            wait_until_closed(flood);
            eventually("response in plaintext", || {
                let mut client = Connector::plaintext(plaintext, H1).try_open().ok()?;
                (client.try_send(&TestDelivery::completed()).ok()?.status == 403).then_some(())
            });
        }
        // The edge is full until its handshakes time out. The other listeners are not.
        let flood = sockets(gate.envoy.port("edge"), b"");
        eventually("full listener", || gate.tls(H1).try_open().is_err().then_some(()));
        assert_others_answer(&gate.envoy, &["plaintext", "services", "metrics"]);
        wait_until_closed(flood);
        let mut client = eventually("free place", || gate.tls(H2).try_open().ok());
        assert_eq!(client.send(&TestDelivery::completed()).status, 200);
    });
}

#[test]
fn closes_connections_without_a_request() {
    // The shipped timeouts, and slack for a busy machine.
    const SILENT: Duration = Duration::from_secs(2);
    const HANDSHAKE: Duration = Duration::from_secs(5);
    const HEAD: Duration = Duration::from_secs(5);
    const IDLE: Duration = Duration::from_secs(15);
    const SLACK: Duration = Duration::from_secs(10);
    on_every_envoy(|envoy| {
        let gate = TestGate::start(envoy);
        let [edge, plaintext] = ["edge", "plaintext"].map(|name| gate.envoy.port(name));
        let raw = |port: u16, bytes: &[u8]| {
            let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            socket.set_read_timeout(Some(crate::support::MAX_WAIT)).unwrap();
            socket.write_all(bytes).unwrap();
            socket
        };
        const HELLO: &[u8] = &[22, 3, 1, 2, 0, 1, 0, 1];
        const HEAD_BEGUN: &[u8] = b"POST /webhook HTTP/1.1\r\nhost: x\r\nx-slow:";
        const NO_STREAM: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        const ANSWERED: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
        // Idle connections over TLS.
        let mut idle = [H1, H2].map(|protocol| gate.tls(protocol).open());
        assert!(idle.iter_mut().all(|client| client.send(&TestDelivery::completed()).status == 200));
        let since = Instant::now();
        std::thread::scope(|scope| {
            for (what, port, bytes, trickle, min, max) in [
                ("silent, in plaintext", plaintext, &b""[..], None, SILENT, SILENT),
                ("a request line byte by byte, in plaintext", plaintext, b"P", Some(b"O"), SILENT, SILENT),
                ("a head byte by byte, in plaintext", plaintext, HEAD_BEGUN, Some(b"a"), HEAD, HEAD),
                ("HTTP/2 without a stream, in plaintext", plaintext, NO_STREAM, None, IDLE, IDLE + HANDSHAKE),
                ("silent, where TLS is expected", edge, b"", None, HANDSHAKE, HANDSHAKE),
                ("a handshake byte by byte", edge, HELLO, Some(b"\0"), HANDSHAKE, HANDSHAKE),
                ("idle after an answer", plaintext, ANSWERED, None, IDLE, IDLE),
            ] {
                let mut socket = raw(port, bytes);
                scope.spawn(move || {
                    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
                    loop {
                        match socket.read(&mut [0; 4096]) {
                            Ok(1..) => {}
                            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                                if let Some(byte) = trickle {
                                    let _ended = socket.write_all(byte);
                                }
                                assert!(since.elapsed() < max + SLACK, "{what} stays open");
                            }
                            Ok(0) | Err(_) => break,
                        }
                    }
                    let after = since.elapsed();
                    assert!(after + Duration::from_millis(500) > min, "{what} ended after {after:?}");
                });
            }
        });
        eventually("end of all connections", || {
            (gate.envoy.stat("http.edge.downstream_cx_active") == Some(0)).then_some(())
        });
        for mut client in idle {
            client.try_send(&TestDelivery::completed()).expect_err("the connection has ended");
        }
    });
}

/// The last three numbers of the memory sum in envoy.yaml.
#[test]
fn all_request_bodies_fit_into_memory() {
    let shipped = Bootstrap::as_shipped();
    let mut streams = Vec::new();
    shipped
        .clone()
        .http(|manager| streams.push(manager["http2_protocol_options"]["max_concurrent_streams"].clone()));
    assert_eq!(streams, [10, 10]);
    const DEFAULT_BODY: u64 = 65_536;
    let gate = Bootstrap::shipped_gate();
    assert!(
        gate["hooks"].as_array().unwrap().iter().all(|hook| hook["max_body_bytes"].is_null()),
        "the default limit"
    );
    let manager = &shipped.json["overload_manager"];
    let heap = manager["resource_monitors"][1]["typed_config"]["max_heap_size_bytes"].as_u64().unwrap();
    assert_eq!(heap, 1 << 30);
    let layer = &shipped.json["layered_runtime"]["layers"][0]["static_layer"];
    let connections = layer["envoy.resource_limits.listener.edge.connection_limit"].as_u64().unwrap();
    assert!(
        connections * 10 * DEFAULT_BODY < heap / 10 * 9,
        "below the heap at which Envoy refuses requests"
    );
}

#[test]
fn answers_503_while_memory_is_full() {
    const STREAMS: usize = 10;
    on_every_envoy(|envoy| {
        // The heap of an idle Envoy, plus space for some of the bodies below.
        let idle = heap(&TestGate::start(envoy).envoy);
        let gate = TestGate::with(envoy, |mut shipped| {
            let monitors = &mut shipped.json["overload_manager"]["resource_monitors"];
            monitors[1]["typed_config"]["max_heap_size_bytes"] = ((idle + (16 << 20)) * 10 / 9).into();
            shipped.json["overload_manager"]["refresh_interval"] = json!("0.1s");
            shipped
        });
        gate.accepts(H2, &TestDelivery::completed());
        let body = TestDelivery::completed_of(60_000);
        let unfinished = body.clone().pieces_of(59_999);
        let unfinished = TestDelivery { pieces: vec![unfinished.pieces[0].clone()], ..unfinished }
            .length(Length::Claimed(60_000))
            .ending(RequestEnding::Open);
        let open_streams = |connection: &mut Client| {
            let Client::H2(connection) = connection else { panic!() };
            (0..STREAMS)
                .filter_map(|_| crate::support::within("body", connection.write(&unfinished)).ok())
                .collect::<Vec<_>>()
        };
        let mut open = Vec::new();
        let refused = eventually("503", || {
            let mut connection = gate.tls(H2).open();
            let streams = open_streams(&mut connection);
            open.push((connection, streams));
            let answer = gate.send(H1, &TestDelivery::completed());
            (answer.status != 200).then_some(answer)
        });
        assert_eq!((refused.status, refused.reason()), (503, None), "{refused:?}");
        assert_eq!(refused.text(), "envoy overloaded");
        // The listeners for metrics and services still answer.
        assert_others_answer(&gate.envoy, &["services", "metrics"]);
        crate::support::block(async { drop(open) });
        eventually("200", || (gate.send(H1, &TestDelivery::completed()).status == 200).then_some(()));
    });
}

fn heap(envoy: &EnvoyProcess) -> u64 {
    let memory: Value = envoy.admin("GET", "/memory").json();
    let bytes = |name: &str| memory[name].as_str().unwrap().parse::<u64>().unwrap();
    bytes("heap_size") - bytes("pageheap_free") - bytes("pageheap_unmapped")
}
