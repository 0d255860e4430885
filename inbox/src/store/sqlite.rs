//! SQLite: one file, of which one `serve` has the use. Every write goes through one connection, one transaction after the
//! other; the group commit makes up for that.

mod clock;
mod copy;
mod deciding;
mod files;
mod lock;
mod migrate;
mod open;
mod rescue;
mod rescued;
mod sql;

use super::batch::{self, Ids};
use super::change::{self, Changing};
use super::error::{DAMAGED, sqlite::remedy};
use super::expect::Expectations;
use super::read::{HOLDING, OLDEST_WAITING, Reading, USAGE};
use super::row::seconds;
use super::{
    Alike, Allowed, Answered, Candidates, Change, Changed, Claim, Cursor, Entry, Expectation, Expected,
    Filter, Finished, Followed, MIN_ATTEMPTS, Next, Noted, Only, Outcome, Pause, PausedSince, Payload,
    Quarantined, Question, Result, Store, StoreError, Stored, Usage, Wanted, Which,
};
use crate::arrival::Arrival;
use crate::decide::Room;
use crate::entry::EntryState;
use crate::failpoint::die_at;
use crate::health::{Fault, Faults};
use async_trait::async_trait;
use clock::Clock;
pub(super) use copy::{backup, restore};
use deciding::Tx;
use files::Files;
pub(super) use migrate::migrate;
use open::busy_timeout;
#[cfg(test)]
pub(super) use open::options;
pub(crate) use rescue::FileWatch;
use rescue::{Anchor, Fate};
use rescued::rescued_beside;
use serde::Serialize;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqlitePool};
use sqlx::{ConnectOptions, Connection, Error, query, query_as, query_scalar};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

pub(super) static MIGRATOR: Migrator = sqlx::migrate!("migrations/sqlite");

/// Its owner's.
const OWN: u32 = 0o600;
/// A command of another process may write in between.
const BUSY: Duration = Duration::from_secs(10);

/// A file.
#[derive(Debug)]
pub(crate) struct Sqlite {
    /// The only one that writes. `None` after a failure, until the next transaction opens another.
    writer: Mutex<Option<SqliteConnection>>,
    options: SqliteConnectOptions,
    /// For reading only.
    pub(crate) reads: SqlitePool,
    /// The same for deliveries: what operators read must not hold them up.
    pub(crate) looks: SqlitePool,
    path: PathBuf,
    next_id: AtomicI64,
    clock: Clock,
    /// Keeps the files open, whatever becomes of the writer, and of their names.
    anchor: Anchor,
    files: Files,
    fate: Arc<Fate>,
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Runs a transaction on the one connection that writes; one that has failed is closed.
macro_rules! transaction {
    ($sqlite:expr, |$connection:ident| $body:expr) => {
        transaction!($sqlite, "COMMIT", |$connection| $body)
    };
    ($sqlite:expr, $end:literal, |$connection:ident| $body:expr) => {{
        let mut writer = $sqlite.writer.lock().await;
        $sqlite.check(&mut writer).await?;
        let mut owned = match writer.take() {
            Some(connection) => connection,
            None => $sqlite.options.connect().await?,
        };
        let run = async {
            let $connection = &mut owned;
            query("BEGIN IMMEDIATE").execute(&mut *$connection).await?;
            // A connection that was just opened has opened what lies at the path.
            $sqlite.compare_files()?;
            let result = $body;
            die_at!("before-commit");
            query($end).execute(&mut *$connection).await?;
            Ok::<_, StoreError>(result)
        };
        let result = run.await;
        if result.is_ok() {
            *writer = Some(owned);
        } else {
            let _closed = owned.close_hard().await;
        }
        // What was written into other files than those at the path is not stored: nobody may get an answer to it.
        $sqlite.check(&mut writer).await?;
        result
    }};
}

#[async_trait]
impl Store for Sqlite {
    async fn store(&self, arrivals: &[&Arrival], room: Room) -> Result<Stored> {
        let (outcomes, begun, worked) = transaction!(self, |connection| {
            let begun = Instant::now();
            let outcomes =
                batch::store(&mut Tx { connection, sqlite: self, ids: Ids::Next }, arrivals, room).await?;
            (outcomes, begun, begun.elapsed())
        })?;
        Ok(Stored { outcomes, worked, synced: begun.elapsed().saturating_sub(worked) })
    }

