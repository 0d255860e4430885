//! The end of a run: the gate takes no more deliveries, the inbox finishes its attempts through Envoy, and the rest ends.

use super::part::Parts;
use super::plan::{Role, StartPlan};
use super::signals::Signals;
use reqwest::Client;
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

/// The gate answers most deliveries within milliseconds. A sender whose connection is cut repeats its delivery.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(4);
/// As help and log promise it.
const END_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// The requests at the listener `edge` that have no answer yet.
const ACTIVE: &str = "http.edge.downstream_rq_active";

/// A second signal ends all at once, and so does a part that does not end in time.
pub(super) async fn end(parts: &mut Parts, plan: &StartPlan, signals: &mut Signals) {
    tokio::select! {
        () = end_in_order(parts, plan) => return,
        _ = signals.next_end() => (),
        () = tokio::time::sleep(END_TIMEOUT) => (),
    }
    parts.kill_all().await;
}

async fn end_in_order(parts: &mut Parts, plan: &StartPlan) {
    if parts.has(Role::Gate) {
        drain(&plan.admin_socket).await;
    }
    if parts.has(Role::Inbox) {
        parts.end(Role::Inbox, plan.inbox_end).await;
    }
    parts.end_all().await;
}

/// Without an answer at the socket, the gate ends as it is.
async fn drain(admin_socket: &Path) {
    let client = Client::builder().unix_socket(admin_socket).no_proxy().timeout(ANSWER_TIMEOUT).build();
    let Ok(client) = client else { return };
    let start = Instant::now();
    // The first one has each answer close its connection. The second one closes the listeners.
    for path in ["healthcheck/fail", "drain_listeners"] {
        if client.post(format!("http://admin/{path}")).send().await.is_err() {
            return;
        }
    }
    while start.elapsed() < DRAIN_TIMEOUT && active(&client).await.is_some_and(|active| active > 0) {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

async fn active(client: &Client) -> Option<u64> {
    let url = format!("http://admin/stats?format=json&filter=^{}$", ACTIVE.replace('.', "\\."));
    let answer = client.get(url).send().await.ok()?.text().await.ok()?;
    let stats: Value = serde_json::from_str(&answer).ok()?;
    stats.pointer("/stats/0/value")?.as_u64()
}
