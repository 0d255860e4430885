//! The connections of one inbox: as many as it wishes for, or as the database gives.

use super::super::StoreError;
use super::SILENT;
use super::connect::{close, connect};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::raw_sql;
use std::collections::VecDeque;
use std::fmt::Display;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Eight committers, and deliverer, purger, reconciler and health.
const WISH: usize = 12;
/// Two readers, a committer, and one for deliveries.
pub(super) const FEWEST: usize = 4;
/// Reads of whole tables take up to a minute each.
const READERS: usize = 2;
/// What committers leave to the others.
const NOT_STORING: usize = 3;
const STORING: usize = 8;
/// A refused connection is not asked for again for so long.
const LOWERED_FOR: Duration = Duration::from_secs(60);
/// An unused connection is closed after so long: another inbox may need it.
const IDLE: Duration = Duration::from_secs(5);
/// A further connection that takes longer is as good as refused, once another connection is free. pgbouncer lets a client
/// wait where `max_db_connections` is reached.
const SLOW: Duration = Duration::from_secs(1);
/// After a refusal, for one that becomes free: fewer than [`FEWEST`] may be open, and a permit is no connection.
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// What to do about too few connections.
pub(super) const REMEDY: &str = "the inbox needs 4 and uses up to 12, so raise the role's or the database's `connection limit`, max_connections, or the pooler's pool size";

/// All connections to one database. Whoever runs a transaction takes one, and gives it back.
#[derive(Debug)]
pub(super) struct Links {
    options: PgConnectOptions,
    /// One for each connection that may be there.
    all: Allowance,
    storing: Allowance,
    reading: Arc<Semaphore>,
    /// The most recently used last.
    idle: Mutex<VecDeque<(PgConnection, Counted, Instant)>>,
    /// Since when the wish is lowered.
    lowered: Mutex<Option<Instant>>,
    open: Arc<AtomicUsize>,
    returned: Notify,
}

/// Permits whose number changes.
#[derive(Debug)]
struct Allowance {
    permits: Arc<Semaphore>,
    wish: usize,
    total: Mutex<usize>,
}

/// Counts an open connection for as long as it lives.
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

/// A connection inside a transaction. Dropped, it is closed, and its transaction ends with it.
#[derive(Debug)]
pub(crate) struct Link {
    links: Arc<Links>,
    connection: PgConnection,
    counted: Counted,
    permits: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
}

/// It takes its time, and reads tables as they lie.
const BEGIN_READING: &str =
    "BEGIN READ ONLY; SET LOCAL statement_timeout = '60s'; SET LOCAL enable_seqscan = on;
    SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on;
    SET LOCAL enable_bitmapscan = on; SET LOCAL enable_material = on";

impl Links {
    /// With connections that are open already.
    pub(super) fn new(options: PgConnectOptions, opened: Vec<PgConnection>) -> Arc<Self> {
        let open = Arc::new(AtomicUsize::new(0));
        let now = Instant::now();
        let idle = opened.into_iter().map(|connection| (connection, Counted::new(&open), now)).collect();
        Arc::new(Self {
            options,
            all: Allowance::new(WISH),
            storing: Allowance::new(STORING),
            reading: Arc::new(Semaphore::new(READERS)),
            idle: Mutex::new(idle),
            lowered: Mutex::new(None),
            open,
            returned: Notify::new(),
        })
    }

    /// Begins a transaction.
    pub(super) async fn begin(self: &Arc<Self>) -> Result<Link, StoreError> {
        self.take("BEGIN", None).await
    }

    /// Begins a transaction that stores events.
    pub(super) async fn begin_storing(self: &Arc<Self>) -> Result<Link, StoreError> {
        self.restore();
        let permit = within(Arc::clone(&self.storing.permits).acquire_owned()).await?;
        self.take("BEGIN", Some(permit.map_err(|_| StoreError::Silent)?)).await
    }

    /// Begins a transaction that reads whole tables.
    pub(super) async fn begin_reading(self: &Arc<Self>) -> Result<Link, StoreError> {
        let permit = within(Arc::clone(&self.reading).acquire_owned()).await?;
        self.take(BEGIN_READING, Some(permit.map_err(|_| StoreError::Silent)?)).await
    }

