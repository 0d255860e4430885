//! What operators read: the same statements on either store.

use super::change::{CANDIDATES, Candidates, list};
use super::{Error, Filter, Store};
use crate::entry::{EntryState, Lane, QuarantineReason, Superseded};
use blobgate::event::Kind;
use sqlx::{AssertSqlSafe, FromRow, query_as, query_scalar};
use std::collections::BTreeSet;

/// Runs on a connection of whichever store it is.
macro_rules! read {
    ($store:expr, |$pool:ident| $body:expr) => {
        match $store {
            Store::Sqlite(sqlite) => {
                let $pool = &sqlite.reads;
                $body
            }
            Store::Postgres(postgres) => {
                let mut link = postgres.reading().await?;
                let result = {
                    let $pool = link.connection();
                    $body
                };
                if result.is_ok() {
                    link.done().await;
                }
                result
            }
        }
    };
}

pub(super) use read;

/// Binds the values of [`Conditions`] to a query on either store.
macro_rules! bind {
    ($query:expr, $conditions:expr) => {{
        let mut query = $query;
        for value in $conditions.values {
            query = match value {
                Value::Text(text) => query.bind(text),
                Value::Number(number) => query.bind(number),
            };
        }
        query
    }};
}

mod follow;

pub(crate) use follow::Cursor;

/// An entry, without what came.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct Entry {
    pub(crate) id: i64,
    pub(crate) lane: Lane,
    pub(crate) state: EntryState,
    pub(crate) hook: String,
    pub(crate) generation: Option<String>,
    pub(crate) event: Option<String>,
    pub(crate) reason: Option<QuarantineReason>,
    pub(crate) token_id: Option<String>,
    pub(crate) job: Option<String>,
    pub(crate) authenticated: bool,
    pub(crate) digest: Vec<u8>,
    pub(crate) size: i64,
    pub(crate) route: Option<String>,
    pub(crate) supersedes: Option<Superseded>,
    #[sqlx(rename = "override")]
    pub(crate) overrides: Option<String>,
    pub(crate) redelivery: i64,
    pub(crate) received_at: i64,
    pub(crate) seen: i64,
    pub(crate) seen_at: i64,
    pub(crate) due_at: i64,
    pub(crate) attempts: i64,
    pub(crate) lease_until: Option<i64>,
    pub(crate) status: Option<i64>,
    pub(crate) answer: Option<String>,
    pub(crate) ended_at: Option<i64>,
}

/// What came, as it came.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct Payload {
    pub(crate) path: Vec<u8>,
    pub(crate) headers: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

/// A quarantined entry, with what came.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct Quarantined {
    pub(crate) hook: String,
    pub(crate) reason: Option<QuarantineReason>,
    pub(crate) token_id: Option<String>,
    pub(crate) job: Option<String>,
    pub(crate) path: Vec<u8>,
    pub(crate) headers: Vec<u8>,
    pub(crate) body: Vec<u8>,
    /// Headers with which it is released once the status API confirms it, where it was reevaluated.
    pub(crate) reevaluated: Option<Vec<u8>>,
}

/// Entries that are alike.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct Alike {
    pub(crate) route: Option<String>,
    pub(crate) state: EntryState,
    /// Why, of what is kept.
    pub(crate) reason: Option<QuarantineReason>,
    pub(crate) count: i64,
    pub(crate) bytes: i64,
    /// Those that were delivered since, or up to ten minutes before.
    pub(crate) lately: i64,
    /// Those whose body is purged.
    pub(crate) tombstones: i64,
}

/// What an operator has paused, and when.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct PausedSince {
    pub(crate) hook: String,
    pub(crate) event: String,
    pub(crate) since: i64,
}

/// Entries, as somebody names them.
#[derive(Clone, Debug)]
pub(crate) enum Which {
    Ids(BTreeSet<i64>),
    All(Filter),
}

