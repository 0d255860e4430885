//! Stage 10: the provider's status API confirms the event.

#[cfg(not(target_family = "wasm"))]
mod polled_status;

use crate::dialect::Dialect;
use crate::event::{Event, Failure, Kind};
use crate::json;
#[cfg(not(target_family = "wasm"))]
use crate::settings::ValueForm;
use crate::settings::{ConfigError, Node, keys};
use crate::trust::Answer;
use crate::violation::Detail;
use crate::{Reason, Violation};
#[cfg(not(target_family = "wasm"))]
pub use polled_status::{PolledStatus, parse_status};
use std::time::Duration;

/// The settings of calls to the provider's status API (`confirm`).
#[derive(Debug)]
pub struct Provider {
    /// The Envoy cluster. It adds the API key.
    pub cluster: String,
    /// `:authority`.
    pub authority: String,
    /// The largest number of calls in any minute, for all workers of an Envoy together.
    pub per_minute: usize,
    /// The time limit of a call.
    pub timeout: Duration,
}

/// The outcome of a confirmation: the label `outcome` of `blobgate_confirm_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// 200 with the same id, status, result URL up to its query, and error code.
    Confirmed,
    /// 200 with another status, result URL or error code.
    Contradicted,
    /// 404 with a message of the provider, such as `TASK_NOT_FOUND`: it has no such generation.
    Unknown,
    /// 200 with `pending` or `processing`.
    StillWorking,
    /// 401 or 403: the API key is not valid.
    Unauthorized,
    /// 429: the provider's rate limit.
    Limited,
    /// Any other status, also Envoy's own 503 when it cannot connect.
    Status,
    /// 200 in an undocumented form, or without the error code that the event has.
    Unreadable,
    /// No response within `timeout`, a broken response, or 504.
    NoAnswer,
    /// No call: the gate made `per_minute` calls in the last 65 s. The limit is half of that for an invalid delivery
    /// from an unauthenticated sender.
    Budget,
    /// No call: this worker has 16 calls in flight.
    InFlight,
    /// No call: Envoy could not start it, for example because it has no such cluster.
    NotStarted,
    /// No call: the status API contradicted this event within the last 20 s.
    Remembered,
}

/// The outcome of a confirmation, with the class of what the gate found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JudgedOutcome {
    /// The outcome.
    pub outcome: Outcome,
    found: &'static str,
    /// The status of the response, if there was one.
    status: usize,
}

/// The provider documents a limit of 60 calls a minute for each key. The inbox uses the other 20.
const DEFAULT_PER_MINUTE: usize = 40;
const MAX_PER_MINUTE: usize = 6000;
/// The default `timeout`.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3);
/// Below the `request_timeout` of `envoy.yaml`, 5 s, which also counts the time of the call.
pub(crate) const MAX_TIMEOUT: Duration = Duration::from_secs(4);
const MIN_TIMEOUT: Duration = Duration::from_millis(50);
/// A status has one nested object that may nest further: `error.details`.
const MAX_DEPTH: usize = 16;

const AUTHORITY: &str = "a host such as platform.runblob.io, with :port if it has one, and nothing else";

keys! {
    /// The settings of calls to the provider's status API.
    "confirm": KEYS, section {
        /// The Envoy cluster of the status API. It adds the API key.
        "cluster": ValueForm::text("the name of a cluster", "[!-~]+");
        /// The host of the status API.
        "authority": authority_form();
        /// The most calls in any minute, of all workers of one Envoy.
        "per_minute": ValueForm::whole_number(1, MAX_PER_MINUTE) => format!("`{DEFAULT_PER_MINUTE}`");
        /// The time limit for an answer.
        "timeout": ValueForm::duration(MIN_TIMEOUT, MAX_TIMEOUT)
            => format!("`{}s`", DEFAULT_TIMEOUT.as_secs_f64());
    }
}

/// Compares `event` with a response of the status API: its `:status`, and its whole body.
pub fn read(dialect: Dialect, event: &Event, status: &[u8], body: &[u8]) -> JudgedOutcome {
    match read_answer(dialect, status, body) {
        Ok(answered) => compare(&answered, event),
        Err(outcome) => {
            let status = std::str::from_utf8(status).ok().and_then(|status| status.parse().ok());
            JudgedOutcome { status: status.unwrap_or_default(), ..outcome.into() }
        }
    }
}

/// The event in a response of the status API.
fn read_answer(dialect: Dialect, status: &[u8], body: &[u8]) -> Result<Event, Outcome> {
    let parse = |known| json::parse(body, MAX_DEPTH, known);
    match status {
        b"200" => {}
        b"404" if parse(&[]).is_ok_and(|answer| dialect.is_no_such_generation(&answer)) => {
            return Err(Outcome::Unknown);
        }
        b"401" | b"403" => return Err(Outcome::Unauthorized),
        b"429" => return Err(Outcome::Limited),
        // Envoy's status for a call that timed out.
        b"504" => return Err(Outcome::NoAnswer),
        _ => return Err(Outcome::Status),
    }
    let answer = parse(dialect.known()).map_err(|_| Outcome::Unreadable)?;
    if dialect.is_still_working(&answer) {
        return Err(Outcome::StillWorking);
    }
    read_event(dialect, &answer).ok_or(Outcome::Unreadable)
}

fn read_event(dialect: Dialect, answer: &json::Value<'_>) -> Option<Event> {
    crate::event::check(dialect.read(answer).ok()?).ok()
}

