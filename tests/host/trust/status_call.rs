//! Status calls: failures of the provider, the budget, the slots of a worker and the negative cache.

use super::{
    HOOK, confirms, contradicts, gate, gate_of_two, good, tokenless, tokenless_of, unknown_generation,
    with_token,
};
use crate::counts;
use crate::support::client::Protocol;
use crate::support::{H1, H2, Reply, TestDelivery, TestGate, eventually, on_every_envoy};
use serde_json::json;
use std::thread;
use std::time::{Duration, Instant};

/// A worker's limit of calls in flight.
const MAX_IN_FLIGHT: usize = 16;

#[track_caller]
fn wait_for_confirm_count(gate: &TestGate, outcome: &str, times: f64) {
    let labels = [("hook", "veo3-token"), ("outcome", outcome)];
    counts(&gate.envoy, "blobgate_confirm_total", &labels, times);
}

#[test]
fn answers_503_to_each_failure_of_the_provider() {
    const HUGE: usize = 40 << 20;
    on_every_envoy(|envoy| {
        let gate = gate(envoy, &json!({"confirm": {"per_minute": 6000, "timeout": "0.3s"}}));
        let huge = || Reply::status(200).body(vec![b' '; HUGE]);
        let cut_after_head = || Reply::status(200).header("content-length", 300);
        let unavailable = |reply: Reply| {
            let before = gate.provider.heads();
            gate.provider.reply(reply);
            for protocol in Protocol::BOTH {
                let since = Instant::now();
                gate.refuses(protocol, &tokenless(), 503, "confirm-unavailable");
                assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
            }
            assert_eq!(gate.provider.heads(), before + 2, "one call for each");
            // The failure is not cached.
            gate.provider.reply(confirms(&tokenless()));
            gate.accepts(H2, &tokenless());
        };
        // Without a response Envoy makes one: 504 or 503. A cut or huge response counts as no answer.
        for (reply, outcome, times) in [
            (Reply::Hang, "no-answer", 2.0),
            (Reply::Cut, "no-answer", 4.0),
            (cut_after_head(), "no-answer", 6.0),
            (huge(), "no-answer", 8.0),
            (Reply::Reset, "status", 2.0),
            (Reply::status(500).body("{}"), "status", 4.0),
            (Reply::status(429).body("{}"), "limited", 2.0),
            (Reply::status(401).body("{}"), "unauthorized", 2.0),
            (Reply::status(200).body("{}"), "unreadable", 2.0),
            (Reply::status(200), "unreadable", 4.0),
        ] {
            unavailable(reply);
            wait_for_confirm_count(&gate, outcome, times);
        }
        wait_for_confirm_count(&gate, "confirmed", 10.0);
    });
}

#[test]
fn waits_for_the_configured_timeout() {
    on_every_envoy(|envoy| {
        let gate = gate(envoy, &json!({"confirm": {"timeout": "0.3s"}}));
        gate.provider.reply(Reply::Hang);
        for protocol in Protocol::BOTH {
            let mut client = gate.tls(protocol).open();
            let since = Instant::now();
            client.send(&tokenless()).assert_refused(503, "confirm-unavailable");
            let time = since.elapsed();
            assert!(time >= Duration::from_millis(290) && time < Duration::from_millis(1500), "{time:?}");
        }
        wait_for_confirm_count(&gate, "no-answer", 2.0);
    });
}

