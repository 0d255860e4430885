//! Entries in the order in which they were committed, so that whoever reads on from a place misses none.
//!
//! In SQLite that is the order of their ids: a transaction takes its ids while it alone writes. In PostgreSQL one with
//! lower ids may be committed later. There an entry has the number of its transaction, and only those are read that are
//! lower than that of any transaction under way: nothing can come before them any more.

use super::{BoundValue, COLUMNS, Conditions, EntryRow, StoredPayload};
use sqlx::FromRow;
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
pub(crate) struct FollowPage {
    pub(crate) entries: Vec<(Cursor, EntryRow)>,
    /// How far it was read, also where nothing was found.
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

/// So many bytes of what came, at most, in one piece; but one entry in any case.
const BYTES: i64 = 8 << 20;

const END_IN_SQLITE: &str = "SELECT 0 AS written, coalesce(max(id), 0) AS id FROM entry";
const END_IN_POSTGRES: &str =
    "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS written, 0::bigint AS id";

/// In what order entries were committed.
#[derive(Clone, Copy, Debug)]
pub(super) enum CommitOrder {
    /// That of their ids, in SQLite.
    Ids,
    /// That of their transactions, in PostgreSQL.
    Transactions,
}

impl CommitOrder {
    pub(super) fn end(self) -> &'static str {
        match self {
            Self::Ids => END_IN_SQLITE,
            Self::Transactions => END_IN_POSTGRES,
        }
    }

    /// The statement, and its values.
    pub(super) fn follow(
        self,
        conditions: &mut Conditions,
        after: Cursor,
        end: Cursor,
        limit: i64,
    ) -> String {
        let mut number = |number| conditions.place(BoundValue::Number(number));
        let (from, to) = ((number(after.written), number(after.id)), (number(end.written), number(end.id)));
        let limit = number(limit);
        let (written, place, between) = match self {
            Self::Ids => {
                // Every number is bound, so each has its place in the statement.
                let same = format!("{} <= 0 AND {} >= 0", from.0, to.0);
                ("0", "id", format!("{same} AND id > {} AND id <= {}", from.1, to.1))
            }
            Self::Transactions => {
                let at = |(written, id)| format!("({written}::bigint::text::xid8, {id}::bigint)");
                let between = format!("(written, id) > {} AND (written, id) <= {}", at(from), at(to));
                // Not the column that is shown, which has the same name.
                ("written::text::bigint", "entry.written, id", between)
            }
        };
        let text = &conditions.text;
        format!(
            "SELECT {written} AS written, {COLUMNS} FROM entry WHERE {text} AND {between} ORDER BY {place} LIMIT {limit}"
        )
    }
}

/// As many of them as a piece may have.
pub(super) fn piece(rows: Vec<PlacedEntry>, limit: i64, end: Cursor) -> FollowPage {
    let is_full = i64::try_from(rows.len()).is_ok_and(|count| count >= limit);
    let mut followed = FollowPage { entries: Vec::new(), next: end };
    let mut bytes = 0_i64;
    for PlacedEntry { written, entry } in rows {
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
