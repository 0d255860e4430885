//! Cases from the field: inputs that once lost an event or a service in silence, each on real parts. A module is a kind.

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
mod files;
mod health;
mod locks;
mod names;
mod pages;
mod quarantine;
mod release;
mod requests;
mod smoke;
mod whole;

/// The tool under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_blobgate");

/// Runs tests on a new SQLite file, and on a new database of the shared PostgreSQL: `fn test(store: &str)`.
macro_rules! on_each_store {
    ($($test:ident)*) => {
        mod on_sqlite {
            $(#[test]
            fn $test() {
                let folder = tempfile::tempdir().unwrap();
                let store = format!("sqlite:{}", folder.path().join("inbox.db").display());
                blobgate_testkit::inbox::migrate(crate::PROGRAM, &store);
                super::$test(&store);
            })*
        }
        mod on_postgres {
            $(#[test]
            fn $test() {
                if blobgate_testkit::left_out(&[blobgate_testkit::Need::Postgres]) {
                    return;
                }
                let cluster = blobgate_testkit::Cluster::required();
                let store = cluster.database();
                blobgate_testkit::inbox::migrate(crate::PROGRAM, &store);
                super::$test(&store);
            })*
        }
    };
}
pub(crate) use on_each_store;
