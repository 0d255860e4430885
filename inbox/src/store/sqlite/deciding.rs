//! The deciding transaction's statements.

use super::super::batch::{Deciding, GenerationRow, Ids, all_inserted};
use super::{Sqlite, json, sql};
use crate::decide::{
    Account, BatchState, GenerationKey, GenerationUsage, NewEntry, QuarantineKey, TerminalEvent, Token,
    TokenKey, TokenUsage,
};
use sqlx::Error;
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
    ) -> Result<BatchState, Error> {
        let (now, mut state) = (self.sqlite.clock.now(), BatchState::default());
        if !generations.is_empty() {
            let keys: Vec<_> = generations.iter().map(|key| (&key.hook, &key.generation)).collect();
            let rows: Vec<GenerationRow> = query_as(sql::LOCK_GENERATIONS)
                .bind(json(&keys)?)
                .bind(now)
                .fetch_all(&mut *self.connection)
                .await?;
            state.generations = rows.into_iter().map(GenerationRow::read).collect();
        }
        if !tokens.is_empty() {
            let keys: Vec<_> = tokens.iter().map(|key| (&key.hook, &key.token_id)).collect();
            let rows: Vec<(String, String, Option<String>)> = query_as(sql::LOCK_TOKENS)
                .bind(json(&keys)?)
                .bind(now)
                .fetch_all(&mut *self.connection)
                .await?;
            state.tokens = rows
                .into_iter()
                .map(|(hook, token_id, generation)| {
                    (TokenKey { hook, token_id }, Token { generation, changed: false })
                })
                .collect();
        }
        Ok(state)
    }

    async fn find_quarantined(
        &mut self,
        keys: &[QuarantineKey],
    ) -> Result<BTreeMap<QuarantineKey, i64>, Error> {
        let mut kept = BTreeMap::new();
        for key in keys {
            let id: Option<i64> = query_scalar(sql::FIND_QUARANTINED)
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

    async fn usage_of_tokens(
        &mut self,
        tokens: &[(TokenKey, Option<String>)],
    ) -> Result<BTreeMap<TokenKey, TokenUsage>, Error> {
        let mut counts = BTreeMap::new();
        for (key, own) in tokens {
            let (count, bytes, stray) = query_as(sql::USAGE_OF_TOKEN)
                .bind(&key.hook)
                .bind(&key.token_id)
                .bind(own)
                .fetch_one(&mut *self.connection)
                .await?;
            counts.insert(key.clone(), TokenUsage { count, bytes, stray });
        }
        Ok(counts)
    }

    async fn usage_of_generations(
        &mut self,
        accounts: &[Account],
    ) -> Result<BTreeMap<Account, GenerationUsage>, Error> {
        let mut counts = BTreeMap::new();
        for account in accounts {
            let (count, bytes) = query_as(sql::USAGE_OF_GENERATION)
                .bind(&account.hook)
                .bind(&account.token_id)
                .bind(&account.generation)
                .fetch_one(&mut *self.connection)
                .await?;
            counts.insert(account.clone(), GenerationUsage { count, bytes });
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
                .push_bind(entry.lane.name())
                .push_bind(entry.state.name())
                .push_bind(&arrival.hook)
                .push_bind(&arrival.generation)
                .push_bind(arrival.event().map(|event| event.name()))
                .push_bind(entry.reason.as_ref().map(|reason| reason.as_str()))
                .push_bind(arrival.token.as_ref().map(|token| &token.id))
                .push_bind(&arrival.job)
                .push_bind(arrival.authenticated)
                .push_bind(arrival.digest.as_slice())
                .push_bind(arrival.size())
                .push_bind(&entry.route)
                .push_bind(entry.supersedes.map(|superseded| superseded.name()))
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

    async fn save(&mut self, state: &BatchState) -> Result<(), Error> {
        let end = |end: &Option<TerminalEvent>| {
            let end = end.as_ref()?;
            Some((end.id, end.fingerprint.to_string(), end.origin.name(), end.authenticated))
        };
        let changed: Vec<_> = state
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
        let met: Vec<_> = state.met().collect();
        if !met.is_empty() {
            query(sql::MEET).bind(json(&met)?).execute(&mut *self.connection).await?;
        }
        let changed: Vec<_> = state
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

    async fn hold_quarantined(&mut self, id: i64) -> Result<bool, Error> {
        let held: Option<i64> =
            query_scalar(sql::HOLD_QUARANTINED).bind(id).fetch_optional(&mut *self.connection).await?;
        Ok(held.is_some())
    }

    async fn end_quarantined(&mut self, id: i64, why: &str) -> Result<(), Error> {
        let end = query(sql::END_QUARANTINED).bind(id).bind(self.sqlite.clock.now()).bind(why);
        end.execute(&mut *self.connection).await.map(|_| ())
    }

    async fn tidy(&mut self, generations: &[GenerationKey], tokens: &[TokenKey]) -> Result<(), Error> {
        let generations: Vec<_> = generations.iter().map(|key| (&key.hook, &key.generation)).collect();
        let tokens: Vec<_> = tokens.iter().map(|key| (&key.hook, &key.token_id)).collect();
        query(sql::TIDY_GENERATIONS).bind(json(&generations)?).execute(&mut *self.connection).await?;
        query(sql::TIDY_TOKENS).bind(json(&tokens)?).execute(&mut *self.connection).await.map(|_| ())
    }
}
