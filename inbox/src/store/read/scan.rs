//! The rows that an operator's filter reads. A filter that no index answers reads a window of the primary key at a time, so that no
//! request runs for long.

use super::{COLUMNS, Conditions};
use crate::entry::{EntryState, Lane};
use crate::store::change::CANDIDATES;
use crate::store::id_list::list;
use crate::store::{Filter, Restriction};
use sqlx::FromRow;

/// The most rows that a page of a list or a piece of a preview examines: some 30 ms.
pub(in crate::store) const MAX_EXAMINED: i64 = 20_000;
/// The most rows that a partial index may have to be read at once. They lie anywhere in the table.
pub(super) const MAX_FEW: i64 = 5_000;
/// Entries have the order of their receipt, but for concurrent transactions and steps of the clock.
const MAX_CLOCK_STEP: i64 = 3_600 * 1_000_000;

/// How a statement finds its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) enum RowScan {
    /// By the primary key, a window at a time.
    All,
    /// Dead or quarantined entries, by the index `entry_left` in the order of the ids, a window at a time.
    Left(EntryState),
    /// At most [`MAX_FEW`] rows, which this partial index has, at once.
    Few(&'static str),
    /// The entries of a generation, at most [`MAX_FEW`], at once.
    Ids(Vec<i64>),
}

/// The number of entries that a partial index has, from the sums.
#[derive(Clone, Copy, Debug)]
pub(super) enum IndexSize {
    OfState(EntryState),
    OfLane(Lane),
}

/// The end of a window.
#[derive(Clone, Copy, Debug, FromRow)]
pub(super) struct WindowEdge {
    pub(super) id: i64,
    pub(super) received_at: i64,
}

pub(super) const SIZE_OF_STATE: &str =
    "SELECT CAST(coalesce(sum(entries), 0) AS bigint) FROM entry_sum WHERE since = -1 AND state = $1";

pub(super) const SIZE_OF_LANE: &str =
    "SELECT CAST(coalesce(sum(entries), 0) AS bigint) FROM entry_sum WHERE since = -1 AND lane = $1";

impl RowScan {
    /// The index of a filter by state or lane, and the number of its entries, which has to be small.
    pub(super) fn small_index(
        filter: &Filter,
        restriction: Restriction,
    ) -> Option<(&'static str, IndexSize)> {
        match (state_of(filter, restriction), filter.lane) {
            (Some(EntryState::Waiting), _) => {
                Some(("entry_waiting", IndexSize::OfState(EntryState::Waiting)))
            }
            (Some(EntryState::InFlight), _) => {
                Some(("entry_in_flight", IndexSize::OfState(EntryState::InFlight)))
            }
            (_, Some(Lane::Quarantine)) => {
                Some(("entry_quarantined_generation", IndexSize::OfLane(Lane::Quarantine)))
            }
            (_, Some(Lane::Observed)) => {
                Some(("entry_observed_generation", IndexSize::OfLane(Lane::Observed)))
            }
            _ => None,
        }
    }

    /// The scan that needs no small index.
    pub(super) fn windowed(filter: &Filter, restriction: Restriction) -> Self {
        match state_of(filter, restriction) {
            Some(state @ (EntryState::Dead | EntryState::Quarantined)) => Self::Left(state),
            _ => Self::All,
        }
    }

    /// Whether a list needs a window: without further conditions each examined row matches.
    pub(super) fn has_window(&self, filter: &Filter) -> bool {
        let rest = match self {
            Self::All => filter.clone(),
            Self::Left(_) => Filter { state: None, ..filter.clone() },
            Self::Few(_) | Self::Ids(_) => return false,
        };
        rest != Filter::default()
    }

    pub(super) const fn is_windowed(&self) -> bool {
        matches!(self, Self::All | Self::Left(_))
    }

    /// The table. SQLite takes an index hint: it has no statistics, and reads the primary key instead of `entry_left`. PostgreSQL has
    /// statistics, and no hints.
    fn table(&self, takes_hints: bool) -> String {
        match self {
            Self::Left(_) if takes_hints => "entry INDEXED BY entry_left".to_owned(),
            Self::Few(index) if takes_hints => format!("entry INDEXED BY {index}"),
            Self::All if takes_hints => "entry NOT INDEXED".to_owned(),
            _ => "entry".to_owned(),
        }
    }

