//! Incidents: events of which `notify` tells a person. The parts of the inbox note them, and never wait for that.

use crate::entry::QuarantineReason;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;
use tokio::time::Instant;

/// The kind of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum IncidentKind {
    Quarantined,
    Dead,
    Overdue,
    Refused,
    Down,
}

impl IncidentKind {
    pub(crate) const ALL: [Self; 5] =
        [Self::Quarantined, Self::Dead, Self::Overdue, Self::Refused, Self::Down];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Quarantined => "quarantined",
            Self::Dead => "dead",
            Self::Overdue => "overdue",
            Self::Refused => "refused",
            Self::Down => "down",
        }
    }

    /// The name of the counts in a notification.
    pub(crate) const fn counts(self) -> &'static str {
        match self {
            Self::Quarantined | Self::Overdue | Self::Refused => "reasons",
            Self::Dead | Self::Down => "routes",
        }
    }
}

/// A page of the book, by its urgency: a notification about several causes links to the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Runbook {
    Dead,
    Overdue,
    Quarantined,
    InboxRefuses,
    SigningKeysDiffer,
    ClockOffset,
    TokenFull,
    RouteDown,
    ServiceFails,
}

impl Runbook {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 9] = [
        Self::Dead,
        Self::Overdue,
        Self::Quarantined,
        Self::InboxRefuses,
        Self::SigningKeysDiffer,
        Self::ClockOffset,
        Self::TokenFull,
        Self::RouteDown,
        Self::ServiceFails,
    ];

    /// The page about a code of a refusal or a fault.
    pub(crate) fn of_refusal(code: &str) -> Self {
        match code {
            "signature" => Self::SigningKeysDiffer,
            "clock-offset" => Self::ClockOffset,
            "token-full" => Self::TokenFull,
            _ => Self::InboxRefuses,
        }
    }

    /// The name of its page in `docs/operate/runbooks/`: `blobgate-NAME.md`.
    pub(crate) const fn page(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Overdue => "overdue",
            Self::Quarantined => "quarantined",
            Self::InboxRefuses => "inbox-refuses",
            Self::SigningKeysDiffer => "signing-keys-differ",
            Self::ClockOffset => "clock-offset",
            Self::TokenFull => "token-full",
            Self::RouteDown => "route-down",
            Self::ServiceFails => "service-fails",
        }
    }
}

/// A failed attempt: the service answered with another status than 2xx, or it seems to be down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailedAttempt {
    Answered,
    Down,
}

/// The incidents of one kind that no notification has told yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    /// The time of the first incident.
    pub(crate) since: OffsetDateTime,
    /// The number of incidents by reason or route.
    pub(crate) counts: BTreeMap<String, u64>,
    pub(crate) runbook: Runbook,
    noted: Instant,
}

/// Labels that a tally counts apart. A route has the text of a header, so that the number of routes has no other bound.
const MAX_LABELS: usize = 50;
/// The longest label in bytes.
const MAX_LABEL: usize = 120;
/// The label of all further incidents.
const OTHER: &str = "other";
/// Routes with failed attempts that are counted apart.
const MAX_ROUTES: usize = 1_000;
/// A route is down for its team after this many failed attempts in a row, as for the deliverer.
const DOWN_AFTER: u64 = 5;

impl Tally {
    pub(crate) fn new(label: &str, count: u64, runbook: Runbook, since: OffsetDateTime) -> Self {
        let label = if label.len() > MAX_LABEL { OTHER } else { label };
        let counts = BTreeMap::from([(label.to_owned(), count)]);
        Self { since, counts, runbook, noted: Instant::now() }
    }

    /// The number of incidents.
    pub(crate) fn count(&self) -> u64 {
        self.counts.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Adds incidents of the same kind.
    pub(crate) fn add(&mut self, more: Self) {
        self.since = self.since.min(more.since);
        self.noted = self.noted.min(more.noted);
        self.runbook = self.runbook.min(more.runbook);
        for (label, count) in more.counts {
            let is_known = self.counts.contains_key(&label);
            let label = if is_known || self.counts.len() < MAX_LABELS { label } else { OTHER.to_owned() };
            let sum = self.counts.entry(label).or_default();
            *sum = sum.saturating_add(count);
        }
    }
}

/// The incidents since the last notifications. Their memory has a bound, whatever happens.
#[derive(Debug, Default)]
pub(crate) struct Incidents(Option<Mutex<IncidentState>>);

#[derive(Debug, Default)]
struct IncidentState {
    tallies: BTreeMap<IncidentKind, Tally>,
    /// The failed attempts in a row of each route.
    failing: BTreeMap<String, FailureStreak>,
    overdue: u64,
}

#[derive(Clone, Copy, Debug)]
struct FailureStreak {
    since: OffsetDateTime,
    failures: u64,
}

impl Incidents {
    /// For an inbox that notifies. The default one notes nothing.
    pub(crate) fn noted() -> Self {
        Self(Some(Mutex::default()))
    }

