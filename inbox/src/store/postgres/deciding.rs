//! The deciding transaction's statements.

use super::super::batch::{self, Deciding, GenerationRow, Ids};
use super::sql;
use crate::decide::{
    Account, BatchState, GenerationKey, GenerationUsage, NewEntry, QuarantineKey, Token, TokenKey, TokenUsage,
};
use sqlx::Error;
use sqlx::postgres::PgConnection;
use sqlx::{query, query_as, query_scalar};
use std::collections::{BTreeMap, BTreeSet};

pub(super) struct Tx<'a>(pub(super) &'a mut PgConnection, pub(super) Ids);

impl Deciding for Tx<'_> {
    async fn ids(&mut self, count: usize) -> Result<Vec<i64>, Error> {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        if let Some(ids) = self.1.take(count) {
            query(sql::MAY_TAKE_IDS).execute(&mut *self.0).await?;
            return Ok(ids);
        }
        query_scalar(sql::IDS).bind(count).fetch_all(&mut *self.0).await
    }

    async fn lock(
        &mut self,
        generations: &BTreeSet<GenerationKey>,
        tokens: &BTreeSet<TokenKey>,
    ) -> Result<BatchState, Error> {
        let mut state = BatchState::default();
        if !generations.is_empty() {
            let (hooks, ids): (Vec<&str>, Vec<&str>) =
                generations.iter().map(|key| (key.hook.as_str(), key.generation.as_str())).unzip();
            let rows: Vec<GenerationRow> =
                query_as(sql::LOCK_GENERATIONS).bind(hooks).bind(ids).fetch_all(&mut *self.0).await?;
            state.generations = rows.into_iter().map(GenerationRow::read).collect();
        }
        if !tokens.is_empty() {
            let (hooks, ids): (Vec<&str>, Vec<&str>) =
                tokens.iter().map(|key| (key.hook.as_str(), key.token_id.as_str())).unzip();
            let rows: Vec<(String, String, Option<String>)> =
                query_as(sql::LOCK_TOKENS).bind(hooks).bind(ids).fetch_all(&mut *self.0).await?;
            state.tokens = rows.into_iter().map(read_token).collect();
        }
        Ok(state)
    }

    async fn find_quarantined(
        &mut self,
        keys: &[QuarantineKey],
    ) -> Result<BTreeMap<QuarantineKey, i64>, Error> {
        let rows: Vec<(i64, i64)> = query_as(sql::FIND_QUARANTINED)
            .bind(keys.iter().map(|key| key.hook.as_str()).collect::<Vec<_>>())
            .bind(keys.iter().map(|key| key.reason.as_str()).collect::<Vec<_>>())
            .bind(keys.iter().map(|key| key.token_id.as_str()).collect::<Vec<_>>())
            .bind(keys.iter().map(|key| key.digest.as_slice()).collect::<Vec<_>>())
            .fetch_all(&mut *self.0)
            .await?;
        Ok(batch::by_place(rows, keys))
    }

    async fn usage_of_tokens(
        &mut self,
        tokens: &[(TokenKey, Option<String>)],
    ) -> Result<BTreeMap<TokenKey, TokenUsage>, Error> {
        let rows: Vec<(i64, i64, i64, i64)> = query_as(sql::USAGE_OF_TOKEN)
            .bind(tokens.iter().map(|(key, _)| key.hook.as_str()).collect::<Vec<_>>())
            .bind(tokens.iter().map(|(key, _)| key.token_id.as_str()).collect::<Vec<_>>())
            .bind(tokens.iter().map(|(_, own)| own.as_deref()).collect::<Vec<_>>())
            .fetch_all(&mut *self.0)
            .await?;
        let keys: Vec<_> = tokens.iter().map(|(key, _)| key.clone()).collect();
        let rows =
            rows.into_iter().map(|(count, bytes, stray, place)| (TokenUsage { count, bytes, stray }, place));
        Ok(batch::by_place(rows, &keys))
    }

    async fn usage_of_generations(
        &mut self,
        accounts: &[Account],
    ) -> Result<BTreeMap<Account, GenerationUsage>, Error> {
        let rows: Vec<(i64, i64, i64)> = query_as(sql::USAGE_OF_GENERATION)
            .bind(accounts.iter().map(|account| account.hook.as_str()).collect::<Vec<_>>())
            .bind(accounts.iter().map(|account| account.token_id.as_str()).collect::<Vec<_>>())
            .bind(accounts.iter().map(|account| account.generation.as_str()).collect::<Vec<_>>())
            .fetch_all(&mut *self.0)
            .await?;
        let rows = rows.into_iter().map(|(count, bytes, place)| (GenerationUsage { count, bytes }, place));
        Ok(batch::by_place(rows, accounts))
    }

    async fn insert(&mut self, entries: &[NewEntry<'_>]) -> Result<(), Error> {
        macro_rules! column {
            (|$entry:ident| $value:expr) => {
                entries.iter().map(|$entry| $value).collect::<Vec<_>>()
            };
        }
        let inserted = query(sql::INSERT)
            .bind(column!(|entry| entry.id))
            .bind(column!(|entry| entry.lane.name()))
            .bind(column!(|entry| entry.state.name()))
            .bind(column!(|entry| entry.arrival.hook.as_str()))
            .bind(column!(|entry| entry.arrival.generation.as_deref()))
            .bind(column!(|entry| entry.arrival.event().map(|event| event.name())))
            .bind(column!(|entry| entry.reason.as_ref().map(|reason| reason.as_str())))
            .bind(column!(|entry| entry.arrival.token.as_ref().map(|token| token.id.as_str())))
            .bind(column!(|entry| entry.arrival.job.as_deref()))
            .bind(column!(|entry| entry.arrival.authenticated))
            .bind(column!(|entry| entry.arrival.digest.as_slice()))
            .bind(column!(|entry| entry.arrival.size()))
            .bind(column!(|entry| entry.route.as_deref()))
            .bind(column!(|entry| entry.supersedes.map(|superseded| superseded.name())))
            .bind(column!(|entry| entry.seen))
            .execute(&mut *self.0)
            .await?;
        batch::all_inserted("entry", entries.len(), inserted.rows_affected())?;
        let inserted = query(sql::INSERT_PAYLOAD)
            .bind(column!(|entry| entry.id))
            .bind(column!(|entry| entry.arrival.path.as_bytes()))
            .bind(column!(|entry| entry.arrival.headers.as_slice()))
            .bind(column!(|entry| entry.arrival.body.as_ref()))
            .execute(&mut *self.0)
            .await?;
        batch::all_inserted("payload", entries.len(), inserted.rows_affected())
    }

    async fn repeat(&mut self, repeats: &BTreeMap<i64, i64>) -> Result<(), Error> {
        let (ids, counts): (Vec<i64>, Vec<i64>) = repeats.iter().map(|(id, count)| (*id, *count)).unzip();
        query(sql::REPEAT).bind(ids).bind(counts).execute(&mut *self.0).await.map(|_| ())
    }

    async fn retire(&mut self, ids: &[i64]) -> Result<(), Error> {
        query(sql::RETIRE).bind(ids).execute(&mut *self.0).await.map(|_| ())
    }

    async fn save(&mut self, state: &BatchState) -> Result<(), Error> {
        let changed: Vec<_> = state.generations.iter().filter(|(_, row)| row.changed).collect();
        if !changed.is_empty() {
            macro_rules! column {
                (|$key:ident, $row:ident| $value:expr) => {
                    changed.iter().map(|($key, $row)| $value).collect::<Vec<_>>()
                };
            }
            query(sql::SAVE_GENERATIONS)
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
        let met: Vec<_> = state.met().collect();
        if !met.is_empty() {
            query(sql::MEET)
                .bind(met.iter().map(|(hook, ..)| *hook).collect::<Vec<_>>())
                .bind(met.iter().map(|(_, generation, _)| *generation).collect::<Vec<_>>())
                .bind(met.iter().map(|(.., state)| *state).collect::<Vec<_>>())
                .execute(&mut *self.0)
                .await?;
        }
        let changed: Vec<_> = state.tokens.iter().filter(|(_, row)| row.changed).collect();
        if !changed.is_empty() {
            query(sql::SAVE_TOKENS)
                .bind(changed.iter().map(|(key, _)| key.hook.as_str()).collect::<Vec<_>>())
                .bind(changed.iter().map(|(key, _)| key.token_id.as_str()).collect::<Vec<_>>())
                .bind(changed.iter().map(|(_, row)| row.generation.as_deref()).collect::<Vec<_>>())
                .execute(&mut *self.0)
                .await?;
        }
        Ok(())
    }

    async fn hold_quarantined(&mut self, id: i64) -> Result<bool, Error> {
        let held: Option<i64> =
            query_scalar(sql::HOLD_QUARANTINED).bind(id).fetch_optional(&mut *self.0).await?;
        Ok(held.is_some())
    }

    async fn end_quarantined(&mut self, id: i64, why: &str) -> Result<(), Error> {
        query(sql::END_QUARANTINED).bind(id).bind(why).execute(&mut *self.0).await.map(|_| ())
    }

    async fn tidy(&mut self, generations: &[GenerationKey], tokens: &[TokenKey]) -> Result<(), Error> {
        query(sql::TIDY_GENERATIONS)
            .bind(generations.iter().map(|key| key.hook.as_str()).collect::<Vec<_>>())
            .bind(generations.iter().map(|key| key.generation.as_str()).collect::<Vec<_>>())
            .execute(&mut *self.0)
            .await?;
        query(sql::TIDY_TOKENS)
            .bind(tokens.iter().map(|key| key.hook.as_str()).collect::<Vec<_>>())
            .bind(tokens.iter().map(|key| key.token_id.as_str()).collect::<Vec<_>>())
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }
}

fn read_token((hook, token_id, generation): (String, String, Option<String>)) -> (TokenKey, Token) {
    (TokenKey { hook, token_id }, Token { generation, changed: false })
}
