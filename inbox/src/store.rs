//! The store: SQLite in one file, or PostgreSQL.
//!
//! A transaction is whole or nothing: a connection whose transaction was given up is closed. Callers run a transaction in a
//! task of its own, so that a client that leaves does not end it.

mod batch;
mod change;
mod claim;
mod error;
mod expect;
mod filter;
mod place;
mod postgres;
mod read;
mod row;
mod sqlite;
mod version;
mod words;

use crate::arrival::Arrival;
pub(crate) use crate::decide::Outcome;
use crate::decide::Room;
use crate::health::{Fault, Faults};
use async_trait::async_trait;
pub(crate) use change::{Candidates, Change, Changed, NO_EVENT, NO_GENERATION, UNKNOWN};
pub(crate) use claim::{Claim, Class, Pick, Wanted};
pub use error::StoreError;
pub(crate) use expect::{Allowed, Answered, Expected, Next, Noted, Question};
pub(crate) use filter::{Filter, Only};
pub use place::{BadPlace, BadUrl, CannotCopy, CannotOpen, Copied, Place, Restored};
pub(crate) use read::{Cursor, Followed};
pub(crate) use row::{
    Alike, Claimed, Entry, Expectation, Finished, Pause, PausedSince, Payload, Quarantined, Stored, Usage,
    Which,
};
pub(crate) use sqlite::FileWatch;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// A handle to the store, which tasks share.
pub(crate) type StoreHandle = Arc<dyn Store>;

type Result<T> = std::result::Result<T, StoreError>;

/// A store implements the traits below, and says how it is. Times are microseconds; each function that writes is one
/// transaction.
#[async_trait]
pub(crate) trait Store:
    ArrivalStore + DeliveryStore + ChangeStore + ExpectationStore + RetentionStore + ReadStore + std::fmt::Debug
{
    /// How full it is. It reads a row for each kind of entry, however many there are.
    async fn usage(&self) -> Result<Usage>;
    /// Bytes that can be written to without more of the disk.
    async fn reusable(&self) -> Result<u64>;
    /// Writes, to find out whether it can be written to.
    async fn heartbeat(&self) -> Result<()>;
    /// Runs each statement that stores an event, with bodies of so many bytes, and takes it back.
    async fn rehearse(&self, body: usize) -> Result<()>;
    /// The fault that an error stands for, and what to do.
    async fn explain(&self, error: &StoreError) -> (Fault, String);
    /// The rights that serving needs beside storing, and that are missing; and whether deliveries need one of them.
    async fn lacks(&self) -> Option<(bool, String)>;
    /// How many transactions that store can be under way at once.
    fn writers(&self) -> u32;
    /// The file, of which the disk is looked at.
    fn file(&self) -> Option<&Path>;
    /// Fails once the files are not the ones that are open.
    fn check_files(&self) -> Result<()>;
    /// Looks at the files from now on. A database has none.
    fn watch_files(self: Arc<Self>, faults: &Arc<Faults>) -> Option<FileWatch>;
    /// Copies of rescues that still lie beside it.
    fn rescued(&self) -> Vec<String>;
}

/// Arrivals: stored, or released from quarantine, by one decision. What they return is committed.
#[async_trait]
pub(crate) trait ArrivalStore: Send + Sync {
    async fn store(&self, arrivals: &[&Arrival], room: Room) -> Result<Stored>;
    /// Has a quarantined entry go on as this arrival, and ends it. Returns nothing where it is not quarantined any more.
    async fn release(&self, id: i64, arrival: &Arrival, why: &str) -> Result<Option<Outcome>>;
    /// The same, and then taken back.
    async fn would_release(&self, id: i64, arrival: &Arrival) -> Result<Option<Outcome>>;
}

/// Deliveries.
#[async_trait]
pub(crate) trait DeliveryStore: Send + Sync {
    /// The routes on which something waits, with when it is due at the earliest, from now.
    async fn waiting(&self) -> Result<Vec<(String, i64)>>;
    async fn pauses(&self) -> Result<Vec<Pause>>;
    /// Takes entries of a route that are due, under a lease.
    async fn claim(&self, route: &str, wanted: Wanted, lease: i64) -> Result<Claim>;
    /// Holds these entries, each with its lease's number, for another lease. Returns those that are still held.
    async fn renew(&self, leases: &[(i64, i64)], lease: i64) -> Result<Vec<i64>>;
    /// Writes how attempts ended. Returns those that are given up now: none may be before so much of its own trying.
    async fn finish(&self, finished: &[Finished], give_up_after: i64) -> Result<Vec<i64>>;
    /// Releases what a holder has lost, but for what is `held` here. Returns how many.
    async fn release_expired(&self, held: &[i64], lease: i64) -> Result<usize>;
}

/// Operators' changes.
#[async_trait]
pub(crate) trait ChangeStore: Send + Sync {
    async fn change(&self, change: Change, ids: &BTreeSet<i64>) -> Result<Changed>;
    /// Returns whether it was not paused.
    async fn pause(&self, hook: &str, event: &str) -> Result<bool>;
    /// Returns whether it was paused.
    async fn resume(&self, hook: &str, event: &str) -> Result<bool>;
}

