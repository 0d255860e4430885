//! The life of a generation: order, processing, end and callback.

use super::callback::CallbackClient;
use super::clock::SandboxClock;
use super::fault::CallbackFault;
use super::generate::GenerationOrder;
use super::generation::{GenerationStatus, SandboxGeneration};
use super::key::ApiKey;
use super::ledger::{GenerationRecord, Ledger};
use super::report;
use super::script::GenerationOutcome;
use reqwest::Url;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use uuid::Uuid;

pub(super) struct Sandbox {
    pub(super) key: ApiKey,
    pub(super) clock: SandboxClock,
    pub(super) caller: CallbackClient,
    ledger: Mutex<Ledger>,
}

/// The share of its time that a generation is pending.
const PENDING_SHARE: f64 = 0.1;

impl Sandbox {
    pub(super) fn new(key: ApiKey, clock: SandboxClock, caller: CallbackClient) -> Self {
        Self { key, clock, caller, ledger: Mutex::default() }
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a generation in the background.
    pub(super) fn start(self: Arc<Self>, order: GenerationOrder) -> SandboxGeneration {
        let id = Uuid::new_v4();
        let generation = SandboxGeneration::new(id, order.prompt, order.seed.unwrap_or_else(random_seed));
        let outcome = {
            let mut ledger = self.ledger();
            let chosen = order.script.outcome.clone().or_else(|| ledger.script.outcome.clone());
            let (generation, callback_url) =
                (generation.clone(), order.callback_url.as_ref().map(Url::to_string));
            ledger.add(id, GenerationRecord { generation, callback_url, sandbox: order.script });
            chosen.unwrap_or(GenerationOutcome::Completed)
        };
        let (outcome, time) = match (outcome, self.clock.generation()) {
            (GenerationOutcome::Timeout, _) | (_, None) => {
                (GenerationOutcome::Timeout, self.clock.time_limit())
            }
            (outcome, Some(time)) => (outcome, time),
        };
        let to = order.callback_url.as_ref().and_then(Url::host_str).unwrap_or("no URL");
        report("generated", &id.to_string(), format_args!("pending, ends in {time:.1?}, callback to {to}"));
        tokio::spawn(self.run(id, outcome, time, order.callback_url));
        generation
    }

    async fn run(
        self: Arc<Self>,
        id: Uuid,
        outcome: GenerationOutcome,
        time: Duration,
        callback_url: Option<Url>,
    ) {
        let pending = time.mul_f64(PENDING_SHARE);
        tokio::time::sleep(pending).await;
        self.ledger().change(id, |generation| SandboxGeneration {
            status: GenerationStatus::Processing,
            ..generation
        });
        tokio::time::sleep(time.saturating_sub(pending)).await;
        self.ledger().change(id, |generation| generation.ended(&outcome));

        // After 10,000 later generations the record is gone.
        let Some(generation) = self.ledger().record(id).map(|record| record.generation.clone()) else {
            return;
        };
        let text = id.to_string();
        report("ended", &text, format_args!("{}", generation.summary()));
        let Some(url) = callback_url else { return };
        let faults = self.ledger().callback_faults(id);
        if faults.contains(&CallbackFault::Never) {
            return report("callback", &text, format_args!("never (chosen fault)"));
        }
        self.call_back(&url, &generation).await;
        if faults.contains(&CallbackFault::Twice) {
            self.call_back(&url, &generation).await;
        }
        if faults.contains(&CallbackFault::Contradict) {
            self.call_back(&url, &generation.contradicted()).await;
        }
    }
}

/// The documented range is 0 to 1,000,000,000.
fn random_seed() -> u64 {
    u64::try_from(Uuid::new_v4().as_u128() % 1_000_000_001).unwrap_or_default()
}