    async fn take(
        self: &Arc<Self>,
        begin: &'static str,
        beside: Option<OwnedSemaphorePermit>,
    ) -> Result<Link, StoreError> {
        within(async {
            loop {
                self.restore();
                let permit =
                    Arc::clone(&self.all.permits).acquire_owned().await.map_err(|_| StoreError::Silent)?;
                while let Some((mut connection, counted)) = self.pop() {
                    // Closed while nobody used it: by a pooler, a firewall, a restart. Nothing is lost with it.
                    if raw_sql(begin).execute(&mut connection).await.is_ok() {
                        return Ok(self.link(connection, counted, (permit, beside)));
                    }
                }
                match self.open().await {
                    Ok((mut connection, counted)) => {
                        raw_sql(begin).execute(&mut connection).await?;
                        return Ok(self.link(connection, counted, (permit, beside)));
                    }
                    // Of those that are open, one becomes free.
                    Err(error) if self.count() > 0 && is_refused(&error) => {
                        drop(permit);
                        self.lower(&error);
                        let _late = tokio::time::timeout(ASK_AGAIN, self.returned.notified()).await;
                    }
                    Err(error) => return Err(error),
                }
            }
        })
        .await?
    }

    fn link(
        self: &Arc<Self>,
        connection: PgConnection,
        counted: Counted,
        permits: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
    ) -> Link {
        Link { links: Arc::clone(self), connection, counted, permits }
    }

    /// Opens a further connection, or takes another that becomes free while this one is slow.
    async fn open(self: &Arc<Self>) -> Result<(PgConnection, Counted), StoreError> {
        let connecting = connect(&self.options);
        tokio::pin!(connecting);
        let counted = |connection| (connection, Counted::new(&self.open));
        if let Ok(connected) = tokio::time::timeout(SLOW, &mut connecting).await {
            return connected.map(counted);
        }
        loop {
            tokio::select! {
                connected = &mut connecting => return connected.map(counted),
                () = self.returned.notified() => if let Some(free) = self.pop() {
                    self.lower(&"it takes too long");
                    return Ok(free);
                },
            }
        }
    }

    fn pop(&self) -> Option<(PgConnection, Counted)> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.pop_back().map(|(connection, counted, _)| (connection, counted))
    }

    fn count(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Wishes for no more than there are, for a while.
    fn lower(&self, why: &dyn Display) {
        let open = self.count();
        self.all.lower_to(open.max(FEWEST));
        self.storing.lower_to(open.saturating_sub(NOT_STORING).max(1));
        let mut lowered = self.lowered.lock().unwrap_or_else(PoisonError::into_inner);
        if lowered.is_none() {
            tracing::warn!(
                "the database refuses a connection beside {open} others ({why}): the inbox goes on with them and asks again in {} s; {REMEDY}",
                LOWERED_FOR.as_secs()
            );
        }
        lowered.get_or_insert_with(Instant::now);
    }

    fn restore(&self) {
        let mut lowered = self.lowered.lock().unwrap_or_else(PoisonError::into_inner);
        if lowered.is_some_and(|since| since.elapsed() >= LOWERED_FOR) {
            *lowered = None;
            self.all.restore();
            self.storing.restore();
        }
    }

    /// Closes the connections that nobody uses.
    pub(super) fn close_idle(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn give_back(&self, connection: PgConnection, counted: Counted) {
        let now = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push_back((connection, counted, now));
        let is_spare = self.count() > FEWEST;
        let unused = idle.pop_front_if(|(.., since)| is_spare && now.duration_since(*since) >= IDLE);
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

/// Whether the database is there and gives no further connection.
pub(super) fn is_refused(error: &StoreError) -> bool {
    !matches!(error, StoreError::Stopped(_) | StoreError::Unreachable(_) | StoreError::WrongSetting(_))
}

/// One that is not free in time is as one that does not answer.
async fn within<T>(future: impl Future<Output = T>) -> Result<T, StoreError> {
    tokio::time::timeout(SILENT, future).await.map_err(|_| StoreError::Silent)
}

impl Allowance {
    fn new(wish: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(wish)), wish, total: Mutex::new(wish) }
    }

    fn lower_to(&self, count: usize) {
        let mut total = self.total.lock().unwrap_or_else(PoisonError::into_inner);
        let forgotten = self.permits.forget_permits(total.saturating_sub(count));
        *total = total.saturating_sub(forgotten);
    }

    fn restore(&self) {
        let mut total = self.total.lock().unwrap_or_else(PoisonError::into_inner);
        self.permits.add_permits(self.wish.saturating_sub(*total));
        *total = self.wish;
    }
}

impl Link {
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Its transaction is over: the next may use it.
    pub(super) fn give_back(self) {
        let Self { links, connection, counted, permits } = self;
        links.give_back(connection, counted);
        // The connection is there before somebody is let in to look for it.
        drop(permits);
    }

    /// Ends a transaction that only read.
    pub(crate) async fn done(mut self) {
        if let Ok(Ok(_)) = within(raw_sql("COMMIT").execute(&mut self.connection)).await {
            self.give_back();
        }
    }
}

impl Counted {
    fn new(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