    async fn release(&self, id: i64, arrival: &Arrival, why: &str) -> Result<Option<Outcome>> {
        transaction!(self, |connection| batch::release(
            &mut Tx { connection, sqlite: self, ids: Ids::Next },
            id,
            arrival,
            why
        )
        .await?)
    }

    async fn would_release(&self, id: i64, arrival: &Arrival) -> Result<Option<Outcome>> {
        transaction!(self, "ROLLBACK", |connection| {
            batch::release(&mut Tx { connection, sqlite: self, ids: Ids::Next }, id, arrival, "").await?
        })
    }

    async fn claim(&self, route: &str, mut wanted: Wanted, lease: i64) -> Result<Claim> {
        let now = self.clock.now();
        transaction!(self, |connection| {
            let mut claimed = Vec::new();
            for (pick, most) in wanted.picks.clone() {
                let limit = wanted.limit(pick, most);
                if limit == 0 {
                    continue;
                }
                let due: Vec<i64> = query_scalar(sql::due(pick))
                    .bind(route)
                    .bind(limit)
                    .bind(now)
                    .fetch_all(&mut *connection)
                    .await?;
                wanted.took(pick, limit, due.len());
                if due.is_empty() {
                    continue;
                }
                let ids = json(&due)?;
                query(sql::HOLD).bind(&ids).execute(&mut *connection).await?;
                query(sql::CLAIM)
                    .bind(&ids)
                    .bind(now.saturating_add(lease))
                    .execute(&mut *connection)
                    .await?;
                claimed.extend(due);
            }
            if claimed.is_empty() {
                wanted.claim(Vec::new())
            } else {
                let ids = json(&claimed)?;
                wanted.claim(query_as(sql::READ_CLAIMED).bind(&ids).fetch_all(&mut *connection).await?)
            }
        })
    }

    async fn renew(&self, leases: &[(i64, i64)], lease: i64) -> Result<Vec<i64>> {
        // Nobody else can take them: what is renewed is only shown.
        let until = self.clock.now().saturating_add(lease);
        transaction!(self, |connection| {
            query_scalar(sql::RENEW).bind(json(leases)?).bind(until).fetch_all(&mut *connection).await?
        })
    }

    /// One process, whose deliveries end with it: what it holds without knowing is a claim that failed after its commit.
    async fn release_expired(&self, held: &[i64], _lease: i64) -> Result<usize> {
        let (now, held) = (self.clock.now(), json(held)?);
        let ids: Vec<i64> = query_scalar(sql::EXPIRED).bind(&held).bind(now).fetch_all(&self.looks).await?;
        if !ids.is_empty() {
            let ids = json(&ids)?;
            transaction!(self, |connection| {
                query(sql::RELEASE_EXPIRED).bind(&ids).bind(now).execute(&mut *connection).await?;
                query(sql::LET_GO).bind(&ids).execute(&mut *connection).await?;
            })?;
        }
        Ok(ids.len())
    }

