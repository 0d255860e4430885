//! What is read of expectations: the same statements on either store.

use super::super::admin::read;
use super::super::{Error, Store};
use super::{Expectation, sql};
use sqlx::{AssertSqlSafe, query_as, query_scalar};

impl Store {
    /// What is asked about, or would be: the oldest first.
    pub(crate) async fn open_questions(&self, limit: i64) -> Result<Vec<Expectation>, Error> {
        let sql = format!(
            "{} WHERE x.state = 'expected' OR x.wanted IS NOT NULL ORDER BY x.expected_at + 0, x.hook, x.generation LIMIT $1",
            sql::COLUMNS
        );
        read!(self, |pool| query_as(AssertSqlSafe(sql)).bind(limit).fetch_all(pool).await)
    }

    pub(crate) async fn expectation(
        &self,
        hook: &str,
        generation: &str,
    ) -> Result<Option<Expectation>, Error> {
        let sql = format!("{} WHERE x.hook = $1 AND x.generation = $2", sql::COLUMNS);
        read!(self, |pool| {
            query_as(AssertSqlSafe(sql)).bind(hook).bind(generation).fetch_optional(pool).await
        })
    }

    /// The path of a hook: that of the newest of what came to it.
    pub(crate) async fn path(&self, hook: &str) -> Result<Option<Vec<u8>>, Error> {
        read!(self, |pool| query_scalar(sql::PATH).bind(hook).fetch_optional(pool).await)
    }
}
