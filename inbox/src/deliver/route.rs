//! A route: the entries of one service, which are limited, paused and probed together.
//!
//! A service is not down because some of its entries always fail. If the service answered another entry with 2xx since the
//! entry's last attempt, the failure is the entry's own and counts towards its 72 h. Otherwise the failure counts as the
//! service's.

mod drain;
mod probe;

use super::DeliveryPace;
use super::attempt::AttemptOutcome;
use crate::store::{AttemptClass, ClaimRequest, ClaimedBatch, ClaimedEntry, Pick};
use drain::Drain;
use probe::{MAX_FIRST_PAUSE, MAX_PAUSE, ProbeSlot};
use std::time::Duration;
use tokio::time::Instant;

/// The service is down after this many unanswered attempts in a row, of more than one entry.
const DOWN_AFTER: u32 = 5;
/// For this time after a failed attempt, first attempts have reserved slots.
const TROUBLED: Duration = Duration::from_secs(60);
/// For this time after a success, probes are frequent: probably the service runs, and only some entries always fail.
const RECENTLY: Duration = Duration::from_secs(5 * 60);
/// Each class has a quarter of a route's slots for itself, so that neither waits for the other's timeouts.
const RESERVED: usize = 4;
/// The shortest time between claims while a route catches up.
const CLAIM_EVERY: Duration = Duration::from_millis(50);
/// The time between writes of a success, for other inboxes and the next start.
const WRITE_SUCCESS_EVERY: Duration = Duration::from_secs(10);
/// The same while other entries of the route fail.
const WRITE_SUCCESS_IN_TROUBLE_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Route {
    pace: DeliveryPace,
    pub(super) paused: bool,
    health: Health,
    /// Counts the changes of health: the outcome of an attempt from an earlier epoch changes nothing.
    epoch: u64,
    drain: Drain,
    /// First attempts in flight.
    first: usize,
    /// Later attempts in flight.
    again: usize,
    /// The pick that comes first in the next claim.
    turn: usize,
    claimed_at: Option<Instant>,
    failed_at: Option<Instant>,
    succeeded_at: Option<Instant>,
    success_written_at: Option<Instant>,
}

/// An attempt in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    class: AttemptClass,
    began: Instant,
    epoch: u64,
    /// Whether the service answered another entry with 2xx between the last attempt and this one.
    beside_success: bool,
}

#[derive(Debug)]
enum Health {
    Up {
        failures: u32,
        last: Option<i64>,
        of_many: bool,
    },
    /// One attempt of each class at a time probes the service.
    Down {
        first: ProbeSlot,
        again: ProbeSlot,
    },
}

impl Route {
    pub(super) fn new(pace: DeliveryPace, now: Instant) -> Self {
        Self {
            pace,
            paused: false,
            health: Health::up(),
            epoch: 0,
            drain: Drain::new(pace.drain, now),
            first: 0,
            again: 0,
            turn: 0,
            claimed_at: None,
            failed_at: None,
            succeeded_at: None,
            success_written_at: None,
        }
    }

    /// Catches up at a bounded rate, as after a service was down.
    pub(super) fn catch_up(&mut self, now: Instant) {
        self.drain.begin(now);
    }

    pub(super) fn is_down(&self) -> bool {
        matches!(self.health, Health::Down { .. })
    }

    pub(super) fn in_flight(&self) -> usize {
        self.first.saturating_add(self.again)
    }

    /// The entries to claim now.
    pub(super) fn wanted(&mut self, now: Instant) -> Option<ClaimRequest> {
        let free = self.pace.concurrency.saturating_sub(self.in_flight());
        let room = match &self.health {
            _ if self.paused => 0,
            Health::Up { .. } => free.min(self.drain.room(now)),
            Health::Down { .. } => free,
        };
        if room == 0 {
            return None;
        }
        self.claimed_at = Some(now);
        match &self.health {
            Health::Down { first, again } => {
                let due = [(first, AttemptClass::First), (again, AttemptClass::Again)]
                    .map(|(slot, class)| (slot.pick(class), usize::from(slot.is_due(now))));
                let [(_, first), (_, again)] = due;
                (first.saturating_add(again) > 0)
                    .then(|| ClaimRequest::of(due.to_vec(), room.min(due.len()), first, again))
            }
            Health::Up { .. } if self.drain.is_on() || self.is_troubled(now) => Some(self.shares(room)),
            Health::Up { .. } => Some(ClaimRequest::due(room)),
        }
    }

    /// Half of the room goes to each pick in turn, and the rest to the newest entries.
    fn shares(&mut self, room: usize) -> ClaimRequest {
        self.turn = self.turn.wrapping_add(1);
        let concurrency = self.pace.concurrency;
        let reserved = concurrency.checked_div(RESERVED).unwrap_or_default().max(1);
        let max = concurrency.saturating_sub(reserved).max(1);
        const TURNS: [Pick; 4] = [
            Pick::Newest(AttemptClass::First),
            Pick::Oldest(AttemptClass::Again),
            Pick::Oldest(AttemptClass::First),
            Pick::Newest(AttemptClass::Again),
        ];
        let half = room.checked_div(2).unwrap_or_default().max(1);
        let pick = self.turn.checked_rem(TURNS.len()).and_then(|turn| TURNS.get(turn));
        let mut picks: Vec<_> = pick.map(|pick| (*pick, half)).into_iter().collect();
        // Old entries without an answer would occupy each slot for a whole timeout: the rest and the last slot are for the
        // newest.
        picks.extend([(Pick::Newest(AttemptClass::First), room), (Pick::Newest(AttemptClass::Again), room)]);
        ClaimRequest::of(picks, room, max.saturating_sub(self.first), max.saturating_sub(self.again))
            .reserve_for_newest(usize::from(concurrency > 1))
    }

