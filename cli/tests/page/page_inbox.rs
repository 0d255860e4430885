//! An inbox with entries in each state, and its page.

use crate::PROGRAM;
use crate::browser::Browser;
use blobgate::contract::{Kind, Verdict, header};
use blobgate_testkit::inbox::{forwarded, fresh_generation};
use blobgate_testkit::{
    Connector, H1, InboxProcess, MAX_WAIT, Reply, SqliteFile, TestDelivery, Upstream, eventually, pause, sql,
};
use serde_json::{Value, json};
use std::process::Command;
use std::time::{Duration, Instant};

/// Tokens of [`PageInbox::with_tokens`].
pub(crate) const READER: &str = "a-reader's-token-of-a-test";
pub(crate) const OPERATOR: &str = "an-operator's-token-of-a-test";

/// A running inbox with a service.
pub(crate) struct PageInbox {
    pub(crate) inbox: InboxProcess,
    pub(crate) service: Upstream,
    pub(crate) store: SqliteFile,
    /// For the API, with sign-in.
    token: Option<&'static str>,
}

impl PageInbox {
    #[track_caller]
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    #[track_caller]
    pub(crate) fn with(options: &[&str]) -> Self {
        let store = SqliteFile::migrated(PROGRAM);
        let service = Upstream::start();
        let inbox = InboxProcess::start(PROGRAM, &store.url, service.port, options).ready();
        Self { inbox, service, store, token: None }
    }

    /// With sign-in.
    #[track_caller]
    pub(crate) fn with_tokens() -> Self {
        let store = SqliteFile::migrated(PROGRAM);
        let service = Upstream::start();
        let mut command = Command::new(PROGRAM);
        command.env("READER", READER).env("OPERATOR", OPERATOR);
        let options = ["--admin-token", "reader:read:READER", "--admin-token", "operator:operate:OPERATOR"];
        let inbox = InboxProcess::spawn(command, PROGRAM, &store.url, service.port, &options).ready();
        Self { inbox, service, store, token: Some(OPERATOR) }
    }

    /// Signs in by the form.
    #[track_caller]
    pub(crate) fn sign_in(&self, browser: &Browser, token: &str) {
        browser.open_page(&self.at("/page/sign-in"));
        browser.fill("#token", token);
        browser.press("Sign in");
        browser.shows("Overview");
    }

