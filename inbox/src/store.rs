//! The store: SQLite in one file, or PostgreSQL.
//!
//! Nothing here is given up halfway: every transaction runs in a task of its own to its end, for a client that leaves must
//! not leave half of one behind.

mod admin;
mod batch;
mod change;
mod claim;
mod expect;
mod explain;
mod filter;
mod place;
mod postgres;
mod sqlite;
mod version;
mod words;

use crate::arrival::Arrival;
pub(crate) use crate::decide::Outcome;
use crate::decide::Room;
use crate::deliver::Pause;
use crate::entry::{EntryState, Lane, Superseded};
use crate::health::Faults;
pub(crate) use admin::{Alike, Cursor, Entry, PausedSince, Payload, Quarantined, Which};
pub(crate) use change::{Change, NO_EVENT, NO_GENERATION, UNKNOWN};
pub(crate) use claim::{Claim, Class, Pick, Wanted};
pub(crate) use expect::{Allowed, Answered, Expectation, Expected, Next, Noted, Question};
pub(crate) use explain::{is_damaged, is_lasting};
pub(crate) use filter::Filter;
pub use place::{CannotCopy, CannotOpen, Copied, Place, Restored};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

pub(crate) use postgres::Postgres;
use sqlite::FileWatch;
pub(crate) use sqlite::Sqlite;

pub(crate) type Error = sqlx::Error;

/// The store's files are not the ones that are open: nothing is read or written any more.
#[derive(Debug, thiserror::Error)]
#[error("{0} while the inbox used it")]
pub(crate) struct Replaced(String);

/// Whether the store is not used any more, which a fault says already.
pub(crate) fn is_replaced(error: &Error) -> bool {
    match error {
        Error::Io(error) => error.get_ref().is_some_and(|inner| inner.is::<Replaced>()),
        Error::PoolClosed => true,
        _ => false,
    }
}

/// Where events are stored.
#[derive(Clone, Debug)]
pub enum Store {
    /// A file, of which one `serve` has the use.
    #[doc(hidden)]
    Sqlite(Arc<Sqlite>),
    /// A database, for as many as like.
    #[doc(hidden)]
    Postgres(Arc<Postgres>),
}

/// A batch that is committed.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) outcomes: Vec<Outcome>,
    /// How long the statements took.
    pub(crate) worked: Duration,
    /// How long the commit took: for the most part, the disk's time.
    pub(crate) synced: Duration,
}

/// An entry that is to be delivered, under a lease.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct Claimed {
    pub(crate) id: i64,
    pub(crate) event: Option<String>,
    pub(crate) supersedes: Option<Superseded>,
    #[sqlx(rename = "override")]
    pub(crate) overrides: Option<String>,
    pub(crate) redelivery: i64,
    pub(crate) attempts: i64,
    pub(crate) lease: i64,
    /// Whether another entry of its route was answered 2xx since its last attempt.
    pub(crate) beside_success: bool,
    pub(crate) path: Vec<u8>,
    pub(crate) headers: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

/// How an attempt ended.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finished {
    pub(crate) id: i64,
    pub(crate) lease: i64,
    /// Whether the service said 2xx.
    pub(crate) done: bool,
    pub(crate) status: Option<i64>,
    /// The beginning of its answer, escaped, or why there was none.
    pub(crate) answer: String,
    /// Until the next attempt, in microseconds.
    pub(crate) delay: i64,
    /// What counts as its own trying, in microseconds.
    pub(crate) tried: i64,
    /// The route whose success is to be noted.
    #[serde(skip)]
    pub(crate) succeeded_on: Option<String>,
}

/// How full the store is, in bytes of what can still be delivered or shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) total: i64,
    pub(crate) quarantine: i64,
    pub(crate) dead: i64,
    pub(crate) observed: i64,
    /// Entries by state.
    pub(crate) states: BTreeMap<EntryState, i64>,
    /// The age of the oldest entry that waits, in seconds.
    pub(crate) oldest_waiting: i64,
}

const PAUSES: &str = "SELECT hook, event FROM pause";
/// Of a sum for each kind of entry, which triggers keep: the migration says how.
const USAGE: &str = "
SELECT lane, state, CAST(sum(entries) AS bigint), CAST(sum(bytes) AS bigint) FROM entry_sum WHERE since = -1 GROUP BY lane, state";

/// As `entry_oldest` has it: by an index that no other statement can use.
const OLDEST_WAITING: &str = "
SELECT CASE state WHEN 'waiting' THEN received_at END FROM entry
WHERE (CASE state WHEN 'waiting' THEN received_at END) IS NOT NULL ORDER BY 1 LIMIT 1";

