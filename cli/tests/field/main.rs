//! Regression tests on real parts: inputs and faults that once lost an event, or hid an outage. A module for each kind.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod clocks;
mod database;
mod descriptors;
mod drain_rate;
mod edge;
mod ending;
mod environment;
mod failing_events;
mod false_alarms;
mod files;
mod health;
mod locks;
mod log_size;
mod names;
mod notifications;
mod pages;
mod quarantine;
mod refusals;
mod release;
mod remote_database;
mod requests;
mod retry;
mod rights;
mod rotated_setup;
mod rotation;
mod scrape;
mod smoke;
mod starting;
mod status;
mod thread;
mod whole;

/// The tool under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_blobgate");

/// Runs each `fn test(store: &str)` on a new SQLite file and on a new database of the shared PostgreSQL. Tests that call
/// `blobgate_testkit::sql` come after `needs (Sqlite3):`.
macro_rules! on_each_store {
    (needs $need:tt: $($test:ident)*) => {
        mod on_sqlite {
            $(#[blobgate_testkit::needs $need]
            #[test]
            fn $test() {
                let file = blobgate_testkit::SqliteFile::migrated(crate::PROGRAM);
                super::$test(&file.url);
            })*
        }
        mod on_postgres {
            $(#[blobgate_testkit::needs(Postgres)]
            #[test]
            fn $test() {
                let cluster = blobgate_testkit::Cluster::shared();
                let store = cluster.database();
                blobgate_testkit::inbox::migrate(crate::PROGRAM, &store);
                super::$test(&store);
            })*
        }
    };
    ($($test:ident)*) => { $crate::on_each_store! { needs (): $($test)* } };
}
pub(crate) use on_each_store;