    /// Calls the API.
    #[track_caller]
    fn api(&self, path: &str) -> Value {
        let request = TestDelivery::without_body().method("GET").path(path).header("host", "127.0.0.1");
        let request = match self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        };
        Connector::plaintext(self.inbox.admin, H1).open().send(&request).json()
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://127.0.0.1:{}", self.inbox.admin)
    }

    /// The URL of a path.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.origin())
    }

    /// Stores a delivery. Returns the id of its entry.
    #[track_caller]
    pub(crate) fn store(&self, delivery: &TestDelivery) -> i64 {
        let answer = self.inbox.receive(delivery).unwrap();
        assert_eq!((answer.status, answer.header(header::INBOX_REASON)), (200, None));
        self.api("/entries?limit=1")["entries"][0]["id"].as_i64().unwrap()
    }

    /// An entry that its service has.
    #[track_caller]
    pub(crate) fn delivered(&self) -> i64 {
        let id = self.store(&forwarded(&fresh_generation()));
        self.wait_for(id, "delivered");
        id
    }

    /// An entry, delivered or not.
    #[track_caller]
    pub(crate) fn store_event(&self) -> i64 {
        self.store(&forwarded(&fresh_generation()))
    }

    #[track_caller]
    pub(crate) fn quarantined(&self) -> i64 {
        self.quarantined_for("token-expired")
    }

    #[track_caller]
    pub(crate) fn quarantined_for(&self, reason: &str) -> i64 {
        self.store(&quarantined(&fresh_generation(), reason, None))
    }

    /// A quarantined entry that claims no event.
    #[track_caller]
    pub(crate) fn unreadable(&self) -> i64 {
        let generation = fresh_generation();
        let body = json!({"generation_id": generation, "status": "succeeded", "prompt": "A cat",
            "video_url": format!("https://cdn.runblob.io/{generation}.mp4")});
        let delivery = copy_headers(&quarantined(&generation, "schema-invalid", None), body.to_string());
        let delivery = delivery.without_header(header::CLAIMED_EVENT);
        self.store(&delivery.header(header::DETAIL, "status: is another text, expected completed or failed"))
    }

    /// An entry whose service is down. Its next attempt is in an hour.
    #[track_caller]
    pub(crate) fn waiting(&self) -> i64 {
        self.service.reply(Reply::status(503));
        let id = self.store(&forwarded(&fresh_generation()));
        let at = format!("SELECT count(*) FROM entry WHERE id = {id} AND state = 'waiting' AND attempts > 0");
        eventually("a failed attempt", || (sql(&self.store.url, &at) == "1").then_some(()));
        // Only a person's retry is in time.
        sql(&self.store.url, &format!("UPDATE entry SET due_at = due_at + 3600000000 WHERE id = {id}"));
        id
    }

    /// An entry whose attempts failed for 72 hours.
    #[track_caller]
    pub(crate) fn dead(&self) -> i64 {
        self.delivered(); // the route works, so a failing event dies
        let poison = fresh_generation();
        let name = poison.clone();
        self.service.reply_by(move |call| {
            String::from_utf8_lossy(&call.body).contains(&name).then(|| Reply::status(500))
        });
        let id = self.store(&forwarded(&poison));
        let tried =
            format!("SELECT count(*) FROM entry WHERE id = {id} AND state = 'waiting' AND attempts > 0");
        eventually("an attempt", || (sql(&self.store.url, &tried) == "1").then_some(()));
        let worn_out =
            format!("UPDATE entry SET tried = 300000000000, attempts = attempts + 10 WHERE id = {id}");
        sql(&self.store.url, &worn_out);
        eventually("a dead entry", || {
            self.delivered();
            sql(
                &self.store.url,
                &format!("UPDATE entry SET due_at = 0 WHERE id = {id} AND state = 'waiting'"),
            );
            (self.state(id) == "dead").then_some(())
        });
        id
    }

    /// The event that a quarantined entry became.
    #[track_caller]
    pub(crate) fn successor(&self, id: i64) -> i64 {
        self.wait_for(id, "superseded");
        self.api(&format!("/entries/{id}"))["superseded_by"].as_i64().expect("the entry that replaced it")
    }

    #[track_caller]
    pub(crate) fn state(&self, id: i64) -> String {
        let entry = self.api(&format!("/entries/{id}"));
        entry["state"].as_str().unwrap_or_else(|| panic!("{entry}")).to_owned()
    }

    #[track_caller]
    pub(crate) fn wait_for(&self, id: i64, state: &str) {
        let entry = || self.api(&format!("/entries/{id}"));
        let end = Instant::now() + MAX_WAIT;
        while entry()["state"] != state {
            assert!(Instant::now() < end, "not {state}: {}", entry());
            pause(Duration::from_millis(20));
        }
    }

    /// The rows of the audit table, the newest first.
    #[track_caller]
    pub(crate) fn audit(&self) -> Vec<Value> {
        let page = self.api("/audit");
        page["actions"].as_array().unwrap_or_else(|| panic!("{page}")).clone()
    }
}

/// A delivery as the gate forwards one to quarantine: an event of an authenticated sender that breaks a rule.
pub(crate) fn quarantined(generation: &str, reason: &str, body: Option<Vec<u8>>) -> TestDelivery {
    let event = forwarded(generation);
    let event = match body {
        Some(body) => copy_headers(&event, body),
        None => event,
    };
    let claimed = event.without_header(header::VERDICT).without_header(header::EVENT);
    claimed
        .without_header(header::IDEMPOTENCY_KEY)
        .header(header::VERDICT, Verdict::Quarantined.name())
        .header(header::CLAIMED_EVENT, Kind::Completed.name())
        .header(header::REASON, reason)
        .header(header::CLIENT, "127.0.0.9")
        .header(header::JOB, "order-17")
}

/// A delivery with the gate headers of another one.
pub(crate) fn copy_headers(from: &TestDelivery, body: impl Into<Vec<u8>>) -> TestDelivery {
    let to = TestDelivery::of(body).path("/hooks/veo3");
    let ours = from.headers().iter().filter(|(name, _)| name.starts_with(header::PREFIX));
    ours.fold(to, |to, (name, value)| to.header(name, value))
}
