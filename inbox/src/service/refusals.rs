//! Lists the refusals of the gates, as Envoy's access log reports them.

mod envoy_details;

use super::error::BadRequest;
use super::filter::{once, read_hook};
use super::{Operations, time};
use crate::refusal_rings::{RefusalKey, RefusalRecord, RefusalRing};
use blobgate::Reason;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Selects groups of refusals.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalRequest {
    /// Only refusals at this hook.
    pub hook: Option<String>,
    /// Only refusals for this reason.
    pub reason: Option<String>,
}

/// The refusals that this inbox has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalPage {
    /// Whether the inbox has a listener for Envoy's access log (`--access-log`). Without one it sees no refusal.
    pub receives: bool,
    /// The start of this inbox, which remembers them in memory.
    pub since: String,
    /// The groups, the one with the newest refusal first.
    pub groups: Vec<RefusalGroup>,
    /// Refusals that no group counts, because groups of newer refusals needed the space.
    pub dropped: u64,
}

/// The refusals at one hook for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalGroup {
    /// The hook; absent where Envoy refused before the gate knew it.
    pub hook: Option<String>,
    /// The reason code of the gate, or Envoy's response code details.
    pub reason: String,
    /// The reason in a sentence; absent for an unknown one.
    pub meaning: Option<String>,
    /// What to do; absent for an unknown reason.
    pub remedy: Option<String>,
    /// All refusals of the group.
    pub count: u64,
    /// The first 100, the oldest first.
    pub first: Vec<GateRefusal>,
    /// The last 100 of the others, the oldest first.
    pub last: Vec<GateRefusal>,
}

/// One refused request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateRefusal {
    /// The time of the request, by Envoy's clock.
    pub at: String,
    /// The status of the answer.
    pub status: u16,
    /// The client's address, without its port.
    pub client: Option<String>,
    /// The method.
    pub method: Option<String>,
    /// The field of the violation, and the expectation.
    pub detail: Option<String>,
    /// The request id.
    pub request_id: Option<String>,
    /// The generation, if the gate knew it.
    pub generation: Option<String>,
    /// The job, if the token has one.
    pub job: Option<String>,
    /// Envoy's node id.
    pub gate: Option<String>,
}

impl RefusalRequest {
    /// Reads the pairs of a query.
    ///
    /// # Errors
    /// [`BadRequest`] for an unknown name, a wrong value, or a second value.
    pub(crate) fn read(pairs: &[(String, String)]) -> Result<Self, BadRequest> {
        let mut request = Self::default();
        for (name, value) in pairs {
            match name.as_str() {
                "hook" => once("hook", &mut request.hook, read_hook(value)?)?,
                "reason" => once("reason", &mut request.reason, value.to_owned())?,
                _ => return Err(BadRequest::NoSuchRefusalFilter(name.to_owned())),
            }
        }
        Ok(request)
    }

    /// The pairs of a query.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let pairs = [("hook", &self.hook), ("reason", &self.reason)];
        pairs.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect()
    }
}

impl Operations {
    /// Lists refusals.
    pub(crate) fn refusals(&self, request: &RefusalRequest) -> RefusalPage {
        let selects = |key: &RefusalKey| {
            let is_hook = request.hook.as_deref().is_none_or(|hook| key.hook.as_deref() == Some(hook));
            is_hook && request.reason.as_deref().is_none_or(|reason| *key.reason == *reason)
        };
        let (rings, dropped) = self.shared.gate_refusals.read(selects);
        RefusalPage {
            receives: self.receives_refusals,
            since: time(self.shared.metrics.traffic.read().since),
            groups: rings.into_iter().map(RefusalGroup::from).collect(),
            dropped,
        }
    }
}

impl From<RefusalRing> for RefusalGroup {
    fn from(ring: RefusalRing) -> Self {
        let records =
            |records: &[Arc<RefusalRecord>]| records.iter().map(|it| GateRefusal::from(&**it)).collect();
        let (meaning, remedy) = words(&ring.key.reason).unzip();
        Self {
            hook: ring.key.hook.map(String::from),
            meaning,
            remedy,
            reason: ring.key.reason.into(),
            count: ring.count,
            first: records(&ring.first),
            last: records(&ring.last),
        }
    }
}

impl From<&RefusalRecord> for GateRefusal {
    fn from(record: &RefusalRecord) -> Self {
        let text = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
        Self {
            at: time(record.at),
            status: record.status,
            client: record.client.map(|client| client.to_string()),
            method: record.method.map(str::to_owned),
            detail: text(&record.detail),
            request_id: text(&record.request_id),
            generation: text(&record.generation),
            job: text(&record.job),
            gate: record.gate.as_deref().map(str::to_owned),
        }
    }
}

/// The meaning and the remedy of a reason.
fn words(reason: &str) -> Option<(String, String)> {
    if let Some(reason) = Reason::parse(reason) {
        return Some((reason.meaning(), reason.remedy_of_refusal()));
    }
    envoy_details::find(reason).map(|(meaning, remedy)| (meaning.to_owned(), remedy.to_owned()))
}
