//! The deciding transaction's statements.

use super::super::Error;
use super::super::batch::{self, Account, Deciding, HeldBy, HeldIn, Ids, KeptKey, NewEntry};
use super::sql;
use crate::decide::{Final, Generation, GenerationKey, Known, Token, TokenKey};
use sqlx::postgres::PgConnection;
use sqlx::{FromRow, query, query_as, query_scalar};
use std::collections::{BTreeMap, BTreeSet};

pub(super) struct Tx<'a>(pub(super) &'a mut PgConnection, pub(super) Ids);

#[derive(FromRow)]
struct GenerationRow {
    hook: String,
    generation: String,
    token_id: Option<String>,
    completed_id: Option<i64>,
    completed_fingerprint: Option<String>,
    completed_authenticated: Option<bool>,
    failure_id: Option<i64>,
    failure_fingerprint: Option<String>,
    failure_authenticated: Option<bool>,
    expected_job: Option<String>,
}

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
    ) -> Result<Known, Error> {
        let mut known = Known::default();
        if !generations.is_empty() {
            let (hooks, ids): (Vec<&str>, Vec<&str>) =
                generations.iter().map(|key| (key.hook.as_str(), key.generation.as_str())).unzip();
            let rows: Vec<GenerationRow> =
                query_as(sql::LOCK_GENERATIONS).bind(hooks).bind(ids).fetch_all(&mut *self.0).await?;
            known.generations = rows.into_iter().map(GenerationRow::read).collect();
        }
        if !tokens.is_empty() {
            let (hooks, ids): (Vec<&str>, Vec<&str>) =
                tokens.iter().map(|key| (key.hook.as_str(), key.token_id.as_str())).unzip();
            let rows: Vec<(String, String, Option<String>)> =
                query_as(sql::LOCK_TOKENS).bind(hooks).bind(ids).fetch_all(&mut *self.0).await?;
            known.tokens = rows.into_iter().map(read_token).collect();
        }
        Ok(known)
    }

    async fn find_kept(&mut self, keys: &[KeptKey]) -> Result<BTreeMap<KeptKey, i64>, Error> {
        let rows: Vec<(i64, i64)> = query_as(sql::FIND_KEPT)
            .bind(keys.iter().map(|key| key.hook.as_str()).collect::<Vec<_>>())
            .bind(keys.iter().map(|key| key.reason.as_str()).collect::<Vec<_>>())
            .bind(keys.iter().map(|key| key.token_id.as_str()).collect::<Vec<_>>())
            .bind(keys.iter().map(|key| key.digest.as_slice()).collect::<Vec<_>>())
            .fetch_all(&mut *self.0)
            .await?;
        Ok(batch::by_place(rows, keys))
    }

    async fn count_kept(
        &mut self,
        tokens: &[(TokenKey, Option<String>)],
    ) -> Result<BTreeMap<TokenKey, HeldBy>, Error> {
        let rows: Vec<(i64, i64, i64, i64)> = query_as(sql::COUNT_KEPT)
            .bind(tokens.iter().map(|(key, _)| key.hook.as_str()).collect::<Vec<_>>())
            .bind(tokens.iter().map(|(key, _)| key.token_id.as_str()).collect::<Vec<_>>())
            .bind(tokens.iter().map(|(_, own)| own.as_deref()).collect::<Vec<_>>())
            .fetch_all(&mut *self.0)
            .await?;
        let keys: Vec<_> = tokens.iter().map(|(key, _)| key.clone()).collect();
        let rows =
            rows.into_iter().map(|(count, bytes, stray, place)| (HeldBy { count, bytes, stray }, place));
        Ok(batch::by_place(rows, &keys))
    }

    async fn count_kept_in(&mut self, accounts: &[Account]) -> Result<BTreeMap<Account, HeldIn>, Error> {
        let rows: Vec<(i64, i64, i64)> = query_as(sql::COUNT_KEPT_IN)
            .bind(accounts.iter().map(|account| account.hook.as_str()).collect::<Vec<_>>())
            .bind(accounts.iter().map(|account| account.token_id.as_str()).collect::<Vec<_>>())
            .bind(accounts.iter().map(|account| account.generation.as_str()).collect::<Vec<_>>())
            .fetch_all(&mut *self.0)
            .await?;
        let rows = rows.into_iter().map(|(count, bytes, place)| (HeldIn { count, bytes }, place));
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
            .bind(column!(|entry| entry.lane))
            .bind(column!(|entry| entry.state))
            .bind(column!(|entry| entry.arrival.hook.as_str()))
            .bind(column!(|entry| entry.arrival.generation.as_deref()))
            .bind(column!(|entry| entry.arrival.event.map(|event| event.name())))
            .bind(column!(|entry| entry.reason.as_deref()))
            .bind(column!(|entry| entry.arrival.token.as_ref().map(|token| token.id.as_str())))
            .bind(column!(|entry| entry.arrival.job.as_deref()))
            .bind(column!(|entry| entry.arrival.authenticated))
            .bind(column!(|entry| entry.arrival.digest.as_slice()))
            .bind(column!(|entry| entry.arrival.size()))
            .bind(column!(|entry| entry.route.as_deref()))
            .bind(column!(|entry| entry.supersedes))
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

    async fn save(&mut self, known: &Known) -> Result<(), Error> {
        let changed: Vec<_> = known.generations.iter().filter(|(_, row)| row.changed).collect();
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
                .bind(column!(|_key, row| row.completed.as_ref().map(|end| end.fact.as_str())))
                .bind(column!(|_key, row| row.completed.as_ref().map(|end| end.authenticated)))
                .bind(column!(|_key, row| row.failure.as_ref().map(|end| end.id)))
                .bind(column!(|_key, row| row.failure.as_ref().map(|end| end.fact.as_str())))
                .bind(column!(|_key, row| row.failure.as_ref().map(|end| end.authenticated)))
                .execute(&mut *self.0)
                .await?;
        }
        let met: Vec<_> = known.met().collect();
        if !met.is_empty() {
            query(sql::MEET)
                .bind(met.iter().map(|(hook, ..)| *hook).collect::<Vec<_>>())
                .bind(met.iter().map(|(_, generation, _)| *generation).collect::<Vec<_>>())
                .bind(met.iter().map(|(.., state)| *state).collect::<Vec<_>>())
                .execute(&mut *self.0)
                .await?;
        }
        let changed: Vec<_> = known.tokens.iter().filter(|(_, row)| row.changed).collect();
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

    async fn hold_kept(&mut self, id: i64) -> Result<bool, Error> {
        let held: Option<i64> = query_scalar(sql::HOLD_KEPT).bind(id).fetch_optional(&mut *self.0).await?;
        Ok(held.is_some())
    }

    async fn end_kept(&mut self, id: i64, why: &str) -> Result<(), Error> {
        query(sql::END_KEPT).bind(id).bind(why).execute(&mut *self.0).await.map(|_| ())
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

impl GenerationRow {
    fn read(self) -> (GenerationKey, Generation) {
        let end = |id: Option<i64>, fact: Option<String>, authenticated: Option<bool>| {
            id.map(|id| Final {
                id,
                fact: fact.unwrap_or_default(),
                authenticated: authenticated.unwrap_or_default(),
            })
        };
        let generation = Generation {
            token_id: self.token_id,
            expected: self.expected_job,
            completed: end(self.completed_id, self.completed_fingerprint, self.completed_authenticated),
            failure: end(self.failure_id, self.failure_fingerprint, self.failure_authenticated),
            met: None,
            changed: false,
        };
        (GenerationKey { hook: self.hook, generation: self.generation }, generation)
    }
}

fn read_token((hook, token_id, generation): (String, String, Option<String>)) -> (TokenKey, Token) {
    (TokenKey { hook, token_id }, Token { generation, changed: false })
}
