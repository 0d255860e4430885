//! One line per refused or quarantined delivery, a few a second, and a count of the rest.

use super::{Gate, Host, Property, locked};
use crate::Reason;
use crate::event::GenerationId;
use crate::hook::Hook;
use std::sync::Arc;
use std::time::Duration;

/// Lines of one second: enough to see what goes on, too few to fill a disk.
const LINES_PER_SECOND: u32 = 10;
/// What [`LINES_PER_SECOND`] counts in.
const SECOND: Duration = Duration::from_secs(1);

/// How many lines this second has had. Its times are of a clock that never goes back: a stepped wall clock neither opens
/// nor closes the log.
#[derive(Debug, Default)]
pub(super) struct LogLimit {
    second: Option<Duration>,
    written: u32,
    left_out: u64,
}

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Share {
    /// It is written.
    Line,
    /// It is the first that is left out, since the last count.
    FirstLeftOut,
    /// It is left out too.
    LeftOut,
}

impl Gate {
    /// Reports the lines that the log left out, once their second is over. Runs only while lines are left out.
    pub fn on_tick(&self, host: &mut impl Host) {
        let now = host.uptime();
        let (left_out, is_complete) = {
            let mut log = locked(&self.log);
            (log.start_second(now), log.is_complete())
        };
        if let Some(count) = left_out {
            self.report_left_out(host, count);
        }
        if is_complete {
            host.set_tick_period(Duration::ZERO);
        }
    }

    /// Writes the line of a refused or quarantined delivery, unless this second has had its share of lines.
    pub(super) fn log(
        &self,
        host: &mut impl Host,
        verdict: &str,
        hook: Option<&Arc<Hook>>,
        reason: Reason,
        generation_id: Option<GenerationId>,
    ) {
        let now = host.uptime();
        let (left_out, share) = {
            let mut log = locked(&self.log);
            (log.start_second(now), log.take())
        };
        if let Some(count) = left_out {
            self.report_left_out(host, count);
        }
        match share {
            Share::Line => {
                let hook = hook.map(|hook| &*hook.name);
                let source = host.property(Property::Source);
                let environment = &self.config.environment;
                host.log(&line(verdict, reason, hook, source.as_deref(), generation_id, environment));
            }
            Share::FirstLeftOut => host.set_tick_period(SECOND),
            Share::LeftOut => {}
        }
    }

    fn report_left_out(&self, host: &mut impl Host, count: u64) {
        host.log(&format!("blobgate lines-left-out={count} environment={}", self.config.environment));
    }
}

impl LogLimit {
    /// Begins a second at `now` where the last one is over. Returns how many lines that one left out, if any.
    fn start_second(&mut self, now: Duration) -> Option<u64> {
        if self.second.is_some_and(|second| now.saturating_sub(second) < SECOND) {
            return None;
        }
        let left_out = Some(self.left_out).filter(|count| *count > 0);
        *self = Self { second: Some(now), written: 0, left_out: 0 };
        left_out
    }

    /// Takes a line of this second.
    fn take(&mut self) -> Share {
        if self.written < LINES_PER_SECOND {
            self.written = self.written.saturating_add(1);
            return Share::Line;
        }
        self.left_out = self.left_out.saturating_add(1);
        if self.left_out == 1 { Share::FirstLeftOut } else { Share::LeftOut }
    }

    /// Whether this second has left out no line so far.
    fn is_complete(&self) -> bool {
        self.left_out == 0
    }
}

/// A line such as `blobgate verdict=refused reason=source-denied hook=veo3 source=203.0.113.9 id=- environment=production`.
/// It contains no header value, path or body.
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

/// `203.0.113.9` of `203.0.113.9:4711`, `2001:db8::1` of `[2001:db8::1]:4711`.
fn without_port(address: &[u8]) -> String {
    let address = String::from_utf8_lossy(address);
    match address.parse::<std::net::SocketAddr>() {
        Ok(address) => address.ip().to_string(),
        Err(_) => address.into_owned(),
    }
}