    /// A delivery is quarantined.
    pub(crate) fn quarantined(&self, reason: &QuarantineReason) {
        self.note(IncidentKind::Quarantined, label_of(reason), Runbook::Quarantined);
    }

    /// An entry is dead.
    pub(crate) fn dead(&self, route: &str) {
        self.note(IncidentKind::Dead, route, Runbook::Dead);
    }

    /// The status API denies an expected generation.
    pub(crate) fn unknown(&self) {
        self.note(IncidentKind::Overdue, "unknown", Runbook::Overdue);
    }

    /// The number of generations that are overdue now. More than before are incidents.
    pub(crate) fn overdue(&self, now: i64) {
        let now = u64::try_from(now).unwrap_or_default();
        let Some(mut state) = self.state() else { return };
        let more = now.saturating_sub(state.overdue);
        state.overdue = now;
        if more > 0 {
            let tally = Tally::new("no-event", more, Runbook::Overdue, OffsetDateTime::now_utc());
            state.add(IncidentKind::Overdue, tally);
        }
    }

    /// The inbox answers a delivery 503.
    pub(crate) fn refused(&self, code: &str) {
        self.note(IncidentKind::Refused, code, Runbook::of_refusal(code));
    }

    /// A service took an event: its route is well.
    pub(crate) fn delivered(&self, route: &str) {
        if let Some(mut state) = self.state() {
            state.failing.remove(route);
        }
    }

    /// A service did not take an event.
    pub(crate) fn failed(&self, route: &str, failed: FailedAttempt) {
        let Some(mut state) = self.state() else { return };
        let now = OffsetDateTime::now_utc();
        if state.failing.len() >= MAX_ROUTES && !state.failing.contains_key(route) {
            return;
        }
        let streak =
            state.failing.entry(route.to_owned()).or_insert(FailureStreak { since: now, failures: 0 });
        streak.failures = streak.failures.saturating_add(1);
        let (count, since) = match streak.failures {
            ..DOWN_AFTER => return,
            DOWN_AFTER => (DOWN_AFTER, streak.since),
            _ => (1, now),
        };
        let runbook = match failed {
            FailedAttempt::Down => Runbook::RouteDown,
            FailedAttempt::Answered => Runbook::ServiceFails,
        };
        state.add(IncidentKind::Down, Tally::new(route, count, runbook, since));
    }

    /// Adds incidents that were counted elsewhere.
    pub(crate) fn add(&self, kind: IncidentKind, tally: Tally) {
        if let Some(mut state) = self.state() {
            state.add(kind, tally);
        }
    }

    /// Whether there are incidents of this kind, of which the first is at least this old.
    pub(crate) fn has(&self, kind: IncidentKind, age: Duration) -> bool {
        self.state()
            .is_some_and(|state| state.tallies.get(&kind).is_some_and(|tally| tally.noted.elapsed() >= age))
    }

    /// Takes the incidents of this kind.
    pub(crate) fn take(&self, kind: IncidentKind) -> Option<Tally> {
        self.state()?.tallies.remove(&kind)
    }

    fn note(&self, kind: IncidentKind, label: &str, runbook: Runbook) {
        if let Some(mut state) = self.state() {
            state.add(kind, Tally::new(label, 1, runbook, OffsetDateTime::now_utc()));
        }
    }

    fn state(&self) -> Option<MutexGuard<'_, IncidentState>> {
        self.0.as_ref().map(|state| state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl IncidentState {
    fn add(&mut self, kind: IncidentKind, more: Tally) {
        match self.tallies.get_mut(&kind) {
            Some(tally) => tally.add(more),
            None => {
                self.tallies.insert(kind, more);
            }
        }
    }
}

/// The reason is a header's text: an unknown one must not leave the inbox.
pub(crate) fn label_of(reason: &QuarantineReason) -> &'static str {
    reason.known().unwrap_or(OTHER)
}

#[cfg(test)]
mod tests;