/// Expectations, and what the provider is asked.
#[async_trait]
pub(crate) trait ExpectationStore: Send + Sync {
    async fn expect(&self, expected: &Expected, after: i64) -> Result<Noted>;
    /// Quarantined entries that an expectation explains.
    async fn explained(&self, expected: &Expected) -> Result<Vec<i64>>;
    /// Generations with entries that are quarantined because the provider could not be asked.
    async fn unconfirmed(&self, limit: i64) -> Result<Vec<(String, String)>>;
    async fn unconfirmed_of(&self, hook: &str, generation: &str) -> Result<Vec<i64>>;
    /// Has the provider asked about a generation, for its quarantined entries.
    async fn want(&self, hook: &str, generation: &str) -> Result<()>;
    /// The same for one entry, released with these headers once it is confirmed. Returns whether it is quarantined still.
    async fn want_for(&self, id: i64, hook: &str, generation: &str, headers: &[u8]) -> Result<bool>;
    async fn forget_judgement(&self, id: i64) -> Result<()>;
    /// What to ask next. The call is counted.
    async fn next_question(&self, allowed: Allowed) -> Result<Next>;
    async fn answered(&self, question: &Question, answered: &Answered, about: &[i64]) -> Result<()>;
    /// Makes due what has had its time. Returns how many.
    async fn ask_now(&self, after: i64) -> Result<u64>;
    /// How many are expected, and how many of them have had their time.
    async fn count_expected(&self, after: i64) -> Result<(i64, i64)>;
}

/// Retention. What ended longer ago than `age` goes, the oldest first, up to `limit`.
#[async_trait]
pub(crate) trait RetentionStore: Send + Sync {
    /// Returns how many bodies, and their bytes.
    async fn purge_bodies(&self, age: i64, limit: i64) -> Result<(i64, i64)>;
    /// With generations and tokens last seen before that.
    async fn purge_tombstones(&self, age: i64, limit: i64) -> Result<u64>;
    async fn purge_expectations(&self, age: i64, limit: i64) -> Result<usize>;
    /// Forgets when entries were delivered, and adds up to `limit` differences to the sums. Returns how many.
    async fn fold_sums(&self, age: i64, limit: i64) -> Result<u64>;
}

/// What operators read.
#[async_trait]
pub(crate) trait ReadStore: Send + Sync {
    async fn now(&self) -> Result<i64>;
    /// Up to `limit` entries with an id below `before`, the newest first.
    async fn list(&self, filter: &Filter, before: Option<i64>, limit: i64) -> Result<Vec<Entry>>;
    /// One entry, and what came with it unless that is purged.
    async fn show(&self, id: i64) -> Result<Option<(Entry, Option<Payload>)>>;
    async fn quarantined(&self, id: i64) -> Result<Option<Quarantined>>;
    async fn payloads(&self, ids: &BTreeSet<i64>) -> Result<BTreeMap<i64, Payload>>;
    /// How many entries there are of each kind, and how many were delivered since.
    async fn alike(&self, since: i64) -> Result<Vec<Alike>>;
    /// Counts entries, by what decides on what can be done with them.
    async fn count(&self, which: &Which) -> Result<Vec<Candidates>>;
    /// The ids of up to `limit` entries above `after` and at most `until`, the oldest first.
    async fn ids(&self, filter: &Filter, only: Only, after: i64, until: i64, limit: i64) -> Result<Vec<i64>>;
    /// Whether an entry of this hook was accepted or quarantined, or is expected.
    async fn knows_hook(&self, hook: &str) -> Result<bool>;
    /// When the oldest entry that waits was received.
    async fn oldest_waiting(&self) -> Result<Option<i64>>;
    async fn paused(&self) -> Result<Vec<PausedSince>>;
    /// What is asked about, or would be: the oldest first.
    async fn open_questions(&self, limit: i64) -> Result<Vec<Expectation>>;
    async fn expectation(&self, hook: &str, generation: &str) -> Result<Option<Expectation>>;
    /// The newest payload of a hook.
    async fn newest_payload(&self, hook: &str) -> Result<Option<Payload>>;
    /// The place after all that is committed and that nothing can come before any more.
    async fn end(&self) -> Result<Cursor>;
    /// Up to `limit` entries after a place, and up to another, in the order of their commits.
    async fn follow(
        &self,
        filter: &Filter,
        after: Cursor,
        until: Option<Cursor>,
        limit: i64,
    ) -> Result<Followed>;
}

/// After an attempt, the longest delay until the next: half an hour, and as much again by chance.
pub(crate) const MAX_DELAY: i64 = 2 * 30 * 60 * 1_000_000;
/// An event is given up after so much of its own trying: 72 h.
pub(crate) const GIVE_UP_AFTER: i64 = 72 * 3_600 * 1_000_000;
/// And not before so many attempts.
const MIN_ATTEMPTS: i64 = 10;
/// The sums of what was delivered are by so much time: ten minutes. It stands in the migration too.
const SPAN: i64 = 600 * 1_000_000;

#[cfg(test)]
mod tests;
