//! The connections of one inbox to a database: up to 12, or as many as the database accepts.

use super::super::StoreError;
use super::super::error::settings::CONNECTIONS_REMEDY;
use super::SILENCE_TIMEOUT;
use super::connect::{SessionSettings, close, connect};
use crate::deadline;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::raw_sql;
use std::collections::VecDeque;
use std::fmt::Display;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Eight committers, the deliverer, retention, the reconciler and health.
const MAX_CONNECTIONS: usize = 12;
/// Two readers, a committer and the deliverer.
pub(super) const MIN_CONNECTIONS: usize = 4;
/// A read of a whole table takes up to a minute.
const MAX_READING: usize = 2;
/// Connections that committers leave to the other tasks.
const NOT_STORING: usize = 3;
const MAX_STORING: usize = 8;
/// After a refusal the inbox does not open a further connection for this time.
const LOWERED_TIME: Duration = Duration::from_secs(60);
/// The inbox closes a connection that is unused for this time: another inbox may need it.
const IDLE_TIME: Duration = Duration::from_secs(5);
/// If a further connection takes longer than this, the next free connection replaces it. At `max_db_connections` pgbouncer lets
/// clients wait.
const SLOW_CONNECT: Duration = Duration::from_secs(1);
/// The wait for a free connection after a refusal. Fewer than [`MIN_CONNECTIONS`] may be open: a permit is no connection.
const RETRY_DELAY: Duration = Duration::from_millis(250);

/// All connections to one database. A transaction takes one, and gives it back.
#[derive(Debug)]
pub(super) struct ConnectionPool {
    options: PgConnectOptions,
    /// The settings of each session.
    settings: Vec<(&'static str, &'static str)>,
    /// A permit for each connection that may be open.
    all: AdjustablePermits,
    storing: AdjustablePermits,
    reading: Arc<Semaphore>,
    /// The unused connections, the most recently used last.
    idle: Mutex<VecDeque<(PgConnection, ConnectionCount, Instant)>>,
    /// The time of the refusal that lowered the permits.
    lowered: Mutex<Option<Instant>>,
    open: Arc<AtomicUsize>,
    returned: Notify,
}

/// Permits with a changing total.
#[derive(Debug)]
struct AdjustablePermits {
    permits: Arc<Semaphore>,
    max: usize,
    total: Mutex<usize>,
}

/// Counts an open connection until it is dropped.
#[derive(Debug)]
struct ConnectionCount(Arc<AtomicUsize>);

/// A connection in a transaction. Dropping it closes the connection, which ends the transaction.
#[derive(Debug)]
pub(crate) struct PooledConnection {
    connections: Arc<ConnectionPool>,
    connection: PgConnection,
    counted: ConnectionCount,
    permits: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
}

/// Begins a transaction with a long timeout and plans that may scan tables.
const BEGIN_READING: &str =
    "BEGIN READ ONLY; SET LOCAL statement_timeout = '60s'; SET LOCAL enable_seqscan = on;
    SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on;
    SET LOCAL enable_bitmapscan = on; SET LOCAL enable_material = on";

impl ConnectionPool {
    /// Starts with these open connections.
    pub(super) fn new(
        options: PgConnectOptions,
        settings: Vec<(&'static str, &'static str)>,
        opened: Vec<PgConnection>,
    ) -> Arc<Self> {
        let open = Arc::new(AtomicUsize::new(0));
        let now = Instant::now();
        let idle =
            opened.into_iter().map(|connection| (connection, ConnectionCount::new(&open), now)).collect();
        Arc::new(Self {
            options,
            settings,
            all: AdjustablePermits::new(MAX_CONNECTIONS),
            storing: AdjustablePermits::new(MAX_STORING),
            reading: Arc::new(Semaphore::new(MAX_READING)),
            idle: Mutex::new(idle),
            lowered: Mutex::new(None),
            open,
            returned: Notify::new(),
        })
    }

