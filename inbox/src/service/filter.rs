//! The filter of entries.

use super::error::BadRequest;
use super::moment::{MomentError, parse_moment};
use super::names::{EntryState, EventKind, Lane};
use crate::entry::QuarantineReason;
use crate::health::Fault;
use crate::receive::REFUSALS;
use crate::store::Filter;
use blobgate::event::GenerationId;
use serde::{Deserialize, Serialize};

/// Every reason of a quarantined entry: the gate's, and the inbox's own.
pub fn reasons() -> impl Iterator<Item = &'static str> {
    QuarantineReason::all().filter_map(|reason| reason.known())
}

/// The codes of the inbox itself, in its log and its answers: reasons for a quarantine, refusals and faults.
pub fn codes() -> impl Iterator<Item = &'static str> {
    let own = QuarantineReason::OWN.into_iter().filter_map(|reason| reason.known());
    own.chain(REFUSALS).chain(Fault::ALL.map(Fault::code))
}

/// The code, the meaning and the remedy of each reason of the inbox itself.
pub fn own_reasons() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    QuarantineReason::OWN.into_iter().filter_map(|reason| {
        let (meaning, remedy) = reason.words();
        Some((reason.known()?, meaning, remedy))
    })
}

/// The parts of a detail `FIELD: FOUND, expected EXPECTATION`.
///
/// ```
/// use blobgate_inbox::service::split_detail;
///
/// let parts = ("video_url", "scheme is http", "https");
/// assert_eq!(split_detail("video_url: scheme is http, expected https"), Some(parts));
/// assert_eq!(split_detail("of tomorrow"), None);
/// ```
pub fn split_detail(detail: &str) -> Option<(&str, &str, &str)> {
    let (field, rest) = detail.split_once(": ")?;
    let (found, expected) = rest.split_once(", expected ")?;
    Some((field, found, expected))
}

/// Selects the entries that match all of its values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryFilter {
    /// In this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<EntryState>,
    /// In this lane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<Lane>,
    /// Only entries of this hook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<String>,
    /// Only entries of this event, and quarantined entries that claim it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<EventKind>,
    /// In quarantine for this reason: one of [`reasons`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Only entries of this generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<String>,
    /// Only entries of this job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Only entries of this request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Received at this time or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

impl EntryFilter {
    /// Reads a pair of a query.
    ///
    /// # Errors
    /// [`BadRequest`] for an unknown name, a wrong value, or a second value.
    pub(crate) fn read(&mut self, name: &str, value: &str) -> Result<(), BadRequest> {
        match name {
            "state" => once("state", &mut self.state, value.parse()?),
            "lane" => once("lane", &mut self.lane, value.parse()?),
            "event" => once("event", &mut self.event, value.parse()?),
            "reason" => once("reason", &mut self.reason, value.to_owned()),
            "hook" => once("hook", &mut self.hook, value.to_owned()),
            "job" => once("job", &mut self.job, value.to_owned()),
            "request_id" => once("request_id", &mut self.request_id, value.to_owned()),
            "generation" => once("generation", &mut self.generation, value.to_owned()),
            "since" => once("since", &mut self.since, value.to_owned()),
            _ => Err(BadRequest::NoSuchFilter(name.to_owned())),
        }
    }

    /// The pairs of a query.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        [
            ("state", self.state.map(|state| state.name().to_owned())),
            ("lane", self.lane.map(|lane| lane.name().to_owned())),
            ("hook", self.hook.clone()),
            ("event", self.event.map(String::from)),
            ("reason", self.reason.clone()),
            ("generation", self.generation.clone()),
            ("job", self.job.clone()),
            ("request_id", self.request_id.clone()),
            ("since", self.since.clone()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }

    /// Whether it matches every entry.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The conditions of a store.
    ///
    /// # Errors
    /// [`BadRequest`] for the first wrong value.
    pub(crate) fn check(&self) -> Result<Filter, BadRequest> {
        Ok(Filter {
            state: self.state,
            lane: self.lane,
            event: self.event.map(|event| event.0),
            reason: self.reason.as_deref().map(read_reason).transpose()?,
            hook: self.hook.as_deref().map(read_hook).transpose()?,
            generation: self.generation.as_deref().map(read_generation).transpose()?,
            job: self.job.as_deref().map(read_job).transpose()?,
            request_id: self.request_id.as_deref().map(read_request_id).transpose()?,
            since: self.since.as_deref().map(read_time).transpose()?,
        })
    }
}

pub(super) fn once<T>(name: &'static str, place: &mut Option<T>, value: T) -> Result<(), BadRequest> {
    if place.replace(value).is_some() { Err(BadRequest::Twice(name)) } else { Ok(()) }
}

fn read_reason(value: &str) -> Result<QuarantineReason, BadRequest> {
    let reason = QuarantineReason::parse(value);
    match reason {
        QuarantineReason::Other(_) => Err(BadRequest::not_one_of("reason", value, reasons())),
        reason => Ok(reason),
    }
}

/// The longest name of a hook, as in the gate's configuration.
const MAX_HOOK: usize = 32;
/// The longest name of a job, as in a token.
const MAX_JOB: usize = 64;

/// Reads the name of a hook: 1 to 32 of `a-z 0-9 -`.
///
/// # Errors
/// [`BadRequest`].
pub fn read_hook(value: &str) -> Result<String, BadRequest> {
    if is_word(value, MAX_HOOK, |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-')) {
        return Ok(value.to_owned());
    }
    Err(BadRequest::NoHook(value.to_owned()))
}

