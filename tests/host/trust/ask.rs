//! What the provider's silence, noise and delay do, and how often it is asked.

use super::{
    HOOK, confirms, contradicts, gate, gate_of_two, good, knows_nothing, stranger, stranger_of, with_token,
};
use crate::counts;
use crate::support::client::Protocol;
use crate::support::{H1, H2, Reply, TestDelivery, TestGate, eventually, on_every_envoy};
use serde_json::json;
use std::thread;
use std::time::{Duration, Instant};

/// Calls in flight of one worker, at most.
const MOST_IN_FLIGHT: usize = 16;

#[track_caller]
fn asked(gate: &TestGate, outcome: &str, times: f64) {
    let labels = [("hook", "veo3-token"), ("outcome", outcome)];
    counts(&gate.envoy, "blobgate_confirm_total", &labels, times);
}

#[test]
fn a_provider_that_does_not_answer_well_is_unavailable() {
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
                gate.refuses(protocol, &stranger(), 503, "confirm-unavailable");
                assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
            }
            assert_eq!(gate.provider.heads(), before + 2, "both were asked about");
            // And it is not remembered.
            gate.provider.reply(confirms(&stranger()));
            gate.accepts(H2, &stranger());
        };
        // Where no answer begins, Envoy answers for the provider: 504 and 503. What is cut or huge comes as none.
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
            asked(&gate, outcome, times);
        }
        asked(&gate, "confirmed", 10.0);
    });
}

#[test]
fn a_provider_that_hangs_is_waited_for_as_long_as_configured() {
    on_every_envoy(|envoy| {
        let gate = gate(envoy, &json!({"confirm": {"timeout": "0.3s"}}));
        gate.provider.reply(Reply::Hang);
        for protocol in Protocol::BOTH {
            let mut client = gate.tls(protocol).open();
            let since = Instant::now();
            client.send(&stranger()).assert_refused(503, "confirm-unavailable");
            let time = since.elapsed();
            assert!(time >= Duration::from_millis(290) && time < Duration::from_millis(1500), "{time:?}");
        }
        asked(&gate, "no-answer", 2.0);
    });
}

#[test]
fn clients_that_leave_take_no_slot_with_them() {
    on_every_envoy(|envoy| {
        let gate = gate(envoy, &json!({"confirm": {"per_minute": 6000, "timeout": "4s"}}));
        // Long enough that all of them would be held at once, and then the answers come to nobody.
        let late =
            |delivery: &TestDelivery| Reply::After(Duration::from_secs(3), Box::new(confirms(delivery)));
        let since = Instant::now();
        for number in 0..MOST_IN_FLIGHT + 8 {
            let delivery = stranger_of(number);
            gate.provider.reply(late(&delivery));
            let client = gate.tls(Protocol::BOTH[number % 2]).open();
            client.leave(&delivery, "question", || gate.provider.heads() == number + 1);
        }
        let all_asked = since.elapsed();
        let active = || gate.envoy.stat("http.edge.downstream_rq_active");
        eventually("leaving", || (active() == Some(0)).then_some(()));
        gate.provider.reply(confirms(&stranger()));
        gate.accepts(H1, &stranger());
        gate.accepts(H2, &stranger());
        assert!(all_asked < Duration::from_secs(4), "the first calls had not timed out: {all_asked:?}");
        asked(&gate, "in-flight", 0.0);
        asked(&gate, "confirmed", 2.0);
        // The answers of those who left have come, or would have.
        let calls = || gate.envoy.stat("cluster.runblob_api.upstream_rq_active");
        eventually("end of the calls", || (calls() == Some(0)).then_some(()));
        gate.accepts(H1, &stranger());
    });
}

#[test]
fn an_answer_that_comes_after_its_client_left_is_nobodys() {
    on_every_envoy(|envoy| {
        let gate = gate(envoy, &json!({"confirm": {"timeout": "4s"}}));
        let answer = Reply::After(Duration::from_millis(300), Box::new(confirms(&stranger())));
        gate.nothing_arrives(|| {
            for (number, protocol) in Protocol::BOTH.into_iter().enumerate() {
                gate.provider.reply(answer.clone());
                let client = gate.tls(protocol).open();
                client.leave(&stranger(), "question", || gate.provider.heads() == number + 1);
            }
            let calls = || gate.envoy.stat("cluster.runblob_api.upstream_rq_active");
            eventually("end of the calls", || (calls() == Some(0)).then_some(()));
        });
        gate.provider.reply(confirms(&stranger()));
        gate.accepts(H2, &stranger());
        asked(&gate, "confirmed", 1.0);
    });
}

