//! The statements that store arrivals.

use super::super::batch::{self, ArrivalStatements, GenerationRow, IdSource};
use crate::decide::{
    Account, BatchState, GenerationKey, GenerationUsage, NewEntry, QuarantineKey, TokenKey, TokenState,
    TokenUsage,
};
use sqlx::Error;
use sqlx::postgres::PgConnection;
use sqlx::{query, query_as, query_scalar};
use std::collections::{BTreeMap, BTreeSet};

pub(super) struct PostgresTransaction<'a>(pub(super) &'a mut PgConnection, pub(super) IdSource);

impl ArrivalStatements for PostgresTransaction<'_> {
    async fn ids(&mut self, count: usize) -> Result<Vec<i64>, Error> {
        /// Fails as `nextval` does without its right, and takes no id.
        const MAY_TAKE_IDS: &str =
            "SELECT nextval('entry_id') WHERE NOT has_sequence_privilege('entry_id', 'USAGE')";
        const IDS: &str = "SELECT nextval('entry_id') FROM generate_series(1, $1)";
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        if let Some(ids) = self.1.take(count) {
            query(MAY_TAKE_IDS).execute(&mut *self.0).await?;
            return Ok(ids);
        }
        query_scalar(IDS).bind(count).fetch_all(&mut *self.0).await
    }

    async fn lock(
        &mut self,
        generations: &BTreeSet<GenerationKey>,
        tokens: &BTreeSet<TokenKey>,
    ) -> Result<BatchState, Error> {
        const LOCK_GENERATIONS: &str = "
            INSERT INTO generation AS g (hook, generation, seen_at)
            SELECT k.hook, k.generation, inbox_now() FROM unnest($1::text[], $2::text[]) AS k (hook, generation)
            ON CONFLICT (hook, generation) DO UPDATE SET seen_at = excluded.seen_at
            RETURNING g.hook, g.generation, g.token_id, g.expected_job, g.completed_id, g.completed_fingerprint, g.completed_origin,
                g.completed_authenticated, g.failure_id, g.failure_fingerprint, g.failure_origin, g.failure_authenticated";
        const LOCK_TOKENS: &str = "
            INSERT INTO token AS t (hook, token_id, seen_at)
            SELECT k.hook, k.token_id, inbox_now() FROM unnest($1::text[], $2::text[]) AS k (hook, token_id)
            ON CONFLICT (hook, token_id) DO UPDATE SET seen_at = excluded.seen_at
            RETURNING t.hook, t.token_id, t.generation";
        let mut state = BatchState::default();
        if !generations.is_empty() {
            let (hooks, ids): (Vec<&str>, Vec<&str>) =
                generations.iter().map(|key| (key.hook.as_str(), key.generation.as_str())).unzip();
            let rows: Vec<GenerationRow> =
                query_as(LOCK_GENERATIONS).bind(hooks).bind(ids).fetch_all(&mut *self.0).await?;
            state.generations = rows.into_iter().map(GenerationRow::read).collect();
        }
        if !tokens.is_empty() {
            let (hooks, ids): (Vec<&str>, Vec<&str>) =
                tokens.iter().map(|key| (key.hook.as_str(), key.token_id.as_str())).unzip();
            let rows: Vec<(String, String, Option<String>)> =
                query_as(LOCK_TOKENS).bind(hooks).bind(ids).fetch_all(&mut *self.0).await?;
            state.tokens = rows.into_iter().map(read_token).collect();
        }
        Ok(state)
    }

    async fn find_quarantined(
        &mut self,
        keys: &[QuarantineKey],
    ) -> Result<BTreeMap<QuarantineKey, i64>, Error> {
        const FIND_QUARANTINED: &str = "
            SELECT e.id, k.place
            FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[]) WITH ORDINALITY AS k (hook, reason, token_id, digest, place)
            JOIN entry e ON e.hook = k.hook AND e.reason = k.reason AND coalesce(e.token_id, '') = k.token_id AND e.digest = k.digest
            WHERE e.lane = 'quarantine'";
        let rows: Vec<(i64, i64)> = query_as(FIND_QUARANTINED)
            .bind(keys.iter().map(|key| key.hook.as_str()).collect::<Vec<_>>())
            .bind(keys.iter().map(|key| key.reason.as_str()).collect::<Vec<_>>())
            .bind(keys.iter().map(|key| key.token_id.as_str()).collect::<Vec<_>>())
            .bind(keys.iter().map(|key| key.digest.as_slice()).collect::<Vec<_>>())
            .fetch_all(&mut *self.0)
            .await?;
        Ok(batch::pair_by_place(rows, keys))
    }

    async fn usage_of_tokens(
        &mut self,
        tokens: &[(TokenKey, Option<String>)],
    ) -> Result<BTreeMap<TokenKey, TokenUsage>, Error> {
        const USAGE_OF_TOKEN: &str = "
            SELECT count(*) AS count, coalesce(sum(e.size), 0)::bigint AS bytes,
                count(CASE WHEN k.own IS NULL OR coalesce(e.generation, '') <> k.own THEN 1 END) AS stray, k.place
            FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS k (hook, token_id, own, place)
            JOIN entry e ON e.hook = k.hook AND coalesce(e.token_id, '') = k.token_id AND e.lane = 'quarantine' AND e.state = 'quarantined'
            GROUP BY k.place";
        let rows: Vec<(i64, i64, i64, i64)> = query_as(USAGE_OF_TOKEN)
            .bind(tokens.iter().map(|(key, _)| key.hook.as_str()).collect::<Vec<_>>())
            .bind(tokens.iter().map(|(key, _)| key.token_id.as_str()).collect::<Vec<_>>())
            .bind(tokens.iter().map(|(_, own)| own.as_deref()).collect::<Vec<_>>())
            .fetch_all(&mut *self.0)
            .await?;
        let keys: Vec<_> = tokens.iter().map(|(key, _)| key.clone()).collect();
        let rows =
            rows.into_iter().map(|(count, bytes, stray, place)| (TokenUsage { count, bytes, stray }, place));
        Ok(batch::pair_by_place(rows, &keys))
    }

    async fn usage_of_generations(
        &mut self,
        accounts: &[Account],
    ) -> Result<BTreeMap<Account, GenerationUsage>, Error> {
        const USAGE_OF_GENERATION: &str = "
            SELECT count(*) AS count, coalesce(sum(e.size), 0)::bigint AS bytes, k.place
            FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS k (hook, token_id, generation, place)
            JOIN entry e ON e.hook = k.hook AND coalesce(e.token_id, '') = k.token_id AND coalesce(e.generation, '') = k.generation
                AND e.lane = 'quarantine' AND e.state = 'quarantined'
            GROUP BY k.place";
        let rows: Vec<(i64, i64, i64)> = query_as(USAGE_OF_GENERATION)
            .bind(accounts.iter().map(|account| account.hook.as_str()).collect::<Vec<_>>())
            .bind(accounts.iter().map(|account| account.token_id.as_str()).collect::<Vec<_>>())
            .bind(accounts.iter().map(|account| account.generation.as_str()).collect::<Vec<_>>())
            .fetch_all(&mut *self.0)
            .await?;
        let rows = rows.into_iter().map(|(count, bytes, place)| (GenerationUsage { count, bytes }, place));
        Ok(batch::pair_by_place(rows, accounts))
    }

    async fn insert(&mut self, entries: &[NewEntry<'_>]) -> Result<(), Error> {
        const INSERT: &str = "
            INSERT INTO entry (id, lane, state, hook, generation, event, reason, detail, client, token_id, job, request_id,
                traceparent, authenticated, digest, size, route, supersedes, seen, received_at, seen_at, due_at)
            SELECT k.*, now.at, now.at, now.at
            FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
                $10::text[], $11::text[], $12::text[], $13::text[], $14::boolean[], $15::bytea[], $16::bigint[], $17::text[], $18::text[],
                $19::bigint[]) AS k,
                (SELECT inbox_now() AS at) AS now";
        const INSERT_PAYLOAD: &str = "
            INSERT INTO payload (entry_id, path, headers, body) SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bytea[], $4::bytea[])";
        macro_rules! column {
            (|$entry:ident| $value:expr) => {
                entries.iter().map(|$entry| $value).collect::<Vec<_>>()
            };
        }
        let inserted = query(INSERT)
            .bind(column!(|entry| entry.id))
            .bind(column!(|entry| entry.lane.name()))
            .bind(column!(|entry| entry.state.name()))
            .bind(column!(|entry| entry.arrival.hook.as_str()))
            .bind(column!(|entry| entry.arrival.generation.as_deref()))
            .bind(column!(|entry| entry.arrival.event().map(|event| event.name())))
            .bind(column!(|entry| entry.cause.as_ref().map(|cause| cause.reason.as_str())))
            .bind(column!(|entry| entry.cause.as_ref().and_then(|cause| cause.detail.as_deref())))
            .bind(column!(|entry| entry.arrival.client.map(|client| client.to_string())))
            .bind(column!(|entry| entry.arrival.token.as_ref().map(|token| token.id.as_str())))
            .bind(column!(|entry| entry.arrival.job.as_deref()))
            .bind(column!(|entry| entry.arrival.ids.request_id.as_deref()))
            .bind(column!(|entry| entry.arrival.ids.traceparent.as_deref()))
            .bind(column!(|entry| entry.arrival.authenticated))
            .bind(column!(|entry| entry.arrival.digest.as_slice()))
            .bind(column!(|entry| entry.arrival.size()))
            .bind(column!(|entry| entry.route.as_deref()))
            .bind(column!(|entry| entry.supersedes.map(|superseded| superseded.name())))
            .bind(column!(|entry| entry.seen))
            .execute(&mut *self.0)
            .await?;
        batch::check_inserted("entry", entries.len(), inserted.rows_affected())?;
        let inserted = query(INSERT_PAYLOAD)
            .bind(column!(|entry| entry.id))
            .bind(column!(|entry| entry.arrival.path.as_bytes()))
            .bind(column!(|entry| entry.arrival.headers.as_slice()))
            .bind(column!(|entry| entry.arrival.body.as_ref()))
            .execute(&mut *self.0)
            .await?;
        batch::check_inserted("payload", entries.len(), inserted.rows_affected())
    }

    async fn repeat(&mut self, repeats: &BTreeMap<i64, i64>) -> Result<(), Error> {
        const REPEAT: &str = "
            UPDATE entry e SET seen = e.seen + k.count, seen_at = inbox_now()
            FROM unnest($1::bigint[], $2::bigint[]) AS k (id, count) WHERE e.id = k.id";
        let (ids, counts): (Vec<i64>, Vec<i64>) = repeats.iter().map(|(id, count)| (*id, *count)).unzip();
        query(REPEAT).bind(ids).bind(counts).execute(&mut *self.0).await.map(|_| ())
    }

    async fn retire(&mut self, entries: &BTreeMap<i64, i64>) -> Result<(), Error> {
        const RETIRE: &str = "
            UPDATE entry e SET state = CASE state WHEN 'waiting' THEN 'superseded' ELSE state END,
                ended_at = CASE state WHEN 'waiting' THEN inbox_now() ELSE ended_at END, retired = true, superseded_by = k.other
            FROM unnest($1::bigint[], $2::bigint[]) AS k (id, other)
            WHERE e.id = k.id AND state IN ('waiting', 'in_flight')";
        let (ids, by): (Vec<i64>, Vec<i64>) = entries.iter().map(|(id, by)| (*id, *by)).unzip();
        query(RETIRE).bind(ids).bind(by).execute(&mut *self.0).await.map(|_| ())
    }

    async fn save(&mut self, state: &BatchState) -> Result<(), Error> {
        const SAVE_GENERATIONS: &str = "
            UPDATE generation g SET token_id = k.token_id, completed_id = k.completed_id, completed_fingerprint = k.completed_fingerprint,
                completed_origin = k.completed_origin, completed_authenticated = k.completed_authenticated, failure_id = k.failure_id,
                failure_fingerprint = k.failure_fingerprint, failure_origin = k.failure_origin, failure_authenticated = k.failure_authenticated
            FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::boolean[], $8::bigint[], $9::text[],
                $10::text[], $11::boolean[])
                AS k (hook, generation, token_id, completed_id, completed_fingerprint, completed_origin, completed_authenticated, failure_id,
                failure_fingerprint, failure_origin, failure_authenticated)
            WHERE g.hook = k.hook AND g.generation = k.generation";
        /// Runs under the lock of the generation.
        const MEET_EXPECTATIONS: &str = "
            UPDATE expectation x SET state = k.state FROM unnest($1::text[], $2::text[], $3::text[]) AS k (hook, generation, state)
            WHERE x.hook = k.hook AND x.generation = k.generation AND x.state NOT IN ('arrived', 'reconciled')";
        const SAVE_TOKENS: &str = "
            UPDATE token t SET generation = k.generation
            FROM unnest($1::text[], $2::text[], $3::text[]) AS k (hook, token_id, generation)
            WHERE t.hook = k.hook AND t.token_id = k.token_id";
        let changed: Vec<_> = state.generations.iter().filter(|(_, row)| row.changed).collect();
        if !changed.is_empty() {
            macro_rules! column {
                (|$key:ident, $row:ident| $value:expr) => {
                    changed.iter().map(|($key, $row)| $value).collect::<Vec<_>>()
                };
            }
            query(SAVE_GENERATIONS)
                .bind(column!(|key, _row| key.hook.as_str()))
                .bind(column!(|key, _row| key.generation.as_str()))
                .bind(column!(|_key, row| row.token_id.as_deref()))
                .bind(column!(|_key, row| row.completed.as_ref().map(|end| end.id)))
                .bind(column!(|_key, row| row.completed.as_ref().map(|end| end.fingerprint.to_string())))
                .bind(column!(|_key, row| row.completed.as_ref().map(|end| end.origin.name())))
                .bind(column!(|_key, row| row.completed.as_ref().map(|end| end.authenticated)))
                .bind(column!(|_key, row| row.failure.as_ref().map(|end| end.id)))
                .bind(column!(|_key, row| row.failure.as_ref().map(|end| end.fingerprint.to_string())))
                .bind(column!(|_key, row| row.failure.as_ref().map(|end| end.origin.name())))
                .bind(column!(|_key, row| row.failure.as_ref().map(|end| end.authenticated)))
                .execute(&mut *self.0)
                .await?;
        }
        let met: Vec<_> = state.met_expectations().collect();
        if !met.is_empty() {
            query(MEET_EXPECTATIONS)
                .bind(met.iter().map(|(hook, ..)| *hook).collect::<Vec<_>>())
                .bind(met.iter().map(|(_, generation, _)| *generation).collect::<Vec<_>>())
                .bind(met.iter().map(|(.., state)| *state).collect::<Vec<_>>())
                .execute(&mut *self.0)
                .await?;
        }
        let changed: Vec<_> = state.tokens.iter().filter(|(_, row)| row.changed).collect();
        if !changed.is_empty() {
            query(SAVE_TOKENS)
                .bind(changed.iter().map(|(key, _)| key.hook.as_str()).collect::<Vec<_>>())
                .bind(changed.iter().map(|(key, _)| key.token_id.as_str()).collect::<Vec<_>>())
                .bind(changed.iter().map(|(_, row)| row.generation.as_deref()).collect::<Vec<_>>())
                .execute(&mut *self.0)
                .await?;
        }
        Ok(())
    }

    async fn lock_quarantined(&mut self, id: i64) -> Result<bool, Error> {
        const LOCK_QUARANTINED: &str = "
            SELECT id FROM entry WHERE id = $1 AND lane = 'quarantine' AND state = 'quarantined' FOR UPDATE";
        let locked: Option<i64> =
            query_scalar(LOCK_QUARANTINED).bind(id).fetch_optional(&mut *self.0).await?;
        Ok(locked.is_some())
    }

    async fn end_quarantined(&mut self, id: i64, by: Option<i64>, why: &str) -> Result<(), Error> {
        const END_QUARANTINED: &str = "
            UPDATE entry SET state = 'superseded', ended_at = inbox_now(), answer = $2, superseded_by = $3 WHERE id = $1";
        query(END_QUARANTINED).bind(id).bind(why).bind(by).execute(&mut *self.0).await.map(|_| ())
    }

    async fn delete_empty(
        &mut self,
        generations: &[GenerationKey],
        tokens: &[TokenKey],
    ) -> Result<(), Error> {
        /// Keeps the row of a released entry: it is busy, or an entry of the generation waits.
        const DELETE_EMPTY_GENERATIONS: &str = "
            DELETE FROM generation g USING unnest($1::text[], $2::text[]) AS k (hook, generation)
            WHERE g.hook = k.hook AND g.generation = k.generation AND g.busy IS NULL
                AND NOT EXISTS (SELECT 1 FROM entry e WHERE e.hook = g.hook AND e.generation = g.generation
                    AND e.lane = 'deliver' AND e.state IN ('waiting', 'in_flight'))
                AND NOT EXISTS (SELECT 1 FROM entry e WHERE e.hook = g.hook AND e.generation = g.generation
                    AND e.lane = 'quarantine' AND e.state IN ('waiting', 'in_flight'))";
        const DELETE_EMPTY_TOKENS: &str = "
            DELETE FROM token t USING unnest($1::text[], $2::text[]) AS k (hook, token_id)
            WHERE t.hook = k.hook AND t.token_id = k.token_id";
        query(DELETE_EMPTY_GENERATIONS)
            .bind(generations.iter().map(|key| key.hook.as_str()).collect::<Vec<_>>())
            .bind(generations.iter().map(|key| key.generation.as_str()).collect::<Vec<_>>())
            .execute(&mut *self.0)
            .await?;
        query(DELETE_EMPTY_TOKENS)
            .bind(tokens.iter().map(|key| key.hook.as_str()).collect::<Vec<_>>())
            .bind(tokens.iter().map(|key| key.token_id.as_str()).collect::<Vec<_>>())
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }
}

fn read_token((hook, token_id, generation): (String, String, Option<String>)) -> (TokenKey, TokenState) {
    (TokenKey { hook, token_id }, TokenState { generation, changed: false })
}
