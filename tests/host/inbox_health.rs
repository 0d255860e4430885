//! Envoy's health check of the inbox: it shows a fault, and decides on no delivery.

use crate::support::bootstrap::HEALTH_LOG;
use crate::support::{
    EnvoyProcess, H1, H2, Reply, TestDelivery, TestGate, Upstream, eventually, on_every_envoy,
};
use serde_json::Value;
use std::thread;

/// Waits until this number of inboxes is healthy.
#[track_caller]
fn healthy(envoy: &EnvoyProcess, expected: u64) {
    let now = || envoy.stat("cluster.inbox.membership_healthy");
    eventually("health of the inbox", || (now() == Some(expected)).then_some(()));
}

/// Waits for this event in the log of the health check, and returns its line.
#[track_caller]
fn event(envoy: &EnvoyProcess, kind: &str) -> Value {
    let lines = || std::fs::read_to_string(envoy.folder().join(HEALTH_LOG)).unwrap_or_default();
    let parsed = |text: String| -> Vec<Value> {
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    eventually(kind, || {
        let events = parsed(lines());
        events.into_iter().find(|event| event.get(kind).is_some())
    })
}

#[test]
fn an_unhealthy_inbox_gets_events_and_leaves_a_trace() {
    on_every_envoy(|envoy| {
        let (mut inbox, mut admin) = (Upstream::start(), Upstream::start());
        // Not ready, while it stores events.
        admin.reply(Reply::status(503).body("ending: the inbox finishes its attempts\n"));
        let gate = TestGate::with(envoy, |shipped| shipped.inbox(inbox.port).inbox_admin(admin.port));
        healthy(&gate.envoy, 0);
        let line = event(&gate.envoy, "health_check_failure_event");
        assert_eq!((&line["cluster_name"], &line["health_checker_type"]), (&"inbox".into(), &"HTTP".into()));
        let checked = eventually("health check", || admin.arrivals().into_iter().next());
        assert_eq!((&*checked.method, &*checked.path), ("GET", "/readyz"));
        for _ in 0..20 {
            for protocol in [H1, H2] {
                assert_eq!(gate.send(protocol, &TestDelivery::completed()).status, 200);
                inbox.take_one();
            }
        }
        admin.reply(Reply::status(200));
        healthy(&gate.envoy, 1);
        event(&gate.envoy, "add_healthy_event");
        // Away. Envoy retries, so that a delivery of these seconds reaches the inbox that comes back.
        inbox.stop();
        admin.stop();
        healthy(&gate.envoy, 0);
        event(&gate.envoy, "eject_unhealthy_event");
        thread::scope(|scope| {
            let failed = || gate.envoy.stat("cluster.inbox.upstream_cx_connect_fail").unwrap_or_default();
            let before = failed();
            let waiting = scope.spawn(|| gate.send(H2, &TestDelivery::completed()).status);
            eventually("a failed connection", || (failed() > before).then_some(()));
            // Still unhealthy for Envoy: the admin listener is away.
            inbox.on();
            assert_eq!(waiting.join().unwrap(), 200);
            inbox.take_one();
        });
        assert_eq!(gate.send(H1, &TestDelivery::completed()).status, 200);
        inbox.take_one();
        assert_eq!(gate.envoy.stat("cluster.inbox.membership_healthy"), Some(0));
        admin.on();
        healthy(&gate.envoy, 1);
    });
}