    /// The id. The sum keeps PostgreSQL from reading the primary key for few rows of a partial index.
    const fn id(&self) -> &'static str {
        if self.is_windowed() { "id" } else { "id + 0" }
    }

    /// The condition that its index needs.
    fn condition(&self) -> String {
        match self {
            // SQLite takes a partial index only for a query with its condition.
            Self::Left(state) => format!("state IN ('dead', 'quarantined') AND state = '{state}'"),
            Self::Ids(ids) => format!("id IN ({})", list(ids)),
            Self::All | Self::Few(_) => "true".to_owned(),
        }
    }

    /// The last row of a window that ends `$2` rows below the id `$1`.
    pub(in crate::store) fn edge_below(&self, takes_hints: bool) -> String {
        let (table, condition) = (self.table(takes_hints), self.condition());
        format!(
            "SELECT id, received_at FROM entry WHERE id = (
                SELECT id FROM {table} WHERE {condition} AND id < $1 ORDER BY id DESC LIMIT 1 OFFSET $2)"
        )
    }

    /// The last row of a window that ends `$3` rows above the id `$1`, and not above `$2`.
    pub(in crate::store) fn edge_above(&self, takes_hints: bool) -> String {
        let (table, condition) = (self.table(takes_hints), self.condition());
        format!(
            "SELECT id, received_at FROM entry WHERE id = (
                SELECT id FROM {table} WHERE {condition} AND id > $1 AND id <= $2 ORDER BY id LIMIT 1 OFFSET $3)"
        )
    }

    /// Lists the entries from `from` up to below `before`, the newest first. Takes their placeholders.
    pub(in crate::store) fn list(
        &self,
        takes_hints: bool,
        conditions: &Conditions,
        [before, from, limit]: [&str; 3],
    ) -> String {
        let (table, condition, id, text) =
            (self.table(takes_hints), self.condition(), self.id(), &conditions.text);
        format!(
            "SELECT {COLUMNS} FROM {table} WHERE {condition} AND {text} AND {id} < {before} AND {id} >= {from}
            ORDER BY {id} DESC LIMIT {limit}"
        )
    }

    /// Lists the ids above `after` and at most `until`, the oldest first. Takes their placeholders.
    pub(in crate::store) fn ids(
        &self,
        takes_hints: bool,
        conditions: &Conditions,
        restriction: Restriction,
        [after, until, limit]: [&str; 3],
    ) -> String {
        let (table, condition, id, text) =
            (self.table(takes_hints), self.condition(), self.id(), &conditions.text);
        let restriction = restriction.condition();
        format!(
            "SELECT id FROM {table} WHERE {condition} AND {text} AND {restriction} AND {id} > {after} AND {id} <= {until}
            ORDER BY {id} LIMIT {limit}"
        )
    }

    /// Counts the entries above `after` and at most `until`. Takes their placeholders.
    pub(in crate::store) fn count(
        &self,
        takes_hints: bool,
        conditions: &Conditions,
        [after, until]: [&str; 2],
    ) -> String {
        let (table, condition, id, text) =
            (self.table(takes_hints), self.condition(), self.id(), &conditions.text);
        format!(
            "{CANDIDATES} FROM {table} WHERE {condition} AND {text} AND {id} > {after} AND {id} <= {until} GROUP BY 1, 2, 3, 4, 5, 6"
        )
    }
}

impl WindowEdge {
    /// Whether no entry below the window matches, since all of them are older.
    pub(super) fn is_before(&self, since: Option<i64>) -> bool {
        since.is_some_and(|since| self.received_at < since.saturating_sub(MAX_CLOCK_STEP))
    }
}

/// The state of every row that matches.
fn state_of(filter: &Filter, restriction: Restriction) -> Option<EntryState> {
    filter.state.or_else(|| restriction.state())
}
