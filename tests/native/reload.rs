//! New configurations under load, an unloaded gate, and the state that outlives both.

use crate::support::bootstrap::each_value;
use crate::support::client::Protocol;
use crate::support::{
    Bootstrap, GateModule, H1, H2, Options, Reply, TestDelivery, TestGate, eventually, metrics,
};
use crate::{TOKEN_HOOK, confirms, named, native_with, on_every_envoy, tokenless};
use blobgate::contract::header;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

const RELOADS: u32 = 100;
const WORKERS: u32 = 4;

fn by_file() -> Options {
    Options { listeners_by_file: true, concurrency: WORKERS, drain_seconds: 1 }
}

fn replace(gate: &TestGate, configuration: &Value, change: impl FnOnce(Bootstrap) -> Bootstrap) {
    let bootstrap = TestGate::bootstrap(&gate.video, &gate.failure).with(GateModule::Native);
    gate.envoy.replace_listeners(&change(bootstrap.gate(configuration)));
}

/// Waits until Envoy has taken this number of updates, and has ended the old listeners.
#[track_caller]
fn wait_for_updates(gate: &TestGate, updates: u64) {
    let stat = |name: &str| gate.envoy.stat(&format!("listener_manager.{name}"));
    eventually("update", || (stat("lds.update_success") == Some(updates)).then_some(()));
}

#[track_caller]
fn wait_for_drain(gate: &TestGate) {
    let draining = || gate.envoy.stats("^listener_manager.total_(listeners|filter_chains)_draining$");
    eventually("end of old listeners", || (draining().values().sum::<u64>() == 0).then_some(()));
}

/// Sends deliveries of each kind until `ended`, each over a new connection. Returns their number.
fn send_until(gate: &TestGate, protocol: Protocol, ended: &AtomicBool) -> usize {
    let mut sent = 0;
    while !ended.load(Ordering::Relaxed) {
        let delivery = match sent % 4 {
            0 => TestDelivery::completed(),
            1 => TestDelivery::failed().pieces_of(100).undeclared(),
            2 => tokenless(),
            _ => TestDelivery::of("{"),
        };
        let answer = gate.tls(protocol).open().try_send(&delivery);
        let status = answer.as_ref().map(|answer| answer.status);
        assert_eq!(status, Ok(if sent % 4 == 3 { 400 } else { 200 }), "{answer:?} to {delivery:?}");
        sent += 1;
    }
    sent
}

