//! A sender like RunBlob: an event each half second or two seconds, each of a new generation.

use crate::stack::Shared;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use blobgate_testkit::envoy::TOKEN_KEY;
use blobgate_testkit::inbox::fresh_generation;
use blobgate_testkit::{Connector, TestDelivery, pause};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use time::OffsetDateTime;

/// What the sender sends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TestEvent {
    pub(crate) token: TestToken,
    pub(crate) form: BodyForm,
    pub(crate) from: Ipv4Addr,
    pub(crate) every: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TestToken {
    Good,
    Expired,
    /// A `kid` that the gate does not know.
    UnknownKid,
    /// The `kid` of the gate's key, and another key.
    WrongKey,
    Absent,
}

/// The form of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyForm {
    Documented,
    /// `status` has another name.
    Renamed,
    /// A field that no documentation has.
    Drifted,
}

pub(crate) struct Traffic {
    sender: Sender,
    event: Shared<TestEvent>,
    ends: Arc<AtomicBool>,
}

#[derive(Clone)]
struct Sender {
    gate: Connector,
    provider: Connector,
}

impl TestEvent {
    /// With a valid token.
    pub(crate) const GOOD: Self = Self {
        token: TestToken::Good,
        form: BodyForm::Documented,
        from: Ipv4Addr::LOCALHOST,
        every: Duration::from_millis(500),
    };

    /// With this token, known to the status API: 30 calls a minute, fewer than the gate's budget.
    pub(crate) fn confirmed(token: TestToken) -> Self {
        Self { token, every: Duration::from_secs(2), ..Self::GOOD }
    }
}

impl Traffic {
    pub(crate) fn new(gate: Connector, provider: Connector, event: TestEvent) -> Self {
        Self { sender: Sender { gate, provider }, event: Shared::new(event.into()), ends: Arc::default() }
    }

    /// Sends until it is dropped.
    pub(crate) fn begin(&self) {
        let (sender, event, ends) = (self.sender.clone(), Arc::clone(&self.event), Arc::clone(&self.ends));
        std::thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                let next = *event.lock().unwrap();
                // The gate may answer after 20 s.
                let sender = sender.clone();
                std::thread::spawn(move || sender.send(next));
                pause(next.every);
            }
        });
    }

    /// Changes what the sender sends.
    pub(crate) fn change(&self, event: TestEvent) {
        *self.event.lock().unwrap() = event;
    }

    /// Sends one event. Returns its generation, if the answer is 200.
    pub(crate) fn send(&self, event: TestEvent) -> Option<String> {
        self.sender.send(event)
    }

    /// Like [`Self::send`], the event that the sender sends.
    pub(crate) fn send_next(&self) -> Option<String> {
        let event = *self.event.lock().unwrap();
        self.send(event)
    }

    /// Whether the status API takes a generation.
    pub(crate) fn is_known_to_provider(&self) -> bool {
        let generation = fresh_generation();
        self.sender.make_known(&generation, &completed(&generation)).is_ok()
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
    }
}

impl Sender {
    fn send(&self, event: TestEvent) -> Option<String> {
        let generation = fresh_generation();
        let mut body = completed(&generation);
        if !matches!(event.token, TestToken::Good | TestToken::Expired) {
            self.make_known(&generation, &body).ok()?;
        }
        match event.form {
            BodyForm::Documented => {}
            BodyForm::Renamed => {
                let status = body.as_object_mut().unwrap().remove("status").unwrap();
                body["state"] = status;
            }
            BodyForm::Drifted => body["resolution"] = json!("1080p"),
        }
        let path =
            event.token.text().map_or("/hooks/veo3".to_owned(), |token| format!("/hooks/veo3/{token}"));
        let delivery = TestDelivery::json(&body).path(&path);
        let answer =
            self.gate.clone().from(event.from).try_open().and_then(|mut open| open.try_send(&delivery));
        answer.is_ok_and(|answer| answer.status == 200).then_some(generation)
    }

    fn make_known(&self, generation: &str, status: &Value) -> Result<(), String> {
        let request =
            TestDelivery::json(status).method("PUT").path(&format!("/sandbox/generations/{generation}"));
        let answer = self.provider.try_open()?.try_send(&request)?;
        if answer.status < 300 { Ok(()) } else { Err(answer.text()) }
    }
}

impl TestToken {
    fn text(self) -> Option<String> {
        let (kid, key) = match self {
            TestToken::Absent => return None,
            TestToken::UnknownKid => ("2026-11", TOKEN_KEY.1),
            TestToken::WrongKey => ("dev", "another key of the tests, 32 bytes"),
            TestToken::Good | TestToken::Expired => ("dev", TOKEN_KEY.1),
        };
        let lifetime = if self == TestToken::Expired { -600 } else { 600 };
        let expires = OffsetDateTime::now_utc().unix_timestamp() + lifetime;
        // The time makes no two tokens equal: the id is a new one.
        let claims = json!({"exp": expires, "aud": "development/veo3-token", "jti": fresh_generation()});
        let encode = |part: Value| BASE64_URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(json!({"alg": "HS256", "kid": kid})), encode(claims));
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key.as_bytes());
        let signature = BASE64_URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, signed.as_bytes()));
        Some(format!("{signed}.{signature}"))
    }
}

fn completed(generation: &str) -> Value {
    json!({
        "generation_id": generation,
        "status": "completed",
        "prompt": "A cat playing with a ball in a sunny room",
        "video_url": format!("https://cdn.runblob.io/videos/{generation}.mp4"),
        "created_at": "2025-12-06T21:43:03.374000",
        "completed_at": "2025-12-06T21:44:06.143000",
        "seed": 319_790_131,
        "error": null,
    })
}
