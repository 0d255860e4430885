//! A scripted inbox between the scripted gate and the receivers. It delivers after a delay, and lists its entries.

use super::{GateBehaviour, GateStandIn, ServiceName, UNCALLED, authenticates, generation};
use axum::body::Bytes;
use axum::extract::{Path, Query};
use axum::routing::{get, post};
use axum::{Json, Router};
use blobgate::contract::{EventSource, header};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;

/// The behaviour for a forwarded delivery.
#[derive(Clone, Copy)]
pub(super) enum InboxBehaviour {
    /// Delivers an accepted event once, and quarantines the others.
    Right,
    DeliversTwice,
    DeliversAtOnce,
    /// Marks an entry as delivered without a delivery.
    Loses,
    /// Quarantines accepted events too.
    Quarantines(&'static str),
    /// Counts two deliveries of a quarantined entry.
    SeesTwice,
    Drops,
}

/// A demo that does not wait finds no entry.
const DELAY: Duration = Duration::from_millis(300);

/// The behaviour for the generation without a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReconcileBehaviour {
    /// Reconciles it after a delay, and delivers it once.
    Right,
    /// The gate delivers without the inbox.
    NotInPath,
    /// It has no provider.
    NoProvider,
    AfterMinutes,
    /// The provider answers this.
    Gets(&'static str),
    /// It delivers without blobgate-source.
    AsAWebhook,
    DeliversTwice,
    /// It loses the expectation once the event is there.
    Forgets,
}

#[derive(Clone)]
pub(super) struct InboxStandIn {
    entries: Arc<Mutex<Vec<Value>>>,
    reconciles: ReconcileBehaviour,
    /// All requests to POST /expect.
    announced: Arc<Mutex<Vec<Value>>>,
}

impl Default for InboxStandIn {
    fn default() -> Self {
        Self::with(ReconcileBehaviour::Right)
    }
}

fn entry(id: usize, state: &str, generation: Option<&str>, reason: Option<&str>, body: &[u8]) -> Value {
    let digest = ring::digest::digest(&ring::digest::SHA256, body);
    let digest = hex::encode(digest);
    json!({
        "id": id, "state": state, "generation": generation, "reason": reason, "seen": 1, "digest": digest,
        "lane": "deliver", "hook": "veo3-token", "authenticated": true, "size": body.len(), "redelivery": 0, "attempts": 0,
        "received_at": "2026-02-01T12:00:00.5Z", "seen_at": "2026-02-01T12:00:00.5Z", "due_at": "2026-02-01T12:00:00.5Z",
    })
}

impl InboxStandIn {
    /// It has an entry from before the demo.
    pub(super) fn with(reconciles: ReconcileBehaviour) -> Self {
        let old = entry(1, "quarantined", None, Some("token-expired"), b"");
        Self { entries: Arc::new(Mutex::new(vec![old])), reconciles, announced: Arc::default() }
    }

    pub(super) fn is_in_path(&self) -> bool {
        self.reconciles != ReconcileBehaviour::NotInPath
    }

    /// The first announcement of each generation.
    pub(super) fn announced(&self) -> Vec<Value> {
        let mut told = self.announced.lock().unwrap().clone();
        let mut known = HashSet::new();
        told.retain(|what| known.insert(what["generation_id"].clone()));
        told
    }

    fn add(&self, state: &str, generation: Option<&str>, reason: Option<&str>, body: &[u8]) -> usize {
        let mut entries = self.entries.lock().unwrap();
        let index = entries.len();
        entries.push(entry(index + 1, state, generation, reason, body));
        index
    }

    fn set(&self, index: usize, name: &str, value: impl Into<Value>) {
        self.entries.lock().unwrap()[index][name] = value.into();
    }

    /// `POST /reconcile` as a dry run.
    fn preview(&self) -> Value {
        let per_minute = (self.reconciles != ReconcileBehaviour::NoProvider).then_some(10);
        json!({"questions": [], "more": false, "per_minute": per_minute})
    }

    /// The status of an expectation.
    fn status(&self, told: &Value) -> Value {
        let has_event =
            self.entries.lock().unwrap().iter().any(|entry| entry["generation"] == told["generation_id"]);
        let state = match has_event {
            true if told["generation_id"] == UNCALLED => "reconciled",
            true => "arrived",
            false => "expected",
        };
        let asked = match self.reconciles {
            ReconcileBehaviour::Gets(answer) if !has_event => Some(answer),
            _ => None,
        };
        let next_call_at =
            if self.reconciles == ReconcileBehaviour::AfterMinutes { "12:13:00.5Z" } else { "12:00:01.5Z" };
        json!({
            "hook": told["hook"], "generation_id": told["generation_id"], "released": [], "reconciles": true,
            "job": told["job"], "state": state, "calls": i32::from(asked.is_some()), "answer": asked,
            "expected_at": "2026-02-01T12:00:00.5Z", "next_call_at": format!("2026-02-01T{next_call_at}"),
        })
    }

