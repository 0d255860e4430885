//! The PostgreSQL driver. Several inboxes can serve one database. The database's clock decides when an entry is due; no clock
//! decides when a lease ends.
//!
//! A transaction locks rows of `generation` first, in order, and then rows of `entry`. This prevents deadlocks.

mod connect;
mod connections;
mod deciding;
mod migrate;
mod open;
mod pooling;
mod rights;

use super::audit;
use super::batch::{self, IdSource};
use super::error::{DAMAGED, postgres::remedy};
use super::notification;
use super::read::{OLDEST_WAITING, USAGE, USAGE_OF_ROUTES};
use super::{
    ArrivalOutcome, ArrivalStore, CommittedBatch, FileWatch, NewAction, ReleaseResult, Result, Store,
    StoreError, Usage,
};
use crate::arrival::Arrival;
use crate::decide::QuarantineRoom;
use crate::health::{Fault, Faults};
use async_trait::async_trait;
pub(super) use connect::SETTINGS;
#[cfg(test)]
pub(super) use connect::{connect, options};
use connections::ConnectionPool;
use deciding::PostgresTransaction;
use leases::Leases;
pub(super) use migrate::migrate;
use sqlx::migrate::Migrator;
use sqlx::{query, query_as, query_scalar};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

pub(super) static MIGRATOR: Migrator = sqlx::migrate!("migrations/postgres");

/// The schema of the tables.
const SCHEMA: &str = "blobgate_inbox";
/// The time for opening a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The time for a transaction: a network can drop all packets. It is longer than `statement_timeout`, and shorter than the 15 s of
/// a sender and the 30 s of a lease.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(8);
/// On a fast disk two committers alternate. On a slow disk more can work while one of them waits.
const MAX_WRITERS: u32 = 8;
const NOW: &str = "SELECT inbox_now()";

/// A store in a PostgreSQL database.
#[derive(Debug)]
pub(crate) struct Postgres {
    connections: Arc<ConnectionPool>,
    leases: Mutex<Leases>,
}

/// Runs a transaction. Closes the connection if the transaction fails.
macro_rules! transaction {
    ($session:expr, |$connection:ident| $body:expr) => {
        transaction!($session, "COMMIT", |$connection| $body)
    };
    ($session:expr, $end:literal, |$connection:ident| $body:expr) => {
        transaction!($session, $session.connections.begin(), $end, |$connection| $body)
    };
    ($session:expr, $begin:expr, $end:literal, |$connection:ident| $body:expr) => {{
        let mut is_repeated = false;
        loop {
            let mut pooled = $begin.await?;
            let mut is_ending = false;
            let run = async {
                let $connection = pooled.connection();
                let result = $body;
                $crate::failpoint::die_at!("before-commit");
                is_ending = true;
                sqlx::query($end).execute(&mut *$connection).await?;
                Ok::<_, $crate::store::StoreError>(result)
            };
            // After a timeout the connection closes, which ends the transaction.
            let result = $crate::deadline::within($crate::store::postgres::SILENCE_TIMEOUT, run)
                .await
                .unwrap_or(Err($crate::store::StoreError::Silent));
            match result {
                // The database closed the session, for example while the process was stopped. Nothing is committed, so a second
                // connection decides whether the database works.
                Err(error) if !is_repeated && !is_ending && error.is_disconnected() => is_repeated = true,
                Err(error) => break Err(error),
                Ok(result) => {
                    pooled.give_back();
                    break Ok(result);
                }
            }
        }
    }};
}

/// Runs a read-only transaction, which may scan tables.
macro_rules! reading {
    ($postgres:expr, |$connection:ident| $body:expr) => {{
        let mut pooled = $postgres.connections.begin_reading().await?;
        let run = async {
            let $connection = pooled.connection();
            Ok::<_, $crate::store::StoreError>($body)
        };
        let result = run.await;
        if result.is_ok() {
            pooled.done().await;
        }
        result
    }};
}

// These modules use the macros above.
mod changes;
mod deliveries;
mod expectations;
mod finishing;
mod leases;
mod reading;
mod retention;

#[async_trait]
impl ArrivalStore for Postgres {
    async fn store(&self, arrivals: &[&Arrival], room: QuarantineRoom) -> Result<CommittedBatch> {
        let (outcomes, begun, worked) =
            transaction!(self, self.connections.begin_storing(), "COMMIT", |connection| {
                let begun = Instant::now();
                let outcomes =
                    batch::store(&mut PostgresTransaction(connection, IdSource::Next), arrivals, room)
                        .await?;
                (outcomes, begun, begun.elapsed())
            })?;
        Ok(CommittedBatch { outcomes, worked, synced: begun.elapsed().saturating_sub(worked) })
    }

