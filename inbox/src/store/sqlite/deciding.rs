//! The statements that store arrivals.

use super::super::batch::{ArrivalStatements, GenerationRow, IdSource, check_inserted};
use super::{Sqlite, json};
use crate::decide::{
    Account, BatchState, GenerationKey, GenerationUsage, NewEntry, QuarantineKey, TerminalEvent, TokenKey,
    TokenState, TokenUsage,
};
use sqlx::Error;
use sqlx::sqlite::SqliteConnection;
use sqlx::{QueryBuilder, query, query_as, query_scalar};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

/// Statements of up to this many rows stay prepared. Preparing one with its triggers takes as long as inserting a few rows.
const MAX_CACHED_ROWS: usize = 32;

pub(super) struct SqliteTransaction<'a> {
    pub(super) connection: &'a mut SqliteConnection,
    pub(super) sqlite: &'a Sqlite,
    pub(super) ids: IdSource,
}

impl ArrivalStatements for SqliteTransaction<'_> {
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
        const LOCK_GENERATIONS: &str = "
            INSERT INTO generation AS g (hook, generation, seen_at)
            SELECT value ->> 0, value ->> 1, ?2 FROM json_each(?1) WHERE true
            ON CONFLICT (hook, generation) DO UPDATE SET seen_at = excluded.seen_at
            RETURNING hook, generation, token_id, expected_job, completed_id, completed_fingerprint, completed_origin,
                completed_authenticated, failure_id, failure_fingerprint, failure_origin, failure_authenticated";
        const LOCK_TOKENS: &str = "
            INSERT INTO token AS t (hook, token_id, seen_at)
            SELECT value ->> 0, value ->> 1, ?2 FROM json_each(?1) WHERE true
            ON CONFLICT (hook, token_id) DO UPDATE SET seen_at = excluded.seen_at
            RETURNING hook, token_id, generation";
        let (now, mut state) = (self.sqlite.clock.now(), BatchState::default());
        if !generations.is_empty() {
            let keys: Vec<_> = generations.iter().map(|key| (&key.hook, &key.generation)).collect();
            let rows: Vec<GenerationRow> = query_as(LOCK_GENERATIONS)
                .bind(json(&keys)?)
                .bind(now)
                .fetch_all(&mut *self.connection)
                .await?;
            state.generations = rows.into_iter().map(GenerationRow::read).collect();
        }
        if !tokens.is_empty() {
            let keys: Vec<_> = tokens.iter().map(|key| (&key.hook, &key.token_id)).collect();
            let rows: Vec<(String, String, Option<String>)> =
                query_as(LOCK_TOKENS).bind(json(&keys)?).bind(now).fetch_all(&mut *self.connection).await?;
            state.tokens = rows
                .into_iter()
                .map(|(hook, token_id, generation)| {
                    (TokenKey { hook, token_id }, TokenState { generation, changed: false })
                })
                .collect();
        }
        Ok(state)
    }

    async fn find_quarantined(
        &mut self,
        keys: &[QuarantineKey],
    ) -> Result<BTreeMap<QuarantineKey, i64>, Error> {
        const FIND_QUARANTINED: &str = "
            SELECT id FROM entry
            WHERE lane = 'quarantine' AND hook = ?1 AND reason = ?2 AND coalesce(token_id, '') = ?3 AND digest = ?4";
        let mut found = BTreeMap::new();
        for key in keys {
            let id: Option<i64> = query_scalar(FIND_QUARANTINED)
                .bind(&key.hook)
                .bind(&key.reason)
                .bind(&key.token_id)
                .bind(key.digest.as_slice())
                .fetch_optional(&mut *self.connection)
                .await?;
            found.extend(id.map(|id| (key.clone(), id)));
        }
        Ok(found)
    }

    async fn usage_of_tokens(
        &mut self,
        tokens: &[(TokenKey, Option<String>)],
    ) -> Result<BTreeMap<TokenKey, TokenUsage>, Error> {
        const USAGE_OF_TOKEN: &str = "
            SELECT count(*) AS count, coalesce(sum(size), 0) AS bytes,
                count(CASE WHEN ?3 IS NULL OR coalesce(generation, '') <> ?3 THEN 1 END) AS stray
            FROM entry WHERE lane = 'quarantine' AND state = 'quarantined' AND hook = ?1 AND coalesce(token_id, '') = ?2";
        let mut counts = BTreeMap::new();
        for (key, own) in tokens {
            let (count, bytes, stray) = query_as(USAGE_OF_TOKEN)
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
        const USAGE_OF_GENERATION: &str = "
            SELECT count(*) AS count, coalesce(sum(size), 0) AS bytes FROM entry
            WHERE lane = 'quarantine' AND state = 'quarantined' AND hook = ?1 AND coalesce(token_id, '') = ?2 AND coalesce(generation, '') = ?3";
        let mut counts = BTreeMap::new();
        for account in accounts {
            let (count, bytes) = query_as(USAGE_OF_GENERATION)
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
        const INSERT: &str = "
            INSERT INTO entry (id, lane, state, hook, generation, event, reason, detail, client, token_id, job, request_id,
                traceparent, authenticated, digest, size, route, supersedes, seen, received_at, seen_at, due_at) ";
        const INSERT_PAYLOAD: &str = "INSERT INTO payload (entry_id, path, headers, body) ";
        let now = self.sqlite.clock.now();
        let is_cached = entries.len() <= MAX_CACHED_ROWS;
        let mut insert = QueryBuilder::new(INSERT);
        insert.push_values(entries, |mut row, entry| {
            let arrival = entry.arrival;
            row.push_bind(entry.id)
                .push_bind(entry.lane.name())
                .push_bind(entry.state.name())
                .push_bind(&arrival.hook)
                .push_bind(&arrival.generation)
                .push_bind(arrival.event().map(|event| event.name()))
                .push_bind(entry.cause.as_ref().map(|cause| cause.reason.as_str()))
                .push_bind(entry.cause.as_ref().and_then(|cause| cause.detail.as_deref()))
                .push_bind(arrival.client.map(|client| client.to_string()))
                .push_bind(arrival.token.as_ref().map(|token| &token.id))
                .push_bind(&arrival.job)
                .push_bind(&arrival.ids.request_id)
                .push_bind(&arrival.ids.traceparent)
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
        check_inserted("entry", entries.len(), inserted.rows_affected())?;
        let mut insert = QueryBuilder::new(INSERT_PAYLOAD);
        insert.push_values(entries, |mut row, entry| {
            row.push_bind(entry.id)
                .push_bind(entry.arrival.path.as_bytes())
                .push_bind(&entry.arrival.headers)
                .push_bind(entry.arrival.body.as_ref());
        });
        let inserted = insert.build().persistent(is_cached).execute(&mut *self.connection).await?;
        check_inserted("payload", entries.len(), inserted.rows_affected())
    }

    async fn repeat(&mut self, repeats: &BTreeMap<i64, i64>) -> Result<(), Error> {
        const REPEAT: &str = "
            UPDATE entry SET seen = seen + k.count, seen_at = ?2
            FROM (SELECT value ->> 0 AS id, value ->> 1 AS count FROM json_each(?1)) AS k WHERE entry.id = k.id";
        let repeats: Vec<_> = repeats.iter().collect();
        let now = self.sqlite.clock.now();
        query(REPEAT).bind(json(&repeats)?).bind(now).execute(&mut *self.connection).await.map(|_| ())
    }

    async fn retire(&mut self, entries: &BTreeMap<i64, i64>) -> Result<(), Error> {
        const RETIRE: &str = "
            UPDATE entry SET state = CASE state WHEN 'waiting' THEN 'superseded' ELSE state END,
                ended_at = CASE state WHEN 'waiting' THEN ?2 ELSE ended_at END, retired = true, superseded_by = k.other
            FROM (SELECT value ->> 0 AS id, value ->> 1 AS other FROM json_each(?1)) AS k
            WHERE entry.id = k.id AND state IN ('waiting', 'in_flight')";
        let now = self.sqlite.clock.now();
        query(RETIRE)
            .bind(json(&entries.iter().collect::<Vec<_>>())?)
            .bind(now)
            .execute(&mut *self.connection)
            .await
            .map(|_| ())
    }

    async fn save(&mut self, state: &BatchState) -> Result<(), Error> {
        const SAVE_GENERATIONS: &str = "
            UPDATE generation SET token_id = k.v ->> 2, completed_id = k.v ->> '$[3][0]', completed_fingerprint = k.v ->> '$[3][1]',
                completed_origin = k.v ->> '$[3][2]', completed_authenticated = k.v ->> '$[3][3]', failure_id = k.v ->> '$[4][0]',
                failure_fingerprint = k.v ->> '$[4][1]', failure_origin = k.v ->> '$[4][2]', failure_authenticated = k.v ->> '$[4][3]'
            FROM (SELECT value AS v FROM json_each(?1)) AS k
            WHERE generation.hook = k.v ->> 0 AND generation.generation = k.v ->> 1";
        const MEET_EXPECTATIONS: &str = "
            UPDATE expectation SET state = k.v ->> 2 FROM (SELECT value AS v FROM json_each(?1)) AS k
            WHERE expectation.hook = k.v ->> 0 AND expectation.generation = k.v ->> 1 AND state NOT IN ('arrived', 'reconciled')";
        const SAVE_TOKENS: &str = "
            UPDATE token SET generation = k.v ->> 2 FROM (SELECT value AS v FROM json_each(?1)) AS k
            WHERE token.hook = k.v ->> 0 AND token.token_id = k.v ->> 1";
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
            query(SAVE_GENERATIONS).bind(json(&changed)?).execute(&mut *self.connection).await?;
        }
        let met: Vec<_> = state.met_expectations().collect();
        if !met.is_empty() {
            query(MEET_EXPECTATIONS).bind(json(&met)?).execute(&mut *self.connection).await?;
        }
        let changed: Vec<_> = state
            .tokens
            .iter()
            .filter(|(_, row)| row.changed)
            .map(|(key, row)| (&key.hook, &key.token_id, &row.generation))
            .collect();
        if !changed.is_empty() {
            query(SAVE_TOKENS).bind(json(&changed)?).execute(&mut *self.connection).await?;
        }
        Ok(())
    }

    async fn lock_quarantined(&mut self, id: i64) -> Result<bool, Error> {
        const LOCK_QUARANTINED: &str =
            "SELECT id FROM entry WHERE id = ?1 AND lane = 'quarantine' AND state = 'quarantined'";
        let locked: Option<i64> =
            query_scalar(LOCK_QUARANTINED).bind(id).fetch_optional(&mut *self.connection).await?;
        Ok(locked.is_some())
    }

    async fn end_quarantined(&mut self, id: i64, by: Option<i64>, why: &str) -> Result<(), Error> {
        const END_QUARANTINED: &str = "UPDATE entry SET state = 'superseded', ended_at = ?2, answer = ?3, superseded_by = ?4 WHERE id = ?1";
        let end = query(END_QUARANTINED).bind(id).bind(self.sqlite.clock.now()).bind(why).bind(by);
        end.execute(&mut *self.connection).await.map(|_| ())
    }

    async fn delete_empty(
        &mut self,
        generations: &[GenerationKey],
        tokens: &[TokenKey],
    ) -> Result<(), Error> {
        /// Keeps the row of a released entry: it is busy, or an entry of the generation waits.
        const DELETE_EMPTY_GENERATIONS: &str = "
            DELETE FROM generation
            WHERE (hook, generation) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?1)) AND busy IS NULL
                AND NOT EXISTS (SELECT 1 FROM entry e WHERE e.hook = generation.hook AND e.generation = generation.generation
                    AND e.lane = 'deliver' AND e.state IN ('waiting', 'in_flight'))
                AND NOT EXISTS (SELECT 1 FROM entry e WHERE e.hook = generation.hook AND e.generation = generation.generation
                    AND e.lane = 'quarantine' AND e.state IN ('waiting', 'in_flight'))";
        const DELETE_EMPTY_TOKENS: &str = "
            DELETE FROM token WHERE (hook, token_id) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?1))";
        let generations: Vec<_> = generations.iter().map(|key| (&key.hook, &key.generation)).collect();
        let tokens: Vec<_> = tokens.iter().map(|key| (&key.hook, &key.token_id)).collect();
        query(DELETE_EMPTY_GENERATIONS).bind(json(&generations)?).execute(&mut *self.connection).await?;
        query(DELETE_EMPTY_TOKENS).bind(json(&tokens)?).execute(&mut *self.connection).await.map(|_| ())
    }
}
