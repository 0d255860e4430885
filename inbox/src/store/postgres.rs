//! PostgreSQL: any number of gates and inboxes side by side. Its clock says what is due; no clock ends a lease.

mod connect;
mod deciding;
mod links;
mod open;
mod pooling;
mod rights;
mod sql;

use super::batch::{self, Ids};
use super::change::{self, Changing};
use super::error::{DAMAGED, postgres::remedy};
use super::expect::Expectations;
use super::read::{HOLDING, OLDEST_WAITING, Reading, USAGE};
use super::row::seconds;
use super::{
    Alike, Allowed, Answered, Candidates, Change, Changed, Claim, Cursor, Entry, Expectation, Expected,
    FileWatch, Filter, Finished, Followed, MIN_ATTEMPTS, Next, Noted, Only, Outcome, Pause, PausedSince,
    Payload, Quarantined, Question, Result, Store, StoreError, Stored, Usage, Wanted, Which,
};
use crate::arrival::Arrival;
use crate::decide::Room;
use crate::failpoint::die_at;
use crate::health::{Fault, Faults};
use async_trait::async_trait;
#[cfg(test)]
pub(super) use connect::{connect, options};
use deciding::Tx;
use leases::Leases;
use links::Links;
pub(super) use open::migrate;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnection;
use sqlx::{query, query_as, query_scalar};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

pub(super) static MIGRATOR: Migrator = sqlx::migrate!("migrations/postgres");

/// The schema of the tables.
const SCHEMA: &str = "blobgate_inbox";
/// A database that is away is found out in this time.
const CONNECT: Duration = Duration::from_secs(5);
/// A network that swallows everything is found out in this time, longer than the database's own limit: a sender waits for
/// 15 s, and a lease is 30 s.
const SILENT: Duration = Duration::from_secs(8);
/// On a fast disk two committers take turns; while a slow one writes, more can work.
const WRITERS: u32 = 8;
/// Of a change that a deadlock ends.
const ATTEMPTS: u32 = 5;

/// A database.
#[derive(Debug)]
pub(crate) struct Postgres {
    links: Arc<Links>,
    leases: Mutex<Leases>,
}

/// Runs a transaction; the connection of one that has failed is closed.
macro_rules! transaction {
    ($session:expr, |$connection:ident| $body:expr) => {
        transaction!($session, "COMMIT", |$connection| $body)
    };
    ($session:expr, $end:literal, |$connection:ident| $body:expr) => {
        transaction!($session, $session.links.begin(), $end, |$connection| $body)
    };
    ($session:expr, $begin:expr, $end:literal, |$connection:ident| $body:expr) => {{
        let mut link = $begin.await?;
        let run = async {
            let $connection = link.connection();
            let result = $body;
            die_at!("before-commit");
            query($end).execute(&mut *$connection).await?;
            Ok::<_, StoreError>(result)
        };
        // Given up halfway it is closed, and its transaction ends with it.
        let result = tokio::time::timeout(SILENT, run).await.unwrap_or_else(|_| Err(StoreError::Silent));
        if result.is_ok() {
            link.give_back();
        }
        result
    }};
}

/// Reads, whole tables too.
macro_rules! reading {
    ($postgres:expr, |$connection:ident| $body:expr) => {{
        let mut link = $postgres.links.begin_reading().await?;
        let run = async {
            let $connection = link.connection();
            Ok::<_, StoreError>($body)
        };
        let result = run.await;
        if result.is_ok() {
            link.done().await;
        }
        result
    }};
}

// Below the macro that it uses.
mod leases;

#[async_trait]
impl Store for Postgres {
    async fn store(&self, arrivals: &[&Arrival], room: Room) -> Result<Stored> {
        let (outcomes, begun, worked) =
            transaction!(self, self.links.begin_storing(), "COMMIT", |connection| {
                let begun = Instant::now();
                let outcomes = batch::store(&mut Tx(connection, Ids::Next), arrivals, room).await?;
                (outcomes, begun, begun.elapsed())
            })?;
        Ok(Stored { outcomes, worked, synced: begun.elapsed().saturating_sub(worked) })
    }

    async fn release(&self, id: i64, arrival: &Arrival, why: &str) -> Result<Option<Outcome>> {
        transaction!(self, |connection| batch::release(&mut Tx(connection, Ids::Next), id, arrival, why)
            .await?)
    }

