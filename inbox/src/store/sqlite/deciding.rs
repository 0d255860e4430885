//! The deciding transaction's statements.

use super::super::Error;
use super::super::batch::{Account, Deciding, HeldBy, HeldIn, Ids, KeptKey, NewEntry, all_inserted};
use super::{Sqlite, json, sql};
use crate::decide::{Final, Generation, GenerationKey, Known, Token, TokenKey};
use sqlx::sqlite::SqliteConnection;
use sqlx::{QueryBuilder, query, query_as, query_scalar};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

/// Of so many rows a statement stays prepared: to prepare one, with its triggers, takes as long as a few rows do.
const CACHED_ROWS: usize = 32;

pub(super) struct Tx<'a> {
    pub(super) connection: &'a mut SqliteConnection,
    pub(super) sqlite: &'a Sqlite,
    pub(super) ids: Ids,
}

type GenerationRow = (
    String,
    String,
    Option<String>,
    Option<i64>,
    Option<String>,
    Option<bool>,
    Option<i64>,
    Option<String>,
    Option<bool>,
    Option<String>,
);

impl Deciding for Tx<'_> {
    async fn ids(&mut self, count: usize) -> Result<Vec<i64>, Error> {
        let count = i64::try_from(count).unwrap_or_default();
        if let Some(ids) = self.ids.take(count) {
            return Ok(ids);
        }
        let first = self.sqlite.next_id.fetch_add(count, Ordering::Relaxed);
        Ok((first..first.saturating_add(count)).collect())
    }

    async fn lock(
        &mut self,
        generations: &BTreeSet<GenerationKey>,
        tokens: &BTreeSet<TokenKey>,
    ) -> Result<Known, Error> {
        let (now, mut known) = (self.sqlite.clock.now(), Known::default());
        if !generations.is_empty() {
            let keys: Vec<_> = generations.iter().map(|key| (&key.hook, &key.generation)).collect();
            let rows: Vec<GenerationRow> = query_as(sql::LOCK_GENERATIONS)
                .bind(json(&keys)?)
                .bind(now)
                .fetch_all(&mut *self.connection)
                .await?;
            known.generations = rows.into_iter().map(read_generation).collect();
        }
        if !tokens.is_empty() {
            let keys: Vec<_> = tokens.iter().map(|key| (&key.hook, &key.token_id)).collect();
            let rows: Vec<(String, String, Option<String>)> = query_as(sql::LOCK_TOKENS)
                .bind(json(&keys)?)
                .bind(now)
                .fetch_all(&mut *self.connection)
                .await?;
            known.tokens = rows
                .into_iter()
                .map(|(hook, token_id, generation)| {
                    (TokenKey { hook, token_id }, Token { generation, changed: false })
                })
                .collect();
        }
        Ok(known)
    }

    async fn find_kept(&mut self, keys: &[KeptKey]) -> Result<BTreeMap<KeptKey, i64>, Error> {
        let mut kept = BTreeMap::new();
        for key in keys {
            let id: Option<i64> = query_scalar(sql::FIND_KEPT)
                .bind(&key.hook)
                .bind(&key.reason)
                .bind(&key.token_id)
                .bind(key.digest.as_slice())
                .fetch_optional(&mut *self.connection)
                .await?;
            kept.extend(id.map(|id| (key.clone(), id)));
        }
        Ok(kept)
    }

    async fn count_kept(
        &mut self,
        tokens: &[(TokenKey, Option<String>)],
    ) -> Result<BTreeMap<TokenKey, HeldBy>, Error> {
        let mut counts = BTreeMap::new();
        for (key, own) in tokens {
            let held = query_as(sql::COUNT_KEPT)
                .bind(&key.hook)
                .bind(&key.token_id)
                .bind(own)
                .fetch_one(&mut *self.connection)
                .await?;
            counts.insert(key.clone(), held);
        }
        Ok(counts)
    }

    async fn count_kept_in(&mut self, accounts: &[Account]) -> Result<BTreeMap<Account, HeldIn>, Error> {
        let mut counts = BTreeMap::new();
        for account in accounts {
            let held = query_as(sql::COUNT_KEPT_IN)
                .bind(&account.hook)
                .bind(&account.token_id)
                .bind(&account.generation)
                .fetch_one(&mut *self.connection)
                .await?;
            counts.insert(account.clone(), held);
        }
        Ok(counts)
    }

    async fn insert(&mut self, entries: &[NewEntry<'_>]) -> Result<(), Error> {
        let now = self.sqlite.clock.now();
        let is_cached = entries.len() <= CACHED_ROWS;
        let mut insert = QueryBuilder::new(sql::INSERT);
        insert.push_values(entries, |mut row, entry| {
            let arrival = entry.arrival;
            row.push_bind(entry.id)
                .push_bind(entry.lane)
                .push_bind(entry.state)
                .push_bind(&arrival.hook)
                .push_bind(&arrival.generation)
                .push_bind(arrival.event.map(|event| event.name()))
                .push_bind(&entry.reason)
                .push_bind(arrival.token.as_ref().map(|token| &token.id))
                .push_bind(&arrival.job)
                .push_bind(arrival.authenticated)
                .push_bind(arrival.digest.as_slice())
                .push_bind(arrival.size())
                .push_bind(&entry.route)
                .push_bind(entry.supersedes)
                .push_bind(entry.seen)
                .push_bind(now)
                .push_bind(now)
                .push_bind(now);
        });
        let inserted = insert.build().persistent(is_cached).execute(&mut *self.connection).await?;
        all_inserted("entry", entries.len(), inserted.rows_affected())?;
        let mut insert = QueryBuilder::new(sql::INSERT_PAYLOAD);
        insert.push_values(entries, |mut row, entry| {
            row.push_bind(entry.id)
                .push_bind(entry.arrival.path.as_bytes())
                .push_bind(&entry.arrival.headers)
                .push_bind(entry.arrival.body.as_ref());
        });
        let inserted = insert.build().persistent(is_cached).execute(&mut *self.connection).await?;
        all_inserted("payload", entries.len(), inserted.rows_affected())
    }

    async fn repeat(&mut self, repeats: &BTreeMap<i64, i64>) -> Result<(), Error> {
        let repeats: Vec<_> = repeats.iter().collect();
        let now = self.sqlite.clock.now();
        query(sql::REPEAT).bind(json(&repeats)?).bind(now).execute(&mut *self.connection).await.map(|_| ())
    }

    async fn retire(&mut self, ids: &[i64]) -> Result<(), Error> {
        let now = self.sqlite.clock.now();
        query(sql::RETIRE).bind(json(ids)?).bind(now).execute(&mut *self.connection).await.map(|_| ())
    }

    async fn save(&mut self, known: &Known) -> Result<(), Error> {
        let end = |end: &Option<Final>| end.as_ref().map(|end| (end.id, end.fact.clone(), end.authenticated));
        let changed: Vec<_> = known
            .generations
            .iter()
            .filter(|(_, row)| row.changed)
            .map(|(key, row)| {
                (&key.hook, &key.generation, &row.token_id, end(&row.completed), end(&row.failure))
            })
            .collect();
        if !changed.is_empty() {
            query(sql::SAVE_GENERATIONS).bind(json(&changed)?).execute(&mut *self.connection).await?;
        }
        let met: Vec<_> = known.met().collect();
        if !met.is_empty() {
            query(sql::MEET).bind(json(&met)?).execute(&mut *self.connection).await?;
        }
        let changed: Vec<_> = known
            .tokens
            .iter()
            .filter(|(_, row)| row.changed)
            .map(|(key, row)| (&key.hook, &key.token_id, &row.generation))
            .collect();
        if !changed.is_empty() {
            query(sql::SAVE_TOKENS).bind(json(&changed)?).execute(&mut *self.connection).await?;
        }
        Ok(())
    }

    async fn hold_kept(&mut self, id: i64) -> Result<bool, Error> {
        let held: Option<i64> =
            query_scalar(sql::HOLD_KEPT).bind(id).fetch_optional(&mut *self.connection).await?;
        Ok(held.is_some())
    }

    async fn end_kept(&mut self, id: i64, why: &str) -> Result<(), Error> {
        let end = query(sql::END_KEPT).bind(id).bind(self.sqlite.clock.now()).bind(why);
        end.execute(&mut *self.connection).await.map(|_| ())
    }

    async fn tidy(&mut self, generations: &[GenerationKey], tokens: &[TokenKey]) -> Result<(), Error> {
        let generations: Vec<_> = generations.iter().map(|key| (&key.hook, &key.generation)).collect();
        let tokens: Vec<_> = tokens.iter().map(|key| (&key.hook, &key.token_id)).collect();
        query(sql::TIDY_GENERATIONS).bind(json(&generations)?).execute(&mut *self.connection).await?;
        query(sql::TIDY_TOKENS).bind(json(&tokens)?).execute(&mut *self.connection).await.map(|_| ())
    }
}

fn read_generation(row: GenerationRow) -> (GenerationKey, Generation) {
    let (
        hook,
        generation,
        token_id,
        completed_id,
        completed,
        completed_authenticated,
        failure_id,
        failure,
        failure_authenticated,
        expected,
    ) = row;
    let end = |id: Option<i64>, fact: Option<String>, authenticated: Option<bool>| {
        id.map(|id| Final {
            id,
            fact: fact.unwrap_or_default(),
            authenticated: authenticated.unwrap_or_default(),
        })
    };
    let row = Generation {
        token_id,
        expected,
        completed: end(completed_id, completed, completed_authenticated),
        failure: end(failure_id, failure, failure_authenticated),
        met: None,
        changed: false,
    };
    (GenerationKey { hook, generation }, row)
}