fn compare(answered: &Event, event: &Event) -> JudgedOutcome {
    let code = |event: &Event| event.failure.as_ref().and_then(|Failure { code, .. }| code.clone());
    if answered.kind != Kind::Completed && code(answered).is_none() && code(event).is_some() {
        // A failure without its code cannot be compared.
        return Outcome::Unreadable.into();
    }
    let found = if answered.generation_id != event.generation_id {
        "status API has another generation"
    } else if answered.kind != event.kind {
        "status API has another status"
    } else if without_query(answered) != without_query(event) {
        "status API has another video_url"
    } else if code(answered) != code(event) {
        "status API has another error code"
    } else {
        return Outcome::Confirmed.into();
    };
    JudgedOutcome { outcome: Outcome::Contradicted, found, status: 200 }
}

impl From<Outcome> for JudgedOutcome {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, found: outcome.found(), status: 0 }
    }
}

impl JudgedOutcome {
    /// The violation of this reason, if the status API does not confirm the event.
    pub(crate) const fn violation(self, reason: Reason) -> Violation {
        Detail::new("confirm", self.found, self.outcome.expected()).with_number(self.status).of(reason)
    }
}

/// The result URL before its query. The query is a signature that expires, so it changes.
fn without_query(event: &Event) -> Option<&str> {
    event.result_url.as_deref().and_then(|url| url.split(['?', '#']).next())
}

impl Outcome {
    /// Every outcome.
    #[cfg(not(target_family = "wasm"))]
    pub const ALL: &[Outcome] = &[
        Outcome::Confirmed,
        Outcome::Contradicted,
        Outcome::Unknown,
        Outcome::StillWorking,
        Outcome::Unauthorized,
        Outcome::Limited,
        Outcome::Status,
        Outcome::Unreadable,
        Outcome::NoAnswer,
        Outcome::Budget,
        Outcome::InFlight,
        Outcome::NotStarted,
        Outcome::Remembered,
    ];

    /// The meaning for the trust rule.
    pub const fn answer(self) -> Answer {
        match self {
            Outcome::Confirmed => Answer::Confirmed,
            Outcome::Contradicted | Outcome::Unknown | Outcome::Remembered => Answer::Contradicted,
            _ => Answer::Unavailable,
        }
    }

    /// Whether the provider, its API key or its Envoy cluster causes the outcome, and never a client.
    pub const fn is_failure_of_provider(self) -> bool {
        use Outcome::{Limited, NoAnswer, NotStarted, Status, Unauthorized, Unreadable};
        matches!(self, Unauthorized | Limited | Status | Unreadable | NoAnswer | NotStarted)
    }

    const fn found(self) -> &'static str {
        match self {
            Outcome::Confirmed => "status API has the same event",
            Outcome::Contradicted => "status API has another event",
            Outcome::Unknown => "status API has no such generation",
            Outcome::StillWorking => "generation is in progress",
            Outcome::Unauthorized => "status API refused the API key",
            Outcome::Limited => "status API responded 429",
            Outcome::Status => "status API responded #",
            Outcome::Unreadable => "response has another form",
            Outcome::NoAnswer => "no response in time",
            Outcome::Budget => "no call is left in this minute",
            Outcome::InFlight => "too many calls are in flight",
            Outcome::NotStarted => "Envoy cannot start the call",
            Outcome::Remembered => "status API denied this event seconds ago",
        }
    }

    const fn expected(self) -> &'static str {
        match self {
            Outcome::Confirmed | Outcome::Contradicted | Outcome::Unknown | Outcome::Remembered => {
                "the event of the delivery"
            }
            Outcome::StillWorking => "the end of the generation",
            Outcome::Unauthorized => "a valid key in the cluster of confirm",
            Outcome::Limited | Outcome::Status | Outcome::NoAnswer => "200",
            Outcome::Unreadable => "a documented response",
            Outcome::Budget => "fewer calls than per_minute",
            Outcome::InFlight => "fewer calls",
            Outcome::NotStarted => "a cluster of this name",
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

/// Whether a text is a host with or without a port: no scheme, user, path or space.
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        // An IPv6 address has colons, and stands in brackets.
        Some((host, port)) if !text.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    // `parse` also takes a sign.
    if !port.is_none_or(|port| !port.starts_with('+') && port.parse::<u16>().is_ok_and(|port| port > 0)) {
        return false;
    }
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_ipv6());
    }
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    host.as_bytes().split(|byte| *byte == b'.').all(|label| !label.is_empty() && label.iter().all(is_plain))
}

#[cfg(not(target_family = "wasm"))]
fn authority_form() -> ValueForm {
    const NAME: &str = r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*";
    const PORT: &str =
        "0*(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])";
    let address = crate::ip_ranges::patterns::v6();
    ValueForm::text(
        "a host such as `platform.runblob.io`, with or without `:port`",
        &format!(r"(?:{NAME}|\[(?:{address})\])(?::{PORT})?"),
    )
}

impl Provider {
    pub(crate) fn parse(node: &Node<'_>) -> Result<Self, ConfigError> {
        let fields = node.fields(KEYS, "an object with cluster and authority")?;
        let text = |key, expected: &str, fits: fn(&str) -> bool| {
            let node = fields.required(key, expected)?;
            let text = node.text(expected)?;
            if fits(text) { Ok(text.to_owned()) } else { Err(node.invalid(expected)) }
        };
        let is_cluster = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
        Ok(Self {
            cluster: text("cluster", "the name of an Envoy cluster, such as runblob_api", is_cluster)?,
            authority: text("authority", AUTHORITY, is_authority)?,
            per_minute: fields
                .optional("per_minute")
                .map_or(Ok(DEFAULT_PER_MINUTE), |node| node.whole_number(1, MAX_PER_MINUTE))?,
            timeout: fields
                .optional("timeout")
                .map_or(Ok(DEFAULT_TIMEOUT), |node| node.duration(MIN_TIMEOUT, MAX_TIMEOUT))?,
        })
    }
}
