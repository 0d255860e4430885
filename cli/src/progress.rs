//! How far a long command is, on standard error.

#![expect(
    clippy::print_stderr,
    reason = "numbers and fixed words, with the control characters that are wanted"
)]

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

pub(crate) struct Progress {
    /// What is done with each.
    past: &'static str,
    /// How many there will be, where that is known.
    total: Option<u64>,
    on_terminal: bool,
    said: Instant,
}

/// Where nobody looks on, a line so often.
const EVERY: Duration = Duration::from_secs(3);

impl Progress {
    pub(crate) fn new(past: &'static str, total: u64) -> Self {
        Self { total: Some(total), ..Self::uncounted(past) }
    }

    /// Of nobody knows how many.
    pub(crate) fn uncounted(past: &'static str) -> Self {
        Self { past, total: None, on_terminal: io::stderr().is_terminal(), said: Instant::now() }
    }

    pub(crate) fn at(&mut self, done: usize) {
        let of = self.total.map(|total| format!(" of {total}")).unwrap_or_default();
        if self.on_terminal {
            eprint!("\r{done}{of} {}", self.past);
            let _gone = io::stderr().flush();
        } else if self.said.elapsed() >= EVERY {
            self.said = Instant::now();
            eprintln!("{done}{of} {}", self.past);
        }
    }
}

/// Ends the line that was written over.
impl Drop for Progress {
    fn drop(&mut self) {
        if self.on_terminal {
            eprintln!();
        }
    }
}
