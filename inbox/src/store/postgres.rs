//! PostgreSQL: any number of gates and inboxes side by side. Its clock says what is due; no clock ends a lease.

mod connect;
mod deciding;
mod links;
mod open;
mod pooling;
mod rights;
mod sql;

use super::batch::{self, Ids};
use super::change::{self, Change, Changed, Changing};
use super::{Claim, Error, Finished, Outcome, Stored, Wanted};
use crate::arrival::Arrival;
use crate::decide::Room;
use crate::deliver::Pause;
use crate::entry::{EntryState, Lane};
use crate::failpoint::die_at;
#[cfg(test)]
pub(super) use connect::{connect, options};
use deciding::Tx;
use links::{Link, Links};
pub(super) use open::migrate;
pub(super) use rights::{is_denied, is_misplaced};
use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnection;
use sqlx::{query, query_as, query_scalar};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) static MIGRATOR: Migrator = sqlx::migrate!("migrations/postgres");

/// The schema of the tables.
const SCHEMA: &str = "blobgate_inbox";
/// A clock that goes slower than this one by less was not stepped back.
const STEPPED: i64 = 5_000_000;
/// A database that is away is found out in this time.
const CONNECT: Duration = Duration::from_secs(5);
/// A network that swallows everything is found out in this time, longer than the database's own limit: a sender waits for
/// 15 s, and a lease is 30 s.
const SILENT: Duration = Duration::from_secs(8);
/// A database.
#[derive(Debug)]
pub struct Postgres {
    links: Arc<Links>,
}

/// What one task knows of the database.
#[derive(Debug)]
pub(crate) struct Session {
    links: Arc<Links>,
    /// The database's clock, and when it was looked at.
    clock: Option<(Instant, i64)>,
    /// What others hold.
    watched: BTreeMap<i64, Watched>,
}

/// Another's lease, unchanged since this moment.
#[derive(Debug)]
struct Watched {
    number: i64,
    until: i64,
    since: Instant,
}

impl Postgres {
    pub(super) fn session(&self) -> Session {
        Session { links: Arc::clone(&self.links), clock: None, watched: BTreeMap::new() }
    }

    /// A connection for reading only, of whole tables too.
    pub(crate) async fn reading(&self) -> Result<Link, Error> {
        self.links.begin_reading().await
    }
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
            Ok::<_, Error>(result)
        };
        // Given up halfway it is closed, and its transaction ends with it.
        let result = tokio::time::timeout(SILENT, run).await.unwrap_or_else(|_| Err(silent()));
        if result.is_ok() {
            link.give_back();
        }
        result
    }};
}

// Below the macro that it uses.
mod expect;

fn silent() -> Error {
    Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "the database does not answer"))
}

impl Session {
    pub(super) async fn store(&mut self, arrivals: &[&Arrival], room: Room) -> Result<Stored, Error> {
        let (outcomes, begun, worked) =
            transaction!(self, self.links.begin_storing(), "COMMIT", |connection| {
                let begun = Instant::now();
                let outcomes = batch::store(&mut Tx(connection, Ids::Next), arrivals, room).await?;
                (outcomes, begun, begun.elapsed())
            })?;
        Ok(Stored { outcomes, worked, synced: begun.elapsed().saturating_sub(worked) })
    }

    pub(super) async fn release(
        &mut self,
        id: i64,
        arrival: &Arrival,
        why: &str,
    ) -> Result<Option<Outcome>, Error> {
        transaction!(self, |connection| batch::release(&mut Tx(connection, Ids::Next), id, arrival, why)
            .await?)
    }

    pub(super) async fn would_release(
        &mut self,
        id: i64,
        arrival: &Arrival,
    ) -> Result<Option<Outcome>, Error> {
        transaction!(self, "ROLLBACK", |connection| batch::release(
            &mut Tx(connection, Ids::Next),
            id,
            arrival,
            ""
        )
        .await?)
    }

