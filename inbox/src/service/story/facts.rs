//! The stored facts of a story.

use super::ComparedVerdict;
use super::words::quoted;
use crate::entry::{EntryState, ExpectationState, Lane};
use crate::store::{ActionKind, AttemptRow, DatedPause, EntryRow, Expectation, Pause};
use std::collections::BTreeMap;

/// The stored facts about a generation, or about an entry without one.
pub(super) struct StoryFacts {
    pub(super) hook: String,
    pub(super) generation: Option<String>,
    pub(super) now: i64,
    /// The oldest first.
    pub(super) entries: Vec<StoryEntry>,
    pub(super) more_entries: i64,
    pub(super) expectation: Option<Expectation>,
    /// All pauses of the store.
    pub(super) all_pauses: Vec<DatedPause>,
    /// The routes of waiting entries that fail.
    pub(super) troubles: Vec<RouteTrouble>,
    /// The time from an announcement until its event is overdue.
    pub(super) reconcile_after: i64,
    /// Whether the inbox has a status API.
    pub(super) reconciles: bool,
    /// The answer of the status API, if the request called it.
    pub(super) asked: Option<AskedStatus>,
}

/// The answer of the status API to the request's own call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AskedStatus {
    /// The generation has ended. Each compared entry has its result.
    Ended(BTreeMap<i64, ComparedVerdict>),
    /// There is no such generation.
    Unknown,
    /// The generation has not ended.
    InProgress,
    /// The answer tells nothing about the generation.
    Other,
}

pub(super) struct StoryEntry {
    pub(super) row: EntryRow,
    pub(super) attempts: Vec<AttemptRow>,
    /// Whether the reconciler fetched it.
    pub(super) is_reconciled: bool,
    /// The last action of each kind on it, with the name of the caller's token.
    pub(super) actors: BTreeMap<String, Option<String>>,
}

/// The failing service of a route.
pub(super) struct RouteTrouble {
    pub(super) route: String,
    pub(super) is_down: bool,
    /// Such as `its attempts get 5xx`.
    pub(super) outcome: String,
    pub(super) since: Option<i64>,
}

impl StoryEntry {
    /// Who did this last: the name of a token, or `a person` without sign-in and after the audit's 400 days.
    pub(super) fn actor(&self, action: ActionKind) -> &str {
        self.actors.get(action.name()).and_then(|who| who.as_deref()).unwrap_or("a person")
    }

    /// Whether the last recorded attempt delivered it.
    pub(super) fn ends_with_success(&self) -> bool {
        self.attempts.last().is_some_and(is_success)
    }
}

impl StoryFacts {
    /// The entries that a person may still decide on, and the delivered ones.
    pub(super) fn compared(&self) -> impl Iterator<Item = &StoryEntry> {
        let is_over = |state| matches!(state, EntryState::Superseded | EntryState::Dropped);
        self.entries.iter().filter(move |entry| !is_over(entry.row.state))
    }

    /// The result of the comparison of an entry with the status API.
    pub(super) fn verdict(&self, entry: &StoryEntry) -> Option<ComparedVerdict> {
        match &self.asked {
            Some(AskedStatus::Ended(compared)) => compared.get(&entry.row.id).copied(),
            _ => None,
        }
    }

    /// An accepted entry of the generation of a quarantined one.
    pub(super) fn accepted_beside(&self, entry: &StoryEntry) -> Option<&StoryEntry> {
        let is_accepted = |other: &&StoryEntry| {
            other.row.id != entry.row.id
                && matches!(
                    other.row.state,
                    EntryState::Delivered | EntryState::Waiting | EntryState::InFlight
                )
                && other.row.lane != Lane::Observed
        };
        self.entries.iter().rev().find(is_accepted)
    }

    /// The command that compares the entries with the status API. `None` without a status API, and after its answer.
    pub(super) fn compare_command(&self) -> Option<String> {
        let generation = self.generation.as_deref().filter(|_| self.reconciles && self.asked.is_none())?;
        Some(format!("blobgate why {generation} --hook {} --ask", quoted(&self.hook)))
    }

    /// The newest delivered entry.
    pub(super) fn delivered(&self) -> Option<&StoryEntry> {
        self.entries.iter().rev().find(|entry| entry.row.state == EntryState::Delivered)
    }

    /// The time from which no accepted event was overdue. `None` if one came in time, or may have.
    pub(super) fn overdue_at(&self, expectation: &Expectation) -> Option<i64> {
        let at = expectation.expected_at.saturating_add(self.reconcile_after);
        let first = self.entries.iter().filter(|entry| entry.row.lane == Lane::Deliver);
        let first = first.map(|entry| entry.row.received_at).min();
        let is_open = !matches!(expectation.state, ExpectationState::Arrived | ExpectationState::Reconciled);
        let is_late = first.map_or(is_open, |first| first > at);
        (expectation.job.is_some() && at <= self.now && is_late).then_some(at)
    }

    /// Whether `inbox reconcile` calls the status API about the generation now.
    pub(super) fn is_callable(&self, expectation: &Expectation) -> bool {
        self.overdue_at(expectation).is_some() || expectation.asked > 0 || expectation.wanted.is_some()
    }

    /// The job of the announcement.
    pub(super) fn announced_job(&self) -> Option<&str> {
        self.expectation.as_ref()?.job.as_deref()
    }

    /// The time of the reconciler's next call.
    pub(super) fn next_call_at(&self) -> Option<i64> {
        let expectation = self.expectation.as_ref().filter(|_| self.reconciles)?;
        let is_open = expectation.state == ExpectationState::Expected || expectation.wanted.is_some();
        is_open.then_some(expectation.ask_at)
    }

    /// The pauses in the way of a waiting entry.
    pub(super) fn pauses(&self) -> impl Iterator<Item = &DatedPause> {
        let waiting = |pause: &&DatedPause| {
            self.entries
                .iter()
                .any(|entry| entry.row.state == EntryState::Waiting && covers(pause, &entry.row))
        };
        self.all_pauses.iter().filter(waiting)
    }
}

/// Whether a pause covers the route of an entry.
pub(super) fn covers(pause: &DatedPause, row: &EntryRow) -> bool {
    let pause = Pause { hook: pause.hook.clone(), event: pause.event.clone() };
    row.route.as_deref().is_some_and(|route| pause.holds(route))
}

/// Whether the service answered 2xx.
pub(super) fn is_success(attempt: &AttemptRow) -> bool {
    attempt.status.is_some_and(|status| (200..300).contains(&status))
}
