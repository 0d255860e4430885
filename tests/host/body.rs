//! How a body arrives must not matter.

use crate::support::delivery::Ending;
use crate::support::{Delivery, Gate, H1, H2, Length, Reply, client::Protocol, eventually, on_every_envoy};

const BOTH: [Protocol; 2] = Protocol::BOTH;

#[test]
fn in_pieces_of_any_size() {
    on_every_envoy(|envoy| {
        let gate = Gate::start(envoy);
        for protocol in BOTH {
            gate.accepts(protocol, &Delivery::completed());
            gate.accepts(protocol, &Delivery::completed().pieces_of(1));
            gate.accepts(protocol, &Delivery::completed().pieces_of(1).undeclared());
            gate.accepts(protocol, &Delivery::completed().undeclared());
            gate.accepts(protocol, &Delivery::completed_of(65_536).pieces_of(1_000).undeclared());
            gate.refuses(protocol, &Delivery::of("{").undeclared(), 400, "json-invalid");
            gate.refuses(protocol, &Delivery::of("{}}").pieces_of(1), 400, "json-invalid");
        }
    });
}

#[test]
fn ending_in_any_way() {
    on_every_envoy(|envoy| {
        let gate = Gate::start(envoy);
        // HTTP/2 trailers: the last body callback does not say that it is the last.
        for protocol in BOTH {
            gate.accepts(protocol, &Delivery::completed().trailers());
            gate.accepts(protocol, &Delivery::failed().pieces_of(7).trailers());
            gate.refuses(protocol, &Delivery::of("[1").trailers(), 400, "json-invalid");
        }
        gate.accepts(H2, &Delivery::completed().undeclared().ending(Ending::EmptyFrame));
        gate.refuses(H2, &Delivery::of("").undeclared().ending(Ending::EmptyFrame), 400, "body-missing");
        for protocol in BOTH {
            gate.refuses(protocol, &Delivery::without_body(), 400, "body-missing");
        }
        gate.refuses(H1, &Delivery::of("").undeclared(), 400, "body-missing");
        // Ended by neither its head nor a body callback.
        gate.refuses(H2, &Delivery::without_body().trailers(), 400, "body-missing");
        // Envoy answers 100 by itself, although the head is held.
        gate.accepts(H1, &Delivery::completed().header("expect", "100-continue"));
    });
}

#[test]
fn over_the_limit_declared_or_not() {
    on_every_envoy(|envoy| {
        let gate = Gate::start(envoy);
        for protocol in BOTH {
            let (fits, too_large) = (Delivery::completed_of(65_536), Delivery::completed_of(65_537));
            gate.accepts(protocol, &fits);
            gate.refuses(protocol, &too_large, 413, "body-too-large");
            gate.refuses(protocol, &too_large.clone().undeclared(), 413, "body-too-large");
            gate.refuses(protocol, &too_large.clone().pieces_of(1_000).trailers(), 413, "body-too-large");
            // More than Envoy would hold: the first chunk past our limit decides.
            let huge = Delivery::completed_of(3_000_000).pieces_of(100_000).undeclared();
            gate.refuses(protocol, &huge, 413, "body-too-large");
            // Refused by what it says, before any of it comes.
            let says = Delivery::of("{").length(Length::Claimed(65_537)).ending(Ending::Open);
            gate.refuses(protocol, &says, 413, "body-too-large");
        }
    });
}

#[test]
fn a_client_that_leaves_half_way_leaves_nothing() {
    on_every_envoy(|envoy| {
        let gate = Gate::start(envoy);
        for protocol in BOTH {
            let before = gate.sent();
            let half = Delivery::of("{\"generation_id\":").length(Length::Claimed(300)).ending(Ending::Open);
            let held = || gate.envoy.stat("http.edge.downstream_rq_active") == Some(1);
            gate.tls(protocol).open().leave(&half, "held delivery", held);
            let gone = || gate.envoy.stat("http.edge.downstream_rq_active") == Some(0);
            eventually("end of the half delivery", || gone().then_some(()));
            gate.accepts(protocol, &Delivery::completed());
            assert_eq!(gate.sent(), before + 1, "the half delivery went upstream");
            // One whose sender is gone before the service answers leaves the gate as it was.
            gate.video.reply(Reply::Hang);
            let arrived = || gate.video.arrivals().len() == 1;
            gate.tls(protocol).open().leave(&Delivery::completed(), "arrival", arrived);
            eventually("end of the left delivery", || gone().then_some(()));
            gate.video.reply(Reply::status(200));
            gate.accepts(protocol, &Delivery::completed());
        }
        assert_eq!(gate.envoy.stat("wasm.blobgate.vm_reload_success"), Some(0));
    });
}
