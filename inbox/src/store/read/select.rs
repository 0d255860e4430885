//! Selects the entries of an operator's filter: the pages of a list, the pieces of a change and of its preview.

use super::find::BY_GENERATION;
use super::scan::{IndexSize, MAX_EXAMINED, MAX_FEW, RowScan, SIZE_OF_LANE, SIZE_OF_STATE, WindowEdge};
use super::{BoundValue, Conditions, bind};
use crate::store::change::CandidateGroup;
use crate::store::{EntryRow, EntrySelection, Filter, Restriction};
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Error, query_as, query_scalar};

/// Entries that match a filter, the newest first.
#[derive(Clone, Debug)]
pub(crate) struct ListedEntries {
    pub(crate) entries: Vec<EntryRow>,
    /// The `before` of the next page, if this one ends because [`MAX_EXAMINED`] rows were examined.
    pub(crate) next: Option<i64>,
}

/// The ids of entries that match a filter, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SelectedIds {
    pub(crate) ids: Vec<i64>,
    /// The `after` of the next ones, which may match.
    pub(crate) next: Option<i64>,
}

/// The counts of entries that a change may apply to.
#[derive(Clone, Debug)]
pub(crate) struct CountedEntries {
    pub(crate) groups: Vec<CandidateGroup>,
    /// The `after` of the next ones, which are not counted.
    pub(crate) next: Option<i64>,
}

const NEWEST: &str = "SELECT max(id) FROM entry";

/// The statements of a filter.
pub(in crate::store) trait SelectStatements {
    /// The scan of a filter: by a partial index if that has few entries.
    async fn scan(&mut self, filter: &Filter, restriction: Restriction) -> Result<RowScan, Error>;
    async fn list(
        &mut self,
        filter: &Filter,
        before: Option<i64>,
        limit: i64,
    ) -> Result<ListedEntries, Error>;
    async fn count(
        &mut self,
        selection: &EntrySelection,
        after: i64,
        until: i64,
    ) -> Result<CountedEntries, Error>;
    async fn newest(&mut self) -> Result<Option<i64>, Error>;
    /// The last id of a window above `after`. `None` if the window ends at `until`, or the scan needs none.
    async fn edge_above(&mut self, scan: &RowScan, after: i64, until: i64) -> Result<Option<i64>, Error>;
    async fn ids(
        &mut self,
        filter: &Filter,
        restriction: Restriction,
        after: i64,
        until: i64,
        limit: i64,
    ) -> Result<SelectedIds, Error>;
}

