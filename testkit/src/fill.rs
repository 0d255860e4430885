//! Fills a store with the entries of a busy month, for measurements.

use super::sqlite::sql;

const SQLITE: &str = include_str!("fill/sqlite.sql");
const POSTGRES: &str = include_str!("fill/postgres.sql");

/// Fills an empty store with `count` entries of 30 days in all states, with payloads, attempts, expectations and actions. A million
/// take 15 s and 600 MB. No inbox may serve an SQLite file meanwhile. For SQLite the test has `#[needs(Sqlite3)]`.
#[track_caller]
pub fn fill(store: &str, count: u32) {
    let statements = if store.starts_with("sqlite:") { SQLITE } else { POSTGRES };
    sql(store, &statements.replace("{count}", &count.to_string()));
}
