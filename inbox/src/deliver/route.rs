//! A route: what is limited, paused and probed as one, for behind it is one service.
//!
//! A route on which some entries always fail is not a service that is away. An entry that fails although the service
//! answered another with 2xx since its last attempt fails by itself: that counts as its own trying, and not as a sign that
//! the service is down. Without such an answer nobody can tell, and the failure counts as the service's.

mod drain;
mod probe;

use super::DeliveryPace;
use super::attempt::AttemptOutcome;
use crate::store::{AttemptClass, ClaimRequest, ClaimedBatch, ClaimedEntry, Pick};
use drain::Drain;
use probe::{LAST_FIRST_PROBE, LAST_PROBE, ProbeSlot};
use std::time::Duration;
use tokio::time::Instant;

/// So many deliveries in a row, of more than one event, that no service answered: then it is down.
const DOWN_AFTER: u32 = 5;
/// A route is troubled for so long after a failed attempt: then entries that were never tried have places of their own.
const TROUBLED: Duration = Duration::from_secs(60);
/// For so long after a success, a route that is down is more likely one on which some entries fail: probes are frequent.
const RECENTLY: Duration = Duration::from_secs(5 * 60);
/// One part in so many of a route's places is never taken by one class alone, so that neither waits for the other's
/// timeouts.
const RESERVED: usize = 4;
/// A claim that found no room for a class is not repeated at once.
const CLAIM_EVERY: Duration = Duration::from_millis(50);
/// A success is written so often, for other inboxes and the next start, and more often while something fails beside it.
const NOTE_SUCCESS_EVERY: Duration = Duration::from_secs(10);
const NOTE_SUCCESS_IN_TROUBLE_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Route {
    pace: DeliveryPace,
    pub(super) paused: bool,
    health: Health,
    /// Counts the changes of health: an answer to an attempt from before the last one changes nothing.
    epoch: u64,
    drain: Drain,
    /// How many attempts are under way, at entries never tried and at others.
    first: usize,
    again: usize,
    /// Which end comes first in the next claim.
    turn: usize,
    claimed_at: Option<Instant>,
    failed_at: Option<Instant>,
    succeeded_at: Option<Instant>,
    noted_at: Option<Instant>,
}

/// An attempt that is under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    class: AttemptClass,
    began: Instant,
    epoch: u64,
    /// Whether another entry was answered 2xx between the last attempt and this one.
    beside_success: bool,
}