#[test]
fn one_more_than_the_worker_holds_hears_so_at_once() {
    on_every_envoy(|envoy| {
        let gate = gate(envoy, &json!({"confirm": {"per_minute": 6000, "timeout": "4s"}}));
        gate.provider.reply(Reply::Hang);
        thread::scope(|scope| {
            let held: Vec<_> = (0..MOST_IN_FLIGHT)
                .map(|number| {
                    let connect = gate.tls(Protocol::BOTH[number % 2]);
                    scope.spawn(move || connect.open().send(&stranger_of(number)))
                })
                .collect();
            eventually("questions", || (gate.provider.heads() == MOST_IN_FLIGHT).then_some(()));
            let answer = gate.send(H1, &stranger());
            assert!(held.iter().all(|held| !held.is_finished()), "all of the others still wait");
            answer.assert_refused(503, "confirm-unavailable");
            // What is proven without asking waits for nobody.
            gate.accepts(H2, &with_token(TestDelivery::completed(), &good()));
            assert!(held.iter().all(|held| !held.is_finished()), "all of the others still wait");
            for held in held {
                held.join().unwrap().assert_refused(503, "confirm-unavailable");
            }
        });
        assert_eq!(gate.provider.heads(), MOST_IN_FLIGHT);
        asked(&gate, "in-flight", 1.0);
        asked(&gate, "no-answer", 16.0);
        gate.provider.reply(confirms(&stranger()));
        gate.accepts(H1, &stranger());
    });
}

#[test]
fn the_budget_is_one_for_all_workers() {
    const STRANGERS: usize = 30;
    on_every_envoy(|envoy| {
        let gate = gate_of_two(envoy, &json!({"confirm": {"per_minute": 3, "timeout": "3s"}}));
        gate.provider.reply(Reply::After(Duration::from_millis(200), Box::new(confirms(&stranger()))));
        let answers: Vec<_> = thread::scope(|scope| {
            // Connected first, so that their deliveries come at once.
            let clients: Vec<_> =
                (0..STRANGERS).map(|number| gate.tls(Protocol::BOTH[number % 2]).open()).collect();
            let sending = clients.into_iter().map(|mut client| scope.spawn(move || client.send(&stranger())));
            let sending: Vec<_> = sending.collect();
            sending.into_iter().map(|sent| sent.join().unwrap()).collect()
        });
        let workers = gate.envoy.stats(r"^listener\..*\.worker_.\.downstream_cx_total$");
        let busy = workers.iter().filter(|(name, count)| !name.contains("admin") && **count > 0).count();
        assert_eq!(busy, 2, "both workers had some: {workers:?}");
        let (accepted, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
        assert_eq!((accepted.len(), refused.len()), (3, STRANGERS - 3));
        refused.iter().for_each(|answer| answer.assert_refused(503, "confirm-unavailable"));
        asked(&gate, "confirmed", 3.0);
        asked(&gate, "budget", 27.0);
        // A token of ours needs no call, whatever strangers have spent.
        for protocol in Protocol::BOTH {
            gate.accepts(protocol, &with_token(TestDelivery::completed(), &good()));
        }
        assert_eq!(gate.provider.heads(), 3, "calls that arrived");
    });
}

#[test]
fn who_is_off_the_list_spends_half_of_the_budget_at_most() {
    on_every_envoy(|envoy| {
        let gate = gate(envoy, &json!({"confirm": {"per_minute": 4}, "hook": {"source": ["127.0.0.1"]}}));
        gate.provider.reply(confirms(&stranger()));
        let elsewhere = |protocol| gate.tls(protocol).from([127, 0, 0, 2].into()).open().send(&stranger());
        for protocol in Protocol::BOTH {
            // Confirmed, and kept for the address.
            assert_eq!(elsewhere(protocol).status, 200);
        }
        for protocol in Protocol::BOTH {
            elsewhere(protocol).assert_refused(503, "confirm-unavailable");
        }
        assert_eq!((gate.provider.heads(), gate.quarantine.take().len()), (2, 2));
        for protocol in Protocol::BOTH {
            gate.accepts(protocol, &stranger());
        }
        gate.refuses(H1, &stranger(), 503, "confirm-unavailable");
        assert_eq!(gate.provider.heads(), 4, "calls that arrived");
    });
}

#[test]
fn a_negative_answer_is_remembered() {
    on_every_envoy(|envoy| {
        let gate = gate(envoy, &json!({}));
        let forged = |number: usize, url: &str| {
            let mut payload: serde_json::Value = serde_json::from_slice(&stranger_of(number).body()).unwrap();
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
        // Another claim may be the true one.
        refused_after(&forged(1, other), 2);
        refused_after(&forged(1, other), 2);
        // Of a generation that there is not, no claim is.
        gate.provider.reply(knows_nothing());
        refused_after(&forged(2, one), 3);
        refused_after(&forged(2, one), 3);
        refused_after(&forged(2, other), 3);
        refused_after(&forged(3, one), 4);
        asked(&gate, "remembered", 4.0);
        asked(&gate, "contradicted", 2.0);
        asked(&gate, "unknown", 2.0);
        // The true claim is still believed.
        gate.provider.reply(confirms(&stranger_of(1)));
        gate.accepts(H1, &stranger_of(1));
    });
}
