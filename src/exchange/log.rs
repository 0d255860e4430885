//! The log: a line for each refused or quarantined delivery, 10 a second at most, and a count of the omitted lines.

use super::{Gate, Host, Property, locked};
use crate::Reason;
use crate::event::GenerationId;
use crate::hook::Hook;
use std::sync::Arc;
use std::time::Duration;

/// A line has some 150 bytes, so 10 a second are 130 MB a day.
const MAX_LINES_PER_SECOND: u32 = 10;
const SECOND: Duration = Duration::from_secs(1);

/// The limit of lines a second. It uses a monotonic clock, so that a change of the wall clock has no effect.
#[derive(Debug, Default)]
pub(super) struct LogLimit {
    second: Option<Duration>,
    written: u32,
    omitted: u64,
}

/// The limit's decision on a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineDecision {
    Write,
    /// Omit the first line since the last count, and start the tick that reports the count.
    OmitFirst,
    Omit,
}

impl Gate {
    /// Reports the number of omitted lines, once their second is over. The tick runs only while there are omitted lines.
    pub fn on_tick(&self, host: &mut impl Host) {
        let now = host.uptime();
        let (omitted, is_complete) = {
            let mut log = locked(&self.log);
            (log.start_second(now), log.is_complete())
        };
        if let Some(count) = omitted {
            self.report_omitted(host, count);
        }
        if is_complete {
            host.set_tick_period(Duration::ZERO);
        }
    }

    /// Writes the line of a refused or quarantined delivery, within the limit of lines a second.
    pub(super) fn log(
        &self,
        host: &mut impl Host,
        verdict: &str,
        hook: Option<&Arc<Hook>>,
        reason: Reason,
        generation_id: Option<GenerationId>,
    ) {
        let now = host.uptime();
        let (omitted, decision) = {
            let mut log = locked(&self.log);
            (log.start_second(now), log.take())
        };
        if let Some(count) = omitted {
            self.report_omitted(host, count);
        }
        match decision {
            LineDecision::Write => {
                let hook = hook.map(|hook| &*hook.name);
                let source = host.property(Property::Source);
                let environment = &self.config.environment;
                host.log(&line(verdict, reason, hook, source.as_deref(), generation_id, environment));
            }
            LineDecision::OmitFirst => host.set_tick_period(SECOND),
            LineDecision::Omit => {}
        }
    }

    fn report_omitted(&self, host: &mut impl Host, count: u64) {
        host.log(&format!("blobgate lines-left-out={count} environment={}", self.config.environment));
    }
}

impl LogLimit {
    /// Starts a new second at `now` if the last one is over. Returns the number of lines that the last one omitted.
    fn start_second(&mut self, now: Duration) -> Option<u64> {
        if self.second.is_some_and(|second| now.saturating_sub(second) < SECOND) {
            return None;
        }
        let omitted = Some(self.omitted).filter(|count| *count > 0);
        *self = Self { second: Some(now), written: 0, omitted: 0 };
        omitted
    }

    /// Decides on one line of this second.
    fn take(&mut self) -> LineDecision {
        if self.written < MAX_LINES_PER_SECOND {
            self.written = self.written.saturating_add(1);
            return LineDecision::Write;
        }
        self.omitted = self.omitted.saturating_add(1);
        if self.omitted == 1 { LineDecision::OmitFirst } else { LineDecision::Omit }
    }

    /// Whether this second has omitted no line so far.
    fn is_complete(&self) -> bool {
        self.omitted == 0
    }
}

/// A line such as `blobgate verdict=refused reason=source-denied hook=veo3 source=203.0.113.9 id=- environment=production`.
/// It never contains a header value, a path or a body.
fn line(
    verdict: &str,
    reason: Reason,
    hook: Option<&str>,
    source: Option<&[u8]>,
    generation_id: Option<GenerationId>,
    environment: &str,
) -> String {
    let reason = reason.code();
    let hook = hook.unwrap_or("-");
    let source = source.map_or_else(|| "-".to_owned(), without_port);
    let id = generation_id.map_or_else(|| "-".to_owned(), GenerationId::text);
    format!(
        "blobgate verdict={verdict} reason={reason} hook={hook} source={source} id={id} environment={environment}"
    )
}

/// Returns `203.0.113.9` for `203.0.113.9:4711`, and `2001:db8::1` for `[2001:db8::1]:4711`.
fn without_port(address: &[u8]) -> String {
    let address = String::from_utf8_lossy(address);
    match address.parse::<std::net::SocketAddr>() {
        Ok(address) => address.ip().to_string(),
        Err(_) => address.into_owned(),
    }
}
