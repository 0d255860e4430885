//! Calls to the provider's status API, within their limits: in flight, a minute, and none for a recent denial.

use super::budget;
use super::cache::DenialCache;
use super::host::{CallError, Host};
use super::locked;
use crate::confirm::{Outcome, Provider};
use crate::event::Event;
use crate::policy::ConfirmationRequest;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The largest status has a prompt of 4,000 characters, at most 48 KB as JSON.
pub const MAX_RESPONSE_BYTES: usize = 262_144;
/// Calls in flight on a worker. A provider that responds in 100 ms serves 160 calls a second with these. Each call keeps its
/// delivery's body and event in memory: 16 take 32 MB at the largest `max_body_bytes`, and 2 MB at the default.
const MAX_IN_FLIGHT: usize = 16;
/// Tries to write the budget. A try fails only if another worker writes between this worker's read and write.
const MAX_TRIES: usize = 8;

/// The state that the calls of all exchanges share.
#[derive(Debug, Default)]
pub(super) struct Calls {
    in_flight: Arc<AtomicUsize>,
    denied: Mutex<DenialCache>,
}

/// A delivery that waits for the status API.
#[derive(Debug)]
pub(super) struct PendingConfirmation {
    pub(super) request: ConfirmationRequest,
    pub(super) body: Vec<u8>,
    pub(super) slot: CallSlot,
}

/// A slot for one call in flight. Drop frees it, also where the client leaves and no result comes.
#[derive(Debug)]
pub(super) struct CallSlot(Arc<AtomicUsize>);

impl Drop for CallSlot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Calls {
    /// Starts the call of a request.
    ///
    /// # Errors
    /// The outcome, where no call starts.
    pub(super) fn start(
        &self,
        host: &mut impl Host,
        request: &ConfirmationRequest,
    ) -> Result<CallSlot, Outcome> {
        let hook = request.hook();
        // A configuration whose rule names `confirmed` always has a provider.
        let provider = hook.confirm.as_deref().ok_or(Outcome::NotStarted)?;
        let now = host.uptime();
        if locked(&self.denied).contains(request.event(), now) {
            return Err(Outcome::Remembered);
        }
        let slot = self.slot().ok_or(Outcome::InFlight)?;
        take_from_budget(host, provider, allowed(provider, request))?;
        let path = hook.dialect.status_path(request.event().generation_id);
        // The cluster adds the API key. The gate never has it.
        let headers = [
            (":method", "GET"),
            (":path", path.as_str()),
            (":authority", provider.authority.as_str()),
            ("accept", "application/json"),
        ];
        match host.call_provider(&provider.cluster, &headers, provider.timeout) {
            Ok(()) => Ok(slot),
            Err(CallError) => Err(Outcome::NotStarted),
        }
    }

    /// Stores a denial.
    pub(super) fn remember(&self, event: &Event, outcome: Outcome, now: Duration) {
        match outcome {
            Outcome::Unknown => locked(&self.denied).add_generation(event, now),
            Outcome::Contradicted => locked(&self.denied).add_claim(event, now),
            _ => {}
        }
    }

    fn slot(&self) -> Option<CallSlot> {
        let in_flight = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let slot = CallSlot(Arc::clone(&self.in_flight));
        (in_flight < MAX_IN_FLIGHT).then_some(slot)
    }
}

/// The key of the cell with a provider's recent calls. It names the cluster, because a cluster has one API key.
pub(super) fn budget_key(provider: &Provider) -> String {
    format!("blobgate.confirm.{}", provider.cluster)
}

/// The budget of this request. A request of low priority may use half of it, so that the other half remains for deliveries
/// that may be genuine.
fn allowed(provider: &Provider, request: &ConfirmationRequest) -> usize {
    if request.is_low_priority() { provider.per_minute.div_ceil(2) } else { provider.per_minute }
}

fn take_from_budget(host: &mut impl Host, provider: &Provider, allowed: usize) -> Result<(), Outcome> {
    let key = budget_key(provider);
    for _ in 0..MAX_TRIES {
        let cell = host.shared(&key);
        let now = u64::try_from(host.now().as_millis()).unwrap_or_default();
        let next = budget::take(&cell.value, now, allowed).ok_or(Outcome::Budget)?;
        if host.replace_shared(&key, &next, cell.version).is_ok() {
            return Ok(());
        }
    }
    Err(Outcome::Budget)
}
