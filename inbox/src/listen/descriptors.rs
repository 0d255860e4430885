//! File descriptors: their limit, their shares, and the reserve for health checks.

use super::ListenerName;
use crate::health::{Fault, Faults};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The most connections of gates: four gates with 1,024 each, the `max_connections` of the cluster in `envoy.yaml`.
const MAX_RECEIVE: usize = 4_096;
/// The most connections of operators and probes, and of scrapers of the admin listener.
const MAX_ADMIN: usize = 256;
/// The most connections of scrapers of the metrics listener, which has no token.
const MAX_METRICS: usize = 32;
/// The most connections of Envoys for their access log: each has one for each of its workers.
const MAX_ACCESS_LOG: usize = 256;
/// Descriptors that the inbox needs itself: for its store, its attempts and the runtime.
const OWN: usize = 64;
/// The fewest connections of a listener, however low the limit is.
const MIN_CONNECTIONS: usize = 8;
/// Connections for health checks while no other descriptor is free.
const RESERVE: usize = 4;
/// Fewer free descriptors than this count as none: the number is above the reserve, which varies.
const MIN_FREE: usize = 2 * RESERVE;
/// The time between counts of the free descriptors.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// The fault ends after this time with free descriptors, so that it does not flap between two connections.
const CLEAR_AFTER: Duration = Duration::from_secs(5);

/// The process's descriptors.
pub(crate) struct Descriptors {
    limit: Option<u64>,
    faults: Arc<Faults>,
    reserve: Arc<Mutex<Vec<File>>>,
    /// The last time at which no descriptor was free.
    last: Mutex<Option<Instant>>,
}

/// Raises the soft limit of descriptors to the hard one. The usual 1,024 exists for `select`, which nothing here calls.
/// Returns the limit, if there is one.
pub(crate) fn raise_limit() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!("cannot raise the limit of file descriptors: {error}");
            current
        }
    }
}

impl Descriptors {
    pub(crate) fn new(limit: Option<u64>, faults: Arc<Faults>) -> Self {
        let reserve = (0..RESERVE).map_while(|_| spare().ok()).collect();
        Self { limit, faults, reserve: Arc::new(Mutex::new(reserve)), last: Mutex::default() }
    }

    /// The most connections of a listener. Of the descriptors that the inbox does not need itself, gates get half, operators an
    /// eighth, scrapers and access logs a sixteenth each, and attempts the rest.
    pub(super) fn max_connections(&self, name: ListenerName) -> usize {
        let all = self.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        let rest = all.saturating_sub(OWN);
        match name {
            ListenerName::Receive => (rest / 2).clamp(MIN_CONNECTIONS, MAX_RECEIVE),
            ListenerName::Admin => (rest / 8).clamp(MIN_CONNECTIONS, MAX_ADMIN),
            ListenerName::Metrics => (rest / 16).clamp(MIN_CONNECTIONS, MAX_METRICS),
            ListenerName::AccessLog => (rest / 16).clamp(MIN_CONNECTIONS, MAX_ACCESS_LOG),
        }
    }

    /// Whether an error means that the process or the machine has no free descriptor.
    pub(super) fn are_exhausted(error: &io::Error) -> bool {
        use rustix::io::Errno;
        let code = error.raw_os_error();
        [Errno::MFILE, Errno::NFILE].into_iter().any(|errno| code == Some(errno.raw_os_error()))
    }

    /// Raises the fault: no descriptor is free.
    pub(super) fn exhausted(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        let limit = self.limit.map_or_else(|| "no limit".to_owned(), |limit| format!("limit {limit}"));
        self.faults.raise(
            Fault::DescriptorsExhausted,
            format!(
                "no file descriptor is free ({limit}): raise the hard limit, by LimitNOFILE= or ulimit -Hn"
            ),
        );
    }

    /// Counts the free descriptors each second, and never returns.
    pub(crate) async fn watch(&self) {
        loop {
            let free: io::Result<Vec<_>> = (0..MIN_FREE).map(|_| spare()).collect();
            match free {
                Ok(_) => {
                    self.refill();
                    let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
                    if last.is_some_and(|last| last.elapsed() >= CLEAR_AFTER) {
                        self.faults.clear(Fault::DescriptorsExhausted);
                    }
                }
                Err(error) if Self::are_exhausted(&error) => self.exhausted(),
                Err(_) => {}
            }
            tokio::time::sleep(COUNT_EVERY).await;
        }
    }

    /// Another task may have taken a descriptor of the reserve.
    fn refill(&self) {
        let mut reserve = self.reserve.lock().unwrap_or_else(PoisonError::into_inner);
        while reserve.len() < RESERVE {
            let Ok(file) = spare() else { return };
            reserve.push(file);
        }
    }

    /// A descriptor of the reserve.
    pub(super) fn reserve(&self) -> Option<Reserve> {
        let file = self.reserve.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        Some(Reserve { file: Mutex::new(Some(file)), home: Arc::clone(&self.reserve) })
    }
}

/// A descriptor that stays open until a connection needs it. Dropped, it opens again.
pub(super) struct Reserve {
    file: Mutex<Option<File>>,
    home: Arc<Mutex<Vec<File>>>,
}

impl Reserve {
    /// Frees the descriptor for the next connection.
    pub(super) fn free(&self) {
        drop(self.file.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        let mut home = self.home.lock().unwrap_or_else(PoisonError::into_inner);
        if home.len() < RESERVE
            && let Ok(file) = spare()
        {
            home.push(file);
        }
    }
}

fn spare() -> io::Result<File> {
    File::open("/dev/null")
}
