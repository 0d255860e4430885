//! Which entries are meant.

use crate::entry::{EntryState, Lane, QuarantineReason, parse_event};
use crate::store::Filter;
use blobgate::Reason;
use blobgate::event::{GenerationId, Kind};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What an entry can be.
pub const STATES: [&str; 7] = EntryState::TEXTS;
/// Where an entry can be.
pub const LANES: [&str; 3] = Lane::TEXTS;
/// What can have happened.
pub const EVENTS: [&str; 3] = [Kind::Completed.name(), Kind::Failed.name(), Kind::Timeout.name()];
/// What a filter can be by.
const NAMES: &str = "state, lane, hook, event, reason, generation, job, since";

/// Every reason for which an entry can be kept: the gate's, and the inbox's own.
pub fn reasons() -> impl Iterator<Item = &'static str> {
    let own = QuarantineReason::OWN.into_iter().filter_map(|reason| reason.known());
    Reason::ALL.iter().map(|reason| reason.code()).chain(own)
}

impl Filter {
    /// Reads pairs of name and value.
    ///
    /// # Errors
    /// A sentence that names what is not understood.
    pub(super) fn read<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, String> {
        let mut filter = Filter::default();
        for (name, value) in pairs {
            let twice = match name {
                "state" => {
                    filter.state.replace(read_word(name, value, EntryState::parse, &STATES)?).is_some()
                }
                "lane" => filter.lane.replace(read_word(name, value, Lane::parse, &LANES)?).is_some(),
                "event" => filter.event.replace(read_event(value)?).is_some(),
                "reason" => filter.reason.replace(read_reason(value)?).is_some(),
                "hook" => filter.hook.replace(read_hook(value)?).is_some(),
                "job" => filter.job.replace(read_job(value)?).is_some(),
                "generation" => filter.generation.replace(read_generation(value)?).is_some(),
                "since" => filter.since.replace(read_time(name, value)?).is_some(),
                _ => return Err(format!("{name:?} is nothing to filter by: use {NAMES}")),
            };
            if twice {
                return Err(format!("{name} is given twice"));
            }
        }
        Ok(filter)
    }
}

fn read_word<T>(
    name: &str,
    value: &str,
    parse: impl Fn(&str) -> Option<T>,
    texts: &[&str],
) -> Result<T, String> {
    parse(value).ok_or_else(|| format!("{value:?} is no {name}: use one of {}", texts.join(", ")))
}

/// An event by its name.
pub(super) fn read_event(value: &str) -> Result<Kind, String> {
    read_word("event", value, parse_event, &EVENTS)
}

fn read_reason(value: &str) -> Result<QuarantineReason, String> {
    let known = |text: &str| Some(QuarantineReason::parse(text)).filter(|reason| reason.known().is_some());
    read_word("reason", value, known, &reasons().collect::<Vec<_>>())
}

/// A hook's name, as the gate's configuration has it.
const MAX_HOOK: usize = 32;
/// A job, as a token names it.
const MAX_JOB: usize = 64;

/// A hook by its name.
pub(super) fn read_hook(value: &str) -> Result<String, String> {
    if is_word(value, MAX_HOOK, |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-')) {
        return Ok(value.to_owned());
    }
    Err(format!("{value:?} is no hook: write 1 to {MAX_HOOK} of a-z 0-9 -"))
}

/// A job by its name.
pub(super) fn read_job(value: &str) -> Result<String, String> {
    if is_word(value, MAX_JOB, |byte| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte)) {
        return Ok(value.to_owned());
    }
    Err(format!("{value:?} is no job: write 1 to {MAX_JOB} of A-Z a-z 0-9 . _ ~ -"))
}

fn is_word(text: &str, longest: usize, fits: impl Fn(u8) -> bool) -> bool {
    (1..=longest).contains(&text.len()) && text.bytes().all(fits)
}

pub(super) fn read_generation(value: &str) -> Result<String, String> {
    GenerationId::parse(value)
        .map(|id| id.to_string())
        .ok_or_else(|| format!("{value:?} is no generation: write its UUID in the 8-4-4-4-12 form"))
}

fn read_time(name: &str, value: &str) -> Result<i64, String> {
    let wrong = || format!("{value:?} is no time for {name}: write 2026-01-31T12:00:00Z");
    let time = OffsetDateTime::parse(value, &Rfc3339).map_err(|_| wrong())?;
    time.unix_timestamp_nanos()
        .checked_div(1_000)
        .and_then(|micros| i64::try_from(micros).ok())
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(name: &str, value: &str, sentence: &str) {
        assert_eq!(Filter::read([(name, value)]).unwrap_err(), sentence);
    }

    #[test]
    fn reads_what_it_knows() {
        let id = "FFD473D5-5bef-4e14-bf22-8d559be3c19f";
        let pairs = [
            ("state", "quarantined"),
            ("lane", "quarantine"),
            ("event", "completed"),
            ("reason", "event-conflict"),
            ("hook", "veo3"),
            ("generation", id),
            ("job", "order-7"),
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
            since: Some(1_500_000),
        };
        assert_eq!(Filter::read(pairs), Ok(expected));
        assert!(Filter::read([]).unwrap().is_empty());
        assert!(!Filter::read([("job", "1")]).unwrap().is_empty());
    }

    #[test]
    fn refuses_by_name() {
        refused(
            "state",
            "lost",
            "\"lost\" is no state: use one of waiting, in_flight, delivered, dead, superseded, quarantined, dropped",
        );
        refused("lane", "left", "\"left\" is no lane: use one of deliver, quarantine, observed");
        refused("event", "started", "\"started\" is no event: use one of completed, failed, timeout");
        let hook = "is no hook: write 1 to 32 of a-z 0-9 -";
        for (name, shown) in
            [("", ""), ("VEO3", "VEO3"), ("\u{1b}[2J", "\\u{1b}[2J"), ("veo\u{202e}3", "veo\\u{202e}3")]
        {
            refused("hook", name, &format!("\"{shown}\" {hook}"));
        }
        refused("job", "a\0", "\"a\\0\" is no job: write 1 to 64 of A-Z a-z 0-9 . _ ~ -");
        refused("generation", "7", "\"7\" is no generation: write its UUID in the 8-4-4-4-12 form");
        refused("since", "today", "\"today\" is no time for since: write 2026-01-31T12:00:00Z");
        refused(
            "colour",
            "red",
            "\"colour\" is nothing to filter by: use state, lane, hook, event, reason, generation, job, since",
        );
        let twice = Filter::read([("job", "1"), ("job", "2")]);
        assert_eq!(twice.unwrap_err(), "job is given twice");
        let reason = Filter::read([("reason", "bad")]).unwrap_err();
        assert!(reason.starts_with("\"bad\" is no reason: use one of unknown-hook, "), "{reason}");
        assert!(reason.ends_with(", token-reused, token-conflict, event-conflict"), "{reason}");
    }
}
