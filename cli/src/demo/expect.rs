//! What the application says to the inbox after it has ordered a generation.

use super::delivery::Delivery;
use super::inbox::Inbox;
use anyhow::Result;
use blobgate_inbox::service::{ExpectAnswer, ExpectRequest, ExpectationState, ExpectationStatus};
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The answer during a call to the provider.
const UNDER_WAY: &str = "under way";

impl Inbox {
    /// Notes the job of a generation. A second time it returns how the expectation stands.
    pub(super) async fn expect(&self, delivery: &Delivery) -> Result<ExpectationStatus> {
        let (hook, generation_id) = (self.hook.clone(), delivery.id.to_string());
        let request = ExpectRequest { hook, generation_id, job: delivery.job.clone() };
        let answer: ExpectAnswer = self.post("/expect", &request, "take an expectation").await?;
        Ok(answer.expectation)
    }
}

/// The time from an expectation to the next call to the provider, in whole seconds.
pub(super) fn asked_after(expectation: &ExpectationStatus) -> Option<Duration> {
    let seconds = |text: &str| Some(OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp());
    let after = seconds(expectation.ask_at.as_deref()?)?.checked_sub(seconds(&expectation.expected_at)?)?;
    u64::try_from(after).ok().map(Duration::from_secs)
}

/// Whether its event is there.
pub(super) fn has_come(expectation: &ExpectationStatus) -> bool {
    matches!(expectation.state, ExpectationState::Arrived | ExpectationState::Reconciled)
}

/// The provider's answer, once there is one.
pub(super) fn answer(expectation: &ExpectationStatus) -> Option<&str> {
    expectation.answer.as_deref().filter(|answer| *answer != UNDER_WAY)
}
