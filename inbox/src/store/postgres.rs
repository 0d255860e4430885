//! PostgreSQL: any number of gates and inboxes side by side. Its clock says what is due; no clock ends a lease.

mod deciding;
mod sql;

use super::batch::{self, Outcome};
use super::change::{self, Change, Changed, Changing};
use super::place::note_places_as_digests;
use super::{CannotOpen, Claimed, Error, Finished, Stored};
use crate::arrival::Arrival;
use crate::deliver::Pause;
use crate::failpoint::{broken_by, die_at};
use deciding::Tx;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, query, query_as, query_scalar};
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::time::{Duration, Instant};

pub(super) static MIGRATOR: Migrator = sqlx::migrate!("migrations/postgres");

/// The schema in which the tables are, unless the URL has a search_path of its own.
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
    options: PgConnectOptions,
    /// For reading only.
    pub(crate) reads: PgPool,
}

/// A connection of one task's own.
#[derive(Debug)]
pub(crate) struct Session {
    options: PgConnectOptions,
    connection: Option<PgConnection>,
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

/// Every statement finds its rows by an index, however small the tables were, or how long ago, when it was planned: a plan
/// from an empty table would be kept for as long as the connection.
const BY_INDEX: [(&str, &str); 4] =
    [("enable_seqscan", "off"), ("enable_hashjoin", "off"), ("enable_mergejoin", "off"), ("jit", "off")];

/// What an operator filters takes its time, and reads tables as they lie.
const WHOLE_TABLES: [(&str, &str); 4] = [
    ("statement_timeout", "60s"),
    ("enable_seqscan", "on"),
    ("enable_hashjoin", "on"),
    ("enable_mergejoin", "on"),
];

pub(super) fn options(url: &url::Url) -> Result<PgConnectOptions, Error> {
    let options = PgConnectOptions::from_str(url.as_str())?
        .application_name("blobgate-inbox")
        // A statement that hangs must not hold its batch for longer than a sender waits, and an inbox whose machine sleeps
        // must not hold the rows of the others.
        .options([
            ("search_path", SCHEMA),
            ("statement_timeout", "7s"),
            ("lock_timeout", "7s"),
            ("idle_in_transaction_session_timeout", "5s"),
        ])
        .options(BY_INDEX)
        .disable_statement_logging();
    Ok(options)
}

pub(super) async fn migrate(url: &url::Url) -> Result<(), CannotOpen> {
    let mut connection = options(url)?.connect().await?;
    query("CREATE SCHEMA IF NOT EXISTS blobgate_inbox").execute(&mut connection).await?;
    MIGRATOR.run(&mut connection).await?;
    // After a restore it is every row.
    query("SET statement_timeout = 0").execute(&mut connection).await?;
    query(sql::FORGET_FOREIGN_TRANSACTIONS).execute(&mut connection).await?;
    note_places_as_digests!(&mut connection);
    connection.close().await?;
    Ok(())
}

impl Postgres {
    pub(super) async fn open(url: &url::Url) -> Result<Self, CannotOpen> {
        let options = options(url)?;
        let mut connection = connect(&options).await?;
        for (setting, loses) in [
            ("fsync", "a crash of the machine can lose or destroy what was acknowledged"),
            ("full_page_writes", "a crash of the machine can destroy what was acknowledged"),
        ] {
            let value: String =
                query_scalar("SELECT current_setting($1)").bind(setting).fetch_one(&mut connection).await?;
            if value == "off" {
                return Err(CannotOpen::Settings(format!(
                    "the database has {setting}=off: {loses}. Set it to on"
                )));
            }
        }
        let applied: Option<String> =
            query_scalar("SELECT to_regclass('_sqlx_migrations')::text").fetch_one(&mut connection).await?;
        let applied: Option<i64> = match applied {
            Some(_) => {
                query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success")
                    .fetch_one(&mut connection)
                    .await?
            }
            None => None,
        };
        super::check_version(&MIGRATOR, applied)?;
        connection.close().await?;
        let reads = PgPoolOptions::new()
            .max_connections(2)
            .acquire_timeout(CONNECT)
            .connect_lazy_with(options.clone().options(WHOLE_TABLES));
        Ok(Self { options, reads })
    }

    pub(super) fn session(&self) -> Session {
        Session { options: self.options.clone(), connection: None, clock: None, watched: BTreeMap::new() }
    }
}

/// A connection that acknowledges nothing before it is on the disk.
async fn connect(options: &PgConnectOptions) -> Result<PgConnection, Error> {
    let connecting = tokio::time::timeout(CONNECT, options.connect());
    let mut connection = connecting.await.map_err(|_| silent())??;
    query("SET synchronous_commit = on").execute(&mut connection).await?;
    let value: String = query_scalar("SHOW synchronous_commit").fetch_one(&mut connection).await?;
    if broken_by!("break-synchronous-off") {
        query("SET synchronous_commit = off").execute(&mut connection).await?;
    }
    if value != "on" {
        return Err(Error::Configuration("the database does not take synchronous_commit=on".into()));
    }
    Ok(connection)
}

/// Runs a transaction on the session's connection; one that has failed is closed.
macro_rules! transaction {
    ($session:expr, |$connection:ident| $body:expr) => {
        transaction!($session, "COMMIT", |$connection| $body)
    };
    ($session:expr, $end:literal, |$connection:ident| $body:expr) => {{
        let mut owned = $session.take().await?;
        let run = async {
            let $connection = &mut owned;
            query("BEGIN").execute(&mut *$connection).await?;
            let result = $body;
            die_at!("before-commit");
            query($end).execute(&mut *$connection).await?;
            Ok::<_, Error>(result)
        };
        // Given up halfway it is closed below, and its transaction ends with it.
        let result = tokio::time::timeout(SILENT, run).await.unwrap_or_else(|_| Err(silent()));
        if result.is_ok() {
            $session.connection = Some(owned);
        } else {
            let _closed = tokio::time::timeout(CONNECT, owned.close_hard()).await;
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
    async fn take(&mut self) -> Result<PgConnection, Error> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => connect(&self.options).await,
        }
    }

    pub(super) async fn store(&mut self, arrivals: &[&Arrival], room: bool) -> Result<Stored, Error> {
        let (outcomes, begun, worked) = transaction!(self, |connection| {
            let begun = Instant::now();
            let outcomes = batch::decide(&mut Tx(connection), arrivals, room).await?;
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
        transaction!(self, |connection| batch::release(&mut Tx(connection), id, arrival, why).await?)
    }

    pub(super) async fn would_release(
        &mut self,
        id: i64,
        arrival: &Arrival,
    ) -> Result<Option<Outcome>, Error> {
        transaction!(self, "ROLLBACK", |connection| batch::release(&mut Tx(connection), id, arrival, "")
            .await?)
    }

    pub(super) async fn claim(&mut self, route: &str, limit: i64, lease: i64) -> Result<Vec<Claimed>, Error> {
        let sql = if route.contains("/observed/") { sql::CLAIM_OBSERVED } else { sql::CLAIM };
        transaction!(self, |connection| {
            let ids: Vec<i64> =
                query_scalar(sql).bind(route).bind(limit).bind(lease).fetch_all(&mut *connection).await?;
            if ids.is_empty() {
                Vec::new()
            } else {
                query_as::<_, Claimed>(sql::READ_CLAIMED).bind(ids).fetch_all(&mut *connection).await?
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

    pub(super) async fn usage(&mut self) -> Result<Vec<(String, String, i64, i64)>, Error> {
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
