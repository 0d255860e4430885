//! What is sent: mixed events, each with what has to become of it.

use crate::chance::Chance;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// A delivery as the gate hands it over.
#[derive(Clone)]
pub(crate) struct Message {
    pub(crate) generation: String,
    pub(crate) event: &'static str,
    pub(crate) expect: Expect,
    /// SHA-256 of the body that it is stored with: another one's, where it repeats that with another body.
    pub(crate) stored_as: String,
    pub(crate) digest: String,
    pub(crate) headers: String,
    pub(crate) body: String,
}

/// What has to become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    Delivered,
    /// Or superseded, by a completion that says so.
    DeliveredOrSuperseded,
    /// In quarantine, and never delivered.
    Kept,
    /// Two of one generation come at the same instant: that decides.
    ByTheRace,
}

impl Expect {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Expect::Delivered => "delivered",
            Expect::DeliveredOrSuperseded => "either",
            Expect::Kept => "quarantined",
            Expect::ByTheRace => "race",
        }
    }

    pub(crate) fn parse(word: &str) -> Self {
        [Expect::Delivered, Expect::DeliveredOrSuperseded, Expect::Kept, Expect::ByTheRace]
            .into_iter()
            .find(|expect| expect.word() == word)
            .unwrap()
    }
}

/// One order of a customer, and whether anything proves what comes for it.
pub(crate) struct Order {
    pub(crate) generation: String,
    token: Option<String>,
    proven: bool,
}

impl Order {
    pub(crate) fn new(chance: &mut Chance) -> Self {
        let token = chance.percent(30).then(|| format!("token-{:016x}", chance.next()));
        Self { generation: chance.uuid(), proven: token.is_some() || chance.percent(50), token }
    }

    pub(crate) fn completed(&self, video: &str, query: &str) -> Message {
        let url = format!("\"https://cdn.runblob.io/videos/{}-{video}.mp4{query}\"", self.generation);
        self.message("accepted", "completed", &url, "null", "", Expect::Delivered)
    }

    pub(crate) fn failed(&self, event: &'static str, code: &str) -> Message {
        let error = format!("{{\"message\":\"{code}\",\"details\":{{}}}}");
        let more = format!("blobgate-error-code: {code}\r\n");
        self.message("accepted", event, "null", &error, &more, Expect::Delivered)
    }

    pub(crate) fn quarantined(&self) -> Message {
        let more = "blobgate-reason: result-url-denied\r\n";
        let url = "\"https://elsewhere.example/a.mp4\"";
        self.message("quarantined", "completed", url, "null", more, Expect::Kept)
    }

    fn message(
        &self,
        verdict: &str,
        event: &'static str,
        url: &str,
        error: &str,
        more: &str,
        expect: Expect,
    ) -> Message {
        let status = if event == "completed" { "completed" } else { "failed" };
        let body = format!(
            "{{\"generation_id\":\"{}\",\"status\":\"{status}\",\"prompt\":\"A cat playing with a ball in a sunny room\",\
             \"video_url\":{url},\"created_at\":\"2025-12-06T21:43:03.374000\",\
             \"completed_at\":\"2025-12-06T21:44:06.143000\",\"seed\":319790131,\"error\":{error}}}",
            self.generation
        );
        let named = if verdict == "quarantined" { "blobgate-claimed-event" } else { "blobgate-event" };
        let mut headers = format!(
            "content-type: application/json\r\nblobgate-contract: 1\r\nblobgate-hook: veo3\r\nblobgate-dialect: veo3\r\n\
             blobgate-verdict: {verdict}\r\nblobgate-generation-id: {}\r\n{named}: {event}\r\n\
             idempotency-key: veo3:{}:{event}\r\n{more}",
            self.generation, self.generation
        );
        if self.proven {
            headers.push_str("blobgate-proofs: token\r\n");
        }
        if let Some(token) = &self.token {
            write!(headers, "blobgate-token-id: {token}\r\nblobgate-job: order-{token}\r\n").unwrap();
        }
        let digest = hex::encode(Sha256::digest(body.as_bytes()));
        let generation = self.generation.clone();
        Message { generation, event, expect, stored_as: digest.clone(), digest, headers, body }
    }
}

impl Message {
    /// With so many bytes more in its body.
    pub(crate) fn padded(mut self, bytes: usize) -> Self {
        self.body.pop();
        write!(self.body, ",\"padding\":\"{}\"}}", "x".repeat(bytes)).unwrap();
        self.digest = hex::encode(Sha256::digest(self.body.as_bytes()));
        self.stored_as = self.digest.clone();
        self
    }

    pub(crate) fn but(self, expect: Expect) -> Self {
        Self { expect, ..self }
    }
}

/// A few deliveries that belong together. Each is sent once the one before is acknowledged.
pub(crate) fn job(chance: &mut Chance) -> Vec<Message> {
    let order = Order::new(chance);
    let failure = |chance: &mut Chance| match chance.between(0, 2) {
        0 => order.failed("timeout", "TIMEOUT"),
        1 => order.failed("failed", "UNSAFE_CONTENT"),
        _ => order.failed("failed", "INTERNAL_ERROR"),
    };
    match chance.between(0, 99) {
        0..35 => vec![order.completed("a", "")],
        35..50 => vec![failure(chance)],
        50..65 => {
            vec![failure(chance).but(Expect::DeliveredOrSuperseded), order.completed("a", "")]
        }
        65..72 => vec![order.completed("a", ""), order.completed("a", "")],
        72..77 => {
            // The same video, under a link that is signed anew.
            let (first, again) = (order.completed("a", "?signature=1"), order.completed("a", "?signature=2"));
            let again = Message { stored_as: first.digest.clone(), ..again };
            vec![first, again]
        }
        77..83 => vec![order.completed("a", ""), order.completed("b", "").but(Expect::Kept)],
        83..88 => vec![order.completed("a", ""), failure(chance).but(Expect::Kept)],
        88..94 => {
            let token = Some(format!("token-{:016x}", chance.next()));
            let mine = Order { token: token.clone(), proven: true, ..order };
            let other = Order { generation: chance.uuid(), token, proven: true };
            vec![mine.completed("a", ""), other.completed("a", "").but(Expect::Kept)]
        }
        _ => vec![order.quarantined(), order.quarantined()],
    }
}
