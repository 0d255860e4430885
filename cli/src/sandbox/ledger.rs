//! What the sandbox knows: generations, who asked for them, and whom it called back.

use super::clock;
use super::fault::{CallbackFault, SandboxFault, StatusFault};
use super::generation::SandboxGeneration;
use super::script::Script;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, VecDeque};
use uuid::Uuid;

/// So many generations, status calls and callbacks are kept, the last ones: a day's worth, in tens of MiB.
const KEPT: usize = 10_000;

#[derive(Default)]
pub(super) struct Ledger {
    known: HashMap<Uuid, GenerationRecord>,
    /// In the order in which they became known.
    order: VecDeque<Uuid>,
    /// What is set for every generation.
    pub(super) script: Script,
    total: u64,
    /// The id asked for, as it was written, and when.
    asked: VecDeque<(String, String)>,
    attempts: VecDeque<CallbackAttempt>,
}

/// A generation, and what was chosen for it.
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
    /// The status that was called back.
    pub(super) event: String,
    /// 1 to 5.
    pub(super) attempt: u32,
    pub(super) time: String,
    /// The answer's HTTP status, where one came.
    pub(super) status: Option<u16>,
    /// Why none came.
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
    /// Makes a generation known. What was known by its id is forgotten.
    pub(super) fn add(&mut self, id: Uuid, known: GenerationRecord) {
        if self.known.insert(id, known).is_none() {
            self.order.push_back(id);
        }
        if self.order.len() > KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    pub(super) fn known(&self, id: Uuid) -> Option<&GenerationRecord> {
        self.known.get(&id)
    }

    pub(super) fn change(&mut self, id: Uuid, change: impl FnOnce(SandboxGeneration) -> SandboxGeneration) {
        if let Some(known) = self.known.get_mut(&id)
            && !known.generation.is_final()
        {
            known.generation = change(known.generation.clone());
        }
    }

    pub(super) fn all(&self) -> Vec<GenerationRecord> {
        self.order.iter().filter_map(|id| self.known.get(id).cloned()).collect()
    }

    /// The generation's own faults, and then those that are set for all.
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
        let own = id.and_then(|id| self.known.get(&id)).map(|known| &known.sandbox.faults);
        own.into_iter().flatten().chain(&self.script.faults)
    }

    pub(super) fn asked_for(&mut self, id: &str) {
        self.total = self.total.saturating_add(1);
        push(&mut self.asked, (id.to_owned(), clock::now()));
    }

    pub(super) fn called_back(&mut self, attempt: CallbackAttempt) {
        push(&mut self.attempts, attempt);
    }

    pub(super) fn calls(&self) -> CallLog {
        let mut by_id = BTreeMap::<String, GenerationCalls>::new();
        for (id, time) in &self.asked {
            let calls = by_id.entry(id.clone()).or_default();
            calls.times.push(time.clone());
            calls.count = calls.times.len();
        }
        CallLog { status_calls: StatusCalls { total: self.total, by_id }, callbacks: self.attempts.clone() }
    }
}

fn push<T>(kept: &mut VecDeque<T>, new: T) {
    if kept.len() == KEPT {
        kept.pop_front();
    }
    kept.push_back(new);
}