#[test]
fn a_hundred_reloads_under_load_fail_no_delivery() {
    // Half of them: both halves have as many draining listeners at once, which the heap does not give back.
    const WARM_UP: u32 = RELOADS / 2;
    const MAX_GROWTH: u64 = 8 << 20;
    on_every_envoy(|version| {
        let confirm = json!({"confirm": {"per_minute": 6000}});
        // Longer than any delivery: at its end Envoy cuts the deliveries of an old listener.
        let options = Options { drain_seconds: 10, ..by_file() };
        let gate = native_with(version, options, |shipped| shipped.gate(&named("r0", &confirm)));
        gate.provider.reply(confirms(&tokenless()));
        let (ended, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
        let mut warm = 0;
        thread::scope(|scope| {
            for protocol in [H1, H2, H1] {
                let (gate, ended, sent) = (&gate, &ended, &sent);
                scope.spawn(move || sent.fetch_add(send_until(gate, protocol, ended), Ordering::Relaxed));
            }
            // The senders end if this thread panics.
            let end = EndOnDrop(&ended);
            for number in 1..=RELOADS {
                replace(&gate, &named(&format!("r{number}"), &confirm), |next| next);
                wait_for_updates(&gate, u64::from(number) + 1);
                if number == WARM_UP {
                    wait_for_drain(&gate);
                    warm = gate.envoy.resident_bytes();
                }
            }
            drop(end);
        });
        let sent = sent.into_inner();
        assert!(sent > 500, "the control: {sent} deliveries");
        gate.forget();
        let last = gate.accepts(H1, &TestDelivery::completed()).header(header::HOOK);
        assert_eq!(last, Some(format!("r{RELOADS}")));
        wait_for_drain(&gate);
        let grown = gate.envoy.resident_bytes().saturating_sub(warm);
        assert!(grown < MAX_GROWTH, "{grown} bytes more after {} reloads", RELOADS - WARM_UP);
        assert_eq!(gate.envoy.crashes(), 0);
    });
}

struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn let_close(json: &mut Value) {
    each_value(json, &mut |value| {
        if let Some(stays) = value.get_mut("do_not_close") {
            *stays = json!(false);
        }
    });
}

/// Without the gate nothing passes. A control plane may also let Envoy close the library.
#[test]
fn unloads_and_loads_again() {
    on_every_envoy(|version| {
        for stays in [true, false] {
            let closing = |bootstrap: Bootstrap| if stays { bootstrap } else { bootstrap.finally(let_close) };
            let gate =
                native_with(version, by_file(), |shipped| closing(shipped.gate(&named("r0", &json!({})))));
            let library = || {
                let maps = std::fs::read_to_string(format!("/proc/{}/maps", gate.envoy.pid())).unwrap();
                maps.contains("libblobgate.so")
            };
            for number in 0..5_u64 {
                gate.forget();
                gate.accepts(Protocol::BOTH[usize::from(number % 2 == 0)], &TestDelivery::completed());
                assert!(library(), "the control");
                replace(&gate, &named("none", &json!({})), Bootstrap::without_gate);
                wait_for_updates(&gate, number * 2 + 2);
                wait_for_drain(&gate);
                let claims = TestDelivery::completed().header(header::VERDICT, "accepted");
                let answer = gate.nothing_arrives(|| gate.send(H1, &claims));
                assert_eq!((answer.status, answer.reason().as_deref()), (503, Some("not-judged")));
                assert!(library() || !stays, "do_not_close keeps the library");
                replace(&gate, &named(&format!("r{number}"), &json!({})), closing);
                wait_for_updates(&gate, number * 2 + 3);
                wait_for_drain(&gate);
            }
            gate.accepts(H2, &TestDelivery::completed());
        }
    });
}

/// A new configuration must not double the calls of a minute.
#[test]
fn the_budget_survives_reloads_on_all_workers() {
    const BUDGET: usize = 6;
    on_every_envoy(|version| {
        let confirm = json!({"confirm": {"per_minute": BUDGET}});
        let gate = native_with(version, by_file(), |shipped| shipped.gate(&named("r0", &confirm)));
        gate.provider.reply(confirms(&tokenless()));
        for update in 1..=4 {
            // One connection each, so that all workers get some.
            for number in 0..4 {
                gate.send(Protocol::BOTH[number % 2], &tokenless());
            }
            replace(&gate, &named(&format!("r{update}"), &confirm), |next| next);
            wait_for_updates(&gate, update + 1);
        }
        let refused = gate.send(H2, &tokenless());
        refused.assert_refused(503, "confirm-unavailable");
        assert_eq!(gate.provider.heads(), BUDGET, "calls of this minute");
        let outcome = |outcome: &str| {
            let labels = [("hook", "veo3-token"), ("outcome", outcome)];
            metrics::sum(&gate.envoy.prometheus(), "blobgate_confirm_total", &labels)
        };
        eventually("counters", || (outcome("confirmed") + outcome("budget") == 17.0).then_some(()));
        assert_eq!(outcome("confirmed"), 6.0, "counters survive too");
    });
}

/// A delivery that waits for its confirmation keeps its configuration.
#[test]
fn a_waiting_delivery_survives_an_unload() {
    on_every_envoy(|version| {
        // Longer than the call takes.
        let options = Options { drain_seconds: 600, ..by_file() };
        let gate = native_with(version, options, |shipped| shipped.gate(&named("r0", &json!({}))));
        let time = std::time::Duration::from_secs(2);
        gate.provider.reply(Reply::After(time, Box::new(confirms(&tokenless()))));
        for (update, protocol) in (2..).zip(Protocol::BOTH) {
            gate.forget();
            let before = gate.provider.heads();
            let mut client = gate.tls(protocol).open();
            thread::scope(|scope| {
                let waiting = scope.spawn(move || client.send(&tokenless()));
                eventually("status call", || (gate.provider.heads() > before).then_some(()));
                if protocol == H1 {
                    replace(&gate, &named("other", &json!({})), |next| next);
                } else {
                    replace(&gate, &named("none", &json!({})), Bootstrap::without_gate);
                }
                wait_for_updates(&gate, update);
                assert!(!waiting.is_finished(), "it waits during the update");
                assert_eq!(waiting.join().unwrap().status, 200);
            });
            assert_eq!(gate.take_one().path, TOKEN_HOOK);
        }
    });
}
