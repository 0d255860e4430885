//! The next step after the end of a part.

use super::plan::{Layout, Role};
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use rustix::process::Signal;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

/// The kind of a part's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Exit status 0, or a signal that requests the end.
    Requested,
    Crashed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextStep {
    EndAll,
    /// The other parts continue. SIGUSR1 starts this one again.
    Continue,
    StartAgain,
    /// Start again after the next wait of [`RestartPace`], as often as it takes.
    StartLater,
}

/// An inbox starts in under a second. One that ends sooner than this has not recovered.
const QUICK: Duration = Duration::from_secs(5);

/// After this many quick ends in a row, another start would end the same way.
const MAX_QUICK_ENDS: u32 = 3;

/// The number of quick ends in a row.
#[derive(Default)]
pub(super) struct QuickEnds(u32);

impl QuickEnds {
    pub(super) fn count(&mut self, ran: Duration) -> u32 {
        self.0 = if ran < QUICK { self.0.saturating_add(1) } else { 0 };
        self.0
    }
}

const FIRST_WAIT: Duration = Duration::from_millis(500);
/// RunBlob tries five times, 30 s apart: after a longer wait, an event could be lost.
const MAX_WAIT: Duration = Duration::from_secs(30);
/// A part that ran for this long has recovered.
const STEADY: Duration = Duration::from_secs(60);

/// The waits before the starts of one part.
pub(super) struct RestartPace(ExponentialBackoff);

impl RestartPace {
    pub(super) fn new() -> Self {
        let waits = ExponentialBuilder::default().with_min_delay(FIRST_WAIT).with_max_delay(MAX_WAIT);
        Self(waits.without_max_times().build())
    }

    /// The wait after the end of a part that ran for some time.
    pub(super) fn wait(&mut self, ran: Duration) -> Duration {
        if ran >= STEADY {
            *self = Self::new();
        }
        self.0.next().unwrap_or(MAX_WAIT)
    }
}

impl End {
    pub(super) fn of(status: ExitStatus) -> Self {
        let requests = [Signal::TERM, Signal::INT, Signal::HUP].map(Signal::as_raw);
        let is_requested =
            status.success() || status.signal().is_some_and(|signal| requests.contains(&signal));
        if is_requested { Self::Requested } else { Self::Crashed }
    }
}

pub(super) fn next(layout: Layout, role: Role, end: End, quick_ends: u32) -> NextStep {
    match (layout, role, end) {
        (Layout::Setup, ..) => NextStep::StartLater,
        (Layout::GateAlone, ..) | (_, Role::Sandbox | Role::Gate, _) => NextStep::EndAll,
        (Layout::WithInbox, Role::Video | Role::Failure | Role::Quarantine, _) => NextStep::Continue,
        (Layout::WithInbox, Role::Inbox, End::Requested) => NextStep::Continue,
        (Layout::WithInbox, Role::Inbox, End::Crashed) if quick_ends > MAX_QUICK_ENDS => NextStep::EndAll,
        (Layout::WithInbox, Role::Inbox, End::Crashed) => NextStep::StartAgain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decides_by_part_and_end() {
        let rows = [
            (Layout::GateAlone, Role::Video, End::Requested, 0, NextStep::EndAll),
            (Layout::GateAlone, Role::Gate, End::Crashed, 0, NextStep::EndAll),
            (Layout::WithInbox, Role::Gate, End::Requested, 0, NextStep::EndAll),
            (Layout::WithInbox, Role::Sandbox, End::Requested, 0, NextStep::EndAll),
            (Layout::WithInbox, Role::Video, End::Crashed, 9, NextStep::Continue),
            (Layout::WithInbox, Role::Failure, End::Requested, 0, NextStep::Continue),
            (Layout::WithInbox, Role::Quarantine, End::Requested, 0, NextStep::Continue),
            (Layout::WithInbox, Role::Inbox, End::Requested, 9, NextStep::Continue),
            (Layout::WithInbox, Role::Inbox, End::Crashed, 3, NextStep::StartAgain),
            (Layout::WithInbox, Role::Inbox, End::Crashed, 4, NextStep::EndAll),
            (Layout::Setup, Role::Gate, End::Requested, 0, NextStep::StartLater),
            (Layout::Setup, Role::Inbox, End::Crashed, 99, NextStep::StartLater),
            (Layout::Setup, Role::Sandbox, End::Crashed, 0, NextStep::StartLater),
        ];
        for (layout, role, end, quick_ends, expected) in rows {
            assert_eq!(
                next(layout, role, end, quick_ends),
                expected,
                "{layout:?} {role} {end:?} {quick_ends}"
            );
        }
    }

    #[test]
    fn tells_a_request_from_a_crash() {
        // The form of wait(2): the exit status in the second byte, the signal in the first.
        let rows = [
            (0, End::Requested),
            (15, End::Requested),
            (2, End::Requested),
            (9, End::Crashed),
            (1 << 8, End::Crashed),
        ];
        for (raw, expected) in rows {
            assert_eq!(End::of(ExitStatus::from_raw(raw)), expected, "{raw}");
        }
    }

    #[test]
    fn counts_quick_ends_in_a_row() {
        let mut ends = QuickEnds::default();
        let rows = [(4999, 1), (0, 2), (4999, 3), (5000, 0), (10, 1)];
        for (ran, expected) in rows {
            assert_eq!(ends.count(Duration::from_millis(ran)), expected, "{ran} ms");
        }
    }

    #[test]
    fn doubles_the_wait_up_to_30_s() {
        let mut pace = RestartPace::new();
        let quick = Duration::from_secs(1);
        let mut waits = || pace.wait(quick).as_millis();
        let seen: Vec<_> = (0..9).map(|_| waits()).collect();
        assert_eq!(seen, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
        assert!((0..10_000).all(|_| waits() == 30_000), "it gives up");
        assert_eq!(pace.wait(STEADY), FIRST_WAIT);
    }
}