    /// `GET /entries/{id}`.
    fn detail(&self, id: usize) -> Value {
        let mut entry = self.entries.lock().unwrap()[id - 1].clone();
        let told = self.announced().into_iter().find(|told| told["generation_id"] == entry["generation"]);
        let told = told.filter(|_| self.reconciles != ReconcileBehaviour::Forgets);
        entry["expectation"] = told.map_or(Value::Null, |told| self.status(&told));
        entry
    }

    /// The newest first, at most three a page.
    fn page(&self, asked: &HashMap<String, usize>) -> Json<Value> {
        let entries = self.entries.lock().unwrap();
        let before = asked.get("before").map_or(entries.len(), |before| before - 1);
        let limit = asked["limit"].min(3);
        let page: Vec<_> = entries[..before].iter().rev().take(limit).cloned().collect();
        let next = (before > limit).then(|| page[limit - 1]["id"].clone());
        Json(json!({"entries": page, "next": next}))
    }
}

impl GateStandIn {
    /// Its admin listener.
    pub(super) fn listen_as_inbox(self: &Arc<Self>, listener: TcpListener) {
        let entries = self.inbox.clone().unwrap();
        let (list, details, preview) = (entries.clone(), entries.clone(), entries.clone());
        let stand_in = Arc::clone(self);
        let routes = Router::new()
            .route(
                "/entries",
                get(async move |Query(asked): Query<HashMap<String, usize>>| list.page(&asked)),
            )
            .route("/entries/{id}", get(async move |Path(id): Path<usize>| Json(details.detail(id))))
            .route(
                "/reconcile",
                post(async move |Json(asked): Json<Value>| {
                    assert_eq!(asked, json!({"dry_run": true}));
                    Json(preview.preview())
                }),
            )
            .route("/expect", post(async move |Json(told): Json<Value>| stand_in.expect(&entries, told)));
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    }

    /// `POST /expect`. The first one of the generation without a callback starts its reconciliation.
    fn expect(self: &Arc<Self>, entries: &InboxStandIn, told: Value) -> Json<Value> {
        let is_first =
            !entries.announced().iter().any(|before| before["generation_id"] == told["generation_id"]);
        entries.announced.lock().unwrap().push(told.clone());
        let asks =
            !matches!(entries.reconciles, ReconcileBehaviour::AfterMinutes | ReconcileBehaviour::Gets(_));
        if is_first && told["generation_id"] == UNCALLED && asks {
            let (stand_in, entries, told) = (Arc::clone(self), entries.clone(), told.clone());
            tokio::spawn(async move { stand_in.reconcile(&entries, &told).await });
        }
        Json(entries.status(&told))
    }

    async fn reconcile(&self, entries: &InboxStandIn, told: &Value) {
        tokio::time::sleep(DELAY).await;
        let body = Bytes::from(generation(UNCALLED));
        let index = entries.add("waiting", Some(UNCALLED), None, &body);
        let (attempt, source) = ((header::ATTEMPT, "1"), (header::SOURCE, EventSource::Reconcile.name()));
        let (headers, times) = match entries.reconciles {
            ReconcileBehaviour::AsAWebhook => (vec![attempt], 1),
            ReconcileBehaviour::DeliversTwice => (vec![attempt, source], 2),
            _ => (vec![attempt, source], 1),
        };
        for _ in 0..times {
            self.deliver(&headers, told["job"].as_str(), body.clone(), authenticates("confirmed")).await;
        }
        entries.set(index, "state", "delivered");
    }

    pub(super) fn forward_to_inbox(
        self: &Arc<Self>,
        entries: &InboxStandIn,
        job: Option<&str>,
        body: Bytes,
        does: GateBehaviour,
    ) {
        let Some((service, event)) = does.over else { return };
        let payload: Value = serde_json::from_slice(&body).unwrap_or_default();
        let generation = payload["generation_id"].as_str();
        let reason = match (service, does.inbox) {
            (_, InboxBehaviour::Quarantines(reason)) => reason,
            (ServiceName::Quarantine, _) => event,
            (ServiceName::Video | ServiceName::Failure, _) => {
                let index = entries.add("waiting", generation, None, &body);
                let (stand_in, entries) = (Arc::clone(self), entries.clone());
                let job = job.map(str::to_owned);
                tokio::spawn(async move { stand_in.deliver_late(&entries, index, job, body, does).await });
                return;
            }
        };
        let index = entries.add("quarantined", generation, Some(reason), &body);
        match does.inbox {
            InboxBehaviour::SeesTwice => entries.set(index, "seen", 2),
            InboxBehaviour::Drops => entries.set(index, "state", "dropped"),
            _ => {}
        }
    }

    async fn deliver_late(
        &self,
        entries: &InboxStandIn,
        index: usize,
        job: Option<String>,
        body: Bytes,
        does: GateBehaviour,
    ) {
        if !matches!(does.inbox, InboxBehaviour::DeliversAtOnce) {
            tokio::time::sleep(DELAY).await;
        }
        let times = match does.inbox {
            InboxBehaviour::Loses => 0,
            InboxBehaviour::DeliversTwice => 2,
            _ => 1,
        };
        for _ in 0..times {
            self.deliver(&[(header::ATTEMPT, "1")], job.as_deref(), body.clone(), does).await;
        }
        entries.set(index, "state", "delivered");
    }
}
