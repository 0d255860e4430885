//! Which entries are meant: options of `ls`, `tail`, `export` and every change.

use crate::rfc3339::rfc3339;
use blobgate_inbox::service::{EntryFilter, EntryState, EventKind, Lane, reasons};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use time::OffsetDateTime;

/// Entries that match each option.
#[derive(clap::Args)]
pub(super) struct Filter {
    /// Only entries in this state
    #[arg(long, value_name = "STATE", value_parser = PossibleValuesParser::new(EntryState::ALL.iter().map(|it| it.name())).try_map(|it| it.parse::<EntryState>()))]
    state: Option<EntryState>,
    /// Only entries in this lane
    #[arg(long, value_name = "LANE", value_parser = PossibleValuesParser::new(Lane::ALL.iter().map(|it| it.name())).try_map(|it| it.parse::<Lane>()))]
    lane: Option<Lane>,
    /// Only entries of this hook
    #[arg(long, value_name = "HOOK")]
    hook: Option<String>,
    /// Only entries of this event; in quarantine, those that claim it
    #[arg(long, value_name = "EVENT", value_parser = event())]
    event: Option<EventKind>,
    /// Only entries in quarantine for this reason: one of the gate's, or token-reused, token-conflict, event-conflict
    #[arg(long, value_name = "REASON", value_parser = PossibleValuesParser::new(reasons()), hide_possible_values = true)]
    reason: Option<String>,
    /// Only entries of this generation
    #[arg(long, value_name = "UUID")]
    pub(super) generation: Option<String>,
    /// Only entries of this job
    #[arg(long, value_name = "JOB")]
    job: Option<String>,
    /// Only entries received since then: 90m for 90 minutes ago, or 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    since: Option<String>,
}

/// Parses an event by its name.
pub(super) fn event() -> impl TypedValueParser<Value = EventKind> {
    PossibleValuesParser::new(EventKind::ALL.iter().map(|it| it.name())).try_map(|it| it.parse::<EventKind>())
}

impl Filter {
    /// As the inbox takes it.
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

/// A time that has passed is taken from now. The inbox reads anything else.
fn parse_since(text: &str) -> Result<String, String> {
    let Ok(passed) = humantime::parse_duration(text) else {
        return Ok(text.to_owned());
    };
    let since = time::Duration::try_from(passed)
        .ok()
        .and_then(|passed| OffsetDateTime::now_utc().checked_sub(passed));
    let since = since.ok_or_else(|| "that is before all time".to_owned())?;
    Ok(rfc3339(since))
}
