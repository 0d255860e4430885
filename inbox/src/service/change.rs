//! Replays, releases, drops and purges entries. Each is one change of an entry's state, so twice is once.

use super::Operations;
use super::error::{BadRequest, Error};
use super::filter::EntryFilter;
use super::names::EntryState;
use super::written;
use crate::store::{Change, ChangeRefusal, EntrySelection, Restriction};
use crate::violation;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Entries in one transaction, so that no arrival waits for long.
const MAX_ENTRIES: i64 = 500;

/// Names entries by their ids, or by a filter in pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeRequest {
    /// These, up to 500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<BTreeSet<i64>>,
    /// Those that match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<EntryFilter>,
    /// Of a filter, those with a higher id: the `next` of the answer before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<i64>,
    /// Of a filter, up to this id. Later entries stay as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
    /// Of a filter, so many at once: up to 500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// Only count.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// What a change did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeAnswer {
    /// The changed entries.
    pub changed: Vec<i64>,
    /// The others.
    pub refused: Vec<EntryRefusal>,
    /// The `after` of the next piece; none at the end.
    pub next: Option<i64>,
}

/// An entry that stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryRefusal {
    /// The entry.
    pub id: i64,
    /// Why.
    pub why: String,
}

/// What a change would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangePreview {
    /// The entries that would change, by their state.
    pub would_change: Vec<StateCount>,
    /// The entries that would stay, by why.
    pub would_refuse: Vec<RefusalCount>,
    /// The newest of them all, for `until`.
    pub until: Option<i64>,
}

/// Entries in a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateCount {
    /// The state.
    pub state: EntryState,
    /// So many.
    pub count: i64,
}

/// Entries that would stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalCount {
    /// Why.
    pub why: String,
    /// So many.
    pub count: i64,
}

impl Operations {
    /// Changes entries.
    pub(crate) async fn change(&self, change: Change, request: ChangeRequest) -> Result<ChangeAnswer, Error> {
        let which = request.which(change)?;
        let (ids, next) = self.piece(which, Restriction::Applicable(change), &request).await?;
        let store = self.shared.store.clone();
        let changed = written(async move { store.change(change, &ids).await }).await?;
        if matches!(change, Change::Replay | Change::Release) {
            self.shared.wake.up(changed.changed.values().flatten().cloned().collect::<BTreeSet<_>>());
        }
        if !changed.changed.is_empty() {
            let word = match change {
                Change::Replay => "replayed",
                Change::Release => "released",
                Change::Drop => "dropped",
                Change::Purge => "purged",
            };
            tracing::info!("{word}={} by an operator", changed.changed.len());
        }
        let refused = self.explain(changed.refused).await?;
        Ok(ChangeAnswer { changed: changed.changed.into_keys().collect(), refused, next })
    }

    /// Counts what a change would do.
    pub(crate) async fn preview(
        &self,
        change: Change,
        request: &ChangeRequest,
    ) -> Result<ChangePreview, Error> {
        let which = request.which(change)?;
        let mut known = 0_i64;
        let mut until = None;
        let (mut changes, mut refuses) = (BTreeMap::<EntryState, i64>::new(), BTreeMap::<String, i64>::new());
        for candidates in self.shared.store.count(&which).await? {
            let sum = match change.check(&candidates) {
                Ok(()) => changes.entry(candidates.state).or_default(),
                Err(why) => refuses.entry(why.to_string()).or_default(),
            };
            *sum = sum.saturating_add(candidates.count);
            known = known.saturating_add(candidates.count);
            until = until.max(Some(candidates.id));
        }
        if let EntrySelection::Ids(ids) = which {
            let unknown = i64::try_from(ids.len()).unwrap_or(i64::MAX).saturating_sub(known);
            if unknown > 0 {
                refuses.insert(ChangeRefusal::NoEntry.to_string(), unknown);
            }
        }
        let would_change = changes.into_iter().map(|(state, count)| StateCount { state, count }).collect();
        let would_refuse = refuses.into_iter().map(|(why, count)| RefusalCount { why, count }).collect();
        Ok(ChangePreview { would_change, would_refuse, until })
    }

    /// Adds the field that keeps an entry from being an event.
    async fn explain(&self, refused: BTreeMap<i64, ChangeRefusal>) -> Result<Vec<EntryRefusal>, Error> {
        /// Each is read with its body.
        const MAX_EXPLAINED: usize = 20;
        let mut explained = 0_usize;
        let mut all = Vec::with_capacity(refused.len());
        for (id, refusal) in refused {
            let mut why = refusal.to_string();
            if matches!(refusal, ChangeRefusal::NoEvent | ChangeRefusal::NoGeneration)
                && explained < MAX_EXPLAINED
            {
                explained = explained.saturating_add(1);
                let entry = self.shared.store.quarantined(id).await?;
                let violation = entry.and_then(|entry| {
                    violation::describe(entry.reason?.as_str(), &entry.headers, &entry.body)
                });
                if let Some(violation) = violation {
                    why = format!("{violation}; {why}");
                }
            }
            all.push(EntryRefusal { id, why });
        }
        Ok(all)
    }

    /// The ids of one piece, and the `after` of the next. `only` narrows a filter.
    pub(super) async fn piece(
        &self,
        which: EntrySelection,
        only: Restriction,
        request: &ChangeRequest,
    ) -> Result<(BTreeSet<i64>, Option<i64>), Error> {
        let filter = match which {
            EntrySelection::Ids(ids) => return Ok((ids, None)),
            EntrySelection::All(filter) => filter,
        };
        let (after, until) = (request.after.unwrap_or(0), request.until.unwrap_or(i64::MAX));
        let limit = request.limit.unwrap_or(MAX_ENTRIES);
        let ids = self.shared.store.ids(&filter, only, after, until, limit).await?;
        let is_full = i64::try_from(ids.len()).is_ok_and(|count| count == limit);
        let next = ids.last().copied().filter(|_| is_full);
        Ok((ids.into_iter().collect(), next))
    }
}

impl ChangeRequest {
    fn which(&self, change: Change) -> Result<EntrySelection, BadRequest> {
        let which = self.selected()?;
        // It cannot be taken back: not of a state, or of a day.
        if let (Change::Purge, EntrySelection::All(filter)) = (change, &which)
            && filter.job.is_none()
            && filter.generation.is_none()
        {
            return Err(BadRequest::UnnamedPurge);
        }
        Ok(which)
    }

    /// Which entries are meant.
    pub(super) fn selected(&self) -> Result<EntrySelection, BadRequest> {
        if let Some(limit) = self.limit.filter(|limit| !(1..=MAX_ENTRIES).contains(limit)) {
            return Err(BadRequest::Limit { limit, max: MAX_ENTRIES });
        }
        match (&self.ids, &self.filter) {
            (Some(ids), None) => {
                if self.after.is_some() || self.until.is_some() {
                    return Err(BadRequest::RangeOfIds);
                }
                if ids.is_empty() || i64::try_from(ids.len()).is_ok_and(|count| count > MAX_ENTRIES) {
                    return Err(BadRequest::IdCount(MAX_ENTRIES));
                }
                Ok(EntrySelection::Ids(ids.clone()))
            }
            (None, Some(filter)) if filter.is_empty() => Err(BadRequest::EmptyFilter),
            (None, Some(filter)) => Ok(EntrySelection::All(filter.check()?)),
            _ => Err(BadRequest::IdsOrFilter),
        }
    }
}
