//! The contract of a store, with a driver each for SQLite and PostgreSQL.
//!
//! A transaction that does not end closes its connection, which rolls it back. Callers run a transaction in a task of its own, so
//! that a disconnecting client does not cancel it.

mod audit;
mod batch;
mod change;
mod claim;
mod error;
mod expect;
mod filter;
mod id_list;
mod notification;
pub(crate) mod place;
mod postgres;
mod read;
mod row;
mod sqlite;
mod summary;
mod version;
mod words;

use crate::arrival::Arrival;
pub(crate) use crate::decide::ArrivalOutcome;
use crate::decide::QuarantineRoom;
use crate::health::{Fault, Faults};
use async_trait::async_trait;
pub(crate) use audit::{ActionKind, ActionRow, EntryActor, NewAction};
pub(crate) use change::{Change, ChangeRefusal, ChangeResult, RetryPace, moment};
pub(crate) use claim::{AttemptClass, ClaimRequest, ClaimedBatch, Pick};
pub use error::{CopyError, IntegrityError, OpenError, SettingsError, SourceError, StoreError};
pub(crate) use expect::{Announcement, AnnouncementOutcome, CallBudget, NextCall, StatusAnswer, StatusCall};
pub(crate) use filter::{Filter, Restriction, SearchKey};
pub use place::{DatabaseUrlError, Place, PlaceError};
pub(crate) use read::{CountedEntries, Cursor, FollowPage, ListedEntries, MAX_FOUND, SelectedIds};
#[cfg(test)]
pub(crate) use row::RouteUsage;
pub(crate) use row::{
    AttemptRow, ClaimedEntry, CommittedBatch, DatedPause, EntryGroup, EntryRow, EntrySelection, Expectation,
    FinishedAttempt, Pause, QuarantinedEntry, ReleaseResult, StoredHead, StoredPayload, Usage,
};
pub(crate) use sqlite::FileWatch;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
pub use summary::{CopySummary, RestoreSummary};
pub use version::VersionError;

/// A handle to the store, which tasks share.
pub(crate) type StoreHandle = Arc<dyn Store>;

pub(crate) type Result<T> = std::result::Result<T, StoreError>;

/// A store. Times are microseconds. Each function that writes runs one transaction.
#[async_trait]
pub(crate) trait Store:
    ArrivalStore + DeliveryStore + ChangeStore + ExpectationStore + RetentionStore + ReadStore + std::fmt::Debug
{
    /// The sizes and counts of entries. It reads one row for each kind of entry.
    async fn usage(&self) -> Result<Usage>;
    /// Bytes that the store can write without more disk space.
    async fn reusable(&self) -> Result<u64>;
    /// Writes a row, to test whether the store accepts writes.
    async fn heartbeat(&self) -> Result<()>;
    /// Takes the turn to notify of a kind for `lease`, among all inboxes. Returns false while another has it, or within the time that
    /// the last [`Store::end_notification`] set, which is `every` at most.
    async fn begin_notification(&self, kind: &str, lease: i64, every: i64) -> Result<bool>;
    /// Ends the turn. The next one begins in `next`.
    async fn end_notification(&self, kind: &str, next: i64) -> Result<()>;
    /// Runs each statement that stores an event, with bodies of `body` bytes, and rolls back.
    async fn rehearse(&self, body: usize) -> Result<()>;
    /// The fault behind an error, and its remedy.
    async fn explain(&self, error: &StoreError) -> (Fault, String);
    /// The missing rights beyond those for storing, and whether deliveries need one of them.
    async fn missing_rights(&self) -> Option<(bool, String)>;
    /// The most storing transactions that can run at once.
    fn writers(&self) -> u32;
    /// The file whose disk the inbox watches.
    fn file(&self) -> Option<&Path>;
    /// Fails once the files at the store's path are not the open ones.
    fn check_files(&self) -> Result<()>;
    /// Starts to compare the files. `None` for a database.
    fn watch_files(self: Arc<Self>, faults: &Arc<Faults>) -> Option<FileWatch>;
    /// The rescue copies beside the store.
    fn rescued_copies(&self) -> Vec<String>;
}

/// Stores arrivals and releases quarantined entries, by the same decision. Each result is committed.
#[async_trait]
pub(crate) trait ArrivalStore: Send + Sync {
    async fn store(&self, arrivals: &[&Arrival], room: QuarantineRoom) -> Result<CommittedBatch>;
    /// Stores the arrival, and ends the quarantined entry `id`. `None` if that entry is not quarantined.
    async fn release(
        &self,
        id: i64,
        arrival: &Arrival,
        why: &str,
        action: Option<&NewAction>,
    ) -> Result<Option<ReleaseResult>>;
    /// Runs a release, and rolls it back.
    async fn preview_release(&self, id: i64, arrival: &Arrival) -> Result<Option<ArrivalOutcome>>;
}