#[derive(Debug)]
enum Health {
    Up {
        failures: u32,
        last: Option<i64>,
        of_many: bool,
    },
    /// One delivery of each class at a time finds out.
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
            noted_at: None,
        }
    }

    /// What waits is bounded, as after a service was down.
    pub(super) fn catch_up(&mut self, now: Instant) {
        self.drain.begin(now);
    }

    pub(super) fn is_down(&self) -> bool {
        matches!(self.health, Health::Down { .. })
    }

    pub(super) fn in_flight(&self) -> usize {
        self.first.saturating_add(self.again)
    }

    /// What may start now.
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

    /// One end after the other gets a half, and the rest is for what is newest.
    fn shares(&mut self, room: usize) -> ClaimRequest {
        self.turn = self.turn.wrapping_add(1);
        let concurrency = self.pace.concurrency;
        let reserved = concurrency.checked_div(RESERVED).unwrap_or_default().max(1);
        let most = concurrency.saturating_sub(reserved).max(1);
        const ENDS: [Pick; 4] = [
            Pick::Newest(AttemptClass::First),
            Pick::Oldest(AttemptClass::Again),
            Pick::Oldest(AttemptClass::First),
            Pick::Newest(AttemptClass::Again),
        ];
        let half = room.checked_div(2).unwrap_or_default().max(1);
        let end = self.turn.checked_rem(ENDS.len()).and_then(|turn| ENDS.get(turn));
        let mut picks: Vec<_> = end.map(|end| (*end, half)).into_iter().collect();
        // What is never answered would hold all that an oldest end is given, for as long as an attempt may take: what is
        // left, and the last place, are for the newest.
        picks.extend([(Pick::Newest(AttemptClass::First), room), (Pick::Newest(AttemptClass::Again), room)]);
        ClaimRequest::of(picks, room, most.saturating_sub(self.first), most.saturating_sub(self.again))
            .reserve_for_newest(usize::from(concurrency > 1))
    }

    /// What a claim has found.
    pub(super) fn claimed(&mut self, claim: &ClaimedBatch, now: Instant) {
        if self.drain.is_on() || self.is_down() {
            self.drain.take(claim.entries.len(), now);
        }
        if claim.all && !self.is_down() {
            self.drain.end();
        }
    }

    /// An attempt at this entry starts.
    pub(super) fn begin(&mut self, entry: &ClaimedEntry, now: Instant) -> Flight {
        let class = if entry.attempts <= 1 { AttemptClass::First } else { AttemptClass::Again };
        let count = self.count(class);
        *count = count.saturating_add(1);
        if let Some(slot) = self.health.slot(class) {
            slot.begin(entry.id, now);
        }
        Flight { class, began: now, epoch: self.epoch, beside_success: entry.beside_success }
    }

    /// The delivery of this entry is over, however it ended.
    pub(super) fn let_go(&mut self, id: i64, flight: Flight) {
        self.give_back(flight);
        if let Some(slot) = self.health.slot(flight.class) {
            slot.let_go(id);
        }
    }

    /// Its place is free.
    pub(super) fn give_back(&mut self, flight: Flight) {
        let count = self.count(flight.class);
        *count = count.saturating_sub(1);
    }

    /// When more may start although nothing else happens, while a backlog is bounded.
    pub(super) fn claims_again_at(&self, now: Instant) -> Option<Instant> {
        if self.paused || self.is_down() || self.in_flight() >= self.pace.concurrency {
            return None;
        }
        let at = self.drain.has_room_at(now)?;
        Some(self.claimed_at.map_or(at, |claimed| at.max(super::later(claimed, CLAIM_EVERY))))
    }

    /// Whether a failure of this attempt is the entry's own, and not the service's.
    pub(super) fn is_its_own(&self, flight: Flight) -> bool {
        flight.beside_success || self.succeeded_at.is_some_and(|at| at > flight.began)
    }

    /// Whether a success is to be written that just came.
    pub(super) fn notes_success(&mut self, now: Instant) -> bool {
        let every = if self.is_troubled(now) { NOTE_SUCCESS_IN_TROUBLE_EVERY } else { NOTE_SUCCESS_EVERY };
        let due = self.noted_at.is_none_or(|noted| now.saturating_duration_since(noted) >= every);
        if due {
            self.noted_at = Some(now);
        }
        due
    }

    /// Learns from how an attempt at entry `id` ended. Returns what the route has become, where that is news.
    pub(super) fn note(
        &mut self,
        id: i64,
        flight: Flight,
        outcome: &AttemptOutcome,
        now: Instant,
    ) -> Option<&'static str> {
        if matches!(outcome, AttemptOutcome::LeaseLost) {
            return None; // says nothing of the service
        }
        let its_own = self.is_its_own(flight);
        let recently = self.succeeded_at.is_some_and(|at| now.saturating_duration_since(at) < RECENTLY);
        let noted = if outcome.is_done() { &mut self.succeeded_at } else { &mut self.failed_at };
        *noted = Some(now);
        if flight.epoch != self.epoch {
            return None;
        }
        match (&mut self.health, outcome.is_down()) {
            (Health::Up { .. }, true) if its_own => None,
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
                    if its_own {
                        slot.said_nothing(id, now);
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
        Health::Down { first: ProbeSlot::new(now, LAST_FIRST_PROBE), again: ProbeSlot::new(now, LAST_PROBE) }
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