    /// The settings of each session.
    pub(super) fn settings(&self) -> SessionSettings<'_> {
        &self.settings
    }

    /// Begins a transaction.
    pub(super) async fn begin(self: &Arc<Self>) -> Result<PooledConnection, StoreError> {
        self.take("BEGIN", None).await
    }

    /// Begins a transaction that stores events.
    pub(super) async fn begin_storing(self: &Arc<Self>) -> Result<PooledConnection, StoreError> {
        self.restore();
        let permit = within(Arc::clone(&self.storing.permits).acquire_owned()).await?;
        self.take("BEGIN", Some(permit.map_err(|_| StoreError::Silent)?)).await
    }

    /// Begins a transaction that reads whole tables.
    pub(super) async fn begin_reading(self: &Arc<Self>) -> Result<PooledConnection, StoreError> {
        let permit = within(Arc::clone(&self.reading).acquire_owned()).await?;
        self.take(BEGIN_READING, Some(permit.map_err(|_| StoreError::Silent)?)).await
    }

    async fn take(
        self: &Arc<Self>,
        begin: &'static str,
        beside: Option<OwnedSemaphorePermit>,
    ) -> Result<PooledConnection, StoreError> {
        within(async {
            loop {
                self.restore();
                let permit =
                    Arc::clone(&self.all.permits).acquire_owned().await.map_err(|_| StoreError::Silent)?;
                while let Some((mut connection, counted)) = self.pop() {
                    // A pooler, a firewall or a restart may have closed an idle connection. It had no transaction.
                    if raw_sql(begin).execute(&mut connection).await.is_ok() {
                        return Ok(self.pooled(connection, counted, (permit, beside)));
                    }
                }
                match self.open().await {
                    Ok((mut connection, counted)) => {
                        raw_sql(begin).execute(&mut connection).await?;
                        return Ok(self.pooled(connection, counted, (permit, beside)));
                    }
                    // Waits for one of the open connections.
                    Err(error) if self.count() > 0 && is_refused(&error) => {
                        drop(permit);
                        self.lower(&error);
                        let _late = tokio::time::timeout(RETRY_DELAY, self.returned.notified()).await;
                    }
                    Err(error) => return Err(error),
                }
            }
        })
        .await?
    }

    fn pooled(
        self: &Arc<Self>,
        connection: PgConnection,
        counted: ConnectionCount,
        permits: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
    ) -> PooledConnection {
        PooledConnection { connections: Arc::clone(self), connection, counted, permits }
    }

    /// Opens a further connection. While that is slow, takes the next free one instead.
    async fn open(self: &Arc<Self>) -> Result<(PgConnection, ConnectionCount), StoreError> {
        let connecting = connect(&self.options, &self.settings);
        tokio::pin!(connecting);
        let counted = |connection| (connection, ConnectionCount::new(&self.open));
        if let Ok(connected) = tokio::time::timeout(SLOW_CONNECT, &mut connecting).await {
            return connected.map(counted);
        }
        loop {
            tokio::select! {
                connected = &mut connecting => return connected.map(counted),
                () = self.returned.notified() => if let Some(free) = self.pop() {
                    self.lower(&"it is slow");
                    return Ok(free);
                },
            }
        }
    }

    fn pop(&self) -> Option<(PgConnection, ConnectionCount)> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.pop_back().map(|(connection, counted, _)| (connection, counted))
    }

    fn count(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Lowers the permits to the number of open connections for a while.
    fn lower(&self, why: &dyn Display) {
        let open = self.count();
        self.all.lower_to(open.max(MIN_CONNECTIONS));
        self.storing.lower_to(open.saturating_sub(NOT_STORING).max(1));
        let mut lowered = self.lowered.lock().unwrap_or_else(PoisonError::into_inner);
        if lowered.is_none() {
            tracing::warn!(
                "the database refuses more than {open} connections ({why}). The inbox continues with these, and retries in {} s. {CONNECTIONS_REMEDY}",
                LOWERED_TIME.as_secs()
            );
        }
        lowered.get_or_insert_with(Instant::now);
    }

    fn restore(&self) {
        let mut lowered = self.lowered.lock().unwrap_or_else(PoisonError::into_inner);
        if lowered.is_some_and(|since| since.elapsed() >= LOWERED_TIME) {
            *lowered = None;
            self.all.restore();
            self.storing.restore();
        }
    }

    /// Closes the unused connections.
    pub(super) fn close_idle(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn give_back(&self, connection: PgConnection, counted: ConnectionCount) {
        let now = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push_back((connection, counted, now));
        let is_spare = self.count() > MIN_CONNECTIONS;
        let unused = idle.pop_front_if(|(.., since)| is_spare && now.duration_since(*since) >= IDLE_TIME);
        drop(idle);
        if let Some((connection, counted, _)) = unused {
            tokio::spawn(async move {
                close(connection).await;
                drop(counted);
            });
        }
        self.returned.notify_one();
    }
}

/// Whether the database runs and refuses a further connection.
pub(super) fn is_refused(error: &StoreError) -> bool {
    !matches!(error, StoreError::Stopped(_) | StoreError::Unreachable(_) | StoreError::WrongSetting(_))
}

/// Waits for a connection as long as for an answer.
async fn within<T>(future: impl Future<Output = T>) -> Result<T, StoreError> {
    deadline::within(SILENCE_TIMEOUT, future).await.ok_or(StoreError::Silent)
}

impl AdjustablePermits {
    fn new(max: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(max)), max, total: Mutex::new(max) }
    }

    fn lower_to(&self, count: usize) {
        let mut total = self.total.lock().unwrap_or_else(PoisonError::into_inner);
        let forgotten = self.permits.forget_permits(total.saturating_sub(count));
        *total = total.saturating_sub(forgotten);
    }

    fn restore(&self) {
        let mut total = self.total.lock().unwrap_or_else(PoisonError::into_inner);
        self.permits.add_permits(self.max.saturating_sub(*total));
        *total = self.max;
    }
}

impl PooledConnection {
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Gives the connection back after its transaction.
    pub(super) fn give_back(self) {
        let Self { connections, connection, counted, permits } = self;
        connections.give_back(connection, counted);
        // The next task must find the connection once it has the permit.
        drop(permits);
    }

    /// Ends a transaction that only read.
    pub(crate) async fn done(mut self) {
        if let Ok(Ok(_)) = within(raw_sql("COMMIT").execute(&mut self.connection)).await {
            self.give_back();
        }
    }
}

impl ConnectionCount {
    fn new(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for ConnectionCount {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