    async fn release(
        &self,
        id: i64,
        arrival: &Arrival,
        why: &str,
        action: Option<&NewAction>,
    ) -> Result<Option<ReleaseResult>> {
        transaction!(self, |connection| {
            let mut tx = PostgresTransaction(&mut *connection, IdSource::Next);
            let outcome = batch::release(&mut tx, id, arrival, why).await?;
            let now = query_scalar(NOW).fetch_one(&mut *connection).await?;
            audit::note_release(connection, now, id, outcome, action).await?
        })
    }

    async fn preview_release(&self, id: i64, arrival: &Arrival) -> Result<Option<ArrivalOutcome>> {
        transaction!(self, "ROLLBACK", |connection| batch::release(
            &mut PostgresTransaction(connection, IdSource::Next),
            id,
            arrival,
            ""
        )
        .await?)
    }
}

#[async_trait]
impl Store for Postgres {
    async fn heartbeat(&self) -> Result<()> {
        const HEARTBEAT: &str = "INSERT INTO heartbeat (one, at) VALUES (1, inbox_now()) ON CONFLICT (one) DO UPDATE SET at = excluded.at";
        transaction!(self, |connection| query(HEARTBEAT).execute(&mut *connection).await.map(|_| ())?)
    }

    async fn begin_notification(&self, kind: &str, lease: i64, every: i64) -> Result<bool> {
        transaction!(self, |connection| {
            let now: i64 = query_scalar(NOW).fetch_one(&mut *connection).await?;
            let begun = query(notification::BEGIN).bind(kind).bind(now).bind(lease).bind(every);
            begun.execute(&mut *connection).await?.rows_affected() == 1
        })
    }

    async fn end_notification(&self, kind: &str, next: i64) -> Result<()> {
        transaction!(self, |connection| {
            let now: i64 = query_scalar(NOW).fetch_one(&mut *connection).await?;
            let ended = query(notification::END).bind(kind).bind(now).bind(next);
            ended.execute(&mut *connection).await.map(|_| ())?
        })
    }

    async fn rehearse(&self, body: usize) -> Result<()> {
        transaction!(self, "ROLLBACK", |connection| {
            connect::check(connection, self.connections.settings()).await?;
            batch::rehearse(&mut PostgresTransaction(connection, IdSource::rehearsed()), body).await?;
        })
    }

    async fn usage(&self) -> Result<Usage> {
        let (rows, routes, oldest, now) = transaction!(self, |connection| {
            let rows = query_as(USAGE).fetch_all(&mut *connection).await?;
            let routes = query_as(USAGE_OF_ROUTES).fetch_all(&mut *connection).await?;
            let oldest = query_as(OLDEST_WAITING).fetch_all(&mut *connection).await?;
            (rows, routes, oldest, query_scalar(NOW).fetch_one(&mut *connection).await?)
        })?;
        Ok(Usage::of(rows, routes, oldest, now))
    }

    /// The inbox does not watch the disk of a database.
    async fn reusable(&self) -> Result<u64> {
        Ok(0)
    }

    async fn explain(&self, error: &StoreError) -> (Fault, String) {
        let failing = || (Fault::StoreFailing, format!("{error}. {}", remedy(error)));
        let is_denied = matches!(error, StoreError::Denied(_));
        match error {
            StoreError::Damaged(why) => (Fault::StoreDamaged, format!("{why}. {DAMAGED}")),
            StoreError::Denied(why) | StoreError::Misplaced(why) => {
                // An open connection has the role's old settings.
                self.connections.close_idle();
                let missing = match self.read_missing_rights().await {
                    Ok(missing) if is_denied || !missing.is_empty() => missing.to_string(),
                    Err(_) if is_denied => {
                        "the missing right is unknown. Check the role and its rights".to_owned()
                    }
                    Ok(_) | Err(_) => return failing(),
                };
                (Fault::StoreDenied, format!("{why}: {missing}"))
            }
            _ => failing(),
        }
    }

    async fn missing_rights(&self) -> Option<(bool, String)> {
        let missing = self.read_missing_rights().await.ok()?;
        (!missing.is_empty()).then(|| (missing.affects_deliveries(), missing.to_string()))
    }

    fn writers(&self) -> u32 {
        MAX_WRITERS
    }

    fn file(&self) -> Option<&Path> {
        None
    }

    fn check_files(&self) -> Result<()> {
        Ok(())
    }

    fn watch_files(self: Arc<Self>, _faults: &Arc<Faults>) -> Option<FileWatch> {
        None
    }

    fn rescued_copies(&self) -> Vec<String> {
        Vec::new()
    }
}

impl Postgres {
    async fn read_missing_rights(&self) -> Result<rights::MissingRights> {
        transaction!(self, |connection| rights::missing(connection).await?)
    }
}

#[cfg(test)]
mod tests;
