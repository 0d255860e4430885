//! What the application says to the inbox after it has ordered a generation.

use super::delivery::Delivery;
use super::inbox::Inbox;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// An expectation, as the inbox shows it.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Expectation {
    pub(super) job: Option<String>,
    pub(super) state: String,
    #[serde(skip_serializing)]
    expected_at: String,
    /// When the provider is asked next.
    #[serde(skip_serializing)]
    ask_at: Option<String>,
    /// How often it was asked, and what it said last.
    #[serde(skip_serializing)]
    asked: i64,
    #[serde(skip_serializing)]
    answer: Option<String>,
}

/// The answer while the provider is asked.
const UNDER_WAY: &str = "under way";

impl Inbox {
    /// Says of which job a generation is, and that its event is to come. Twice is once, and tells how it stands.
    pub(super) async fn expect(&self, delivery: &Delivery) -> Result<Expectation> {
        let what = json!({"hook": self.hook, "generation_id": delivery.id.to_string(), "job": delivery.job});
        self.post("/expect", &what, "take what is expected").await
    }
}

impl Expectation {
    /// How long after it was said the provider is asked for the first time, in whole seconds.
    pub(super) fn asked_after(&self) -> Option<Duration> {
        let seconds = |text: &str| Some(OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp());
        let after = seconds(self.ask_at.as_deref()?)?.checked_sub(seconds(&self.expected_at)?)?;
        u64::try_from(after).ok().map(Duration::from_secs)
    }

    /// Whether an event is there.
    pub(super) fn has_come(&self) -> bool {
        matches!(self.state.as_str(), "arrived" | "reconciled")
    }

    pub(super) fn was_asked(&self) -> bool {
        self.asked > 0
    }

    /// What the provider has said, once it has.
    pub(super) fn answer(&self) -> Option<&str> {
        self.answer.as_deref().filter(|answer| *answer != UNDER_WAY)
    }
}