pub(super) const COLUMNS: &str = "id, lane, state, hook, generation, event, reason, token_id, job, authenticated, digest, size, route,
    supersedes, override, redelivery, received_at, seen, seen_at, due_at, attempts, lease_until, status, answer, ended_at";

const PAYLOAD: &str = "SELECT path, headers, body FROM payload WHERE entry_id = $1";

const KEPT: &str = "
SELECT e.hook, e.reason, e.token_id, e.job, p.path, p.headers, p.body, p.reevaluated
FROM entry e JOIN payload p ON p.entry_id = e.id WHERE e.id = $1 AND e.state = 'quarantined' AND e.lane = 'quarantine'";

/// Sums of all entries, and those of the ten minutes in which they were delivered.
const ALIKE: &str = "
SELECT nullif(route, '') AS route, state, CASE WHEN state = 'quarantined' THEN reason END AS reason,
    CAST(sum(CASE since WHEN -1 THEN entries ELSE 0 END) AS bigint) AS count, CAST(sum(bytes) AS bigint) AS bytes,
    CAST(sum(CASE WHEN since > $1 THEN entries ELSE 0 END) AS bigint) AS lately,
    CAST(sum(tombstones) AS bigint) AS tombstones
FROM entry_sum GROUP BY 1, 2, 3 HAVING sum(CASE since WHEN -1 THEN entries ELSE 0 END) <> 0 ORDER BY 1, 2, 3";

/// By indexes alone: what is only observed has none by its hook.
const KNOWS_HOOK: &str = "
SELECT EXISTS (SELECT 1 FROM entry WHERE hook = $1 AND lane = 'deliver')
    OR EXISTS (SELECT 1 FROM entry WHERE hook = $1 AND lane = 'quarantine')
    OR EXISTS (SELECT 1 FROM expectation WHERE hook = $1)";

const PAUSES: &str = "SELECT hook, event, since FROM pause ORDER BY hook, event";

impl Store {
    /// The store's own time, in microseconds since 1970.
    pub(crate) async fn now(&self) -> Result<i64, Error> {
        match self {
            Store::Sqlite(sqlite) => Ok(sqlite.now()),
            Store::Postgres(postgres) => {
                let mut link = postgres.reading().await?;
                let now = query_scalar("SELECT inbox_now()").fetch_one(link.connection()).await?;
                link.done().await;
                Ok(now)
            }
        }
    }

    /// Up to `limit` entries with an id below `before`, the newest first.
    pub(crate) async fn list(
        &self,
        filter: &Filter,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<Entry>, Error> {
        let mut conditions = Conditions::of(filter);
        if let Some(before) = before {
            conditions.add("id <", Value::Number(before));
        }
        let limit = conditions.place(Value::Number(limit));
        let sql =
            format!("SELECT {COLUMNS} FROM entry WHERE {} ORDER BY id DESC LIMIT {limit}", conditions.text);
        read!(self, |pool| bind!(query_as(AssertSqlSafe(sql)), conditions).fetch_all(pool).await)
    }

    /// One entry, and what came with it unless that is purged.
    pub(crate) async fn show(&self, id: i64) -> Result<Option<(Entry, Option<Payload>)>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM entry WHERE id = $1");
        let entry: Option<Entry> =
            read!(self, |pool| query_as(AssertSqlSafe(sql)).bind(id).fetch_optional(pool).await)?;
        let Some(entry) = entry else { return Ok(None) };
        let payload = read!(self, |pool| query_as(PAYLOAD).bind(id).fetch_optional(pool).await)?;
        Ok(Some((entry, payload)))
    }

    /// What is kept, with what came.
    pub(crate) async fn kept(&self, id: i64) -> Result<Option<Quarantined>, Error> {
        read!(self, |pool| query_as(KEPT).bind(id).fetch_optional(pool).await)
    }

