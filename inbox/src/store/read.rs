//! Operators' reads. Both stores run the same statements.

mod find;
mod follow;
pub(super) mod scan;
mod select;
pub(super) mod story;

use super::id_list::list;
use super::row::{
    AttemptRow, DatedPause, EntryGroup, EntryRow, Expectation, QuarantinedEntry, StoredHead, StoredPayload,
};
use super::{Filter, SearchKey, expect};
use crate::entry::QuarantineReason;
use blobgate::event::Kind;
pub(super) use find::MAX_SEARCHED;
use follow::{CommitOrder, PayloadRow, PlacedEntry, page};
pub(crate) use follow::{Cursor, FollowPage};
pub(super) use select::SelectStatements;
pub(crate) use select::{CountedEntries, ListedEntries, SelectedIds};
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Error, query_as, query_scalar};
use std::collections::{BTreeMap, BTreeSet};
use story::EntryAttempt;

/// The most entries that a search finds.
pub(crate) const MAX_FOUND: i64 = 100;

pub(super) const COLUMNS: &str = "id, lane, state, hook, generation, event, reason, detail, client, token_id, job, request_id, traceparent,
    authenticated, digest, size, route, supersedes, override, redelivery, received_at, seen, seen_at, due_at, attempts, lease_until, status, answer,
    ended_at, redelivered_at, superseded_by";

const PAYLOAD: &str = "SELECT path, headers, body FROM payload WHERE entry_id = $1";

const QUARANTINED: &str = "
SELECT e.hook, e.reason, e.client, e.token_id, e.job, e.request_id, e.traceparent, p.path, p.headers, p.body, p.reevaluated
FROM entry e JOIN payload p ON p.entry_id = e.id WHERE e.id = $1 AND e.state = 'quarantined' AND e.lane = 'quarantine'";

/// Adds up the sums of all entries, and the sums of delivered entries by ten minutes.
const ENTRY_GROUPS: &str = "
SELECT CASE WHEN route NOT LIKE '%/quarantined' THEN route END AS route, state, CASE WHEN state = 'quarantined' THEN reason END AS reason,
    CAST(sum(CASE since WHEN -1 THEN entries ELSE 0 END) AS bigint) AS count, CAST(sum(bytes) AS bigint) AS bytes,
    CAST(sum(CASE WHEN since > $1 THEN entries ELSE 0 END) AS bigint) AS recently_delivered,
    CAST(sum(tombstones) AS bigint) AS tombstones
FROM entry_sum GROUP BY 1, 2, 3 HAVING sum(CASE since WHEN -1 THEN entries ELSE 0 END) <> 0 ORDER BY 1, 2, 3";

/// Uses indexes alone. Observed entries have no index on their hook.
const KNOWS_HOOK: &str = "
SELECT EXISTS (SELECT 1 FROM entry WHERE hook = $1 AND lane = 'deliver')
    OR EXISTS (SELECT 1 FROM entry WHERE hook = $1 AND lane = 'quarantine')
    OR EXISTS (SELECT 1 FROM expectation WHERE hook = $1)";

const PAUSES: &str = "SELECT hook, event, since FROM pause ORDER BY hook, event";

const OPEN: &str =
    "WHERE x.state = 'expected' OR x.wanted IS NOT NULL ORDER BY x.expected_at + 0, x.hook, x.generation";

/// Reads the sums that triggers keep for each kind of entry (see the migration).
pub(super) const USAGE: &str = "
SELECT lane, state, CAST(sum(entries) AS bigint), CAST(sum(bytes) AS bigint) FROM entry_sum WHERE since = -1 GROUP BY lane, state";

/// The number of entries by route, the largest first. A flood of routes must not fill the memory.
pub(super) const USAGE_OF_ROUTES: &str = "
SELECT route, state, nullif(reason, '') AS reason, CAST(sum(entries) AS bigint) AS count FROM entry_sum WHERE since = -1
GROUP BY route, state, reason ORDER BY 4 DESC LIMIT 10000";

