//! PostgreSQL: any number of gates and inboxes side by side. Its clock says what is due; no clock ends a lease.
//!
//! A transaction locks rows of `generation` first and in their order, rows of `entry` after them: that prevents deadlocks.

mod connect;
mod deciding;
mod links;
mod open;
mod pooling;
mod rights;

use super::batch::{self, Ids};
use super::error::{DAMAGED, postgres::remedy};
use super::read::{OLDEST_WAITING, USAGE};
use super::row::seconds;
use super::{ArrivalStore, FileWatch, Outcome, Result, Store, StoreError, Stored, Usage};
use crate::arrival::Arrival;
use crate::decide::Room;
use crate::health::{Fault, Faults};
use async_trait::async_trait;
#[cfg(test)]
pub(super) use connect::{connect, options};
use deciding::Tx;
use leases::Leases;
use links::Links;
pub(super) use open::migrate;
use sqlx::migrate::Migrator;
use sqlx::{query, query_as, query_scalar};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

pub(super) static MIGRATOR: Migrator = sqlx::migrate!("migrations/postgres");

/// The schema of the tables.
const SCHEMA: &str = "blobgate_inbox";
/// A database that is away is found out in this time.
const CONNECT: Duration = Duration::from_secs(5);
/// A network that swallows everything is found out in this time, longer than the database's own limit: a sender waits for
/// 15 s, and a lease is 30 s.
const SILENT: Duration = Duration::from_secs(8);
/// On a fast disk two committers take turns; while a slow one writes, more can work.
const WRITERS: u32 = 8;
const NOW: &str = "SELECT inbox_now()";

/// A database.
#[derive(Debug)]
pub(crate) struct Postgres {
    links: Arc<Links>,
    leases: Mutex<Leases>,
}

/// Runs a transaction; the connection of one that has failed is closed.
macro_rules! transaction {
    ($session:expr, |$connection:ident| $body:expr) => {
        transaction!($session, "COMMIT", |$connection| $body)
    };
    ($session:expr, $end:literal, |$connection:ident| $body:expr) => {
        transaction!($session, $session.links.begin(), $end, |$connection| $body)
    };
    ($session:expr, $begin:expr, $end:literal, |$connection:ident| $body:expr) => {{
        let mut link = $begin.await?;
        let run = async {
            let $connection = link.connection();
            let result = $body;
            $crate::failpoint::die_at!("before-commit");
            sqlx::query($end).execute(&mut *$connection).await?;
            Ok::<_, $crate::store::StoreError>(result)
        };
        // Given up halfway it is closed, and its transaction ends with it.
        let result = tokio::time::timeout($crate::store::postgres::SILENT, run)
            .await
            .unwrap_or_else(|_| Err($crate::store::StoreError::Silent));
        if result.is_ok() {
            link.give_back();
        }
        result
    }};
}

/// Reads, whole tables too.
macro_rules! reading {
    ($postgres:expr, |$connection:ident| $body:expr) => {{
        let mut link = $postgres.links.begin_reading().await?;
        let run = async {
            let $connection = link.connection();
            Ok::<_, $crate::store::StoreError>($body)
        };
        let result = run.await;
        if result.is_ok() {
            link.done().await;
        }
        result
    }};
}

// Below the macros that they use.
mod changes;
mod deliveries;
mod expectations;
mod leases;
mod reading;
mod retention;

#[async_trait]
impl ArrivalStore for Postgres {
    async fn store(&self, arrivals: &[&Arrival], room: Room) -> Result<Stored> {
        let (outcomes, begun, worked) =
            transaction!(self, self.links.begin_storing(), "COMMIT", |connection| {
                let begun = Instant::now();
                let outcomes = batch::store(&mut Tx(connection, Ids::Next), arrivals, room).await?;
                (outcomes, begun, begun.elapsed())
            })?;
        Ok(Stored { outcomes, worked, synced: begun.elapsed().saturating_sub(worked) })
    }

    async fn release(&self, id: i64, arrival: &Arrival, why: &str) -> Result<Option<Outcome>> {
        transaction!(self, |connection| batch::release(&mut Tx(connection, Ids::Next), id, arrival, why)
            .await?)
    }

    async fn would_release(&self, id: i64, arrival: &Arrival) -> Result<Option<Outcome>> {
        transaction!(self, "ROLLBACK", |connection| batch::release(
            &mut Tx(connection, Ids::Next),
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

    /// Runs each statement that stores an event, and takes it back.
    async fn rehearse(&self, body: usize) -> Result<()> {
        transaction!(self, "ROLLBACK", |connection| {
            connect::check(connection).await?;
            batch::rehearse(&mut Tx(connection, Ids::rehearsed()), body).await?;
        })
    }

    async fn usage(&self) -> Result<Usage> {
        let (rows, now, oldest) = transaction!(self, |connection| {
            let rows = query_as(USAGE).fetch_all(&mut *connection).await?;
            let oldest: Option<i64> = query_scalar(OLDEST_WAITING).fetch_optional(&mut *connection).await?;
            (rows, query_scalar(NOW).fetch_one(&mut *connection).await?, oldest)
        })?;
        Ok(Usage::of(rows, oldest.map_or(0, |oldest| seconds(now, oldest))))
    }

    /// Nobody looks at a database's disk.
    async fn reusable(&self) -> Result<u64> {
        Ok(0)
    }

    async fn explain(&self, error: &StoreError) -> (Fault, String) {
        let failing = || (Fault::StoreFailing, format!("{error}: {}", remedy(error)));
        let is_denied = matches!(error, StoreError::Denied(_));
        match error {
            StoreError::Damaged(why) => (Fault::StoreDamaged, format!("{why}: {DAMAGED}")),
            StoreError::Denied(why) | StoreError::Misplaced(why) => {
                // A connection keeps the role's settings of when it was opened.
                self.links.close_idle();
                let missing = match self.missing_rights().await {
                    Ok(missing) if is_denied || !missing.is_nothing() => missing.to_string(),
                    // Without a connection nothing more is found out.
                    Err(_) if is_denied => "look at the role and its rights".to_owned(),
                    Ok(_) | Err(_) => return failing(),
                };
                (Fault::StoreDenied, format!("{why}: {missing}"))
            }
            _ => failing(),
        }
    }

    async fn lacks(&self) -> Option<(bool, String)> {
        let missing = self.missing_rights().await.ok()?;
        (!missing.is_nothing()).then(|| (missing.holds_up_deliveries(), missing.to_string()))
    }

    fn writers(&self) -> u32 {
        WRITERS
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

    fn rescued(&self) -> Vec<String> {
        Vec::new()
    }
}

impl Postgres {
    /// The rights that serving needs and this role lacks.
    async fn missing_rights(&self) -> Result<rights::Missing> {
        transaction!(self, |connection| rights::missing(connection).await?)
    }
}

#[cfg(test)]
mod tests;
