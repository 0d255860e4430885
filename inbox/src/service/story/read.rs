//! Reads the facts of a story.

use super::facts::{RouteTrouble, StoryEntry, StoryFacts};
use super::{MAX_STORIES, StorySubject};
use crate::arrival::read_headers;
use crate::entry::{EntryState, ExpectationState, Lane};
use crate::service::Operations;
use crate::service::error::Error;
use crate::store::{EntryRow, EntrySelection, Expectation, Filter, MAX_FOUND, SearchKey};
use blobgate::contract::{EventSource, header};
use std::collections::{BTreeMap, BTreeSet};

/// The places of stories, the newest first.
pub(super) struct FoundPlaces {
    pub(super) places: Vec<StoryPlace>,
    /// The number of matching entries and expectations elsewhere.
    pub(super) more: i64,
    pub(super) now: i64,
    /// The hooks that have the subject, where the requested hook has not.
    pub(super) other_hooks: BTreeSet<String>,
}

/// A generation of a hook, or an entry without a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StoryPlace {
    Generation { hook: String, generation: String },
    Entry { hook: String, id: i64 },
}

const NO_ANSWER: &str = "its attempts get no answer";

/// The most entries of a story.
const MAX_ENTRIES: usize = 50;

impl Operations {
    /// Finds the generations of a request. Where the requested hook has none, finds the hooks that have one.
    pub(super) async fn find(
        &self,
        subject: &StorySubject,
        hook: Option<&str>,
    ) -> Result<FoundPlaces, Error> {
        let mut found = self.find_of(subject, hook).await?;
        if found.places.is_empty() && hook.is_some() {
            let others = self.find_of(subject, None).await?.places;
            found.other_hooks = others.into_iter().map(StoryPlace::into_hook).collect();
        }
        Ok(found)
    }

    async fn find_of(&self, subject: &StorySubject, hook: Option<&str>) -> Result<FoundPlaces, Error> {
        let store = &self.shared.store;
        let now = store.now().await?;
        let (rows, expectations, unread) = match subject {
            StorySubject::Entry(id) => {
                let row = store.entries(&BTreeSet::from([*id])).await?.pop();
                let row = row.ok_or(Error::NoEntry(*id))?;
                let is_of_hook = hook.is_none_or(|hook| hook == row.hook);
                (is_of_hook.then_some(row).into_iter().collect(), Vec::new(), 0)
            }
            StorySubject::Key(key) => {
                let rows = store.find(key, hook).await?;
                // The story of a generation counts its own.
                let unread = match key {
                    SearchKey::Generation(_) => 0,
                    SearchKey::Job(_) | SearchKey::RequestId(_) => self.unread(key, hook, rows.len()).await?,
                };
                (rows, store.expectations_of(key, hook).await?, unread)
            }
        };
        let mut dated: Vec<(i64, StoryPlace)> = Vec::new();
        for row in rows {
            dated.push((row.received_at, self.place(row).await?));
        }
        dated.extend(expectations.into_iter().map(|found| {
            let (hook, generation) = (found.hook, found.generation);
            (found.expected_at, StoryPlace::Generation { hook, generation })
        }));
        dated.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        let mut places = Vec::new();
        for (_, place) in &dated {
            if places.len() < MAX_STORIES && !places.contains(place) {
                places.push(place.clone());
            }
        }
        let hidden = dated.iter().filter(|(_, place)| !places.contains(place)).count();
        let more = unread.saturating_add(i64::try_from(hidden).unwrap_or(i64::MAX));
        Ok(FoundPlaces { places, more, now, other_hooks: BTreeSet::new() })
    }

    /// The number of entries that a search left out. Counting reads more than the search, so only a search that has reached its
    /// limit counts.
    async fn unread(&self, key: &SearchKey, hook: Option<&str>, found: usize) -> Result<i64, Error> {
        let found = i64::try_from(found).unwrap_or(i64::MAX);
        let filter = match key {
            _ if found < MAX_FOUND => return Ok(0),
            SearchKey::Generation(generation) => {
                Filter { generation: Some(generation.clone()), ..Filter::default() }
            }
            SearchKey::Job(job) => Filter { job: Some(job.clone()), ..Filter::default() },
            // Each request has its own id, unless a client repeats one.
            SearchKey::RequestId(_) => return Ok(0),
        };
        let filter = Filter { hook: hook.map(str::to_owned), ..filter };
        let (selection, mut all, mut after) = (EntrySelection::All(filter), 0_i64, Some(0));
        while let Some(from) = after {
            let counted = self.shared.store.count(&selection, from, i64::MAX).await?;
            all = counted.groups.iter().fold(all, |sum, group| sum.saturating_add(group.count));
            after = counted.next;
        }
        Ok(all.saturating_sub(found).max(0))
    }

    /// The place of an entry. A release can give the event of an entry without a generation one.
    async fn place(&self, row: EntryRow) -> Result<StoryPlace, Error> {
        let other = match (&row.generation, row.superseded_by) {
            (None, Some(other)) => self.shared.store.entries(&BTreeSet::from([other])).await?.pop(),
            _ => None,
        };
        let generation = row.generation.or_else(|| other?.generation);
        Ok(match generation {
            Some(generation) => StoryPlace::Generation { hook: row.hook, generation },
            None => StoryPlace::Entry { hook: row.hook, id: row.id },
        })
    }