/// The arrival of the oldest waiting entry of up to 10,000 routes, by two index steps a route. Matches the expression of the index `entry_oldest`:
/// no other statement can use that index.
pub(super) const OLDEST_WAITING: &str = "
WITH RECURSIVE routes (route) AS (
    SELECT min(route) FROM entry WHERE state = 'waiting'
    UNION ALL
    SELECT (SELECT min(e.route) FROM entry e WHERE e.state = 'waiting' AND e.route > routes.route) FROM routes
    WHERE routes.route IS NOT NULL
)
SELECT route, received_at FROM (
    SELECT route, (
        SELECT CASE e.state WHEN 'waiting' THEN e.received_at END FROM entry e
        WHERE e.route = routes.route AND (CASE e.state WHEN 'waiting' THEN e.received_at END) IS NOT NULL ORDER BY 1 LIMIT 1
    ) AS received_at
    FROM routes WHERE route IS NOT NULL
) AS oldest WHERE received_at IS NOT NULL LIMIT 10000";

/// The pauses, for deliveries.
pub(super) const ACTIVE_PAUSES: &str = "SELECT hook, event FROM pause";

/// Binds the values of [`Conditions`] to a query.
macro_rules! bind {
    ($query:expr, $conditions:expr) => {{
        let mut query = $query;
        for value in $conditions.values {
            query = match value {
                BoundValue::Text(text) => query.bind(text),
                BoundValue::Number(number) => query.bind(number),
            };
        }
        query
    }};
}
use bind;

/// The statements of reads.
pub(super) trait ReadStatements {
    async fn show(&mut self, id: i64) -> Result<Option<(EntryRow, Option<StoredPayload>)>, Error>;
    async fn quarantined(&mut self, id: i64) -> Result<Option<QuarantinedEntry>, Error>;
    async fn attempts(&mut self, ids: &BTreeSet<i64>) -> Result<BTreeMap<i64, Vec<AttemptRow>>, Error>;
    async fn find(&mut self, key: &SearchKey, hook: Option<&str>) -> Result<Vec<EntryRow>, Error>;
    async fn entries(&mut self, ids: &BTreeSet<i64>) -> Result<Vec<EntryRow>, Error>;
    async fn released_into(&mut self, ids: &BTreeSet<i64>) -> Result<Vec<i64>, Error>;
    async fn expectations_of(
        &mut self,
        key: &SearchKey,
        hook: Option<&str>,
    ) -> Result<Vec<Expectation>, Error>;
    async fn payloads(&mut self, ids: &BTreeSet<i64>) -> Result<BTreeMap<i64, StoredPayload>, Error>;
    async fn headers(&mut self, ids: &BTreeSet<i64>) -> Result<BTreeMap<i64, Vec<u8>>, Error>;
    async fn entry_groups(&mut self, since: i64) -> Result<Vec<EntryGroup>, Error>;
    async fn knows_hook(&mut self, hook: &str) -> Result<bool, Error>;
    async fn oldest_waiting(&mut self) -> Result<Vec<(String, i64)>, Error>;
    async fn paused(&mut self) -> Result<Vec<DatedPause>, Error>;
    async fn open_expectations(&mut self, limit: i64) -> Result<Vec<Expectation>, Error>;
    async fn expectation(&mut self, hook: &str, generation: &str) -> Result<Option<Expectation>, Error>;
    async fn newest_head(&mut self, hook: &str) -> Result<Option<StoredHead>, Error>;
    async fn end(&mut self) -> Result<Cursor, Error>;
    /// An earlier statement must have read `end`: this one then sees every entry below it.
    async fn follow(
        &mut self,
        filter: &Filter,
        after: Cursor,
        end: Cursor,
        limit: i64,
    ) -> Result<FollowPage, Error>;
}