/// The sums of what was delivered are by so much time: ten minutes, in microseconds. It stands in the migration too.
const SPAN: i64 = 600 * 1_000_000;

/// A connection, and whoever owns it. A failed one is closed, and the next statement opens another.
#[derive(Debug)]
pub(crate) enum Session {
    Sqlite(Arc<Sqlite>),
    Postgres(Box<postgres::Session>),
}

/// An event is given up after so much of its own trying: 72 h.
const GIVEN_UP: i64 = 72 * 3_600 * 1_000_000;
/// And not before so many attempts.
const LEAST_ATTEMPTS: i64 = 10;

/// From one moment to another, in seconds.
fn seconds(now: i64, then: i64) -> i64 {
    now.saturating_sub(then).checked_div(1_000_000).unwrap_or_default()
}

impl Store {
    /// Looks at the store's files from now on. A database has none.
    pub(crate) fn watch_files(&self, faults: &Arc<Faults>) -> Option<FileWatch> {
        match self {
            Store::Sqlite(sqlite) => Some(sqlite.watch_files(Arc::clone(faults))),
            Store::Postgres(_) => None,
        }
    }

    /// Copies of rescues that still lie beside the store.
    pub(crate) fn rescued(&self) -> Vec<String> {
        match self {
            Store::Sqlite(sqlite) => sqlite.rescued().iter().map(|path| path.display().to_string()).collect(),
            Store::Postgres(_) => Vec::new(),
        }
    }

    /// Fails once the store's files are not the ones that are open.
    pub(crate) fn check_files(&self) -> Result<(), Error> {
        match self {
            Store::Sqlite(sqlite) => sqlite.check_files(),
            Store::Postgres(_) => Ok(()),
        }
    }

    pub(crate) fn session(&self) -> Session {
        match self {
            Store::Sqlite(sqlite) => Session::Sqlite(Arc::clone(sqlite)),
            Store::Postgres(postgres) => Session::Postgres(Box::new(postgres.session())),
        }
    }
}

impl Session {
    /// Stores a batch in one transaction: what it returns is committed.
    pub(crate) async fn store(&mut self, arrivals: &[&Arrival], room: Room) -> Result<Stored, Error> {
        match self {
            Session::Sqlite(sqlite) => sqlite.store(arrivals, room).await,
            Session::Postgres(session) => session.store(arrivals, room).await,
        }
    }

    /// Has a kept entry go on as this arrival, by the same transaction as any, which also ends it as a kept one. What would be
    /// kept again stays as it is. Returns nothing where it is not kept any more.
    pub(crate) async fn release(
        &mut self,
        id: i64,
        arrival: &Arrival,
        why: &str,
    ) -> Result<Option<Outcome>, Error> {
        match self {
            Session::Sqlite(sqlite) => sqlite.release(id, arrival, why).await,
            Session::Postgres(session) => session.release(id, arrival, why).await,
        }
    }

    /// The same, and then taken back.
    pub(crate) async fn would_release(
        &mut self,
        id: i64,
        arrival: &Arrival,
    ) -> Result<Option<Outcome>, Error> {
        match self {
            Session::Sqlite(sqlite) => sqlite.would_release(id, arrival).await,
            Session::Postgres(session) => session.would_release(id, arrival).await,
        }
    }

    /// Takes entries of a route that are due, under a lease of so many microseconds.
    pub(crate) async fn claim(&mut self, route: &str, wanted: Wanted, lease: i64) -> Result<Claim, Error> {
        match self {
            Session::Sqlite(sqlite) => sqlite.claim(route, wanted, lease).await,
            Session::Postgres(session) => session.claim(route, wanted, lease).await,
        }
    }

    /// Holds these entries for another lease. Returns those that are still held.
    pub(crate) async fn renew(&mut self, leases: &[(i64, i64)], lease: i64) -> Result<Vec<i64>, Error> {
        match self {
            Session::Sqlite(sqlite) => sqlite.renew(leases, lease).await,
            Session::Postgres(session) => session.renew(leases, lease).await,
        }
    }

    /// Writes how attempts ended. Returns those that are given up now, if any `may_die`.
    pub(crate) async fn finish(&mut self, finished: &[Finished], may_die: bool) -> Result<Vec<i64>, Error> {
        let given_up = if may_die { GIVEN_UP } else { i64::MAX };
        match self {
            Session::Sqlite(sqlite) => sqlite.finish(finished, given_up).await,
            Session::Postgres(session) => session.finish(finished, given_up).await,
        }
    }