/// Reads the name of a job: 1 to 64 of `A-Z a-z 0-9 . _ ~ -`.
///
/// # Errors
/// [`BadRequest`].
pub fn read_job(value: &str) -> Result<String, BadRequest> {
    if is_word(value, MAX_JOB, |byte| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte)) {
        return Ok(value.to_owned());
    }
    Err(BadRequest::NoJob(value.to_owned()))
}

fn is_word(text: &str, max: usize, fits: impl Fn(u8) -> bool) -> bool {
    (1..=max).contains(&text.len()) && text.bytes().all(fits)
}

/// Reads a request id: 1 to 64 of `A-Z a-z 0-9 . _ -`.
///
/// # Errors
/// [`BadRequest`].
pub fn read_request_id(value: &str) -> Result<String, BadRequest> {
    if blobgate::contract::is_request_id(value) {
        return Ok(value.to_owned());
    }
    Err(BadRequest::NoRequestId(value.to_owned()))
}

/// Reads a generation into its canonical form.
///
/// # Errors
/// [`BadRequest`].
pub fn read_generation(value: &str) -> Result<String, BadRequest> {
    let id = GenerationId::parse(value).ok_or_else(|| BadRequest::NoGeneration(value.to_owned()))?;
    Ok(id.to_string())
}

/// Reads a time into microseconds since 1970.
fn read_time(value: &str) -> Result<i64, BadRequest> {
    let wrong = |why| BadRequest::NoTime { value: value.to_owned(), why };
    let time = parse_moment(value).map_err(wrong)?;
    let micros = time.unix_timestamp_nanos().checked_div(1_000).and_then(|micros| i64::try_from(micros).ok());
    micros.ok_or_else(|| wrong(MomentError::Unreadable))
}

#[cfg(test)]
mod tests {
    use super::*;
    use blobgate::event::Kind;

    fn read(pairs: &[(&str, &str)]) -> Result<Filter, BadRequest> {
        let mut filter = EntryFilter::default();
        for (name, value) in pairs {
            filter.read(name, value)?;
        }
        filter.check()
    }

    #[track_caller]
    fn refused(name: &str, value: &str, sentence: &str) {
        assert_eq!(read(&[(name, value)]).unwrap_err().to_string(), sentence);
    }

    #[test]
    fn reads_and_writes_each_filter() {
        let id = "FFD473D5-5bef-4e14-bf22-8d559be3c19f";
        let pairs = [
            ("state", "quarantined"),
            ("lane", "quarantine"),
            ("event", "completed"),
            ("reason", "event-conflict"),
            ("hook", "veo3"),
            ("generation", id),
            ("job", "order-7"),
            ("request_id", "5f1c-1"),
            ("since", "1970-01-01T01:00:01.5+01:00"),
        ];
        let expected = Filter {
            state: Some(EntryState::Quarantined),
            lane: Some(Lane::Quarantine),
            event: Some(Kind::Completed),
            reason: Some(QuarantineReason::EventConflict),
            hook: Some("veo3".to_owned()),
            generation: Some(id.to_ascii_lowercase()),
            job: Some("order-7".to_owned()),
            request_id: Some("5f1c-1".to_owned()),
            since: Some(1_500_000),
        };
        assert_eq!(read(&pairs), Ok(expected));
        let mut filter = EntryFilter::default();
        assert!(filter.is_empty());
        for (name, value) in pairs {
            filter.read(name, value).unwrap();
        }
        assert!(!filter.is_empty());
        let mut written: Vec<_> = filter.pairs();
        written.sort_unstable();
        let mut sorted = pairs.map(|(name, value)| (name, value.to_owned()));
        sorted.sort_unstable();
        assert_eq!(written, sorted);
        let json = serde_json::to_value(&filter).unwrap();
        assert_eq!(json, serde_json::json!(pairs.into_iter().collect::<std::collections::BTreeMap<_, _>>()));
        assert_eq!(serde_json::from_value::<EntryFilter>(json).unwrap(), filter);
    }

    #[test]
    fn names_a_wrong_value() {
        refused(
            "state",
            "lost",
            "unknown state \"lost\": use one of waiting, in_flight, delivered, dead, superseded, quarantined, dropped",
        );
        refused("lane", "left", "unknown lane \"left\": use one of deliver, quarantine, observed");
        refused("event", "started", "unknown event \"started\": use one of completed, failed, timeout");
        let hook = "use 1 to 32 of a-z 0-9 -";
        for (name, shown) in
            [("", ""), ("VEO3", "VEO3"), ("\u{1b}[2J", "\\u{1b}[2J"), ("veo\u{202e}3", "veo\\u{202e}3")]
        {
            refused("hook", name, &format!("invalid hook \"{shown}\": {hook}"));
        }
        refused("job", "a\0", "invalid job \"a\\0\": use 1 to 64 of A-Z a-z 0-9 . _ ~ -");
        refused("request_id", "a b", "invalid request id \"a b\": use 1 to 64 of A-Z a-z 0-9 . _ -");
        refused("generation", "7", "invalid generation \"7\": use a UUID in the 8-4-4-4-12 form");
        refused(
            "since",
            "today",
            "invalid since \"today\": it is no time of RFC 3339. Write 2026-01-31T12:00:00Z, or the day 2026-01-31",
        );
        refused(
            "colour",
            "red",
            "unknown filter \"colour\": use state, lane, hook, event, reason, generation, job, request_id or since",
        );
        assert_eq!(read(&[("job", "1"), ("job", "2")]), Err(BadRequest::Twice("job")));
        let reason = read(&[("reason", "bad")]).unwrap_err().to_string();
        assert!(reason.starts_with("unknown reason \"bad\": use one of unknown-hook, "), "{reason}");
        assert!(reason.ends_with(", token-reused, token-conflict, event-conflict"), "{reason}");
    }
}