/// `$hints` tells whether the database takes index hints.
macro_rules! selecting {
    ($connection:ty, $hints:literal) => {
        impl SelectStatements for $connection {
            async fn scan(&mut self, filter: &Filter, restriction: Restriction) -> Result<RowScan, Error> {
                if let Some(generation) = &filter.generation {
                    let ids = query_scalar(BY_GENERATION).bind(generation).bind(&filter.hook);
                    let ids: Vec<i64> = ids.bind(MAX_FEW.saturating_add(1)).fetch_all(&mut *self).await?;
                    if i64::try_from(ids.len()).is_ok_and(|count| count <= MAX_FEW) {
                        return Ok(RowScan::Ids(ids));
                    }
                }
                if let Some((index, size)) = RowScan::small_index(filter, restriction) {
                    let size: i64 = match size {
                        IndexSize::OfState(state) => {
                            query_scalar(SIZE_OF_STATE).bind(state.name()).fetch_one(&mut *self).await?
                        }
                        IndexSize::OfLane(lane) => {
                            query_scalar(SIZE_OF_LANE).bind(lane.name()).fetch_one(&mut *self).await?
                        }
                    };
                    if size <= MAX_FEW {
                        return Ok(RowScan::Few(index));
                    }
                }
                Ok(RowScan::windowed(filter, restriction))
            }

            async fn list(
                &mut self,
                filter: &Filter,
                before: Option<i64>,
                limit: i64,
            ) -> Result<ListedEntries, Error> {
                let scan = self.scan(filter, Restriction::All).await?;
                let before = before.unwrap_or(i64::MAX);
                let mut edge: Option<WindowEdge> = None;
                if scan.has_window(filter) {
                    // First, so that the list reads no row beyond it. A row that appears or leaves meanwhile cannot move it.
                    let sql = AssertSqlSafe(scan.edge_below($hints));
                    let last = MAX_EXAMINED.saturating_sub(1);
                    edge = query_as(sql).bind(before).bind(last).fetch_optional(&mut *self).await?;
                }
                let mut conditions = Conditions::of(filter);
                let mut number = |number| conditions.placeholder(BoundValue::Number(number));
                let from = edge.map_or(i64::MIN, |edge| edge.id);
                let (before, from, max) = (number(before), number(from), number(limit));
                let sql = AssertSqlSafe(scan.list($hints, &conditions, [&before, &from, &max]));
                let select = query_as(sql).persistent(!matches!(scan, RowScan::Ids(_)));
                let entries: Vec<EntryRow> = bind!(select, conditions).fetch_all(self).await?;
                let is_full = i64::try_from(entries.len()).is_ok_and(|count| count >= limit);
                let edge = edge.filter(|edge| !is_full && !edge.is_before(filter.since));
                Ok(ListedEntries { entries, next: edge.map(|edge| edge.id) })
            }

            async fn count(
                &mut self,
                selection: &EntrySelection,
                after: i64,
                until: i64,
            ) -> Result<CountedEntries, Error> {
                let (scan, mut conditions) = match selection {
                    EntrySelection::Ids(ids) => {
                        (RowScan::Ids(ids.iter().copied().collect()), Conditions::of(&Filter::default()))
                    }
                    EntrySelection::All(filter) => {
                        (self.scan(filter, Restriction::All).await?, Conditions::of(filter))
                    }
                };
                let next = self.edge_above(&scan, after, until).await?;
                let mut number = |number| conditions.placeholder(BoundValue::Number(number));
                let (after, until) = (number(after), number(next.unwrap_or(until)));
                let sql = AssertSqlSafe(scan.count($hints, &conditions, [&after, &until]));
                let select = query_as(sql).persistent(!matches!(scan, RowScan::Ids(_)));
                let groups: Vec<CandidateGroup> = bind!(select, conditions).fetch_all(self).await?;
                Ok(CountedEntries { groups, next })
            }

            async fn newest(&mut self) -> Result<Option<i64>, Error> {
                query_scalar(NEWEST).fetch_one(self).await
            }

            async fn edge_above(
                &mut self,
                scan: &RowScan,
                after: i64,
                until: i64,
            ) -> Result<Option<i64>, Error> {
                if !scan.is_windowed() {
                    return Ok(None);
                }
                let sql = AssertSqlSafe(scan.edge_above($hints));
                let edge = query_as(sql).bind(after).bind(until).bind(MAX_EXAMINED.saturating_sub(1));
                let edge: Option<WindowEdge> = edge.fetch_optional(self).await?;
                Ok(edge.map(|edge| edge.id).filter(|id| *id < until))
            }

            async fn ids(
                &mut self,
                filter: &Filter,
                restriction: Restriction,
                after: i64,
                until: i64,
                limit: i64,
            ) -> Result<SelectedIds, Error> {
                let scan = self.scan(filter, restriction).await?;
                let edge = self.edge_above(&scan, after, until).await?;
                let mut conditions = Conditions::of(filter);
                let mut number = |number| conditions.placeholder(BoundValue::Number(number));
                let (after, until, max) = (number(after), number(edge.unwrap_or(until)), number(limit));
                let sql = scan.ids($hints, &conditions, restriction, [&after, &until, &max]);
                let select = query_as(AssertSqlSafe(sql)).persistent(!matches!(scan, RowScan::Ids(_)));
                let rows: Vec<(i64,)> = bind!(select, conditions).fetch_all(self).await?;
                let ids: Vec<_> = rows.into_iter().map(|(id,)| id).collect();
                let is_full = i64::try_from(ids.len()).is_ok_and(|count| count >= limit);
                let next = if is_full { ids.last().copied() } else { edge };
                Ok(SelectedIds { ids, next })
            }
        }
    };
}

selecting!(SqliteConnection, true);
selecting!(PgConnection, false);