#[test]
fn frees_the_slots_of_clients_that_leave() {
    on_every_envoy(|envoy| {
        let gate = gate(envoy, &json!({"confirm": {"per_minute": 6000, "timeout": "4s"}}));
        // Long enough that all calls are in flight at once. The answers come after the clients have left.
        let late =
            |delivery: &TestDelivery| Reply::After(Duration::from_secs(3), Box::new(confirms(delivery)));
        let since = Instant::now();
        for number in 0..MAX_IN_FLIGHT + 8 {
            let delivery = tokenless_of(number);
            gate.provider.reply(late(&delivery));
            let client = gate.tls(Protocol::BOTH[number % 2]).open();
            client.leave(&delivery, "status call", || gate.provider.heads() == number + 1);
        }
        let all_called = since.elapsed();
        let active = || gate.envoy.stat("http.edge.downstream_rq_active");
        eventually("leaving", || (active() == Some(0)).then_some(()));
        gate.provider.reply(confirms(&tokenless()));
        gate.accepts(H1, &tokenless());
        gate.accepts(H2, &tokenless());
        assert!(all_called < Duration::from_secs(4), "the first calls had not timed out: {all_called:?}");
        wait_for_confirm_count(&gate, "in-flight", 0.0);
        wait_for_confirm_count(&gate, "confirmed", 2.0);
        // The answers for the clients that left have arrived.
        let calls = || gate.envoy.stat("cluster.runblob_api.upstream_rq_active");
        eventually("end of the calls", || (calls() == Some(0)).then_some(()));
        gate.accepts(H1, &tokenless());
    });
}

#[test]
fn drops_an_answer_after_its_client_left() {
    on_every_envoy(|envoy| {
        let gate = gate(envoy, &json!({"confirm": {"timeout": "4s"}}));
        let answer = Reply::After(Duration::from_millis(300), Box::new(confirms(&tokenless())));
        gate.nothing_arrives(|| {
            for (number, protocol) in Protocol::BOTH.into_iter().enumerate() {
                gate.provider.reply(answer.clone());
                let client = gate.tls(protocol).open();
                client.leave(&tokenless(), "status call", || gate.provider.heads() == number + 1);
            }
            let calls = || gate.envoy.stat("cluster.runblob_api.upstream_rq_active");
            eventually("end of the calls", || (calls() == Some(0)).then_some(()));
        });
        gate.provider.reply(confirms(&tokenless()));
        gate.accepts(H2, &tokenless());
        wait_for_confirm_count(&gate, "confirmed", 1.0);
    });
}

#[test]
fn refuses_at_once_when_all_slots_are_taken() {
    on_every_envoy(|envoy| {
        let gate = gate(envoy, &json!({"confirm": {"per_minute": 6000, "timeout": "4s"}}));
        gate.provider.reply(Reply::Hang);
        thread::scope(|scope| {
            let waiting: Vec<_> = (0..MAX_IN_FLIGHT)
                .map(|number| {
                    let connect = gate.tls(Protocol::BOTH[number % 2]);
                    scope.spawn(move || connect.open().send(&tokenless_of(number)))
                })
                .collect();
            eventually("status calls", || (gate.provider.heads() == MAX_IN_FLIGHT).then_some(()));
            let answer = gate.send(H1, &tokenless());
            assert!(waiting.iter().all(|sender| !sender.is_finished()), "the others still wait");
            answer.assert_refused(503, "confirm-unavailable");
            // A delivery with a valid token needs no call.
            gate.accepts(H2, &with_token(TestDelivery::completed(), &good()));
            assert!(waiting.iter().all(|sender| !sender.is_finished()), "the others still wait");
            for sender in waiting {
                sender.join().unwrap().assert_refused(503, "confirm-unavailable");
            }
        });
        assert_eq!(gate.provider.heads(), MAX_IN_FLIGHT);
        wait_for_confirm_count(&gate, "in-flight", 1.0);
        wait_for_confirm_count(&gate, "no-answer", 16.0);
        gate.provider.reply(confirms(&tokenless()));
        gate.accepts(H1, &tokenless());
    });
}

