//! Entries in the order in which they were committed, so that whoever reads on from a place misses none.
//!
//! In SQLite that is the order of their ids: a transaction takes its ids while it alone writes. In PostgreSQL one with
//! lower ids may be committed later. There an entry has the number of its transaction, and only those are read that are
//! lower than that of any transaction under way: nothing can come before them any more.

use super::{COLUMNS, Conditions, Entry, Payload, Value};
use crate::store::change::list;
use crate::store::{Error, Filter, Store};
use sqlx::{AssertSqlSafe, FromRow, query_as};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// A place in that order: what is up to it was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, FromRow)]
pub(crate) struct Cursor {
    /// The transaction's number; 0 in SQLite.
    written: i64,
    id: i64,
}

/// `WRITTEN.ID`.
impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.written, self.id)
    }
}

impl FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|_| digits).ok_or(())
        };
        let (written, id) = text.split_once('.').ok_or(())?;
        Ok(Self { written: number(written)?, id: number(id)? })
    }
}

/// What follows a place.
#[derive(Debug)]
pub(crate) struct Followed {
    pub(crate) entries: Vec<(Cursor, Entry)>,
    /// How far it was read, also where nothing was found.
    pub(crate) next: Cursor,
}

#[derive(FromRow)]
struct Placed {
    written: i64,
    #[sqlx(flatten)]
    entry: Entry,
}

#[derive(FromRow)]
struct Came {
    entry_id: i64,
    #[sqlx(flatten)]
    payload: Payload,
}

/// So many bytes of what came, at most, in one piece; but one entry in any case.
const BYTES: i64 = 8 << 20;

const END_IN_SQLITE: &str = "SELECT 0 AS written, coalesce(max(id), 0) AS id FROM entry";
const END_IN_POSTGRES: &str =
    "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS written, 0::bigint AS id";

impl Store {
    /// The place after all that is committed and that nothing can come before any more.
    pub(crate) async fn end(&self) -> Result<Cursor, Error> {
        match self {
            Store::Sqlite(sqlite) => query_as(END_IN_SQLITE).fetch_one(&sqlite.reads).await,
            Store::Postgres(postgres) => {
                let mut link = postgres.reading().await?;
                let end = query_as(END_IN_POSTGRES).fetch_one(link.connection()).await?;
                link.done().await;
                Ok(end)
            }
        }
    }

    /// Up to `limit` entries after a place, and up to another.
    pub(crate) async fn follow(
        &self,
        filter: &Filter,
        after: Cursor,
        until: Option<Cursor>,
        limit: i64,
    ) -> Result<Followed, Error> {
        // Read before the entries: what is below it then, they all are in any later statement.
        let end = self.end().await?;
        let end = until.map_or(end, |until| until.min(end));
        let mut conditions = Conditions::of(filter);
        let mut number = |number| conditions.place(Value::Number(number));
        let (from, to) = ((number(after.written), number(after.id)), (number(end.written), number(end.id)));
        let limited = number(limit);
        let (written, place, between) = match self {
            Store::Sqlite(_) => {
                // Every number is bound, so each has its place in the statement.
                let same = format!("{} <= 0 AND {} >= 0", from.0, to.0);
                ("0", "id", format!("{same} AND id > {} AND id <= {}", from.1, to.1))
            }
            Store::Postgres(_) => {
                let at = |(written, id)| format!("({written}::bigint::text::xid8, {id}::bigint)");
                let between = format!("(written, id) > {} AND (written, id) <= {}", at(from), at(to));
                ("written::text::bigint", "written, id", between)
            }
        };
        let sql = format!(
            "SELECT {written} AS written, {COLUMNS} FROM entry WHERE {} AND {between} ORDER BY {} LIMIT {limited}",
            conditions.text,
            // Not the column that is shown, which has the same name.
            place.replace("written", "entry.written"),
        );
        let rows: Vec<Placed> =
            read!(self, |pool| bind!(query_as(AssertSqlSafe(sql)), conditions).fetch_all(pool).await)?;
        Ok(piece(rows, limit, after.max(end)))
    }

    /// What came with these entries, unless it is purged.
    pub(crate) async fn payloads(&self, ids: &BTreeSet<i64>) -> Result<BTreeMap<i64, Payload>, Error> {
        let sql =
            format!("SELECT entry_id, path, headers, body FROM payload WHERE entry_id IN ({})", list(ids));
        let rows: Vec<Came> =
            read!(self, |pool| query_as(AssertSqlSafe(sql)).persistent(false).fetch_all(pool).await)?;
        Ok(rows.into_iter().map(|came| (came.entry_id, came.payload)).collect())
    }
}

/// As many of them as a piece may have.
fn piece(rows: Vec<Placed>, limit: i64, end: Cursor) -> Followed {
    let is_full = i64::try_from(rows.len()).is_ok_and(|count| count >= limit);
    let mut followed = Followed { entries: Vec::new(), next: end };
    let mut bytes = 0_i64;
    for Placed { written, entry } in rows {
        bytes = bytes.saturating_add(entry.size);
        let last = followed.entries.last().map(|(cursor, _)| *cursor);
        if let Some(last) = last.filter(|_| bytes > BYTES) {
            followed.next = last;
            return followed;
        }
        followed.entries.push((Cursor { written, id: entry.id }, entry));
    }
    if let Some((last, _)) = followed.entries.last().filter(|_| is_full) {
        followed.next = *last;
    }
    followed
}