macro_rules! reading {
    ($connection:ty, $order:expr) => {
        impl ReadStatements for $connection {
            async fn show(&mut self, id: i64) -> Result<Option<(EntryRow, Option<StoredPayload>)>, Error> {
                let sql = format!("SELECT {COLUMNS} FROM entry WHERE id = $1");
                let entry = query_as(AssertSqlSafe(sql)).bind(id).fetch_optional(&mut *self).await?;
                let Some(entry) = entry else { return Ok(None) };
                Ok(Some((entry, query_as(PAYLOAD).bind(id).fetch_optional(self).await?)))
            }

            async fn quarantined(&mut self, id: i64) -> Result<Option<QuarantinedEntry>, Error> {
                query_as(QUARANTINED).bind(id).fetch_optional(self).await
            }

            async fn attempts(
                &mut self,
                ids: &BTreeSet<i64>,
            ) -> Result<BTreeMap<i64, Vec<AttemptRow>>, Error> {
                let rows: Vec<EntryAttempt> =
                    query_as(AssertSqlSafe(story::attempts(ids))).persistent(false).fetch_all(self).await?;
                let mut of_entries: BTreeMap<i64, Vec<AttemptRow>> = BTreeMap::new();
                for row in rows {
                    of_entries.entry(row.entry_id).or_default().push(row.attempt);
                }
                Ok(of_entries)
            }

            async fn find(&mut self, key: &SearchKey, hook: Option<&str>) -> Result<Vec<EntryRow>, Error> {
                let ids = query_scalar(find::ids_of(key)).bind(key.value()).bind(hook).bind(MAX_FOUND);
                let ids: Vec<i64> = match key {
                    SearchKey::Generation(_) => ids.fetch_all(&mut *self).await?,
                    SearchKey::Job(_) | SearchKey::RequestId(_) => {
                        ids.bind(MAX_SEARCHED).fetch_all(&mut *self).await?
                    }
                };
                let sql =
                    format!("SELECT {COLUMNS} FROM entry WHERE id IN ({}) ORDER BY id DESC", list(&ids));
                query_as(AssertSqlSafe(sql)).persistent(false).fetch_all(self).await
            }

            async fn entries(&mut self, ids: &BTreeSet<i64>) -> Result<Vec<EntryRow>, Error> {
                query_as(AssertSqlSafe(story::entries(ids))).persistent(false).fetch_all(self).await
            }

            async fn released_into(&mut self, ids: &BTreeSet<i64>) -> Result<Vec<i64>, Error> {
                query_scalar(AssertSqlSafe(story::released_into(ids))).persistent(false).fetch_all(self).await
            }

            async fn expectations_of(
                &mut self,
                key: &SearchKey,
                hook: Option<&str>,
            ) -> Result<Vec<Expectation>, Error> {
                let Some(sql) = story::expectations_of(key) else { return Ok(Vec::new()) };
                query_as(AssertSqlSafe(sql)).bind(key.value()).bind(hook).fetch_all(self).await
            }

            async fn payloads(&mut self, ids: &BTreeSet<i64>) -> Result<BTreeMap<i64, StoredPayload>, Error> {
                let sql = format!(
                    "SELECT entry_id, path, headers, body FROM payload WHERE entry_id IN ({})",
                    list(ids)
                );
                let rows: Vec<PayloadRow> =
                    query_as(AssertSqlSafe(sql)).persistent(false).fetch_all(self).await?;
                Ok(rows.into_iter().map(|row| (row.entry_id, row.payload)).collect())
            }

            async fn headers(&mut self, ids: &BTreeSet<i64>) -> Result<BTreeMap<i64, Vec<u8>>, Error> {
                let rows: Vec<(i64, Vec<u8>)> =
                    query_as(AssertSqlSafe(story::headers(ids))).persistent(false).fetch_all(self).await?;
                Ok(rows.into_iter().collect())
            }

            async fn entry_groups(&mut self, since: i64) -> Result<Vec<EntryGroup>, Error> {
                query_as(ENTRY_GROUPS).bind(since.saturating_sub(super::SUM_SPAN)).fetch_all(self).await
            }

            async fn knows_hook(&mut self, hook: &str) -> Result<bool, Error> {
                query_scalar(KNOWS_HOOK).bind(hook).fetch_one(self).await
            }

            async fn oldest_waiting(&mut self) -> Result<Vec<(String, i64)>, Error> {
                query_as(OLDEST_WAITING).fetch_all(self).await
            }

            async fn paused(&mut self) -> Result<Vec<DatedPause>, Error> {
                query_as(PAUSES).fetch_all(self).await
            }

            async fn open_expectations(&mut self, limit: i64) -> Result<Vec<Expectation>, Error> {
                let sql = format!("{} {OPEN} LIMIT $1", expect::COLUMNS);
                query_as(AssertSqlSafe(sql)).bind(limit).fetch_all(self).await
            }

            async fn expectation(
                &mut self,
                hook: &str,
                generation: &str,
            ) -> Result<Option<Expectation>, Error> {
                let sql = format!("{} WHERE x.hook = $1 AND x.generation = $2", expect::COLUMNS);
                query_as(AssertSqlSafe(sql)).bind(hook).bind(generation).fetch_optional(self).await
            }

            async fn newest_head(&mut self, hook: &str) -> Result<Option<StoredHead>, Error> {
                query_as(expect::NEWEST_HEAD).bind(hook).fetch_optional(self).await
            }

            async fn end(&mut self) -> Result<Cursor, Error> {
                query_as($order.end()).fetch_one(self).await
            }

            async fn follow(
                &mut self,
                filter: &Filter,
                after: Cursor,
                end: Cursor,
                limit: i64,
            ) -> Result<FollowPage, Error> {
                let mut conditions = Conditions::of(filter);
                let sql = $order.follow(&mut conditions, after, end, limit);
                let rows: Vec<PlacedEntry> =
                    bind!(query_as(AssertSqlSafe(sql)), conditions).fetch_all(self).await?;
                Ok(page(rows, limit, after.max(end)))
            }
        }
    };
}