    /// Lets others have what a holder has lost; what is `held` here is left, for here it is known how it ends. Returns how
    /// many.
    pub(crate) async fn release_expired(&mut self, held: &[i64], lease: i64) -> Result<usize, Error> {
        match self {
            Session::Sqlite(sqlite) => sqlite.release_expired(held).await,
            Session::Postgres(session) => session.release_expired(held, lease).await,
        }
    }

    /// Writes, to find out whether the store can be written to.
    pub(crate) async fn heartbeat(&mut self) -> Result<(), Error> {
        match self {
            Session::Sqlite(sqlite) => sqlite.heartbeat().await,
            Session::Postgres(session) => session.heartbeat().await,
        }
    }

    /// What an operator has paused.
    pub(crate) async fn pauses(&mut self) -> Result<Vec<Pause>, Error> {
        match self {
            Session::Sqlite(sqlite) => sqlx::query_as(PAUSES).fetch_all(&sqlite.looks).await,
            Session::Postgres(session) => session.pauses().await,
        }
    }

    /// How full the store is. It reads a row for each kind of entry, however many there are.
    pub(crate) async fn usage(&mut self) -> Result<Usage, Error> {
        let rows: Vec<(Lane, EntryState, i64, i64)> = match self {
            Session::Sqlite(sqlite) => sqlx::query_as(USAGE).fetch_all(&sqlite.reads).await?,
            Session::Postgres(session) => session.usage().await?,
        };
        let mut usage = Usage::default();
        for (lane, state, count, bytes) in rows {
            usage.total = usage.total.saturating_add(bytes);
            let share = match (lane, state) {
                (Lane::Quarantine, EntryState::Quarantined) => Some(&mut usage.quarantine),
                (Lane::Observed, EntryState::Waiting | EntryState::InFlight) => Some(&mut usage.observed),
                (_, EntryState::Dead) => Some(&mut usage.dead),
                _ => None,
            };
            if let Some(share) = share {
                *share = share.saturating_add(bytes);
            }
            let states = usage.states.entry(state).or_default();
            *states = states.saturating_add(count);
        }
        usage.oldest_waiting = match self {
            Session::Sqlite(sqlite) => sqlite.oldest_waiting().await?,
            Session::Postgres(session) => session.oldest_waiting().await?,
        };
        Ok(usage)
    }

    /// Bytes that can be written to without more of the disk.
    pub(crate) async fn reusable(&mut self) -> Result<u64, Error> {
        match self {
            Session::Sqlite(sqlite) => sqlite.reusable().await,
            // Nobody looks at a database's disk.
            Session::Postgres(_) => Ok(0),
        }
    }

    /// Takes the bodies of up to `limit` entries that ended more than `age` microseconds ago, the oldest first. Returns how
    /// many, and their bytes.
    pub(crate) async fn purge_bodies(&mut self, age: i64, limit: i64) -> Result<(i64, i64), Error> {
        match self {
            Session::Sqlite(sqlite) => sqlite.purge_bodies(age, limit).await,
            Session::Postgres(session) => session.purge_bodies(age, limit).await,
        }
    }

    /// Takes up to `limit` entries without a body that ended more than `age` microseconds ago, and generations and tokens
    /// last seen before that. Returns how many.
    pub(crate) async fn purge_tombstones(&mut self, age: i64, limit: i64) -> Result<u64, Error> {
        match self {
            Session::Sqlite(sqlite) => sqlite.purge_tombstones(age, limit).await,
            Session::Postgres(session) => session.purge_tombstones(age, limit).await,
        }
    }

    /// Forgets which entries were delivered more than `age` microseconds ago, by ten minutes, and in PostgreSQL adds up to `limit`
    /// differences to the sums. Returns how many differences.
    pub(crate) async fn fold_sums(&mut self, age: i64, limit: i64) -> Result<u64, Error> {
        match self {
            Session::Sqlite(sqlite) => sqlite.forget_delivered(age).await.map(|()| 0),
            Session::Postgres(session) => session.fold_sums(age, limit).await,
        }
    }

    /// The routes on which something waits, with when it is due at the earliest, in microseconds from now.
    pub(crate) async fn waiting(&mut self) -> Result<Vec<(String, i64)>, Error> {
        match self {
            Session::Sqlite(sqlite) => sqlite.waiting().await,
            Session::Postgres(session) => session.waiting().await,
        }
    }
}

/// The routes on which a success is to be noted, each once.
fn succeeded_on(finished: &[Finished]) -> Vec<&str> {
    let routes: BTreeSet<_> = finished.iter().filter_map(|one| one.succeeded_on.as_deref()).collect();
    routes.into_iter().collect()
}

#[cfg(test)]
mod tests;
