//! The pace of notifications, with an interval of seconds instead of an hour.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test may panic: that is how it fails"
)]

use blobgate::contract::{Kind, Verdict, header};
use blobgate_inbox::store::Place;
use blobgate_inbox::{
    NotificationPace, NotificationUrl, Notifications, Reconcile, Settings, WebhookKeys, serve,
};
use blobgate_testkit::inbox::{forwarded, fresh_generation};
use blobgate_testkit::{
    Cluster, Connector, H1, Reply, ServiceRequest, TestDelivery, Upstream, block, eventually, needs, pause,
    spawn,
};
use serde_json::{Value, json};
use std::num::NonZeroU32;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const KEY: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const PACE: NotificationPace = NotificationPace {
    every: Duration::from_secs(5),
    gather: Duration::from_millis(100),
    fault_lasts: Duration::from_millis(100),
};

/// An inbox in this process. Ends when dropped.
struct NotifyingInbox {
    receive: u16,
    admin: u16,
    ending: CancellationToken,
}

impl NotifyingInbox {
    fn start(store: &Place, receiver: &Upstream) -> Self {
        Self::with_provider(store, receiver, None)
    }

    fn with_provider(store: &Place, receiver: &Upstream, provider: Option<&Upstream>) -> Self {
        let _first = rustls::crypto::ring::default_provider().install_default();
        let url = format!("http://127.0.0.1:{}/secret", receiver.port);
        let keys = WebhookKeys::parse(&[("KEY".to_owned(), KEY.to_owned())]).unwrap();
        let mut notify = Notifications::new(NotificationUrl::parse(&url).unwrap(), keys).unwrap();
        notify.pace = PACE;
        let listen = || block(TcpListener::bind("127.0.0.1:0")).unwrap();
        let settings = Settings {
            store: store.clone(),
            receive: listen(),
            admin: listen(),
            deliver_to: "http://127.0.0.1:1".parse().unwrap(),
            sign: None,
            verify: None,
            admin_tokens: Vec::new(),
            metrics: None,
            access_log: None,
            timeout: Duration::from_secs(5),
            concurrency: 8,
            drain: NonZeroU32::MIN,
            limit: 100_000_000,
            batch: 512,
            reconcile: Reconcile {
                provider: provider
                    .map(|provider| format!("http://127.0.0.1:{}", provider.port).parse().unwrap()),
                after: Duration::from_millis(1),
                per_minute: 1_000,
                again: Duration::from_millis(1),
            },
            docs: "https://docs.example".to_owned(),
            notify: Some(notify),
        };
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        let (receive, admin) = (port(&settings.receive), port(&settings.admin));
        let ending = CancellationToken::new();
        spawn({
            let ending = ending.clone();
            async move { serve(settings, ending, || ()).await.unwrap() }
        });
        let probe = TestDelivery::without_body().method("GET").path("/readyz").header("host", "127.0.0.1");
        let ready = || Connector::plaintext(admin, H1).open().send(&probe).status == 200;
        eventually("a ready inbox", || ready().then_some(()));
        Self { receive, admin, ending }
    }

