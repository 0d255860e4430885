//! An inbox between the stand-in for the gate and the receivers: it delivers a moment later, and tells what it has.

use super::{Does, Service, StandIn};
use axum::body::Bytes;
use axum::extract::Query;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What it does with what the gate hands over.
#[derive(Clone, Copy)]
pub(super) enum Inbox {
    /// Delivers what is accepted once, and keeps the rest.
    Right,
    DeliversTwice,
    DeliversAtOnce,
    /// Says that it has delivered.
    Loses,
    /// Whatever the gate has said.
    Keeps(&'static str),
    /// What it keeps it has seen again.
    SeesTwice,
    Drops,
}

/// Long enough that a demo which does not wait finds nothing.
const LATE: Duration = Duration::from_millis(300);

#[derive(Clone)]
pub(super) struct Entries(Arc<Mutex<Vec<Value>>>);

impl Default for Entries {
    /// With one that was there before.
    fn default() -> Self {
        let old = entry(1, "kept", None, Some("token-expired"), b"");
        Self(Arc::new(Mutex::new(vec![old])))
    }
}

fn entry(id: usize, state: &str, generation: Option<&str>, reason: Option<&str>, body: &[u8]) -> Value {
    let digest = ring::digest::digest(&ring::digest::SHA256, body);
    let digest = digest.as_ref().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    });
    json!({"id": id, "state": state, "generation": generation, "reason": reason, "seen": 1, "digest": digest})
}

impl Entries {
    fn add(&self, state: &str, generation: Option<&str>, reason: Option<&str>, body: &[u8]) -> usize {
        let mut entries = self.0.lock().unwrap();
        let index = entries.len();
        entries.push(entry(index + 1, state, generation, reason, body));
        index
    }

    fn set(&self, index: usize, name: &str, value: impl Into<Value>) {
        self.0.lock().unwrap()[index][name] = value.into();
    }

    /// Its admin listener.
    pub(super) async fn listen(&self) -> SocketAddr {
        let entries = self.clone();
        let list = async move |Query(asked): Query<HashMap<String, usize>>| entries.page(&asked);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            axum::serve(listener, Router::new().route("/entries", get(list))).await.unwrap();
        });
        address
    }

    /// The newest first, and never more than three, so that there are pages.
    fn page(&self, asked: &HashMap<String, usize>) -> Json<Value> {
        let entries = self.0.lock().unwrap();
        let before = asked.get("before").map_or(entries.len(), |before| before - 1);
        let limit = asked["limit"].min(3);
        let page: Vec<_> = entries[..before].iter().rev().take(limit).cloned().collect();
        let next = (before > limit).then(|| page[limit - 1]["id"].clone());
        Json(json!({"entries": page, "next": next}))
    }
}

impl StandIn {
    pub(super) fn hand_to_inbox(self: &Arc<Self>, entries: &Entries, body: Bytes, does: Does) {
        let Some((service, event)) = does.over else { return };
        let payload: Value = serde_json::from_slice(&body).unwrap_or_default();
        let generation = payload["generation_id"].as_str();
        let reason = match (service, does.inbox) {
            (_, Inbox::Keeps(reason)) => reason,
            (Service::Quarantine, _) => event,
            (Service::Video | Service::Failure, _) => {
                let index = entries.add("waiting", generation, None, &body);
                let (stand_in, entries) = (Arc::clone(self), entries.clone());
                tokio::spawn(async move { stand_in.deliver_late(&entries, index, body, does).await });
                return;
            }
        };
        let index = entries.add("kept", generation, Some(reason), &body);
        match does.inbox {
            Inbox::SeesTwice => entries.set(index, "seen", 2),
            Inbox::Drops => entries.set(index, "state", "dropped"),
            _ => {}
        }
    }

    async fn deliver_late(&self, entries: &Entries, index: usize, body: Bytes, does: Does) {
        if !matches!(does.inbox, Inbox::DeliversAtOnce) {
            tokio::time::sleep(LATE).await;
        }
        let times = match does.inbox {
            Inbox::Loses => 0,
            Inbox::DeliversTwice => 2,
            _ => 1,
        };
        for _ in 0..times {
            self.hand_over(&[("blobgate-attempt", "1")], body.clone(), does).await;
        }
        entries.set(index, "state", "delivered");
    }
}