    async fn would_release(&self, id: i64, arrival: &Arrival) -> Result<Option<Outcome>> {
        transaction!(self, "ROLLBACK", |connection| batch::release(
            &mut Tx(connection, Ids::Next),
            id,
            arrival,
            ""
        )
        .await?)
    }

    async fn claim(&self, route: &str, mut wanted: Wanted, lease: i64) -> Result<Claim> {
        let observed = route.contains("/observed/");
        transaction!(self, |connection| {
            let mut claimed: Vec<i64> = Vec::new();
            for (pick, most) in wanted.picks.clone() {
                let limit = wanted.limit(pick, most);
                if limit == 0 {
                    continue;
                }
                let ids: Vec<i64> = query_scalar(sql::claim(pick, observed))
                    .bind(route)
                    .bind(limit)
                    .bind(lease)
                    .fetch_all(&mut *connection)
                    .await?;
                wanted.took(pick, limit, ids.len());
                claimed.extend(ids);
            }
            if claimed.is_empty() {
                wanted.claim(Vec::new())
            } else {
                wanted.claim(query_as(sql::READ_CLAIMED).bind(claimed).fetch_all(&mut *connection).await?)
            }
        })
    }

    async fn renew(&self, leases: &[(i64, i64)], lease: i64) -> Result<Vec<i64>> {
        let (ids, numbers): (Vec<i64>, Vec<i64>) = leases.iter().copied().unzip();
        transaction!(self, |connection| {
            query_scalar(sql::RENEW).bind(&ids).bind(&numbers).bind(lease).fetch_all(&mut *connection).await?
        })
    }

    async fn finish(&self, finished: &[Finished], give_up_after: i64) -> Result<Vec<i64>> {
        let ids: Vec<i64> = finished.iter().map(|finished| finished.id).collect();
        let (any_done, any_failed) =
            (finished.iter().any(|finished| finished.done), finished.iter().any(|finished| !finished.done));
        let succeeded = Finished::succeeded_on(finished);
        let json =
            serde_json::to_string(finished).map_err(|error| StoreError::RejectedRow(error.to_string()))?;
        transaction!(self, |connection| {
            lock_generations_of(connection, &ids).await?;
            if any_done {
                query(sql::FINISH_DONE).bind(&json).execute(&mut *connection).await?;
            }
            let dead = if any_failed {
                query_scalar(sql::FINISH_FAILED)
                    .bind(&json)
                    .bind(give_up_after)
                    .bind(MIN_ATTEMPTS)
                    .fetch_all(&mut *connection)
                    .await?
            } else {
                Vec::new()
            };
            query(sql::LET_GO).bind(&ids).execute(&mut *connection).await?;
            if !succeeded.is_empty() {
                query(sql::NOTE_SUCCESS).bind(&succeeded).execute(&mut *connection).await?;
            }
            dead
        })
    }

    async fn heartbeat(&self) -> Result<()> {
        transaction!(self, |connection| query(sql::HEARTBEAT).execute(&mut *connection).await.map(|_| ())?)
    }

    async fn pauses(&self) -> Result<Vec<Pause>> {
        transaction!(self, |connection| query_as(HOLDING).fetch_all(&mut *connection).await?)
    }

    /// Runs each statement that stores an event, and takes it back.
    async fn rehearse(&self, body: usize) -> Result<()> {
        transaction!(self, "ROLLBACK", |connection| {
            connect::check(connection).await?;
            batch::rehearse(&mut Tx(connection, Ids::rehearsed()), body).await?;
        })
    }

    async fn fold_sums(&self, age: i64, limit: i64) -> Result<u64> {
        let folded: i64 = transaction!(self, |connection| {
            // In this order: what waits for a sum holds none that comes before it.
            let folded = query_scalar(sql::FOLD).bind(limit).fetch_one(&mut *connection).await?;
            query(sql::FORGET_DELIVERED).bind(age).execute(&mut *connection).await?;
            folded
        })?;
        Ok(u64::try_from(folded).unwrap_or_default())
    }

    async fn purge_bodies(&self, age: i64, limit: i64) -> Result<(i64, i64)> {
        transaction!(self, |connection| {
            query_as(sql::PURGE_BODIES).bind(age).bind(limit).fetch_one(&mut *connection).await?
        })
    }

    async fn purge_tombstones(&self, age: i64, limit: i64) -> Result<u64> {
        transaction!(self, |connection| {
            query(sql::PURGE_TOMBSTONES)
                .bind(age)
                .bind(limit)
                .execute(&mut *connection)
                .await?
                .rows_affected()
        })
    }

