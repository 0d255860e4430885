//! The demo's report, as a table or as JSON.

mod json;
mod table;

use super::delivery::DemoHook;
use super::gate::GateClient;
use super::outcome::RowOutcome;
use super::service::DemoService;
use reqwest::Url;

pub(super) struct Report<'a> {
    pub(super) gate: &'a GateClient,
    pub(super) sandbox: &'a Url,
    /// The inbox's URL, or its absence in words.
    pub(super) inbox: &'a str,
    pub(super) path: DeliveryPath,
    pub(super) services: &'a [DemoService],
    pub(super) outcomes: Vec<RowOutcome>,
}

/// The path of the deliveries from the gate to the services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeliveryPath {
    Inbox,
    GateAlone,
    /// The path changed during the demo.
    Mixed,
}

impl Report<'_> {
    pub(super) fn is_as_expected(&self) -> bool {
        self.outcomes.iter().all(|outcome| outcome.faults.is_empty())
    }

    /// The path of a row's hook.
    fn hook(&self, outcome: &RowOutcome) -> &str {
        match outcome.row.delivery.hook {
            DemoHook::Open => self.gate.hooks.open.path(),
            DemoHook::Authenticating(_) => self.gate.hooks.authenticating.path(),
        }
    }
}

impl DeliveryPath {
    pub(super) fn of(outcomes: &[RowOutcome]) -> Self {
        let by_inbox = outcomes.iter().any(|outcome| outcome.by_inbox);
        let by_gate = outcomes.iter().any(|outcome| outcome.by_gate);
        match (by_inbox, by_gate) {
            (true, false) => Self::Inbox,
            (false, _) => Self::GateAlone,
            (true, true) => Self::Mixed,
        }
    }

    /// Its name in JSON.
    fn name(self) -> &'static str {
        match self {
            Self::Inbox => "inbox",
            Self::GateAlone => "alone",
            Self::Mixed => "mixed",
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::Inbox => "stores and delivers",
            Self::GateAlone => "not in the path; the gate delivers",
            Self::Mixed => "in the path of some deliveries; the path changed during the demo",
        }
    }
}