/// Delivers entries.
#[async_trait]
pub(crate) trait DeliveryStore: Send + Sync {
    /// The routes with waiting entries, each with the time until the first of them is due.
    async fn waiting(&self) -> Result<Vec<(String, i64)>>;
    async fn pauses(&self) -> Result<Vec<Pause>>;
    /// Takes due entries of a route under a lease.
    async fn claim(&self, route: &str, request: ClaimRequest, lease: i64) -> Result<ClaimedBatch>;
    /// Renews leases: pairs of an entry and its lease number. Returns the entries whose lease this inbox still has.
    async fn renew(&self, leases: &[(i64, i64)], lease: i64) -> Result<Vec<i64>>;
    /// Writes the results of attempts. Returns the entries that are dead now: each was tried for at least `give_up_after`.
    async fn finish(&self, finished: &[FinishedAttempt], give_up_after: i64) -> Result<Vec<i64>>;
    /// Releases entries whose lease has ended, except those in `held`, which this inbox delivers. Returns their number.
    async fn release_expired(&self, held: &[i64], lease: i64) -> Result<usize>;
}

/// Changes entries and pauses for an operator. The transaction of a change writes the action. An action that changes nothing leaves
/// no row.
#[async_trait]
pub(crate) trait ChangeStore: Send + Sync {
    async fn change(&self, change: Change, ids: &BTreeSet<i64>, action: &NewAction) -> Result<ChangeResult>;
    /// Returns the row of the action. `None` if the pause exists already.
    async fn pause(&self, hook: &str, event: &str, action: &NewAction) -> Result<Option<i64>>;
    /// Returns the row of the action. `None` if there is no such pause.
    async fn resume(&self, hook: &str, event: &str, action: &NewAction) -> Result<Option<i64>>;
}

/// Keeps expectations, and plans the calls of the status API.
#[async_trait]
pub(crate) trait ExpectationStore: Send + Sync {
    /// Stores an announcement. Its first status call is due in `after`.
    async fn expect(&self, announcement: &Announcement, after: i64) -> Result<AnnouncementOutcome>;
    /// Quarantined entries of the announced generation and job, whose token another generation used before.
    async fn explained(&self, announcement: &Announcement) -> Result<Vec<i64>>;
    /// Hooks and generations of entries that are quarantined because the gate could not call the status API.
    async fn unconfirmed(&self, limit: i64) -> Result<Vec<(String, String)>>;
    /// Quarantined entries of a generation that wait for a status call.
    async fn unconfirmed_of(&self, hook: &str, generation: &str) -> Result<Vec<i64>>;
    /// Plans a status call for the quarantined entries of a generation.
    async fn request_call(&self, hook: &str, generation: &str) -> Result<()>;
    /// Plans a status call for one entry. If the call confirms it, the entry is released with these headers. Returns the row of the
    /// action. `None` if the entry is no longer quarantined.
    async fn request_call_for(
        &self,
        id: i64,
        hook: &str,
        generation: &str,
        headers: &[u8],
        action: &NewAction,
    ) -> Result<Option<i64>>;
    /// Deletes the headers of a reevaluation.
    async fn forget_reevaluation(&self, id: i64) -> Result<()>;
    /// Takes the next due call, and counts it.
    async fn next_call(&self, budget: CallBudget) -> Result<NextCall>;
    /// Counts a call that a person requests. Returns false where the calls of this minute are used up.
    async fn take_call(&self, budget: CallBudget) -> Result<bool>;
    /// The calls of the last minute, of all inboxes on the store.
    async fn calls_in_minute(&self) -> Result<i64>;
    /// Writes the answer to a call. `about` has the quarantined entries that it leaves in quarantine.
    async fn record_answer(&self, call: &StatusCall, answer: &StatusAnswer, about: &[i64]) -> Result<()>;
    /// Makes the calls of all expectations older than `after` due. Returns their number, and the row of the action.
    async fn call_now(&self, after: i64, action: &NewAction) -> Result<(u64, Option<i64>)>;
    /// The number of open expectations, and the number of those older than `after`.
    async fn count_expected(&self, after: i64) -> Result<(i64, i64)>;
}

/// Deletes old rows, the oldest first: up to `limit` that ended longer ago than `age`.
#[async_trait]
pub(crate) trait RetentionStore: Send + Sync {
    /// Returns the number of deleted bodies, and their bytes.
    async fn purge_bodies(&self, age: i64, limit: i64) -> Result<(i64, i64)>;
    /// Deletes entries without a body, and generations and tokens that were last seen before that.
    async fn purge_tombstones(&self, age: i64, limit: i64) -> Result<u64>;
    async fn purge_expectations(&self, age: i64, limit: i64) -> Result<usize>;
    /// Deletes up to `limit` entries of the oldest action, and the action with the last of them. Returns the number of rows.
    async fn purge_actions(&self, age: i64, limit: i64) -> Result<u64>;
    /// Deletes sums of delivered entries that are older than `age`, and adds up to `limit` differences to the sums. Returns their
    /// number.
    async fn fold_sums(&self, age: i64, limit: i64) -> Result<u64>;
    /// Gives the space of a log back to the disk, while no event arrives.
    async fn trim_log(&self) -> Result<()>;
}