    async fn waiting(&self) -> Result<Vec<(String, i64)>> {
        transaction!(self, |connection| query_as(sql::WAITING).fetch_all(&mut *connection).await?)
    }

    async fn change(&self, change: Change, ids: &BTreeSet<i64>) -> Result<Changed> {
        // Two that lock entries of no generation in opposite order: the database ends one of them.
        for _ in 1..ATTEMPTS {
            match self.change_once(change, ids).await {
                Err(StoreError::Deadlock(_)) => {}
                changed => return changed,
            }
        }
        self.change_once(change, ids).await
    }

    async fn pause(&self, hook: &str, event: &str) -> Result<bool> {
        transaction!(self, |connection| {
            let now = query_scalar(sql::NOW).fetch_one(&mut *connection).await?;
            connection.pause(hook, event, now).await?
        })
    }

    async fn resume(&self, hook: &str, event: &str) -> Result<bool> {
        transaction!(self, |connection| connection.resume(hook, event).await?)
    }

    async fn now(&self) -> Result<i64> {
        reading!(self, |connection| query_scalar(sql::NOW).fetch_one(&mut *connection).await?)
    }

    async fn usage(&self) -> Result<Usage> {
        let (rows, now, oldest) = transaction!(self, |connection| {
            let rows = query_as(USAGE).fetch_all(&mut *connection).await?;
            let oldest: Option<i64> = query_scalar(OLDEST_WAITING).fetch_optional(&mut *connection).await?;
            (rows, query_scalar(sql::NOW).fetch_one(&mut *connection).await?, oldest)
        })?;
        Ok(Usage::of(rows, oldest.map_or(0, |oldest| seconds(now, oldest))))
    }

    /// Nobody looks at a database's disk.
    async fn reusable(&self) -> Result<u64> {
        Ok(0)
    }

    async fn release_expired(&self, held: &[i64], lease: i64) -> Result<usize> {
        let mut leases = self.leases.lock().await;
        self.follow_clock(&mut leases.clock).await;
        self.release_unrenewed(&mut leases.watched, held, lease).await
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
        reading!(self, |connection| connection.follow(filter, after, end, limit).await?)
    }

    async fn expect(&self, expected: &Expected, after: i64) -> Result<Noted> {
        transaction!(self, |connection| {
            let now = query_scalar(sql::NOW).fetch_one(&mut *connection).await?;
            connection.expect(now, expected, after).await?
        })
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
        transaction!(self, |connection| {
            let now = query_scalar(sql::NOW).fetch_one(&mut *connection).await?;
            connection.want(now, hook, generation).await?
        })
    }

    async fn want_for(&self, id: i64, hook: &str, generation: &str, headers: &[u8]) -> Result<bool> {
        transaction!(self, |connection| {
            let now = query_scalar(sql::NOW).fetch_one(&mut *connection).await?;
            connection.want_for(now, id, hook, generation, headers).await?
        })
    }

    async fn forget_judgement(&self, id: i64) -> Result<()> {
        transaction!(self, |connection| connection.forget_judgement(id).await?)
    }

    async fn next_question(&self, allowed: Allowed) -> Result<Next> {
        transaction!(self, |connection| {
            let now = query_scalar(sql::NOW).fetch_one(&mut *connection).await?;
            connection.next_question(now, allowed).await?
        })
    }

    async fn answered(&self, question: &Question, answered: &Answered, about: &[i64]) -> Result<()> {
        transaction!(self, |connection| connection.answered(question, answered, about).await?)
    }

    async fn ask_now(&self, after: i64) -> Result<u64> {
        transaction!(self, |connection| {
            let now = query_scalar(sql::NOW).fetch_one(&mut *connection).await?;
            connection.ask_now(now, after).await?
        })
    }

    async fn count_expected(&self, after: i64) -> Result<(i64, i64)> {
        transaction!(self, |connection| {
            let now = query_scalar(sql::NOW).fetch_one(&mut *connection).await?;
            connection.count_expected(now, after).await?
        })
    }

    async fn purge_expectations(&self, age: i64, limit: i64) -> Result<usize> {
        transaction!(self, |connection| {
            let now = query_scalar(sql::NOW).fetch_one(&mut *connection).await?;
            connection.purge_expectations(now, age, limit).await?
        })
    }

    async fn list(&self, filter: &Filter, before: Option<i64>, limit: i64) -> Result<Vec<Entry>> {
        reading!(self, |connection| connection.list(filter, before, limit).await?)
    }