    /// Notes a claim.
    pub(super) fn claimed(&mut self, claim: &ClaimedBatch, now: Instant) {
        if self.drain.is_on() || self.is_down() {
            self.drain.take(claim.entries.len(), now);
        }
        if claim.all && !self.is_down() {
            self.drain.end();
        }
    }

    /// Notes the start of an attempt.
    pub(super) fn begin(&mut self, entry: &ClaimedEntry, now: Instant) -> Flight {
        let class = if entry.attempts <= 1 { AttemptClass::First } else { AttemptClass::Again };
        let count = self.count(class);
        *count = count.saturating_add(1);
        if let Some(slot) = self.health.slot(class) {
            slot.begin(entry.id, now);
        }
        Flight { class, began: now, epoch: self.epoch, beside_success: entry.beside_success }
    }

    /// Notes the end of an attempt, whatever its outcome.
    pub(super) fn finish(&mut self, id: i64, flight: Flight) {
        self.free(flight);
        if let Some(slot) = self.health.slot(flight.class) {
            slot.finish(id);
        }
    }

    /// Frees the slot of an attempt.
    pub(super) fn free(&mut self, flight: Flight) {
        let count = self.count(flight.class);
        *count = count.saturating_sub(1);
    }

    /// The time at which a route that catches up has room for the next claim.
    pub(super) fn claims_again_at(&self, now: Instant) -> Option<Instant> {
        if self.paused || self.is_down() || self.in_flight() >= self.pace.concurrency {
            return None;
        }
        let at = self.drain.has_room_at(now)?;
        Some(self.claimed_at.map_or(at, |claimed| at.max(super::later(claimed, CLAIM_EVERY))))
    }

    /// Whether a failure of this attempt is the entry's own, and not the service's.
    pub(super) fn is_own_failure(&self, flight: Flight) -> bool {
        flight.beside_success || self.succeeded_at.is_some_and(|at| at > flight.began)
    }

    /// Whether the success of now must be written.
    pub(super) fn writes_success(&mut self, now: Instant) -> bool {
        let every = if self.is_troubled(now) { WRITE_SUCCESS_IN_TROUBLE_EVERY } else { WRITE_SUCCESS_EVERY };
        let due = self.success_written_at.is_none_or(|at| now.saturating_duration_since(at) >= every);
        if due {
            self.success_written_at = Some(now);
        }
        due
    }

    /// Notes the outcome of an attempt of entry `id`. Returns the route's new health, if it changes.
    pub(super) fn note(
        &mut self,
        id: i64,
        flight: Flight,
        outcome: &AttemptOutcome,
        now: Instant,
    ) -> Option<&'static str> {
        if matches!(outcome, AttemptOutcome::LeaseLost) {
            return None;
        }
        let is_own = self.is_own_failure(flight);
        let recently = self.succeeded_at.is_some_and(|at| now.saturating_duration_since(at) < RECENTLY);
        let noted = if outcome.is_done() { &mut self.succeeded_at } else { &mut self.failed_at };
        *noted = Some(now);
        if flight.epoch != self.epoch {
            return None;
        }
        match (&mut self.health, outcome.is_down()) {
            (Health::Up { .. }, true) if is_own => None,
            (Health::Up { failures, last, of_many }, true) => {
                *failures = failures.saturating_add(1);
                *of_many |= last.is_some_and(|last| last != id);
                *last = Some(id);
                if *failures < DOWN_AFTER || !*of_many {
                    return None;
                }
                self.change_to(Health::down(now));
                Some("down")
            }
            (health @ Health::Up { .. }, false) => {
                *health = Health::up();
                None
            }
            (Health::Down { .. }, false) => {
                self.change_to(Health::up());
                self.drain.begin(now);
                Some("up again")
            }
            (health @ Health::Down { .. }, true) => {
                if let Some(slot) = health.slot(flight.class) {
                    if is_own {
                        slot.inconclusive(id, now);
                    } else {
                        slot.failed(id, recently, now);
                    }
                }
                None
            }
        }
    }

    fn change_to(&mut self, health: Health) {
        self.health = health;
        self.epoch = self.epoch.wrapping_add(1);
    }

    fn is_troubled(&self, now: Instant) -> bool {
        self.failed_at.is_some_and(|at| now.saturating_duration_since(at) < TROUBLED)
    }

    fn count(&mut self, class: AttemptClass) -> &mut usize {
        match class {
            AttemptClass::First => &mut self.first,
            AttemptClass::Again => &mut self.again,
        }
    }
}

impl Health {
    fn down(now: Instant) -> Self {
        Health::Down { first: ProbeSlot::new(now, MAX_FIRST_PAUSE), again: ProbeSlot::new(now, MAX_PAUSE) }
    }

    fn up() -> Self {
        Health::Up { failures: 0, last: None, of_many: false }
    }

    fn slot(&mut self, class: AttemptClass) -> Option<&mut ProbeSlot> {
        match (self, class) {
            (Health::Up { .. }, _) => None,
            (Health::Down { first, .. }, AttemptClass::First) => Some(first),
            (Health::Down { again, .. }, AttemptClass::Again) => Some(again),
        }
    }
}

#[cfg(test)]
mod tests;
