//! Announces ordered generations to the inbox.

use super::delivery::DemoDelivery;
use super::inbox::DemoInbox;
use anyhow::Result;
use blobgate_inbox::service::{ExpectAnswer, ExpectRequest, ExpectationState, ExpectationStatus};
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The `answer` of an expectation during a call to the provider.
const UNDER_WAY: &str = "under way";

impl DemoInbox {
    /// Announces a generation with its job. A repeated call returns the expectation's current status.
    pub(super) async fn expect(&self, delivery: &DemoDelivery) -> Result<ExpectationStatus> {
        let (hook, generation_id) = (self.hook.clone(), delivery.id.to_string());
        let request = ExpectRequest { hook, generation_id, job: delivery.job.clone() };
        let answer: ExpectAnswer = self.post("/expect", &request).await?;
        Ok(answer.expectation)
    }
}

/// The time from an expectation to the next call to the provider, in whole seconds.
pub(super) fn reconcile_delay(expectation: &ExpectationStatus) -> Option<Duration> {
    let seconds = |text: &str| Some(OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp());
    let delay =
        seconds(expectation.next_call_at.as_deref()?)?.checked_sub(seconds(&expectation.expected_at)?)?;
    u64::try_from(delay).ok().map(Duration::from_secs)
}

pub(super) fn has_event(expectation: &ExpectationStatus) -> bool {
    matches!(expectation.state, ExpectationState::Arrived | ExpectationState::Reconciled)
}

/// The provider's last answer.
pub(super) fn answer(expectation: &ExpectationStatus) -> Option<&str> {
    expectation.answer.as_deref().filter(|answer| *answer != UNDER_WAY)
}
