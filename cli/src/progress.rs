//! The progress of a long command, on standard error.

use crate::output::{eprint_line, eprint_part};
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

pub(crate) struct Progress {
    /// The past participle after the count.
    past: &'static str,
    /// `None`: total unknown.
    total: Option<u64>,
    on_terminal: bool,
    printed: Instant,
}

/// The time between two lines without a terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(3);

impl Progress {
    pub(crate) fn new(past: &'static str, total: u64) -> Self {
        Self { total: Some(total), ..Self::uncounted(past) }
    }

    /// Total unknown.
    pub(crate) fn uncounted(past: &'static str) -> Self {
        Self { past, total: None, on_terminal: io::stderr().is_terminal(), printed: Instant::now() }
    }

    pub(crate) fn at(&mut self, done: usize) {
        let of = self.total.map(|total| format!(" of {total}")).unwrap_or_default();
        if self.on_terminal {
            eprint_part(format_args!("\r{done}{of} {}", self.past));
        } else if self.printed.elapsed() >= LINE_INTERVAL {
            self.printed = Instant::now();
            eprint_line(format_args!("{done}{of} {}", self.past));
        }
    }
}

/// Ends the line that `at` overwrites.
impl Drop for Progress {
    fn drop(&mut self) {
        if self.on_terminal {
            eprint_line(format_args!(""));
        }
    }
}