    async fn finish(&self, finished: &[Finished], give_up_after: i64) -> Result<Vec<i64>> {
        let ids = json(&finished.iter().map(|finished| finished.id).collect::<Vec<_>>())?;
        let succeeded = json(&Finished::succeeded_on(finished))?;
        let (now, json) = (self.clock.now(), json(finished)?);
        transaction!(self, |connection| {
            query(sql::FINISH_DONE).bind(&json).bind(now).execute(&mut *connection).await?;
            let failed: Vec<(i64, EntryState)> = query_as(sql::FINISH_FAILED)
                .bind(&json)
                .bind(now)
                .bind(give_up_after)
                .bind(MIN_ATTEMPTS)
                .fetch_all(&mut *connection)
                .await?;
            query(sql::LET_GO).bind(&ids).execute(&mut *connection).await?;
            if succeeded != "[]" {
                query(sql::NOTE_SUCCESS).bind(&succeeded).bind(now).execute(&mut *connection).await?;
            }
            failed.into_iter().filter(|(_, state)| *state == EntryState::Dead).map(|(id, _)| id).collect()
        })
    }

    /// Runs each statement that stores an event, and takes it back.
    async fn rehearse(&self, body: usize) -> Result<()> {
        transaction!(self, "ROLLBACK", |connection| {
            batch::rehearse(&mut Tx { connection, sqlite: self, ids: Ids::rehearsed() }, body).await?;
        })
    }

    async fn heartbeat(&self) -> Result<()> {
        let now = self.clock.now();
        transaction!(self, |connection| query(sql::HEARTBEAT)
            .bind(now)
            .execute(&mut *connection)
            .await
            .map(|_| ())?)
    }

    /// Bytes in the file that hold nothing, and are written to before it grows; its log takes none of the disk then.
    async fn reusable(&self) -> Result<u64> {
        let mut writer = self.writer.lock().await;
        self.check(&mut writer).await?;
        if let Some(mut owned) = writer.take() {
            let empty = async {
                // A reader that is in its way is not waited for.
                busy_timeout(&mut owned, Duration::ZERO).await?;
                query(sql::EMPTY_LOG).execute(&mut owned).await?;
                busy_timeout(&mut owned, BUSY).await
            };
            match empty.await {
                Ok(()) => *writer = Some(owned),
                Err(error) => {
                    tracing::error!("the store's log cannot be emptied on a full disk: {error}");
                    let _closed = owned.close_hard().await;
                }
            }
        }
        drop(writer);
        let bytes: i64 = query_scalar(sql::REUSABLE).fetch_one(&self.reads).await?;
        Ok(u64::try_from(bytes).unwrap_or_default())
    }

    async fn purge_bodies(&self, age: i64, limit: i64) -> Result<(i64, i64)> {
        let before = self.clock.now().saturating_sub(age);
        transaction!(self, |connection| {
            let old: Vec<(i64, i64)> =
                query_as(sql::OLD_BODIES).bind(before).bind(limit).fetch_all(&mut *connection).await?;
            let (ids, sizes): (Vec<i64>, Vec<i64>) = old.into_iter().unzip();
            let json = json(&ids)?;
            query(sql::EMPTY).bind(&json).execute(&mut *connection).await?;
            query(sql::DELETE_PAYLOADS).bind(&json).execute(&mut *connection).await?;
            (i64::try_from(ids.len()).unwrap_or(i64::MAX), sizes.into_iter().fold(0, i64::saturating_add))
        })
    }

    async fn purge_tombstones(&self, age: i64, limit: i64) -> Result<u64> {
        let before = self.clock.now().saturating_sub(age);
        transaction!(self, |connection| {
            let old: Vec<(i64, String, Option<String>, Option<String>)> =
                query_as(sql::OLD_TOMBSTONES).bind(before).bind(limit).fetch_all(&mut *connection).await?;
            let json = json(&old)?;
            for statement in sql::PURGE_TOMBSTONES {
                query(statement).bind(&json).bind(before).execute(&mut *connection).await?;
            }
            u64::try_from(old.len()).unwrap_or_default()
        })
    }

    async fn waiting(&self) -> Result<Vec<(String, i64)>> {
        Ok(query_as(sql::WAITING).bind(self.clock.now()).fetch_all(&self.looks).await?)
    }

