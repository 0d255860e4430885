//! The sent events, each with its expected outcome.

use crate::chance::Chance;
use blobgate::contract::Verdict;
use blobgate::contract::header::{
    CLAIMED_EVENT, CONTRACT, DIALECT, ERROR_CODE, EVENT, GENERATION_ID, HOOK, IDEMPOTENCY_KEY, JOB, PROOFS,
    REASON, TOKEN_ID, VERDICT,
};
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// A delivery as the gate forwards it.
#[derive(Clone)]
pub(crate) struct Message {
    pub(crate) generation: String,
    pub(crate) event: &'static str,
    pub(crate) expect: MessageOutcome,
    /// SHA-256 of the stored body. A repeat with another body has the digest of the first one's.
    pub(crate) stored_as: String,
    pub(crate) digest: String,
    pub(crate) headers: String,
    pub(crate) body: String,
}

/// The expected outcome of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MessageOutcome {
    Delivered,
    /// Delivered, or superseded by a delivered completion.
    DeliveredOrSuperseded,
    /// Quarantined, and never delivered.
    Quarantined,
    /// Depends on which of two events of one generation comes first.
    ByTheRace,
}

impl MessageOutcome {
    pub(crate) fn word(self) -> &'static str {
        match self {
            MessageOutcome::Delivered => "delivered",
            MessageOutcome::DeliveredOrSuperseded => "either",
            MessageOutcome::Quarantined => "quarantined",
            MessageOutcome::ByTheRace => "race",
        }
    }

    pub(crate) fn parse(word: &str) -> Self {
        [
            MessageOutcome::Delivered,
            MessageOutcome::DeliveredOrSuperseded,
            MessageOutcome::Quarantined,
            MessageOutcome::ByTheRace,
        ]
        .into_iter()
        .find(|expect| expect.word() == word)
        .unwrap()
    }
}

/// One order of a customer, with or without a proof.
pub(crate) struct CustomerOrder {
    pub(crate) generation: String,
    token: Option<String>,
    is_authenticated: bool,
}

impl CustomerOrder {
    pub(crate) fn new(chance: &mut Chance) -> Self {
        let token = chance.percent(30).then(|| format!("token-{:016x}", chance.next()));
        Self { generation: chance.uuid(), is_authenticated: token.is_some() || chance.percent(50), token }
    }

    pub(crate) fn completed(&self, video: &str, query: &str) -> Message {
        let url = format!("\"https://cdn.runblob.io/videos/{}-{video}.mp4{query}\"", self.generation);
        self.message(Verdict::Accepted, "completed", &url, "null", "", MessageOutcome::Delivered)
    }

    pub(crate) fn failed(&self, event: &'static str, code: &str) -> Message {
        let error = format!("{{\"message\":\"{code}\",\"details\":{{}}}}");
        let more = format!("{ERROR_CODE}: {code}\r\n");
        self.message(Verdict::Accepted, event, "null", &error, &more, MessageOutcome::Delivered)
    }

    pub(crate) fn quarantined(&self) -> Message {
        let more = format!("{REASON}: result-url-denied\r\n");
        let url = "\"https://elsewhere.example/a.mp4\"";
        self.message(Verdict::Quarantined, "completed", url, "null", &more, MessageOutcome::Quarantined)
    }

    fn message(
        &self,
        verdict: Verdict,
        event: &'static str,
        url: &str,
        error: &str,
        more: &str,
        expect: MessageOutcome,
    ) -> Message {
        let status = if event == "completed" { "completed" } else { "failed" };
        let body = format!(
            "{{\"generation_id\":\"{}\",\"status\":\"{status}\",\"prompt\":\"A cat playing with a ball in a sunny room\",\
             \"video_url\":{url},\"created_at\":\"2025-12-06T21:43:03.374000\",\
             \"completed_at\":\"2025-12-06T21:44:06.143000\",\"seed\":319790131,\"error\":{error}}}",
            self.generation
        );
        let named = if verdict == Verdict::Quarantined { CLAIMED_EVENT } else { EVENT };
        let mut headers = format!(
            "content-type: application/json\r\n{CONTRACT}: 1\r\n{HOOK}: veo3\r\n{DIALECT}: veo3\r\n\
             {VERDICT}: {}\r\n{GENERATION_ID}: {}\r\n{named}: {event}\r\n\
             {IDEMPOTENCY_KEY}: veo3:{}:{event}\r\n{more}",
            verdict.name(),
            self.generation,
            self.generation
        );
        if self.is_authenticated {
            write!(headers, "{PROOFS}: token\r\n").unwrap();
        }
        if let Some(token) = &self.token {
            write!(headers, "{TOKEN_ID}: {token}\r\n{JOB}: order-{token}\r\n").unwrap();
        }
        let digest = hex::encode(Sha256::digest(body.as_bytes()));
        let generation = self.generation.clone();
        Message { generation, event, expect, stored_as: digest.clone(), digest, headers, body }
    }
}

impl Message {
    /// Adds this many bytes to the body.
    pub(crate) fn padded(mut self, bytes: usize) -> Self {
        self.body.pop();
        write!(self.body, ",\"padding\":\"{}\"}}", "x".repeat(bytes)).unwrap();
        self.digest = hex::encode(Sha256::digest(self.body.as_bytes()));
        self.stored_as = self.digest.clone();
        self
    }

    pub(crate) fn but(self, expect: MessageOutcome) -> Self {
        Self { expect, ..self }
    }
}

/// Related deliveries. The sender sends each after the previous one is acknowledged.
pub(crate) fn job(chance: &mut Chance) -> Vec<Message> {
    let order = CustomerOrder::new(chance);
    let failure = |chance: &mut Chance| match chance.between(0, 2) {
        0 => order.failed("timeout", "TIMEOUT"),
        1 => order.failed("failed", "UNSAFE_CONTENT"),
        _ => order.failed("failed", "INTERNAL_ERROR"),
    };
    match chance.between(0, 99) {
        0..35 => vec![order.completed("a", "")],
        35..50 => vec![failure(chance)],
        50..65 => {
            vec![failure(chance).but(MessageOutcome::DeliveredOrSuperseded), order.completed("a", "")]
        }
        65..72 => vec![order.completed("a", ""), order.completed("a", "")],
        72..77 => {
            // The same video with another signature in its URL.
            let (first, again) = (order.completed("a", "?signature=1"), order.completed("a", "?signature=2"));
            let again = Message { stored_as: first.digest.clone(), ..again };
            vec![first, again]
        }
        77..83 => vec![order.completed("a", ""), order.completed("b", "").but(MessageOutcome::Quarantined)],
        83..88 => vec![order.completed("a", ""), failure(chance).but(MessageOutcome::Quarantined)],
        88..94 => {
            let token = Some(format!("token-{:016x}", chance.next()));
            let mine = CustomerOrder { token: token.clone(), is_authenticated: true, ..order };
            let other = CustomerOrder { generation: chance.uuid(), token, is_authenticated: true };
            vec![mine.completed("a", ""), other.completed("a", "").but(MessageOutcome::Quarantined)]
        }
        _ => vec![order.quarantined(), order.quarantined()],
    }
}
