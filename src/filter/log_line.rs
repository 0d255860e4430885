//! One line per refused or kept delivery, a few a second, and a count of the rest.

use crate::Reason;
use crate::event::GenerationId;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// Lines of one second on one worker: enough to see what goes on, too few to fill a disk.
const LINES_A_SECOND: u32 = 10;

/// The log of one worker.
pub(super) struct LogLines {
    environment: String,
    second: Option<Instant>,
    written: u32,
    left_out: u64,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeftOut {
    /// It was written.
    No,
    /// It is the first that was not, since the last count.
    First,
    /// It is one more.
    Again,
}

impl LogLines {
    pub(super) fn new(environment: &str) -> Self {
        Self { environment: environment.to_owned(), second: None, written: 0, left_out: 0 }
    }

    /// Writes a line such as `blobgate verdict=refused reason=source-denied hook=veo3 source=203.0.113.9 id=-
    /// environment=production`. It holds no header value, path or body.
    pub(super) fn write(
        &mut self,
        verdict: &str,
        hook: Option<&str>,
        reason: Reason,
        source: Option<&[u8]>,
        generation_id: Option<GenerationId>,
    ) -> LeftOut {
        self.start_second();
        if self.written >= LINES_A_SECOND {
            self.left_out = self.left_out.saturating_add(1);
            return if self.left_out == 1 { LeftOut::First } else { LeftOut::Again };
        }
        self.written = self.written.saturating_add(1);
        let hook = hook.unwrap_or("-");
        let source = source.map_or_else(|| "-".to_owned(), without_port);
        let mut id = String::from("-");
        if let Some(generation_id) = generation_id {
            id.clear();
            let _ = write!(id, "{generation_id}");
        }
        log::warn!(
            "blobgate verdict={verdict} reason={} hook={hook} source={source} id={id} environment={}",
            reason.code(),
            self.environment,
        );
        LeftOut::No
    }

    /// Writes how many lines were left out, once their second is over. Whether that is told.
    pub(super) fn tell_left_out(&mut self) -> bool {
        self.start_second();
        self.left_out == 0
    }

    fn start_second(&mut self) {
        const SECOND: Duration = Duration::from_secs(1);
        // The monotonic clock: a stepped wall clock neither opens nor closes the log.
        let now = Instant::now();
        if self.second.is_some_and(|second| now.duration_since(second) < SECOND) {
            return;
        }
        if self.left_out > 0 {
            log::warn!("blobgate lines-left-out={} environment={}", self.left_out, self.environment);
        }
        (self.second, self.written, self.left_out) = (Some(now), 0, 0);
    }
}

/// `203.0.113.9` of `203.0.113.9:4711`, `2001:db8::1` of `[2001:db8::1]:4711`.
fn without_port(address: &[u8]) -> String {
    let address = String::from_utf8_lossy(address);
    match address.parse::<std::net::SocketAddr>() {
        Ok(address) => address.ip().to_string(),
        Err(_) => address.into_owned(),
    }
}
