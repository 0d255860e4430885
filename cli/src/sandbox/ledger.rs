//! The memory of the sandbox: generations, status calls and callbacks.

use super::clock;
use super::fault::{CallbackFault, SandboxFault, StatusFault};
use super::generation::SandboxGeneration;
use super::script::Script;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, VecDeque};
use uuid::Uuid;

/// The limit of generations, of status calls and of callbacks: tens of MiB, enough for a day.
const MAX_RECORDS: usize = 10_000;

#[derive(Default)]
pub(super) struct Ledger {
    records: HashMap<Uuid, GenerationRecord>,
    /// The oldest first.
    order: VecDeque<Uuid>,
    /// Outcome and faults for all generations.
    pub(super) script: Script,
    total: u64,
    /// The id of each status call, unchanged, and its time.
    status_calls: VecDeque<(String, String)>,
    attempts: VecDeque<CallbackAttempt>,
}

/// A generation with its chosen outcome and faults.
#[derive(Clone, Serialize)]
pub(super) struct GenerationRecord {
    #[serde(flatten)]
    pub(super) generation: SandboxGeneration,
    pub(super) callback_url: Option<String>,
    pub(super) sandbox: Script,
}

/// One POST to a callback URL.
#[derive(Clone, Serialize)]
pub(super) struct CallbackAttempt {
    pub(super) generation_id: String,
    /// The status in the callback.
    pub(super) event: String,
    /// 1 to 5.
    pub(super) attempt: u32,
    pub(super) time: String,
    /// The HTTP status of the answer.
    pub(super) status: Option<u16>,
    /// The cause of a missing answer.
    pub(super) error: Option<String>,
}

/// `GET /sandbox/calls`.
#[derive(Serialize)]
pub(super) struct CallLog {
    status_calls: StatusCalls,
    callbacks: VecDeque<CallbackAttempt>,
}

#[derive(Serialize)]
struct StatusCalls {
    total: u64,
    by_id: BTreeMap<String, GenerationCalls>,
}

#[derive(Default, Serialize)]
struct GenerationCalls {
    count: usize,
    times: Vec<String>,
}

impl Ledger {
    /// Adds a generation, and replaces one with the same id.
    pub(super) fn add(&mut self, id: Uuid, record: GenerationRecord) {
        if self.records.insert(id, record).is_none() {
            self.order.push_back(id);
        }
        if self.order.len() > MAX_RECORDS
            && let Some(oldest) = self.order.pop_front()
        {
            self.records.remove(&oldest);
        }
    }

    pub(super) fn record(&self, id: Uuid) -> Option<&GenerationRecord> {
        self.records.get(&id)
    }

    pub(super) fn change(&mut self, id: Uuid, change: impl FnOnce(SandboxGeneration) -> SandboxGeneration) {
        if let Some(record) = self.records.get_mut(&id)
            && !record.generation.is_final()
        {
            record.generation = change(record.generation.clone());
        }
    }

    pub(super) fn all(&self) -> Vec<GenerationRecord> {
        self.order.iter().filter_map(|id| self.records.get(id).cloned()).collect()
    }

    /// The faults of the generation, then those for all.
    pub(super) fn status_faults(&self, id: Option<Uuid>) -> Vec<StatusFault> {
        self.faults(id)
            .filter_map(|fault| match fault {
                SandboxFault::OfStatus(fault) => Some(*fault),
                SandboxFault::OfCallback(_) => None,
            })
            .collect()
    }

    pub(super) fn callback_faults(&self, id: Uuid) -> Vec<CallbackFault> {
        self.faults(Some(id))
            .filter_map(|fault| match fault {
                SandboxFault::OfCallback(fault) => Some(*fault),
                SandboxFault::OfStatus(_) => None,
            })
            .collect()
    }

    fn faults(&self, id: Option<Uuid>) -> impl Iterator<Item = &SandboxFault> {
        let own = id.and_then(|id| self.records.get(&id)).map(|record| &record.sandbox.faults);
        own.into_iter().flatten().chain(&self.script.faults)
    }

    pub(super) fn count_status_call(&mut self, id: &str) {
        self.total = self.total.saturating_add(1);
        push(&mut self.status_calls, (id.to_owned(), clock::now()));
    }

    pub(super) fn add_callback(&mut self, attempt: CallbackAttempt) {
        push(&mut self.attempts, attempt);
    }

    pub(super) fn calls(&self) -> CallLog {
        let mut by_id = BTreeMap::<String, GenerationCalls>::new();
        for (id, time) in &self.status_calls {
            let calls = by_id.entry(id.clone()).or_default();
            calls.times.push(time.clone());
            calls.count = calls.times.len();
        }
        CallLog { status_calls: StatusCalls { total: self.total, by_id }, callbacks: self.attempts.clone() }
    }
}

fn push<T>(records: &mut VecDeque<T>, new: T) {
    if records.len() == MAX_RECORDS {
        records.pop_front();
    }
    records.push_back(new);
}