    /// Reads all facts of a place.
    pub(super) async fn facts(&self, place: &StoryPlace, now: i64) -> Result<StoryFacts, Error> {
        let store = &self.shared.store;
        let (hook, generation, mut rows, mut more_entries) = match place {
            StoryPlace::Entry { hook, id } => {
                (hook.clone(), None, store.entries(&BTreeSet::from([*id])).await?, 0)
            }
            StoryPlace::Generation { hook, generation } => {
                let key = SearchKey::Generation(generation.clone());
                let rows = store.find(&key, Some(hook)).await?;
                let unread = self.unread(&key, Some(hook), rows.len()).await?;
                (hook.clone(), Some(generation.clone()), rows, unread)
            }
        };
        let ids: BTreeSet<i64> = rows.iter().map(|row| row.id).collect();
        // Their own generation may be missing.
        let others = store.released_into(&ids).await?;
        let others: BTreeSet<i64> = others.into_iter().filter(|id| !ids.contains(id)).collect();
        if !others.is_empty() {
            rows.extend(store.entries(&others).await?);
        }
        if rows.len() > MAX_ENTRIES {
            // The accepted events matter most, and then the newest.
            rows.sort_by_key(|row| (row.lane, std::cmp::Reverse(row.id)));
            let hidden = rows.split_off(MAX_ENTRIES);
            more_entries = more_entries.saturating_add(i64::try_from(hidden.len()).unwrap_or(i64::MAX));
        }
        rows.sort_by_key(|row| row.id);
        let expectation = match &generation {
            Some(generation) => store.expectation(&hook, generation).await?,
            None => None,
        };
        let ids: BTreeSet<i64> = rows.iter().map(|row| row.id).collect();
        let headers = store.headers(&ids).await?;
        let mut attempts = store.attempts(&ids).await?;
        let mut actors: BTreeMap<i64, BTreeMap<String, Option<String>>> = BTreeMap::new();
        for action in store.actions_on(&ids).await? {
            actors.entry(action.entry_id).or_default().insert(action.action, action.who);
        }
        let fetched = expectation.as_ref().and_then(|expectation| fetched(expectation, &rows));
        let mut entries = Vec::new();
        for row in rows {
            let attempts = attempts.remove(&row.id).unwrap_or_default();
            let is_reconciled =
                headers.get(&row.id).map_or(fetched == Some(row.id), |headers| is_reconciled(headers));
            let actors = actors.remove(&row.id).unwrap_or_default();
            entries.push(StoryEntry { row, attempts, is_reconciled, actors });
        }
        let troubles = self.troubles(&entries);
        Ok(StoryFacts {
            hook,
            generation,
            now,
            entries,
            more_entries,
            expectation,
            all_pauses: store.paused().await?,
            troubles,
            reconcile_after: self.reconcile_after,
            reconciles: self.reconciles(),
            asked: None,
        })
    }

    /// The routes of waiting entries that fail, by the attempts of this process.
    fn troubles(&self, entries: &[StoryEntry]) -> Vec<RouteTrouble> {
        let waiting = entries.iter().filter(|entry| entry.row.state == EntryState::Waiting);
        let routes: BTreeSet<_> = waiting.filter_map(|entry| entry.row.route.clone()).collect();
        let metrics = &self.shared.metrics;
        let trouble = |route: String| {
            let (failure, is_down) = (metrics.failure(&route), metrics.is_down(&route));
            let outcome = match failure.map(|failure| failure.outcome) {
                Some("unanswered") => NO_ANSWER.to_owned(),
                Some("other") => "its attempts get another status".to_owned(),
                // Envoy answers 503 for a service that is down.
                Some(outcome) => format!("its attempts get {outcome}"),
                None if is_down => NO_ANSWER.to_owned(),
                None => return None,
            };
            Some(RouteTrouble { route, is_down, outcome, since: failure.map(|failure| failure.since) })
        };
        routes.into_iter().filter_map(trouble).collect()
    }
}

impl StoryPlace {
    fn into_hook(self) -> String {
        match self {
            Self::Generation { hook, .. } | Self::Entry { hook, .. } => hook,
        }
    }
}

/// The entry that the reconciler fetched, by its expectation. The headers, which tell it too, end with the body.
fn fetched(expectation: &Expectation, rows: &[EntryRow]) -> Option<i64> {
    let called_at = expectation.asked_at.filter(|_| expectation.state == ExpectationState::Reconciled)?;
    let fetched = rows.iter().find(|row| row.lane == Lane::Deliver && row.received_at >= called_at);
    fetched.map(|row| row.id)
}

fn is_reconciled(headers: &[u8]) -> bool {
    let source = read_headers(headers).remove(header::SOURCE);
    source.is_some_and(|source| source.as_bytes() == EventSource::Reconcile.name().as_bytes())
}