    async fn change(&self, change: Change, ids: &BTreeSet<i64>) -> Result<Changed> {
        let now = self.clock.now();
        transaction!(self, |connection| {
            if change == Change::Purge {
                query(sql::OVERWRITE).execute(&mut *connection).await?;
            }
            let changed = change::change(connection, now, change, ids).await?;
            if change == Change::Purge {
                query(sql::DO_NOT_OVERWRITE).execute(&mut *connection).await?;
            }
            changed
        })
    }

    async fn pause(&self, hook: &str, event: &str) -> Result<bool> {
        let now = self.clock.now();
        transaction!(self, |connection| connection.pause(hook, event, now).await?)
    }

    async fn resume(&self, hook: &str, event: &str) -> Result<bool> {
        transaction!(self, |connection| connection.resume(hook, event).await?)
    }

    async fn pauses(&self) -> Result<Vec<Pause>> {
        Ok(query_as(HOLDING).fetch_all(&self.looks).await?)
    }

    /// Nothing is to be added up: each sum is one row.
    async fn fold_sums(&self, age: i64, _limit: i64) -> Result<u64> {
        let before = self.clock.now().saturating_sub(age);
        transaction!(self, |connection| {
            query(sql::FORGET_DELIVERED).bind(before).execute(&mut *connection).await.map(|_| 0)?
        })
    }

    async fn now(&self) -> Result<i64> {
        Ok(self.clock.now())
    }

    async fn usage(&self) -> Result<Usage> {
        let rows = query_as(USAGE).fetch_all(&self.reads).await?;
        let oldest: Option<i64> = query_scalar(OLDEST_WAITING).fetch_optional(&self.reads).await?;
        Ok(Usage::of(rows, oldest.map_or(0, |oldest| seconds(self.clock.now(), oldest))))
    }

    async fn follow(
        &self,
        filter: &Filter,
        after: Cursor,
        until: Option<Cursor>,
        limit: i64,
    ) -> Result<Followed> {
        let end = self.end().await?;
        let end = until.map_or(end, |until| until.min(end));
        Ok(self.reads.acquire().await?.follow(filter, after, end, limit).await?)
    }

    async fn expect(&self, expected: &Expected, after: i64) -> Result<Noted> {
        let now = self.clock.now();
        transaction!(self, |connection| connection.expect(now, expected, after).await?)
    }

    async fn explained(&self, expected: &Expected) -> Result<Vec<i64>> {
        transaction!(self, |connection| connection.explained(expected).await?)
    }

    async fn unconfirmed(&self, limit: i64) -> Result<Vec<(String, String)>> {
        transaction!(self, |connection| connection.unconfirmed(limit).await?)
    }

    async fn unconfirmed_of(&self, hook: &str, generation: &str) -> Result<Vec<i64>> {
        transaction!(self, |connection| connection.unconfirmed_of(hook, generation).await?)
    }

    async fn want(&self, hook: &str, generation: &str) -> Result<()> {
        let now = self.clock.now();
        transaction!(self, |connection| connection.want(now, hook, generation).await?)
    }

    async fn want_for(&self, id: i64, hook: &str, generation: &str, headers: &[u8]) -> Result<bool> {
        let now = self.clock.now();
        transaction!(self, |connection| connection.want_for(now, id, hook, generation, headers).await?)
    }

    async fn forget_judgement(&self, id: i64) -> Result<()> {
        transaction!(self, |connection| connection.forget_judgement(id).await?)
    }

    async fn next_question(&self, allowed: Allowed) -> Result<Next> {
        let now = self.clock.now();
        transaction!(self, |connection| connection.next_question(now, allowed).await?)
    }

    async fn answered(&self, question: &Question, answered: &Answered, about: &[i64]) -> Result<()> {
        transaction!(self, |connection| connection.answered(question, answered, about).await?)
    }

    async fn ask_now(&self, after: i64) -> Result<u64> {
        let now = self.clock.now();
        transaction!(self, |connection| connection.ask_now(now, after).await?)
    }

