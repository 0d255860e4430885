//! Bodies in pieces, with trailers, too large, and unfinished.

use crate::support::delivery::RequestEnding;
use crate::support::{
    H1, H2, Length, Reply, TestDelivery, TestGate, client::Protocol, eventually, on_every_envoy,
};

const BOTH: [Protocol; 2] = Protocol::BOTH;

#[test]
fn accepts_pieces_of_any_size() {
    on_every_envoy(|envoy| {
        let gate = TestGate::start(envoy);
        for protocol in BOTH {
            gate.accepts(protocol, &TestDelivery::completed());
            gate.accepts(protocol, &TestDelivery::completed().pieces_of(1));
            gate.accepts(protocol, &TestDelivery::completed().pieces_of(1).undeclared());
            gate.accepts(protocol, &TestDelivery::completed().undeclared());
            gate.accepts(protocol, &TestDelivery::completed_of(65_536).pieces_of(1_000).undeclared());
            gate.refuses(protocol, &TestDelivery::of("{").undeclared(), 400, "json-invalid");
            gate.refuses(protocol, &TestDelivery::of("{}}").pieces_of(1), 400, "json-invalid");
        }
    });
}

#[test]
fn accepts_each_way_to_end_a_request() {
    on_every_envoy(|envoy| {
        let gate = TestGate::start(envoy);
        // With HTTP/2 trailers no body callback has end_of_stream.
        for protocol in BOTH {
            gate.accepts(protocol, &TestDelivery::completed().trailers());
            gate.accepts(protocol, &TestDelivery::failed().pieces_of(7).trailers());
            gate.refuses(protocol, &TestDelivery::of("[1").trailers(), 400, "json-invalid");
        }
        gate.accepts(H2, &TestDelivery::completed().undeclared().ending(RequestEnding::EmptyFrame));
        gate.refuses(
            H2,
            &TestDelivery::of("").undeclared().ending(RequestEnding::EmptyFrame),
            400,
            "body-missing",
        );
        for protocol in BOTH {
            gate.refuses(protocol, &TestDelivery::without_body(), 400, "body-missing");
        }
        gate.refuses(H1, &TestDelivery::of("").undeclared(), 400, "body-missing");
        // Neither the head nor a body callback has end_of_stream.
        gate.refuses(H2, &TestDelivery::without_body().trailers(), 400, "body-missing");
        // Envoy sends the 100 itself, while the gate still has the head.
        gate.accepts(H1, &TestDelivery::completed().header("expect", "100-continue"));
    });
}

#[test]
fn refuses_bodies_over_the_limit() {
    on_every_envoy(|envoy| {
        let gate = TestGate::start(envoy);
        for protocol in BOTH {
            let (fits, too_large) = (TestDelivery::completed_of(65_536), TestDelivery::completed_of(65_537));
            gate.accepts(protocol, &fits);
            gate.refuses(protocol, &too_large, 413, "body-too-large");
            gate.refuses(protocol, &too_large.clone().undeclared(), 413, "body-too-large");
            gate.refuses(protocol, &too_large.clone().pieces_of(1_000).trailers(), 413, "body-too-large");
            // More than Envoy buffers: the gate refuses at the first chunk past its own limit.
            let huge = TestDelivery::completed_of(3_000_000).pieces_of(100_000).undeclared();
            gate.refuses(protocol, &huge, 413, "body-too-large");
            // The gate refuses for the declared length, before the body comes.
            let declared = TestDelivery::of("{").length(Length::Claimed(65_537)).ending(RequestEnding::Open);
            gate.refuses(protocol, &declared, 413, "body-too-large");
        }
    });
}

/// Both requests come in one packet. Envoy ends the connection after the refusal, or judges the second request on its own.
#[test]
fn a_refused_body_is_no_part_of_the_next_request() {
    let request = |line: &str, body: &[u8]| {
        let head = format!("{line} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n");
        let length = format!("content-length: {}\r\n\r\n", body.len());
        [head.as_bytes(), length.as_bytes(), body].concat()
    };
    on_every_envoy(|envoy| {
        let gate = TestGate::start(envoy);
        let next = request("POST /webhook", &TestDelivery::completed().body());
        for (line, body, status) in [
            ("POST /webhook", &b"{"[..], 400),
            ("POST /webhook", &next, 400),
            ("POST /webhook", b"", 400),
            ("PUT /webhook", &next, 405),
            ("POST /webhook/x", &next, 404),
            ("POST /webhook", &[b'x'; 70_000], 413),
        ] {
            gate.forget();
            let mut client = gate.tls(H1).open();
            let before = gate.sent();
            let answer = client.raw(&[request(line, body), next.clone()].concat()).unwrap();
            assert_eq!(answer.status, status, "{answer:?}");
            match client.raw(b"") {
                Ok(second) => {
                    assert_eq!(second.status, 200, "{second:?} after {status}");
                    assert_eq!(gate.take_one().body, TestDelivery::completed().body());
                    assert_eq!(gate.sent(), before + 1);
                }
                Err(_) => assert_eq!(gate.sent(), before, "after {status}"),
            }
        }
    });
}

#[test]
fn forwards_nothing_of_an_aborted_request() {
    on_every_envoy(|envoy| {
        let gate = TestGate::start(envoy);
        for protocol in BOTH {
            let before = gate.sent();
            let half = TestDelivery::of("{\"generation_id\":")
                .length(Length::Claimed(300))
                .ending(RequestEnding::Open);
            let waiting = || gate.envoy.stat("http.edge.downstream_rq_active") == Some(1);
            gate.tls(protocol).open().leave(&half, "unfinished delivery", waiting);
            let gone = || gate.envoy.stat("http.edge.downstream_rq_active") == Some(0);
            eventually("end of the unfinished delivery", || gone().then_some(()));
            gate.accepts(protocol, &TestDelivery::completed());
            assert_eq!(gate.sent(), before + 1, "only the whole delivery went upstream");
            // The same when the sender leaves before the service replies.
            gate.video.reply(Reply::Hang);
            let arrived = || gate.video.arrivals().len() == 1;
            gate.tls(protocol).open().leave(&TestDelivery::completed(), "arrival", arrived);
            eventually("end of the aborted delivery", || gone().then_some(()));
            gate.video.reply(Reply::status(200));
            gate.accepts(protocol, &TestDelivery::completed());
        }
        assert_eq!(gate.envoy.crashes(), 0);
    });
}
