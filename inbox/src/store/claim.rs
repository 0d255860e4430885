//! The choice of entries for a claim. First attempts and retries have separate shares, and a claim takes both from the oldest and
//! the newest end. Entries that always fail can fill one end, and then the other one still makes progress.

use super::ClaimedEntry;

/// Whether the next attempt of an entry is its first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttemptClass {
    /// The first one, or the first one after a replay.
    First,
    Again,
}

/// An end of a route's due entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pick {
    /// All due entries: the oldest first, and replayed ones last.
    Due,
    Oldest(AttemptClass),
    Newest(AttemptClass),
}

/// The entries that a claim takes, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClaimRequest {
    pub(crate) picks: Vec<(Pick, usize)>,
    /// The most entries.
    pub(crate) room: usize,
    /// The most entries of each class.
    pub(crate) first: usize,
    pub(crate) again: usize,
    /// The part of `room` that only the newest entries get.
    pub(crate) newest: usize,
    /// Whether the claim took all due entries of each class.
    drained: (bool, bool),
}

impl ClaimRequest {
    pub(crate) fn due(room: usize) -> Self {
        Self::of(vec![(Pick::Due, room)], room, room, room)
    }

    pub(crate) fn of(picks: Vec<(Pick, usize)>, room: usize, first: usize, again: usize) -> Self {
        Self { picks, room, first, again, newest: 0, drained: (false, false) }
    }

    /// Reserves a part of the room for the newest entries.
    pub(crate) fn reserve_for_newest(self, newest: usize) -> Self {
        Self { newest, ..self }
    }

    /// The limit of the query for this pick, at most `max`.
    pub(super) fn limit(&self, pick: Pick, max: usize) -> i64 {
        let class = match pick {
            Pick::Due => self.room,
            Pick::Oldest(AttemptClass::First) | Pick::Newest(AttemptClass::First) => self.first,
            Pick::Oldest(AttemptClass::Again) | Pick::Newest(AttemptClass::Again) => self.again,
        };
        let reserved = if matches!(pick, Pick::Oldest(_)) { self.newest } else { 0 };
        let left = class.min(self.room).saturating_sub(reserved);
        i64::try_from(max.min(left)).unwrap_or(i64::MAX)
    }

    /// Notes that a query for `limit` entries returned `count`.
    pub(super) fn note_taken(&mut self, pick: Pick, limit: i64, count: usize) {
        self.room = self.room.saturating_sub(count);
        let drained = i64::try_from(count).is_ok_and(|count| count < limit);
        let (first, again) = &mut self.drained;
        match pick {
            Pick::Due => (*first, *again) = (drained, drained),
            Pick::Oldest(AttemptClass::First) | Pick::Newest(AttemptClass::First) => {
                self.first = self.first.saturating_sub(count);
                *first |= drained;
            }
            Pick::Oldest(AttemptClass::Again) | Pick::Newest(AttemptClass::Again) => {
                self.again = self.again.saturating_sub(count);
                *again |= drained;
            }
        }
    }

    pub(super) fn claim(&self, entries: Vec<ClaimedEntry>) -> ClaimedBatch {
        ClaimedBatch { entries, all: self.drained == (true, true) }
    }
}

/// The entries that a claim took.
#[derive(Debug)]
pub(crate) struct ClaimedBatch {
    pub(crate) entries: Vec<ClaimedEntry>,
    /// Whether no other entry of the route was due.
    pub(crate) all: bool,
}