    /// How many entries there are of each kind.
    pub(crate) async fn alike(&self, since: i64) -> Result<Vec<Alike>, Error> {
        let since = since.saturating_sub(super::SPAN);
        read!(self, |pool| query_as(ALIKE).bind(since).fetch_all(pool).await)
    }

    /// Whether an entry of this hook was accepted or quarantined, or is expected.
    pub(crate) async fn knows_hook(&self, hook: &str) -> Result<bool, Error> {
        read!(self, |pool| query_scalar(KNOWS_HOOK).bind(hook).fetch_one(pool).await)
    }

    /// When the oldest entry that waits was received.
    pub(crate) async fn oldest_waiting(&self) -> Result<Option<i64>, Error> {
        read!(self, |pool| query_scalar(super::OLDEST_WAITING).fetch_optional(pool).await)
    }

    pub(crate) async fn paused(&self) -> Result<Vec<PausedSince>, Error> {
        read!(self, |pool| query_as(PAUSES).fetch_all(pool).await)
    }

    /// Counts these entries, by what decides on what can be done with them.
    pub(crate) async fn count(&self, which: &Which) -> Result<Vec<Candidates>, Error> {
        let conditions = match which {
            Which::Ids(ids) => Conditions { text: format!("id IN ({})", list(ids)), values: Vec::new() },
            Which::All(filter) => Conditions::of(filter),
        };
        let sql = format!("{CANDIDATES} WHERE {} GROUP BY 1, 2, 3, 4, 5, 6", conditions.text);
        read!(self, |pool| bind!(query_as(AssertSqlSafe(sql)), conditions).fetch_all(pool).await)
    }

    /// The ids of up to `limit` entries of a filter that are above `after` and at most `until`, the oldest first, of those
    /// that also are as `also` says.
    pub(crate) async fn ids(
        &self,
        filter: &Filter,
        also: &'static str,
        after: i64,
        until: i64,
        limit: i64,
    ) -> Result<Vec<i64>, Error> {
        let mut conditions = Conditions::of(filter);
        conditions.add("id >", Value::Number(after));
        conditions.add("id <=", Value::Number(until));
        let limit = conditions.place(Value::Number(limit));
        let sql =
            format!("SELECT id FROM entry WHERE {} AND {also} ORDER BY id LIMIT {limit}", conditions.text);
        read!(self, |pool| {
            let rows: Vec<(i64,)> = bind!(query_as(AssertSqlSafe(sql)), conditions).fetch_all(pool).await?;
            Ok(rows.into_iter().map(|(id,)| id).collect())
        })
    }
}

/// What follows WHERE, and the values of its places. No text of a caller's is ever part of a statement.
struct Conditions {
    text: String,
    values: Vec<Value>,
}

enum Value {
    Text(String),
    Number(i64),
}

impl Conditions {
    fn of(filter: &Filter) -> Self {
        let mut conditions = Self { text: "true".to_owned(), values: Vec::new() };
        // Written out, for an index is made for some of them: these are words of ours.
        if let Some(state) = filter.state {
            conditions.text.push_str(&format!(" AND state = '{state}'"));
        }
        for (column, value) in [
            ("lane =", filter.lane.map(Lane::as_str)),
            ("event =", filter.event.map(Kind::name)),
            ("reason =", filter.reason.as_ref().map(QuarantineReason::as_str)),
            ("hook =", filter.hook.as_deref()),
            ("generation =", filter.generation.as_deref()),
            ("job =", filter.job.as_deref()),
        ] {
            if let Some(value) = value {
                conditions.add(column, Value::Text(value.to_owned()));
            }
        }
        if let Some(since) = filter.since {
            conditions.add("received_at >=", Value::Number(since));
        }
        conditions
    }

    fn add(&mut self, comparison: &'static str, value: Value) {
        let place = self.place(value);
        self.text.push_str(&format!(" AND {comparison} {place}"));
    }

    /// The value's place in the statement.
    fn place(&mut self, value: Value) -> String {
        self.values.push(value);
        format!("${}", self.values.len())
    }
}
