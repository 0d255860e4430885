//! Stage 10: the provider's status API says the same as the delivery.

#[cfg(not(target_family = "wasm"))]
mod polled_status;

use crate::dialect::Dialect;
use crate::event::{Event, Failure, Kind};
use crate::json;
use crate::settings::{ConfigError, Node};
use crate::trust::Answer;
#[cfg(not(target_family = "wasm"))]
pub use polled_status::{PolledStatus, parse_status};
use std::time::Duration;

/// How the provider is asked (`confirm`).
#[derive(Debug)]
pub struct Provider {
    /// The Envoy cluster, which adds the API key.
    pub cluster: String,
    /// `:authority`.
    pub authority: String,
    /// The most calls in any minute, of all workers of an Envoy.
    pub per_minute: usize,
    /// How long an answer is waited for.
    pub timeout: Duration,
}

/// What an answer of the status API says, for a counter: the `outcome` of `blobgate_confirm_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The same id, status, result URL without its query, and error code.
    Confirmed,
    /// Something else of this generation.
    Contradicted,
    /// No such generation.
    Unknown,
    /// The generation is pending or processing.
    StillWorking,
    /// The API key does not hold.
    Unauthorized,
    /// 429.
    Limited,
    /// Any other status.
    Status,
    /// Not an answer of the documented form, or one without what would have to be compared.
    Unreadable,
    /// No answer in time, or none at all.
    NoAnswer,
    /// This minute's calls are spent.
    Budget,
    /// This worker has enough calls in flight.
    InFlight,
    /// The host could not start the call.
    NotStarted,
    /// A negative answer of the last seconds.
    Remembered,
}

/// The documented limit is 60 a minute and key; the rest is for the inbox.
const DEFAULT_PER_MINUTE: usize = 40;
const MAX_PER_MINUTE: usize = 6000;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3);
/// Below the `request_timeout` of `envoy.yaml`, 5 s, which runs until the question is answered.
pub(crate) const MAX_TIMEOUT: Duration = Duration::from_secs(4);
const MIN_TIMEOUT: Duration = Duration::from_millis(50);
/// Flat, but for `error.details`.
const MAX_DEPTH: usize = 16;

/// Reads the answer of the status API about `event`: its `:status`, and its whole body.
pub fn read(dialect: Dialect, event: &Event, status: &[u8], body: &[u8]) -> Outcome {
    match status {
        b"200" => compare(dialect, event, body),
        b"404" if is_no_such_generation(dialect, body) => Outcome::Unknown,
        b"401" | b"403" => Outcome::Unauthorized,
        b"429" => Outcome::Limited,
        // Envoy's own word for a call that took too long.
        b"504" => Outcome::NoAnswer,
        _ => Outcome::Status,
    }
}

fn is_no_such_generation(dialect: Dialect, body: &[u8]) -> bool {
    json::parse(body, MAX_DEPTH, &[]).is_ok_and(|answer| dialect.is_no_such_generation(&answer))
}

fn compare(dialect: Dialect, event: &Event, body: &[u8]) -> Outcome {
    let Ok(answer) = json::parse(body, MAX_DEPTH, dialect.known()) else {
        return Outcome::Unreadable;
    };
    if dialect.is_still_working(&answer) {
        return Outcome::StillWorking;
    }
    let Some(said) = dialect.read(&answer).ok().and_then(|claim| crate::event::check(claim).ok()) else {
        return Outcome::Unreadable;
    };
    let code = |event: &Event| event.failure.as_ref().and_then(|Failure { code, .. }| code.clone());
    if said.kind != Kind::Completed && code(&said).is_none() && code(event).is_some() {
        // It says that the generation failed, and not why.
        return Outcome::Unreadable;
    }
    let same = said.generation_id == event.generation_id
        && said.kind == event.kind
        && without_query(&said) == without_query(event)
        && code(&said) == code(event);
    if same { Outcome::Confirmed } else { Outcome::Contradicted }
}

/// The result URL up to its query, which signs it for a while and so changes.
fn without_query(event: &Event) -> Option<&str> {
    event.result_url.as_deref().and_then(|url| url.split(['?', '#']).next())
}

impl Outcome {
    /// What it means for the delivery.
    pub const fn answer(self) -> Answer {
        match self {
            Outcome::Confirmed => Answer::Confirmed,
            Outcome::Contradicted | Outcome::Unknown | Outcome::Remembered => Answer::Contradicted,
            _ => Answer::Unavailable,
        }
    }

    /// The value of the counter's label.
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Confirmed => "confirmed",
            Outcome::Contradicted => "contradicted",
            Outcome::Unknown => "unknown",
            Outcome::StillWorking => "still-working",
            Outcome::Unauthorized => "unauthorized",
            Outcome::Limited => "limited",
            Outcome::Status => "status",
            Outcome::Unreadable => "unreadable",
            Outcome::NoAnswer => "no-answer",
            Outcome::Budget => "budget",
            Outcome::InFlight => "in-flight",
            Outcome::NotStarted => "not-started",
            Outcome::Remembered => "remembered",
        }
    }
}

impl Provider {
    pub(crate) fn parse(node: &Node<'_>) -> Result<Self, ConfigError> {
        const KEYS: &[&str] = &["cluster", "authority", "per_minute", "timeout"];
        let fields = node.fields(KEYS, "an object with cluster and authority")?;
        let text = |key, expected: &str| {
            let node = fields.required(key, expected)?;
            let text = node.text(expected)?;
            let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
            if fits { Ok(text.to_owned()) } else { Err(node.invalid(expected)) }
        };
        Ok(Self {
            cluster: text("cluster", "the name of an Envoy cluster, such as runblob_api")?,
            authority: text("authority", "a host such as platform.runblob.io")?,
            per_minute: fields
                .optional("per_minute")
                .map_or(Ok(DEFAULT_PER_MINUTE), |node| node.whole_number(1, MAX_PER_MINUTE))?,
            timeout: fields
                .optional("timeout")
                .map_or(Ok(DEFAULT_TIMEOUT), |node| node.duration(MIN_TIMEOUT, MAX_TIMEOUT))?,
        })
    }
}
