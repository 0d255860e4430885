//! Replays, releases, drops and purges entries. Each is one change of an entry's state, so repeating it is safe.

use super::Operations;
use super::error::{BadRequest, Error};
use super::filter::EntryFilter;
use super::names::EntryState;
use super::{named, written};
use crate::access::Caller;
use crate::store::{Change, ChangeRefusal, EntrySelection, NewAction, Restriction};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Entries in one transaction, so that no arrival waits for long.
const MAX_ENTRIES: i64 = 500;

/// The windows that one piece reads: 200,000 rows. A piece may select no entry, and the next one some.
const MAX_WINDOWS: usize = 10;

/// Selects entries by ids, or by a filter in pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeRequest {
    /// The entries, up to 500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<BTreeSet<i64>>,
    /// Entries that match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<EntryFilter>,
    /// With a filter: only entries with a higher id, the `next` of the previous answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<i64>,
    /// With a filter: only entries up to this id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
    /// With a filter: the most entries of one piece, up to 500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// The `action` of the answer to an earlier piece: this piece belongs to the same action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<i64>,
    /// Count the entries, and change nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// The outcome of a change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeAnswer {
    /// The changed entries.
    pub changed: Vec<i64>,
    /// The entries that did not change.
    pub refused: Vec<EntryRefusal>,
    /// The `after` of the next piece; nothing after the last.
    pub next: Option<i64>,
    /// The action's number in the audit, for the next piece; nothing while no entry has changed.
    #[serde(default)]
    pub action: Option<i64>,
}

/// An entry that did not change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryRefusal {
    /// The entry.
    pub id: i64,
    /// The reason.
    pub why: String,
}

/// The outcome that a change would have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangePreview {
    /// The entries that would change, by their state.
    pub would_change: Vec<StateCount>,
    /// The entries that would not change, by reason.
    pub would_refuse: Vec<RefusalCount>,
    /// The newest entry that the preview covers, for `until`.
    pub until: Option<i64>,
    /// The `after` of the next piece of a long preview. The counts are then of this piece: at least so many entries would change.
    #[serde(default)]
    pub next: Option<i64>,
}

/// The number of entries in a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateCount {
    /// The state.
    pub state: EntryState,
    /// The number.
    pub count: i64,
}

/// The number of entries that would not change for a reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalCount {
    /// The reason.
    pub why: String,
    /// The number.
    pub count: i64,
}

impl Operations {
    /// Changes entries.
    pub(crate) async fn change(
        &self,
        caller: &Caller,
        change: Change,
        request: ChangeRequest,
    ) -> Result<ChangeAnswer, Error> {
        let which = request.which(change)?;
        let action = NewAction::by(caller, change.into()).with_filter(request.filter.as_ref());
        let action = self.continued(action, request.action).await?;
        let (ids, next) = self.piece(which, Restriction::Applicable(change), &request).await?;
        let store = self.shared.store.clone();
        let changed = written(async move { store.change(change, &ids, &action).await }).await?;
        if let Change::Retry(_) = change {
            self.retries.add(changed.changed.len());
        }
        if matches!(change, Change::Replay | Change::Retry(_) | Change::Release) {
            self.shared.wake.up(changed.changed.values().flatten().cloned().collect::<BTreeSet<_>>());
        }
        if !changed.changed.is_empty() {
            let verb = match change {
                Change::Replay => "replayed",
                Change::Retry(_) => "retried",
                Change::Release => "released",
                Change::Drop => "dropped",
                Change::Purge => "purged",
            };
            let entries = named(changed.changed.keys());
            tracing::info!(entries, "{verb}={} entries={entries} by an operator", changed.changed.len());
        }
        let refused = self.explain(changed.refused).await?;
        let action = changed.action.or(request.action);
        Ok(ChangeAnswer { changed: changed.changed.into_keys().collect(), refused, next, action })
    }

