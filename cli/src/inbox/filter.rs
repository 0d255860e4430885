//! The options that select entries, for `ls`, `tail`, `export` and every change.

use crate::rfc3339::rfc3339;
use blobgate_inbox::service::{EntryFilter, EntryState, EventKind, Lane, reasons};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

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
    #[arg(long, value_name = "HOOK")]
    hook: Option<String>,
    /// Only entries of this event, and quarantined entries that claim it
    #[arg(long, value_name = "EVENT", value_parser = event())]
    event: Option<EventKind>,
    /// Only entries quarantined for this reason, such as token-expired
    #[arg(long, value_name = "REASON", value_parser = PossibleValuesParser::new(reasons()), hide_possible_values = true)]
    reason: Option<String>,
    /// Only entries of this generation
    #[arg(long, value_name = "UUID")]
    pub(super) generation: Option<String>,
    /// Only entries of this job
    #[arg(long, value_name = "JOB")]
    job: Option<String>,
    /// Only entries received since this time: 90m (ago), or 2026-01-31T12:00:00Z
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
            since: self.since.clone(),
        }
    }
}

/// A value of `--since` that names no time.
#[derive(Debug, thiserror::Error)]
#[error("it names no time. Write 90m, or 2026-01-31T12:00:00Z")]
struct InvalidSince;

/// Subtracts a duration from now. Another text has to be a time.
fn parse_since(text: &str) -> Result<String, InvalidSince> {
    let Ok(ago) = humantime::parse_duration(text) else {
        return OffsetDateTime::parse(text, &Rfc3339).map(|_| text.to_owned()).map_err(|_| InvalidSince);
    };
    let ago = time::Duration::try_from(ago).map_err(|_| InvalidSince)?;
    let since = OffsetDateTime::now_utc().checked_sub(ago).ok_or(InvalidSince)?;
    Ok(rfc3339(since))
}