    pub(super) async fn claim(
        &mut self,
        route: &str,
        mut wanted: Wanted,
        lease: i64,
    ) -> Result<Claim, Error> {
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

    pub(super) async fn renew(&mut self, leases: &[(i64, i64)], lease: i64) -> Result<Vec<i64>, Error> {
        let (ids, numbers): (Vec<i64>, Vec<i64>) = leases.iter().copied().unzip();
        transaction!(self, |connection| {
            query_scalar(sql::RENEW).bind(&ids).bind(&numbers).bind(lease).fetch_all(&mut *connection).await?
        })
    }

    pub(super) async fn finish(&mut self, finished: &[Finished], given_up: i64) -> Result<Vec<i64>, Error> {
        let ids: Vec<i64> = finished.iter().map(|finished| finished.id).collect();
        let (any_done, any_failed) =
            (finished.iter().any(|finished| finished.done), finished.iter().any(|finished| !finished.done));
        let succeeded = super::succeeded_on(finished);
        let json = serde_json::to_string(finished).map_err(|error| Error::Encode(error.into()))?;
        transaction!(self, |connection| {
            lock_generations_of(connection, &ids).await?;
            if any_done {
                query(sql::FINISH_DONE).bind(&json).execute(&mut *connection).await?;
            }
            let dead = if any_failed {
                query_scalar(sql::FINISH_FAILED)
                    .bind(&json)
                    .bind(given_up)
                    .bind(super::LEAST_ATTEMPTS)
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

    /// Nobody's clock decides: a lease has ended once its holder was not seen to renew it for as long as it is.
    pub(super) async fn release_expired(&mut self, held: &[i64], lease: i64) -> Result<usize, Error> {
        self.follow_clock().await;
        let rows: Vec<(i64, i64, i64)> = transaction!(self, |connection| {
            query_as(sql::HELD_BY_OTHERS).bind(held).fetch_all(&mut *connection).await?
        })?;
        let now = Instant::now();
        let before = std::mem::take(&mut self.watched);
        self.watched = rows
            .into_iter()
            .map(|(id, number, until)| {
                let same = before.get(&id).filter(|before| (before.number, before.until) == (number, until));
                (id, Watched { number, until, since: same.map_or(now, |before| before.since) })
            })
            .collect();
        let lease = Duration::from_micros(u64::try_from(lease).unwrap_or_default());
        let expired = self.watched.iter().filter(|(_, watched)| now.duration_since(watched.since) >= lease);
        let (ids, leases): (Vec<i64>, Vec<(i64, i64)>) =
            expired.map(|(id, watched)| (*id, (watched.number, watched.until))).unzip();
        if ids.is_empty() {
            return Ok(0);
        }
        let (numbers, untils): (Vec<i64>, Vec<i64>) = leases.into_iter().unzip();
        transaction!(self, |connection| {
            lock_generations_of(connection, &ids).await?;
            query(sql::RELEASE_EXPIRED)
                .bind(&ids)
                .bind(numbers)
                .bind(untils)
                .execute(&mut *connection)
                .await?;
            query(sql::LET_GO).bind(&ids).execute(&mut *connection).await?;
        })?;
        Ok(ids.len())
    }

    /// Where the database's clock was stepped back, takes what was due by it along.
    async fn follow_clock(&mut self) {
        let before = self.clock;
        let Ok(now) = self.now().await else { return };
        let seen = (Instant::now(), now);
        // Once, also where it takes longer than a statement may: leases must not wait for it.
        self.clock = Some(seen);
        if !was_stepped_back(before, seen) {
            return;
        }
        if let Err(error) = self.bring_due_along().await {
            log::error!("what was due by a clock that was stepped back stays so: {error}");
        }
    }

    async fn now(&mut self) -> Result<i64, Error> {
        transaction!(self, |connection| query_scalar(sql::NOW).fetch_one(&mut *connection).await?)
    }

    async fn bring_due_along(&mut self) -> Result<(), Error> {
        transaction!(self, |connection| {
            query(sql::DUE_IN_TIME).bind(crate::deliver::LONGEST_DELAY).execute(&mut *connection).await?;
        })
    }

    pub(super) async fn heartbeat(&mut self) -> Result<(), Error> {
        transaction!(self, |connection| query(sql::HEARTBEAT).execute(&mut *connection).await.map(|_| ())?)
    }

    pub(super) async fn pauses(&mut self) -> Result<Vec<Pause>, Error> {
        transaction!(self, |connection| query_as(super::PAUSES).fetch_all(&mut *connection).await?)
    }

    /// Runs each statement that stores an event, and takes it back.
    pub(super) async fn rehearse(&mut self, body: usize) -> Result<(), Error> {
        transaction!(self, "ROLLBACK", |connection| {
            connect::check(connection).await?;
            batch::rehearse(&mut Tx(connection, Ids::rehearsed()), body).await?;
        })
    }

    /// The rights that serving needs and this role lacks.
    pub(super) async fn missing_rights(&mut self) -> Result<rights::Missing, Error> {
        transaction!(self, |connection| rights::missing(connection).await?)
    }

    /// Has further transactions begin on new connections: one keeps the role's settings of when it was opened.
    pub(super) fn reconnect(&mut self) {
        self.links.close_idle();
    }

    pub(super) async fn usage(&mut self) -> Result<Vec<(Lane, EntryState, i64, i64)>, Error> {
        transaction!(self, |connection| query_as(super::USAGE).fetch_all(&mut *connection).await?)
    }

    pub(super) async fn oldest_waiting(&mut self) -> Result<i64, Error> {
        let (now, oldest): (i64, Option<i64>) = transaction!(self, |connection| {
            let oldest = query_scalar(super::OLDEST_WAITING).fetch_optional(&mut *connection).await?;
            (query_scalar(sql::NOW).fetch_one(&mut *connection).await?, oldest)
        })?;
        Ok(oldest.map_or(0, |oldest| super::seconds(now, oldest)))
    }

    pub(super) async fn fold_sums(&mut self, age: i64, limit: i64) -> Result<u64, Error> {
        let folded: i64 = transaction!(self, |connection| {
            // In this order: what waits for a sum holds none that comes before it.
            let folded = query_scalar(sql::FOLD).bind(limit).fetch_one(&mut *connection).await?;
            query(sql::FORGET_DELIVERED).bind(age).execute(&mut *connection).await?;
            folded
        })?;
        Ok(u64::try_from(folded).unwrap_or_default())
    }

    pub(super) async fn purge_bodies(&mut self, age: i64, limit: i64) -> Result<(i64, i64), Error> {
        transaction!(self, |connection| {
            query_as(sql::PURGE_BODIES).bind(age).bind(limit).fetch_one(&mut *connection).await?
        })
    }

    pub(super) async fn purge_tombstones(&mut self, age: i64, limit: i64) -> Result<u64, Error> {
        transaction!(self, |connection| {
            query(sql::PURGE_TOMBSTONES)
                .bind(age)
                .bind(limit)
                .execute(&mut *connection)
                .await?
                .rows_affected()
        })
    }

    pub(super) async fn waiting(&mut self) -> Result<Vec<(String, i64)>, Error> {
        transaction!(self, |connection| query_as(sql::WAITING).fetch_all(&mut *connection).await?)
    }

    pub(super) async fn change(&mut self, change: Change, ids: &BTreeSet<i64>) -> Result<Changed, Error> {
        transaction!(self, |connection| {
            let now = query_scalar(sql::NOW).fetch_one(&mut *connection).await?;
            change::change(connection, now, change, ids).await?
        })
    }

    pub(super) async fn pause(&mut self, hook: &str, event: &str) -> Result<bool, Error> {
        transaction!(self, |connection| {
            let now = query_scalar(sql::NOW).fetch_one(&mut *connection).await?;
            connection.pause(hook, event, now).await?
        })
    }

    pub(super) async fn resume(&mut self, hook: &str, event: &str) -> Result<bool, Error> {
        transaction!(self, |connection| connection.resume(hook, event).await?)
    }
}

/// Whether the clock has gone back since it was looked at; before the first look it may have.
fn was_stepped_back(before: Option<(Instant, i64)>, (looked, now): (Instant, i64)) -> bool {
    let Some((then, at)) = before else { return true };
    let elapsed = i64::try_from(looked.duration_since(then).as_micros()).unwrap_or(i64::MAX);
    now.saturating_add(STEPPED) < at.saturating_add(elapsed)
}

/// In the order in which everybody locks them.
async fn lock_generations_of(connection: &mut PgConnection, ids: &[i64]) -> Result<(), Error> {
    query(sql::LOCK_GENERATIONS_OF).bind(ids).execute(&mut *connection).await.map(|_| ())
}

#[cfg(test)]
mod tests;