/// Reads for an operator.
#[async_trait]
pub(crate) trait ReadStore: Send + Sync {
    async fn now(&self) -> Result<i64>;
    /// Up to `limit` entries with an id below `before`, the newest first, among the newest 20,000 rows that an index leaves.
    async fn list(&self, filter: &Filter, before: Option<i64>, limit: i64) -> Result<ListedEntries>;
    /// One entry, and its payload unless that is purged.
    async fn show(&self, id: i64) -> Result<Option<(EntryRow, Option<StoredPayload>)>>;
    async fn quarantined(&self, id: i64) -> Result<Option<QuarantinedEntry>>;
    /// The recorded attempts of each entry that has any, in order: the first 3 and the last 17.
    async fn attempts(&self, ids: &BTreeSet<i64>) -> Result<BTreeMap<i64, Vec<AttemptRow>>>;
    /// The entries with this key, the newest first, up to [`read::MAX_FOUND`].
    async fn find(&self, key: &SearchKey, hook: Option<&str>) -> Result<Vec<EntryRow>>;
    /// The entries with these ids, the oldest first.
    async fn entries(&self, ids: &BTreeSet<i64>) -> Result<Vec<EntryRow>>;
    /// The quarantined entries whose release made one of these entries, or repeated it.
    async fn released_into(&self, ids: &BTreeSet<i64>) -> Result<Vec<i64>>;
    /// The expectations with this key, the newest first, up to [`read::MAX_FOUND`].
    async fn expectations_of(&self, key: &SearchKey, hook: Option<&str>) -> Result<Vec<Expectation>>;
    async fn payloads(&self, ids: &BTreeSet<i64>) -> Result<BTreeMap<i64, StoredPayload>>;
    /// The headers alone: bodies of many entries are too large for the memory.
    async fn headers(&self, ids: &BTreeSet<i64>) -> Result<BTreeMap<i64, Vec<u8>>>;
    /// The sums of each group of entries, with the number delivered since.
    async fn entry_groups(&self, since: i64) -> Result<Vec<EntryGroup>>;
    /// Counts the selected entries above `after` and at most `until` by the facts that decide whether a change applies.
    async fn count(&self, selection: &EntrySelection, after: i64, until: i64) -> Result<CountedEntries>;
    /// The id of the newest entry.
    async fn newest(&self) -> Result<Option<i64>>;
    /// The ids of up to `limit` entries above `after` and at most `until`, the oldest first, among so many rows.
    async fn ids(
        &self,
        filter: &Filter,
        restriction: Restriction,
        after: i64,
        until: i64,
        limit: i64,
    ) -> Result<SelectedIds>;
    /// Whether the store has an accepted or quarantined entry, or an expectation, of this hook.
    async fn knows_hook(&self, hook: &str) -> Result<bool>;
    /// The time at which the oldest waiting entry of each route was received.
    async fn oldest_waiting(&self) -> Result<Vec<(String, i64)>>;
    async fn paused(&self) -> Result<Vec<DatedPause>>;
    /// Expectations with a status call to come, the oldest first.
    async fn open_expectations(&self, limit: i64) -> Result<Vec<Expectation>>;
    async fn expectation(&self, hook: &str, generation: &str) -> Result<Option<Expectation>>;
    /// An action, without the ids of its entries.
    async fn action(&self, id: i64) -> Result<Option<ActionRow>>;
    /// Up to `limit` actions with an id below `before`, the newest first; those on one entry only, if named.
    async fn actions(&self, before: Option<i64>, limit: i64, entry: Option<i64>) -> Result<Vec<ActionRow>>;
    /// The actions on each of these entries, the oldest first.
    async fn actions_on(&self, ids: &BTreeSet<i64>) -> Result<Vec<EntryActor>>;
    /// The path and the headers of a hook's newest entry.
    async fn newest_head(&self, hook: &str) -> Result<Option<StoredHead>>;
    /// The cursor after all committed entries. No later commit can come before it.
    async fn end(&self) -> Result<Cursor>;
    /// Up to `limit` entries between two cursors, in the order of their commits.
    async fn follow(
        &self,
        filter: &Filter,
        after: Cursor,
        until: Option<Cursor>,
        limit: i64,
    ) -> Result<FollowPage>;
}

/// The longest delay between two attempts: 30 minutes, plus up to 30 minutes by chance.
pub(crate) const MAX_DELAY: i64 = 2 * 30 * 60 * 1_000_000;
/// An entry is dead after this much time of its own attempts: 72 h.
pub(crate) const GIVE_UP_AFTER: i64 = 72 * 3_600 * 1_000_000;
/// An entry is dead after at least this many attempts.
const MIN_ATTEMPTS: i64 = 10;
/// The answer of an attempt that a process did not end: it was killed, or lost its store. The next process finds the lease.
const NO_RESULT: &str = "the inbox ended, or lost its store, before the result";
/// The width of a sum of delivered entries: ten minutes. The migration has the same number.
const SUM_SPAN: i64 = 600 * 1_000_000;

#[cfg(test)]
mod tests;
