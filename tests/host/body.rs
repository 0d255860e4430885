//! How a body arrives must not matter.

use crate::support::delivery::RequestEnding;
use crate::support::{
    H1, H2, Length, Reply, TestDelivery, TestGate, client::Protocol, eventually, on_every_envoy,
};

const BOTH: [Protocol; 2] = Protocol::BOTH;

#[test]
fn in_pieces_of_any_size() {
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
fn ending_in_any_way() {
    on_every_envoy(|envoy| {
        let gate = TestGate::start(envoy);
        // HTTP/2 trailers: the last body callback does not say that it is the last.
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
        // Ended by neither its head nor a body callback.
        gate.refuses(H2, &TestDelivery::without_body().trailers(), 400, "body-missing");
        // Envoy answers 100 by itself, although the head is held.
        gate.accepts(H1, &TestDelivery::completed().header("expect", "100-continue"));
    });
}

#[test]
fn over_the_limit_declared_or_not() {
    on_every_envoy(|envoy| {
        let gate = TestGate::start(envoy);
        for protocol in BOTH {
            let (fits, too_large) = (TestDelivery::completed_of(65_536), TestDelivery::completed_of(65_537));
            gate.accepts(protocol, &fits);
            gate.refuses(protocol, &too_large, 413, "body-too-large");
            gate.refuses(protocol, &too_large.clone().undeclared(), 413, "body-too-large");
            gate.refuses(protocol, &too_large.clone().pieces_of(1_000).trailers(), 413, "body-too-large");
            // More than Envoy would hold: the first chunk past our limit decides.
            let huge = TestDelivery::completed_of(3_000_000).pieces_of(100_000).undeclared();
            gate.refuses(protocol, &huge, 413, "body-too-large");
            // Refused by what it says, before any of it comes.
            let says = TestDelivery::of("{").length(Length::Claimed(65_537)).ending(RequestEnding::Open);
            gate.refuses(protocol, &says, 413, "body-too-large");
        }
    });
}

#[test]
fn a_client_that_leaves_half_way_leaves_nothing() {
    on_every_envoy(|envoy| {
        let gate = TestGate::start(envoy);
        for protocol in BOTH {
            let before = gate.sent();
            let half = TestDelivery::of("{\"generation_id\":")
                .length(Length::Claimed(300))
                .ending(RequestEnding::Open);
            let held = || gate.envoy.stat("http.edge.downstream_rq_active") == Some(1);
            gate.tls(protocol).open().leave(&half, "held delivery", held);
            let gone = || gate.envoy.stat("http.edge.downstream_rq_active") == Some(0);
            eventually("end of the half delivery", || gone().then_some(()));
            gate.accepts(protocol, &TestDelivery::completed());
            assert_eq!(gate.sent(), before + 1, "the half delivery went upstream");
            // One whose sender is gone before the service answers leaves the gate as it was.
            gate.video.reply(Reply::Hang);
            let arrived = || gate.video.arrivals().len() == 1;
            gate.tls(protocol).open().leave(&TestDelivery::completed(), "arrival", arrived);
            eventually("end of the left delivery", || gone().then_some(()));
            gate.video.reply(Reply::status(200));
            gate.accepts(protocol, &TestDelivery::completed());
        }
        assert_eq!(gate.envoy.stat("wasm.blobgate.vm_reload_success"), Some(0));
    });
}