    /// Counts the entries that a change would change or refuse.
    pub(crate) async fn preview(
        &self,
        change: Change,
        request: &ChangeRequest,
    ) -> Result<ChangePreview, Error> {
        let which = request.which(change)?;
        let mut known = 0_i64;
        let mut until = match which {
            EntrySelection::Ids(_) => None,
            // Also in an answer without a match: the next piece may have one.
            EntrySelection::All(_) => match request.until {
                Some(until) => Some(until),
                None => self.shared.store.newest().await?,
            },
        };
        let (after, newest) = (request.after.unwrap_or(0), until.unwrap_or(i64::MAX));
        let counted = self.shared.store.count(&which, after, newest).await?;
        let (mut changes, mut refuses) = (BTreeMap::<EntryState, i64>::new(), BTreeMap::<String, i64>::new());
        for candidates in counted.groups {
            let sum = match change.check(&candidates) {
                Ok(()) => changes.entry(candidates.state).or_default(),
                Err(why) => refuses.entry(why.to_string()).or_default(),
            };
            *sum = sum.saturating_add(candidates.count);
            known = known.saturating_add(candidates.count);
            if let EntrySelection::Ids(_) = which {
                until = until.max(Some(candidates.id));
            }
        }
        if let EntrySelection::Ids(ids) = which {
            let unknown = i64::try_from(ids.len()).unwrap_or(i64::MAX).saturating_sub(known);
            if unknown > 0 {
                refuses.insert(ChangeRefusal::NoEntry.to_string(), unknown);
            }
        }
        let would_change = changes.into_iter().map(|(state, count)| StateCount { state, count }).collect();
        let would_refuse = refuses.into_iter().map(|(why, count)| RefusalCount { why, count }).collect();
        Ok(ChangePreview { would_change, would_refuse, until, next: counted.next })
    }

    /// Adds the detail of entries that are not events.
    async fn explain(&self, refused: BTreeMap<i64, ChangeRefusal>) -> Result<Vec<EntryRefusal>, Error> {
        let is_no_event =
            |refusal: ChangeRefusal| matches!(refusal, ChangeRefusal::NoEvent | ChangeRefusal::NoGeneration);
        let ids: BTreeSet<i64> =
            refused.iter().filter(|(_, refusal)| is_no_event(**refusal)).map(|(id, _)| *id).collect();
        let entries = if ids.is_empty() { Vec::new() } else { self.shared.store.entries(&ids).await? };
        let mut details: BTreeMap<i64, String> =
            entries.into_iter().filter_map(|entry| Some((entry.id, entry.detail?))).collect();
        let explained = refused.into_iter().map(|(id, refusal)| {
            let why = match details.remove(&id) {
                Some(detail) => format!("{detail}; {refusal}"),
                None => refusal.to_string(),
            };
            EntryRefusal { id, why }
        });
        Ok(explained.collect())
    }

    /// The ids of one piece, and the `after` of the next. `only` restricts a filter.
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
        let (mut after, until) = (request.after.unwrap_or(0), request.until.unwrap_or(i64::MAX));
        let mut missing = request.limit.unwrap_or(MAX_ENTRIES);
        let mut ids = BTreeSet::new();
        for _ in 0..MAX_WINDOWS {
            let selected = self.shared.store.ids(&filter, only, after, until, missing).await?;
            missing = missing.saturating_sub(i64::try_from(selected.ids.len()).unwrap_or(i64::MAX));
            ids.extend(selected.ids);
            let Some(next) = selected.next else { return Ok((ids, None)) };
            after = next;
            if missing <= 0 {
                break;
            }
        }
        Ok((ids, Some(after)))
    }
}

impl ChangeRequest {
    fn which(&self, change: Change) -> Result<EntrySelection, BadRequest> {
        let which = self.selected()?;
        // A purge is final, so a state or a day is not enough.
        if let (Change::Purge, EntrySelection::All(filter)) = (change, &which)
            && filter.job.is_none()
            && filter.generation.is_none()
        {
            return Err(BadRequest::UnnamedPurge);
        }
        Ok(which)
    }

    /// The selected entries.
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
