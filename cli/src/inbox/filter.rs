//! Which entries are meant: what `ls`, `drop` and `replay` have in common.

use crate::rfc3339::rfc3339;
use blobgate_inbox::admin::{EVENTS, LANES, STATES, reasons};
use clap::builder::PossibleValuesParser;
use time::OffsetDateTime;

/// Entries that are all of it.
#[derive(clap::Args)]
pub(super) struct Filter {
    /// What it is
    #[arg(long, value_name = "STATE", value_parser = PossibleValuesParser::new(STATES))]
    state: Option<String>,
    /// Where it is
    #[arg(long, value_name = "LANE", value_parser = PossibleValuesParser::new(LANES))]
    lane: Option<String>,
    /// Of this hook
    #[arg(long, value_name = "HOOK")]
    hook: Option<String>,
    /// What has happened, or is claimed to have
    #[arg(long, value_name = "EVENT", value_parser = PossibleValuesParser::new(EVENTS))]
    event: Option<String>,
    /// Why it is kept: a reason of the gate's, or token-reused, token-conflict, event-conflict
    #[arg(long, value_name = "REASON", value_parser = PossibleValuesParser::new(reasons()), hide_possible_values = true)]
    reason: Option<String>,
    /// Of this generation
    #[arg(long, value_name = "UUID")]
    generation: Option<String>,
    /// Of this job of yours, as the token names it
    #[arg(long, value_name = "JOB")]
    job: Option<String>,
    /// Received since then: 90m for 90 minutes ago, or 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    since: Option<String>,
}

impl Filter {
    pub(super) fn has_since(&self) -> bool {
        self.since.is_some()
    }

    /// Names and values, as the inbox reads them.
    pub(super) fn pairs(&self) -> Vec<(&'static str, String)> {
        [
            ("state", &self.state),
            ("lane", &self.lane),
            ("hook", &self.hook),
            ("event", &self.event),
            ("reason", &self.reason),
            ("generation", &self.generation),
            ("job", &self.job),
            ("since", &self.since),
        ]
        .into_iter()
        .filter_map(|(name, value)| value.clone().map(|value| (name, value)))
        .collect()
    }
}

/// A time that has passed is taken from now; anything else is for the inbox to read.
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
