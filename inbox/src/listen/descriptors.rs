//! File descriptors: how many there are, who gets how many, and what happens without one.

use super::ListenerName;
use crate::health::{Fault, Faults};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// So many connections of gates at most: four gates with 1,024 each, Envoy's `max_connections` of the shipped cluster.
const MAX_RECEIVE: usize = 4_096;
/// And of operators, probes and scrapers.
const MAX_ADMIN: usize = 256;
/// What the inbox needs beside connections that come in: its store, its deliveries, the runtime's own.
const OWN: usize = 64;
/// Fewer connections would be no use.
const FEWEST: usize = 8;
/// So many connections can ask for health where no descriptor is left.
const RESERVE: usize = 4;
/// With fewer free descriptors than this none is left: more than the reserve, which comes and goes.
const FREE: usize = 2 * RESERVE;
/// How often that is tried.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Some are left for good after so long, and not only between two connections.
const OVER_AFTER: Duration = Duration::from_secs(5);

/// The process's descriptors.
pub(crate) struct Descriptors {
    limit: Option<u64>,
    faults: Arc<Faults>,
    reserve: Arc<Mutex<Vec<File>>>,
    /// When none was left.
    last: Mutex<Option<Instant>>,
}

/// Raises the soft limit of descriptors to the hard one: the usual 1,024 is made for `select`, which nothing here calls.
/// Returns the limit, or nothing without one.
pub(crate) fn raise_limit() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!("the limit of file descriptors cannot be raised: {error}");
            current
        }
    }
}

impl Descriptors {
    pub(crate) fn new(limit: Option<u64>, faults: Arc<Faults>) -> Self {
        let reserve = (0..RESERVE).map_while(|_| spare().ok()).collect();
        Self { limit, faults, reserve: Arc::new(Mutex::new(reserve)), last: Mutex::default() }
    }

    /// So many connections a listener may have: of what the inbox does not need itself, gates get half, operators an eighth,
    /// and deliveries the rest.
    pub(super) fn connections(&self, name: ListenerName) -> usize {
        let all = self.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        let rest = all.saturating_sub(OWN);
        match name {
            ListenerName::Receive => (rest / 2).clamp(FEWEST, MAX_RECEIVE),
            ListenerName::Admin => (rest / 8).clamp(FEWEST, MAX_ADMIN),
        }
    }

    /// Whether an error is that none is left, of the process's or of the machine's.
    pub(super) fn are_exhausted(error: &io::Error) -> bool {
        use rustix::io::Errno;
        let code = error.raw_os_error();
        [Errno::MFILE, Errno::NFILE].into_iter().any(|errno| code == Some(errno.raw_os_error()))
    }

    /// None is left.
    pub(super) fn exhausted(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        let limit = self.limit.map_or_else(|| "no limit".to_owned(), |limit| format!("limit {limit}"));
        self.faults.raise(
            Fault::DescriptorsExhausted,
            format!(
                "no file descriptor is left ({limit}): raise the hard limit, by LimitNOFILE= or ulimit -Hn"
            ),
        );
    }

    /// Looks each second whether some are left, for ever.
    pub(crate) async fn watch(&self) {
        loop {
            let free: io::Result<Vec<_>> = (0..FREE).map(|_| spare()).collect();
            match free {
                Ok(_) => {
                    self.refill();
                    let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
                    if last.is_some_and(|last| last.elapsed() >= OVER_AFTER) {
                        self.faults.clear(Fault::DescriptorsExhausted);
                    }
                }
                Err(error) if Self::are_exhausted(&error) => self.exhausted(),
                Err(_) => {}
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Another task may have taken a descriptor that was freed for health.
    fn refill(&self) {
        let mut reserve = self.reserve.lock().unwrap_or_else(PoisonError::into_inner);
        while reserve.len() < RESERVE {
            let Ok(file) = spare() else { return };
            reserve.push(file);
        }
    }

    /// One of the reserve.
    pub(super) fn reserve(&self) -> Option<Reserve> {
        let file = self.reserve.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        Some(Reserve { held: Mutex::new(Some(file)), home: Arc::clone(&self.reserve) })
    }
}

/// A descriptor that is held so that it can be freed. Dropped, it is held again.
pub(super) struct Reserve {
    held: Mutex<Option<File>>,
    home: Arc<Mutex<Vec<File>>>,
}

impl Reserve {
    /// Frees it, for the next that needs one.
    pub(super) fn free(&self) {
        drop(self.held.lock().unwrap_or_else(PoisonError::into_inner).take());
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