    fn quarantine(&self) {
        let delivery = forwarded(&fresh_generation())
            .without_header(header::EVENT)
            .without_header(header::PROOFS)
            .without_header(header::VERDICT)
            .header(header::VERDICT, Verdict::Quarantined.name())
            .header(header::REASON, "token-expired")
            .header(header::CLAIMED_EVENT, Kind::Completed.name());
        let answer = Connector::plaintext(self.receive, H1).open().send(&delivery);
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

impl Drop for NotifyingInbox {
    fn drop(&mut self) {
        self.ending.cancel();
    }
}

fn sqlite() -> (TempDir, Place) {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::Sqlite(directory.path().join("inbox.db"));
    block(place.migrate()).unwrap();
    (directory, place)
}

fn body(call: &ServiceRequest) -> Value {
    serde_json::from_slice(&call.body).unwrap()
}

fn counts(calls: &[ServiceRequest]) -> Vec<u64> {
    calls.iter().map(|call| body(call)["data"]["count"].as_u64().unwrap()).collect()
}

/// Waits until the counts add up, and returns the calls.
#[track_caller]
fn calls_of(receiver: &Upstream, incidents: u64) -> Vec<ServiceRequest> {
    eventually("all incidents", || {
        Some(receiver.arrivals()).filter(|calls| counts(calls).iter().sum::<u64>() == incidents)
    })
}

/// No two calls of a kind are closer than the interval.
#[track_caller]
fn are_apart(calls: &[ServiceRequest]) {
    for pair in calls.windows(2) {
        // The inbox measures from the answer, and this test from the request before it.
        assert!(pair[1].at - pair[0].at >= PACE.every, "{:?}", pair[1].at - pair[0].at);
    }
}

#[test]
fn sums_the_incidents_of_an_interval() {
    let receiver = Upstream::start();
    let (_directory, store) = sqlite();
    let inbox = NotifyingInbox::start(&store, &receiver);
    inbox.quarantine();
    assert_eq!(counts(&calls_of(&receiver, 1)), [1]);
    for _ in 0..5 {
        inbox.quarantine();
    }
    let calls = calls_of(&receiver, 6);
    assert_eq!(counts(&calls), [1, 5]);
    are_apart(&calls);
    // Nothing new, no call.
    pause(PACE.every + Duration::from_secs(2));
    assert_eq!(receiver.arrivals().len(), 2);
    inbox.quarantine();
    are_apart(&calls_of(&receiver, 7));
}

/// A generation that the provider does not know.
#[test]
fn notifies_of_an_unknown_generation() {
    let (receiver, provider) = (Upstream::start(), Upstream::start());
    provider.reply(Reply::status(404).body(r#"{"detail":"TASK_NOT_FOUND"}"#));
    let (_directory, store) = sqlite();
    let inbox = NotifyingInbox::with_provider(&store, &receiver, Some(&provider));
    inbox.quarantine();
    let expectation = json!({"hook": "veo3", "generation_id": fresh_generation(), "job": "order-17"});
    let request = TestDelivery::json(&expectation).path("/expect").header("host", "127.0.0.1");
    assert_eq!(Connector::plaintext(inbox.admin, H1).open().send(&request).status, 200);
    eventually("an unknown generation", || {
        let bodies = receiver.arrivals().into_iter().map(|call| body(&call));
        let mut overdue = bodies.filter(|body| body["type"] == "blobgate.overdue");
        overdue.find(|body| body["data"]["reasons"]["unknown"] == 1).map(|_| ())
    });
}

/// A load balancer sends no delivery to an inbox that is not ready, so that nothing is refused.
#[test]
fn notifies_of_a_fault_that_refuses_nothing_and_again_while_it_stands() {
    let receiver = Upstream::start();
    let (directory, store) = sqlite();
    let _inbox = NotifyingInbox::start(&store, &receiver);
    pause(Duration::from_secs(1));
    assert_eq!(receiver.arrivals().len(), 0);
    std::fs::rename(directory.path().join("inbox.db"), directory.path().join("moved.db")).unwrap();
    let calls = eventually("two calls", || Some(receiver.arrivals()).filter(|calls| calls.len() == 2));
    are_apart(&calls);
    for call in &calls {
        let body = body(call);
        assert_eq!(
            (&body["type"], &body["data"]["count"]),
            (&"blobgate.refused".into(), &0.into()),
            "{body}"
        );
        assert_eq!(body["data"]["reasons"], json!({"store-replaced": 0}));
    }
    assert_eq!(body(&calls[0])["data"]["since"], body(&calls[1])["data"]["since"]);
}

/// Two inboxes take turns: each incident is in one call, and no two calls are in one interval.
#[needs(Postgres)]
#[test]
fn inboxes_on_one_store_share_the_interval() {
    let receiver = Upstream::start();
    let cluster = Cluster::shared();
    let store: Place = cluster.database().parse().unwrap();
    block(store.migrate()).unwrap();
    let inboxes = [NotifyingInbox::start(&store, &receiver), NotifyingInbox::start(&store, &receiver)];
    for inbox in &inboxes {
        inbox.quarantine();
        inbox.quarantine();
    }
    let calls = calls_of(&receiver, 4);
    assert_eq!(counts(&calls), [2, 2]);
    are_apart(&calls);
}