#[test]
fn workers_share_the_budget() {
    const SENDERS: usize = 30;
    on_every_envoy(|envoy| {
        let gate = gate_of_two(envoy, &json!({"confirm": {"per_minute": 3, "timeout": "3s"}}));
        gate.provider.reply(Reply::After(Duration::from_millis(200), Box::new(confirms(&tokenless()))));
        let answers: Vec<_> = thread::scope(|scope| {
            // Connected first, so that the deliveries come at the same time.
            let clients: Vec<_> =
                (0..SENDERS).map(|number| gate.tls(Protocol::BOTH[number % 2]).open()).collect();
            let sending =
                clients.into_iter().map(|mut client| scope.spawn(move || client.send(&tokenless())));
            let sending: Vec<_> = sending.collect();
            sending.into_iter().map(|sent| sent.join().unwrap()).collect()
        });
        let workers = gate.envoy.stats(r"^listener\..*\.worker_.\.downstream_cx_total$");
        let busy = workers.iter().filter(|(name, count)| !name.contains("admin") && **count > 0).count();
        assert_eq!(busy, 2, "both workers got connections: {workers:?}");
        let (accepted, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
        assert_eq!((accepted.len(), refused.len()), (3, SENDERS - 3));
        refused.iter().for_each(|answer| answer.assert_refused(503, "confirm-unavailable"));
        wait_for_confirm_count(&gate, "confirmed", 3.0);
        wait_for_confirm_count(&gate, "budget", 27.0);
        // A delivery with a valid token needs no budget.
        for protocol in Protocol::BOTH {
            gate.accepts(protocol, &with_token(TestDelivery::completed(), &good()));
        }
        assert_eq!(gate.provider.heads(), 3, "calls that arrived");
    });
}

#[test]
fn unlisted_addresses_use_at_most_half_of_the_budget() {
    on_every_envoy(|envoy| {
        let gate = gate(envoy, &json!({"confirm": {"per_minute": 4}, "hook": {"source": ["127.0.0.1"]}}));
        gate.provider.reply(confirms(&tokenless()));
        let elsewhere = |protocol| gate.tls(protocol).from([127, 0, 0, 2].into()).open().send(&tokenless());
        for protocol in Protocol::BOTH {
            // Confirmed, and quarantined for the address.
            assert_eq!(elsewhere(protocol).status, 200);
        }
        for protocol in Protocol::BOTH {
            elsewhere(protocol).assert_refused(503, "confirm-unavailable");
        }
        assert_eq!((gate.provider.heads(), gate.quarantine.take().len()), (2, 2));
        for protocol in Protocol::BOTH {
            gate.accepts(protocol, &tokenless());
        }
        gate.refuses(H1, &tokenless(), 503, "confirm-unavailable");
        assert_eq!(gate.provider.heads(), 4, "calls that arrived");
    });
}

#[test]
fn caches_negative_answers() {
    on_every_envoy(|envoy| {
        let gate = gate(envoy, &json!({}));
        let forged = |number: usize, url: &str| {
            let mut payload: serde_json::Value =
                serde_json::from_slice(&tokenless_of(number).body()).unwrap();
            payload["video_url"] = url.into();
            TestDelivery::json(&payload).path(HOOK)
        };
        let (one, other) = ("https://cdn.runblob.io/videos/f.mp4", "https://cdn.runblob.io/videos/g.mp4");
        let refused_after = |delivery: &TestDelivery, calls: usize| {
            gate.refuses(H2, delivery, 403, "not-confirmed");
            assert_eq!(gate.provider.heads(), calls, "calls so far");
        };
        gate.provider.reply(contradicts(&forged(1, one)));
        refused_after(&forged(1, one), 1);
        refused_after(&forged(1, one), 1);
        // The cache entry is for this claim only.
        refused_after(&forged(1, other), 2);
        refused_after(&forged(1, other), 2);
        // The cache entry of an unknown generation is for every claim.
        gate.provider.reply(unknown_generation());
        refused_after(&forged(2, one), 3);
        refused_after(&forged(2, one), 3);
        refused_after(&forged(2, other), 3);
        refused_after(&forged(3, one), 4);
        wait_for_confirm_count(&gate, "remembered", 4.0);
        wait_for_confirm_count(&gate, "contradicted", 2.0);
        wait_for_confirm_count(&gate, "unknown", 2.0);
        // The true claim is still accepted.
        gate.provider.reply(confirms(&tokenless_of(1)));
        gate.accepts(H1, &tokenless_of(1));
    });
}
