//! The options that select entries, for `ls`, `tail`, `export` and every change.

use crate::rfc3339::rfc3339;
use blobgate_inbox::service::{
    EntryFilter, EntryState, EventKind, Lane, MomentError, parse_moment, read_generation, read_hook,
    read_job, read_request_id, reasons,
};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

/// A selected entry matches every option.
#[derive(clap::Args)]
pub(super) struct FilterArgs {
    /// Only entries in this state
    #[arg(long, value_name = "STATE", value_parser = PossibleValuesParser::new(EntryState::ALL.iter().map(|it| it.name())).try_map(|it| it.parse::<EntryState>()))]
    state: Option<EntryState>,
    /// Only entries in this lane
    #[arg(long, value_name = "LANE", value_parser = PossibleValuesParser::new(Lane::ALL.iter().map(|it| it.name())).try_map(|it| it.parse::<Lane>()))]
    lane: Option<Lane>,
    /// Only entries of this hook
    #[arg(long, value_name = "HOOK", value_parser = read_hook)]
    hook: Option<String>,
    /// Only entries of this event, and quarantined entries that claim it
    #[arg(long, value_name = "EVENT", value_parser = event())]
    event: Option<EventKind>,
    /// Only entries quarantined for this reason, such as token-expired
    #[arg(long, value_name = "REASON", value_parser = PossibleValuesParser::new(reasons()), hide_possible_values = true)]
    reason: Option<String>,
    /// Only entries of this generation
    #[arg(long, value_name = "UUID", value_parser = read_generation)]
    pub(super) generation: Option<String>,
    /// Only entries of this job
    #[arg(long, value_name = "JOB", value_parser = read_job)]
    job: Option<String>,
    /// Only entries of this request: the x-request-id of their first delivery
    #[arg(long, value_name = "ID", value_parser = read_request_id)]
    request_id: Option<String>,
    /// Only entries received since this time: 90m (ago), 2026-01-31 (0:00 UTC), or 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    since: Option<String>,
}

/// A parser of event names.
pub(super) fn event() -> impl TypedValueParser<Value = EventKind> {
    PossibleValuesParser::new(EventKind::ALL.iter().map(|it| it.name())).try_map(|it| it.parse::<EventKind>())
}

impl FilterArgs {
    /// The filter of a request to the inbox.
    pub(super) fn read(&self) -> EntryFilter {
        EntryFilter {
            state: self.state,
            lane: self.lane,
            hook: self.hook.clone(),
            event: self.event,
            reason: self.reason.clone(),
            generation: self.generation.clone(),
            job: self.job.clone(),
            request_id: self.request_id.clone(),
            since: self.since.clone(),
        }
    }
}

/// A value of `--since` that names no time.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum InvalidSince {
    #[error("it names no time. Write 90m, 2026-01-31, or 2026-01-31T12:00:00Z")]
    NoTime,
    #[error(transparent)]
    Moment(MomentError),
}

/// Subtracts a duration from now. Another text has to be a moment.
fn parse_since(text: &str) -> Result<String, InvalidSince> {
    if let Ok(ago) = humantime::parse_duration(text) {
        let ago = time::Duration::try_from(ago).map_err(|_| InvalidSince::NoTime)?;
        return Ok(rfc3339(OffsetDateTime::now_utc().checked_sub(ago).ok_or(InvalidSince::NoTime)?));
    }
    let moment = parse_moment(text).map_err(|why| match why {
        MomentError::Unreadable => InvalidSince::NoTime,
        MomentError::NoZone => InvalidSince::Moment(why),
    })?;
    let moment = moment.checked_to_offset(UtcOffset::UTC).ok_or(InvalidSince::NoTime)?;
    moment.format(&Rfc3339).map_err(|_| InvalidSince::NoTime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations_days_and_times() {
        for (text, since) in [
            ("2026-01-31", "2026-01-31T00:00:00Z"),
            ("2026-01-31 12:00+02", "2026-01-31T10:00:00Z"),
            ("2026-01-31t12:00:00.25z", "2026-01-31T12:00:00.25Z"),
        ] {
            assert_eq!(parse_since(text), Ok(since.to_owned()), "{text}");
        }
        for text in ["90m", "1h 30m", "2days", "7d", "0s"] {
            let since = parse_moment(&parse_since(text).unwrap()).unwrap();
            let ago = humantime::parse_duration(text).unwrap();
            let off = (OffsetDateTime::now_utc() - since).as_seconds_f64() - ago.as_secs_f64();
            assert!((0.0..60.0).contains(&off), "{text}: {off}");
        }
        for text in ["", "today", "-1h", "90", "31.01.2026", "999999years", "0000-01-01T00:00:00+02:00"] {
            assert_eq!(parse_since(text), Err(InvalidSince::NoTime), "{text}");
        }
        assert_eq!(parse_since("2026-01-31 12:00"), Err(InvalidSince::Moment(MomentError::NoZone)));
    }
}
