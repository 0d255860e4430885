//! Asking the provider: calls of one worker, and the rate that all workers of an Envoy share.

use super::Exchange;
use crate::confirm::cache::Denied;
use crate::confirm::{self, Outcome, Provider, budget};
use crate::policy::Question;
use proxy_wasm::hostcalls;
use proxy_wasm::traits::Context;
use proxy_wasm::types::{Bytes, Status};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Far more than the largest answer, a status with a prompt of 4,000 characters.
pub(super) const MOST_ANSWER_BYTES: usize = 262_144;
/// Calls in flight of one worker: more than a provider that answers in 100 ms is asked in a minute. Each holds its body and,
/// of it, the event: 2 MB at the largest `max_body_bytes`, 32 MB in all, and 2 MB at the default.
const MOST_IN_FLIGHT: usize = 16;
/// Another worker takes a call between reading and writing seldom, and never so often in a row.
const TRIES: usize = 8;

/// What the calls of one worker share.
pub(super) struct Calls {
    in_flight: Rc<Cell<usize>>,
    denied: RefCell<Denied>,
    /// When the times in `denied` begin.
    started: Instant,
}

/// A delivery that waits for the provider, or has waited.
pub(super) struct Asked {
    question: Question,
    body: Bytes,
    /// Given back when this is dropped: a client that leaves takes its exchange with it, and no answer comes.
    slot: Option<Slot>,
}

struct Slot(Rc<Cell<usize>>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

impl Calls {
    pub(super) fn new() -> Self {
        Self { in_flight: Rc::default(), denied: RefCell::default(), started: Instant::now() }
    }

    fn slot(&self) -> Option<Slot> {
        let in_flight = self.in_flight.get();
        (in_flight < MOST_IN_FLIGHT).then(|| {
            self.in_flight.set(in_flight.saturating_add(1));
            Slot(Rc::clone(&self.in_flight))
        })
    }
}

impl Asked {
    pub(super) fn new(question: Question, body: Bytes) -> Self {
        Self { question, body, slot: None }
    }

    pub(super) fn comes_back(&self) -> bool {
        self.question.comes_back()
    }

    pub(super) fn into_parts(self) -> (Question, Bytes) {
        (self.question, self.body)
    }

    /// Starts the call, or says why there is none.
    pub(super) fn start(&mut self, calls: &Calls, host: &Exchange) -> Result<(), Outcome> {
        self.slot = Some(self.dispatch(calls, host)?);
        Ok(())
    }

    fn dispatch(&self, calls: &Calls, host: &Exchange) -> Result<Slot, Outcome> {
        let hook = Arc::clone(self.question.hook());
        let (Some(provider), Some(event)) = (&hook.confirm, self.question.event()) else {
            return Err(Outcome::NotStarted);
        };
        if calls.denied.borrow().contains(event, calls.started.elapsed()) {
            return Err(Outcome::Remembered);
        }
        let slot = calls.slot().ok_or(Outcome::InFlight)?;
        let most = match self.question.is_a_flawed_strangers() {
            // The other half is left to those that may be genuine.
            true => provider.per_minute.div_ceil(2),
            false => provider.per_minute,
        };
        take_from_budget(provider, most)?;
        let path = hook.dialect.status_path(event.generation_id);
        // The cluster adds the key: this module never sees it.
        let headers = vec![
            (":method", "GET"),
            (":path", path.as_str()),
            (":authority", provider.authority.as_str()),
            ("accept", "application/json"),
        ];
        host.dispatch_http_call(&provider.cluster, headers, None, vec![], provider.timeout)
            .map(|_call| slot)
            .map_err(|_| Outcome::NotStarted)
    }

    /// Reads the provider's answer, and remembers a negative one for a while.
    pub(super) fn read(&self, calls: &Calls, status: &[u8], body: &[u8]) -> Outcome {
        let Some(event) = self.question.event() else {
            return Outcome::NotStarted;
        };
        let outcome = confirm::read(self.question.hook().dialect, event, status, body);
        match outcome {
            Outcome::Unknown => calls.denied.borrow_mut().add_generation(event, calls.started.elapsed()),
            Outcome::Contradicted => calls.denied.borrow_mut().add_claim(event, calls.started.elapsed()),
            _ => {}
        }
        outcome
    }
}

/// Makes the workers' list of recent calls, where there is none. Envoy's main thread configures before the workers do:
/// later, to compare with a key that is not there would succeed for every worker at once.
pub(super) fn open_budget(provider: &Provider) {
    let key = budget_key(provider);
    if !matches!(hostcalls::get_shared_data(&key), Ok((_, Some(_)))) {
        let _ = hostcalls::set_shared_data(&key, Some(&[]), None);
    }
}

/// By the provider's cluster: one API key is behind it.
fn budget_key(provider: &Provider) -> String {
    format!("blobgate.confirm.{}", provider.cluster)
}

fn take_from_budget(provider: &Provider, most: usize) -> Result<(), Outcome> {
    let key = budget_key(provider);
    for _ in 0..TRIES {
        let (shared, version) = match hostcalls::get_shared_data(&key) {
            Ok((shared, version)) => (shared.unwrap_or_default(), version),
            Err(_) => return Err(Outcome::NotStarted),
        };
        let now = hostcalls::get_current_time().unwrap_or(UNIX_EPOCH);
        let now = SystemTime::duration_since(&now, UNIX_EPOCH).map_or(0, |time| time.as_millis());
        let now = u64::try_from(now).unwrap_or_default();
        let next = budget::take(&shared, now, most).ok_or(Outcome::Budget)?;
        match hostcalls::set_shared_data(&key, Some(&next), version) {
            Ok(()) => return Ok(()),
            Err(Status::CasMismatch) => {}
            Err(_) => return Err(Outcome::NotStarted),
        }
    }
    Err(Outcome::Budget)
}