    async fn count_expected(&self, after: i64) -> Result<(i64, i64)> {
        let now = self.clock.now();
        transaction!(self, |connection| connection.count_expected(now, after).await?)
    }

    async fn purge_expectations(&self, age: i64, limit: i64) -> Result<usize> {
        let now = self.clock.now();
        transaction!(self, |connection| connection.purge_expectations(now, age, limit).await?)
    }

    async fn list(&self, filter: &Filter, before: Option<i64>, limit: i64) -> Result<Vec<Entry>> {
        Ok(self.reads.acquire().await?.list(filter, before, limit).await?)
    }

    async fn show(&self, id: i64) -> Result<Option<(Entry, Option<Payload>)>> {
        Ok(self.reads.acquire().await?.show(id).await?)
    }

    async fn quarantined(&self, id: i64) -> Result<Option<Quarantined>> {
        Ok(self.reads.acquire().await?.quarantined(id).await?)
    }

    async fn payloads(&self, ids: &BTreeSet<i64>) -> Result<BTreeMap<i64, Payload>> {
        Ok(self.reads.acquire().await?.payloads(ids).await?)
    }

    async fn alike(&self, since: i64) -> Result<Vec<Alike>> {
        Ok(self.reads.acquire().await?.alike(since).await?)
    }

    async fn count(&self, which: &Which) -> Result<Vec<Candidates>> {
        Ok(self.reads.acquire().await?.count(which).await?)
    }

    async fn ids(&self, filter: &Filter, only: Only, after: i64, until: i64, limit: i64) -> Result<Vec<i64>> {
        Ok(self.reads.acquire().await?.ids(filter, only, after, until, limit).await?)
    }

    async fn knows_hook(&self, hook: &str) -> Result<bool> {
        Ok(self.reads.acquire().await?.knows_hook(hook).await?)
    }

    async fn oldest_waiting(&self) -> Result<Option<i64>> {
        Ok(self.reads.acquire().await?.oldest_waiting().await?)
    }

    async fn paused(&self) -> Result<Vec<PausedSince>> {
        Ok(self.reads.acquire().await?.paused().await?)
    }

    async fn open_questions(&self, limit: i64) -> Result<Vec<Expectation>> {
        Ok(self.reads.acquire().await?.open_questions(limit).await?)
    }

    async fn expectation(&self, hook: &str, generation: &str) -> Result<Option<Expectation>> {
        Ok(self.reads.acquire().await?.expectation(hook, generation).await?)
    }

    async fn path(&self, hook: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.reads.acquire().await?.path(hook).await?)
    }

    async fn end(&self) -> Result<Cursor> {
        Ok(self.reads.acquire().await?.end().await?)
    }

    async fn explain(&self, error: &StoreError) -> (Fault, String) {
        match error {
            StoreError::Damaged(why) => (Fault::StoreDamaged, format!("{why}: {DAMAGED}")),
            StoreError::Denied(why) => {
                let path = self.path.display();
                let sentence = format!(
                    "{why}: the inbox cannot write to {path} or beside it, so give its user the file and its folder, on a file system that is mounted for writing"
                );
                (Fault::StoreDenied, sentence)
            }
            error => (Fault::StoreFailing, format!("{error}: {}", remedy(error))),
        }
    }

    async fn lacks(&self) -> Option<(bool, String)> {
        None
    }

    fn writers(&self) -> u32 {
        1
    }

    fn file(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn check_files(&self) -> Result<()> {
        self.compare_files()
    }

    fn watch_files(self: Arc<Self>, faults: &Arc<Faults>) -> Option<FileWatch> {
        Some(self.watch(Arc::clone(faults)))
    }

    fn rescued(&self) -> Vec<String> {
        rescued_beside(&self.files.path).iter().map(|path| path.display().to_string()).collect()
    }
}

fn json<T: Serialize + ?Sized>(value: &T) -> std::result::Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::Encode(error.into()))
}

#[cfg(test)]
mod tests;
