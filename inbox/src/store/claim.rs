//! Which entries a claim takes. Entries that were never tried and entries that failed have places of their own, and either
//! are taken from both ends: what always fails can hold all of one end, and new entries are at the other.

use super::ClaimedEntry;

/// Whether an entry was tried before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttemptClass {
    /// Never, or not since it was replayed.
    First,
    Again,
}

/// An end of the due entries of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pick {
    /// All of them, the oldest first and replayed ones last.
    Due,
    Oldest(AttemptClass),
    Newest(AttemptClass),
}

/// What a claim is to take, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClaimRequest {
    pub(crate) picks: Vec<(Pick, usize)>,
    /// How many in all.
    pub(crate) room: usize,
    /// How many of each class.
    pub(crate) first: usize,
    pub(crate) again: usize,
    /// How many of those that are left are for the newest alone.
    pub(crate) newest: usize,
    /// Of which class all that is due was taken.
    drained: (bool, bool),
}

impl ClaimRequest {
    pub(crate) fn due(room: usize) -> Self {
        Self::of(vec![(Pick::Due, room)], room, room, room)
    }

    pub(crate) fn of(picks: Vec<(Pick, usize)>, room: usize, first: usize, again: usize) -> Self {
        Self { picks, room, first, again, newest: 0, drained: (false, false) }
    }

    /// Keeps the last ones for the newest.
    pub(crate) fn keep_for_newest(self, newest: usize) -> Self {
        Self { newest, ..self }
    }

    /// How many to take of this pick, of which `most` are wanted.
    pub(super) fn limit(&self, pick: Pick, most: usize) -> i64 {
        let class = match pick {
            Pick::Due => self.room,
            Pick::Oldest(AttemptClass::First) | Pick::Newest(AttemptClass::First) => self.first,
            Pick::Oldest(AttemptClass::Again) | Pick::Newest(AttemptClass::Again) => self.again,
        };
        let kept = if matches!(pick, Pick::Oldest(_)) { self.newest } else { 0 };
        let left = class.min(self.room).saturating_sub(kept);
        i64::try_from(most.min(left)).unwrap_or(i64::MAX)
    }

    /// So many were there, of so many asked for.
    pub(super) fn took(&mut self, pick: Pick, limit: i64, count: usize) {
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

/// What a claim has taken.
#[derive(Debug)]
pub(crate) struct ClaimedBatch {
    pub(crate) entries: Vec<ClaimedEntry>,
    /// Whether nothing else was due on the route.
    pub(crate) all: bool,
}
