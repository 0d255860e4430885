//! Reads entries in the order of their commits, so that a reader with a cursor misses none.
//!
//! In SQLite this is the order of the ids: only one transaction writes at a time. In PostgreSQL a transaction with lower ids can
//! commit later. There each entry stores the number of its transaction, and a read stops below the lowest number that is still
//! running: no later commit can come before its cursor.

use super::{BoundValue, COLUMNS, Conditions, EntryRow, StoredPayload};
use sqlx::FromRow;
use std::fmt;
use std::str::FromStr;

/// A position in the order of commits. All entries up to it were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, FromRow)]
pub(crate) struct Cursor {
    /// The number of the transaction. 0 in SQLite.
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

/// The entries after a cursor.
#[derive(Debug)]
pub(crate) struct FollowPage {
    pub(crate) entries: Vec<(Cursor, EntryRow)>,
    /// The cursor of the next page. It advances even if no entry matches.
    pub(crate) next: Cursor,
}

#[derive(FromRow)]
pub(super) struct PlacedEntry {
    written: i64,
    #[sqlx(flatten)]
    entry: EntryRow,
}

#[derive(FromRow)]
pub(super) struct PayloadRow {
    pub(super) entry_id: i64,
    #[sqlx(flatten)]
    pub(super) payload: StoredPayload,
}

/// The most payload bytes of a page. A page has at least one entry.
const MAX_PAGE_BYTES: i64 = 8 << 20;

const END_IN_SQLITE: &str = "SELECT 0 AS written, coalesce(max(id), 0) AS id FROM entry";
const END_IN_POSTGRES: &str =
    "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS written, 0::bigint AS id";

/// The order of commits.
#[derive(Clone, Copy, Debug)]
pub(super) enum CommitOrder {
    /// By id, in SQLite.
    Ids,
    /// By transaction, in PostgreSQL.
    Transactions,
}

impl CommitOrder {
    pub(super) fn end(self) -> &'static str {
        match self {
            Self::Ids => END_IN_SQLITE,
            Self::Transactions => END_IN_POSTGRES,
        }
    }

    /// Returns the statement, and adds its values to `conditions`.
    pub(super) fn follow(
        self,
        conditions: &mut Conditions,
        after: Cursor,
        end: Cursor,
        limit: i64,
    ) -> String {
        let mut number = |number| conditions.placeholder(BoundValue::Number(number));
        let (from, to) = ((number(after.written), number(after.id)), (number(end.written), number(end.id)));
        let limit = number(limit);
        let (written, place, between) = match self {
            Self::Ids => {
                // Every bound number must stand in the statement.
                let same = format!("{} <= 0 AND {} >= 0", from.0, to.0);
                ("0", "id", format!("{same} AND id > {} AND id <= {}", from.1, to.1))
            }
            Self::Transactions => {
                let at = |(written, id)| format!("({written}::bigint::text::xid8, {id}::bigint)");
                let between = format!("(written, id) > {} AND (written, id) <= {}", at(from), at(to));
                // `entry.written`, because the result column `written` has the same name.
                ("written::text::bigint", "entry.written, id", between)
            }
        };
        let text = &conditions.text;
        format!(
            "SELECT {written} AS written, {COLUMNS} FROM entry WHERE {text} AND {between} ORDER BY {place} LIMIT {limit}"
        )
    }
}

/// Cuts rows into a page.
pub(super) fn page(rows: Vec<PlacedEntry>, limit: i64, end: Cursor) -> FollowPage {
    let is_full = i64::try_from(rows.len()).is_ok_and(|count| count >= limit);
    let mut page = FollowPage { entries: Vec::new(), next: end };
    let mut bytes = 0_i64;
    for PlacedEntry { written, entry } in rows {
        bytes = bytes.saturating_add(entry.size);
        let last = page.entries.last().map(|(cursor, _)| *cursor);
        if let Some(last) = last.filter(|_| bytes > MAX_PAGE_BYTES) {
            page.next = last;
            return page;
        }
        page.entries.push((Cursor { written, id: entry.id }, entry));
    }
    if let Some((last, _)) = page.entries.last().filter(|_| is_full) {
        page.next = *last;
    }
    page
}