    async fn show(&self, id: i64) -> Result<Option<(Entry, Option<Payload>)>> {
        reading!(self, |connection| connection.show(id).await?)
    }

    async fn quarantined(&self, id: i64) -> Result<Option<Quarantined>> {
        reading!(self, |connection| connection.quarantined(id).await?)
    }

    async fn payloads(&self, ids: &BTreeSet<i64>) -> Result<BTreeMap<i64, Payload>> {
        reading!(self, |connection| connection.payloads(ids).await?)
    }

    async fn alike(&self, since: i64) -> Result<Vec<Alike>> {
        reading!(self, |connection| connection.alike(since).await?)
    }

    async fn count(&self, which: &Which) -> Result<Vec<Candidates>> {
        reading!(self, |connection| connection.count(which).await?)
    }

    async fn ids(&self, filter: &Filter, only: Only, after: i64, until: i64, limit: i64) -> Result<Vec<i64>> {
        reading!(self, |connection| connection.ids(filter, only, after, until, limit).await?)
    }

    async fn knows_hook(&self, hook: &str) -> Result<bool> {
        reading!(self, |connection| connection.knows_hook(hook).await?)
    }

    async fn oldest_waiting(&self) -> Result<Option<i64>> {
        reading!(self, |connection| connection.oldest_waiting().await?)
    }

    async fn paused(&self) -> Result<Vec<PausedSince>> {
        reading!(self, |connection| connection.paused().await?)
    }

    async fn open_questions(&self, limit: i64) -> Result<Vec<Expectation>> {
        reading!(self, |connection| connection.open_questions(limit).await?)
    }

    async fn expectation(&self, hook: &str, generation: &str) -> Result<Option<Expectation>> {
        reading!(self, |connection| connection.expectation(hook, generation).await?)
    }

    async fn path(&self, hook: &str) -> Result<Option<Vec<u8>>> {
        reading!(self, |connection| connection.path(hook).await?)
    }

    async fn end(&self) -> Result<Cursor> {
        reading!(self, |connection| connection.end().await?)
    }

    async fn explain(&self, error: &StoreError) -> (Fault, String) {
        let failing = || (Fault::StoreFailing, format!("{error}: {}", remedy(error)));
        let is_denied = matches!(error, StoreError::Denied(_));
        match error {
            StoreError::Damaged(why) => (Fault::StoreDamaged, format!("{why}: {DAMAGED}")),
            StoreError::Denied(why) | StoreError::Misplaced(why) => {
                // A connection keeps the role's settings of when it was opened.
                self.links.close_idle();
                let missing = match self.missing_rights().await {
                    Ok(missing) if is_denied || !missing.is_nothing() => missing.to_string(),
                    // Without a connection nothing more is found out.
                    Err(_) if is_denied => "look at the role and its rights".to_owned(),
                    Ok(_) | Err(_) => return failing(),
                };
                (Fault::StoreDenied, format!("{why}: {missing}"))
            }
            _ => failing(),
        }
    }

    async fn lacks(&self) -> Option<(bool, String)> {
        let missing = self.missing_rights().await.ok()?;
        (!missing.is_nothing()).then(|| (missing.holds_up_deliveries(), missing.to_string()))
    }

    fn writers(&self) -> u32 {
        WRITERS
    }

    fn file(&self) -> Option<&Path> {
        None
    }

    fn check_files(&self) -> Result<()> {
        Ok(())
    }

    fn watch_files(self: Arc<Self>, _faults: &Arc<Faults>) -> Option<FileWatch> {
        None
    }

    fn rescued(&self) -> Vec<String> {
        Vec::new()
    }
}

impl Postgres {
    async fn change_once(&self, change: Change, ids: &BTreeSet<i64>) -> Result<Changed> {
        transaction!(self, |connection| {
            let now = query_scalar(sql::NOW).fetch_one(&mut *connection).await?;
            change::change(connection, now, change, ids).await?
        })
    }

    /// The rights that serving needs and this role lacks.
    async fn missing_rights(&self) -> Result<rights::Missing> {
        transaction!(self, |connection| rights::missing(connection).await?)
    }
}

/// In the order in which everybody locks them.
async fn lock_generations_of(
    connection: &mut PgConnection,
    ids: &[i64],
) -> std::result::Result<(), sqlx::Error> {
    query(sql::LOCK_GENERATIONS_OF).bind(ids).execute(&mut *connection).await.map(|_| ())
}

#[cfg(test)]
mod tests;