reading!(SqliteConnection, CommitOrder::Ids);
reading!(PgConnection, CommitOrder::Transactions);

/// A condition with placeholders, and their values. No text of a client becomes part of a statement.
pub(super) struct Conditions {
    text: String,
    pub(super) values: Vec<BoundValue>,
}

pub(super) enum BoundValue {
    Text(String),
    Number(i64),
}

impl Conditions {
    pub(super) fn of(filter: &Filter) -> Self {
        let mut conditions = Self { text: "true".to_owned(), values: Vec::new() };
        // Literals, because partial indexes exist for some states and lanes. The texts are constants.
        if let Some(state) = filter.state {
            conditions.text.push_str(&format!(" AND state = '{state}'"));
        }
        if let Some(lane) = filter.lane {
            conditions.text.push_str(&format!(" AND lane = '{}'", lane.name()));
        }
        for (column, value) in [
            ("event =", filter.event.map(Kind::name)),
            ("reason =", filter.reason.as_ref().map(QuarantineReason::as_str)),
            ("hook =", filter.hook.as_deref()),
            ("generation =", filter.generation.as_deref()),
            ("job =", filter.job.as_deref()),
            ("request_id =", filter.request_id.as_deref()),
        ] {
            if let Some(value) = value {
                conditions.add(column, BoundValue::Text(value.to_owned()));
            }
        }
        if let Some(since) = filter.since {
            conditions.add("received_at >=", BoundValue::Number(since));
        }
        conditions
    }

    fn add(&mut self, comparison: &'static str, value: BoundValue) {
        let placeholder = self.placeholder(value);
        self.text.push_str(&format!(" AND {comparison} {placeholder}"));
    }

    /// Adds a value. Returns its placeholder.
    fn placeholder(&mut self, value: BoundValue) -> String {
        self.values.push(value);
        format!("${}", self.values.len())
    }
}
