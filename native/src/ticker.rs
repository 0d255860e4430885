//! The clock of the log's summary. Envoy has no timer for an HTTP filter.

use crate::abi::{self, LogLevel};
use blobgate::exchange::{Gate, LogHost, locked};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// A thread that runs only while the log has omitted lines. It ends before this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Ticker {
    shared: Arc<TickerState>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct TickerState {
    schedule: Mutex<Schedule>,
    changed: Condvar,
}

/// What the thread does next.
#[derive(Debug, Default)]
struct Schedule {
    period: Duration,
    /// Counts the starts, so that a tick that ends itself does not end a later start.
    starts: u64,
    is_running: bool,
    is_over: bool,
}

/// The host of the log, on the thread of the ticker and on a worker.
pub(crate) struct TickHost {
    ends: bool,
}

impl Ticker {
    /// Runs the gate's tick in this period, until the tick ends it.
    pub(crate) fn start(&self, gate: &Arc<Gate>, period: Duration) {
        let mut thread = locked(&self.thread);
        {
            let mut schedule = locked(&self.shared.schedule);
            schedule.period = period;
            schedule.starts = schedule.starts.wrapping_add(1);
            if schedule.is_running || schedule.is_over {
                return;
            }
            schedule.is_running = true;
        }
        // It has nothing left to do.
        if let Some(ended) = thread.take() {
            let _ = ended.join();
        }
        let (gate, shared) = (Arc::clone(gate), Arc::clone(&self.shared));
        match Builder::new().name("gate-log".to_owned()).spawn(move || shared.run(&gate)) {
            Ok(handle) => *thread = Some(handle),
            // The next line of the same kind then reports the omitted lines.
            Err(_) => locked(&self.shared.schedule).is_running = false,
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        locked(&self.shared.schedule).is_over = true;
        self.shared.changed.notify_all();
        if let Some(thread) = locked(&self.thread).take() {
            let _ = thread.join();
        }
    }
}

impl TickerState {
    fn run(&self, gate: &Gate) {
        let mut schedule = locked(&self.schedule);
        loop {
            let next = uptime().saturating_add(schedule.period);
            while !schedule.is_over {
                let wait = next.saturating_sub(uptime());
                if wait.is_zero() {
                    break;
                }
                let waited = self.changed.wait_timeout(schedule, wait);
                schedule = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            if schedule.is_over {
                return;
            }
            let starts = schedule.starts;
            drop(schedule);
            let mut host = TickHost { ends: false };
            // The hook of panics has logged it. Later ticks follow.
            let _ = catch_unwind(AssertUnwindSafe(|| gate.on_tick(&mut host)));
            schedule = locked(&self.schedule);
            if host.ends && schedule.starts == starts {
                schedule.is_running = false;
                return;
            }
        }
    }
}

impl LogHost for TickHost {
    fn log(&mut self, line: &str) {
        abi::log(LogLevel::Warning, line);
    }

    fn set_tick_period(&mut self, period: Duration) {
        self.ends = period.is_zero();
    }

    fn uptime(&mut self) -> Duration {
        uptime()
    }
}

/// The time since the first call in this process.
pub(crate) fn uptime() -> Duration {
    static STARTED: OnceLock<Instant> = OnceLock::new();
    STARTED.get_or_init(Instant::now).elapsed()
}
