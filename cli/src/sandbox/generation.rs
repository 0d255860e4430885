//! A generation, as the status and the webhook show it.

use super::clock;
use super::fault::StatusLie;
use super::script::{GenerationOutcome, TIMEOUT};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

/// Fields and their order are those of the provider's pages on the status and on webhooks, which are the same.
#[derive(Clone, Debug, Serialize)]
pub(super) struct SandboxGeneration {
    pub(super) generation_id: String,
    pub(super) status: GenerationStatus,
    pub(super) prompt: String,
    pub(super) video_url: Option<String>,
    pub(super) created_at: String,
    pub(super) completed_at: Option<String>,
    pub(super) seed: u64,
    pub(super) error: Option<GenerationError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum GenerationStatus {
    Pending,
    Processing,
    Completed,
    Failed,
}

/// Why a generation failed: the code is the message, and the details are empty wherever the provider shows them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GenerationError {
    pub(super) message: String,
    #[serde(default)]
    pub(super) details: Map<String, Value>,
}

impl SandboxGeneration {
    pub(super) fn new(id: Uuid, prompt: String, seed: u64) -> Self {
        Self {
            generation_id: id.to_string(),
            status: GenerationStatus::Pending,
            prompt,
            video_url: None,
            created_at: clock::now(),
            completed_at: None,
            seed,
            error: None,
        }
    }

    pub(super) fn is_final(&self) -> bool {
        matches!(self.status, GenerationStatus::Completed | GenerationStatus::Failed)
    }

    /// The same at its end.
    pub(super) fn ended(self, outcome: &GenerationOutcome) -> Self {
        let ended = Self { completed_at: Some(clock::now()), ..self };
        match outcome {
            GenerationOutcome::Completed => ended.completed(),
            GenerationOutcome::Timeout => ended.failed(TIMEOUT),
            GenerationOutcome::Failed(code) => ended.failed(code),
        }
    }

    /// The same with the opposite end.
    pub(super) fn contradicted(self) -> Self {
        let time = self.completed_at.clone().unwrap_or_else(clock::now);
        let ended = Self { completed_at: Some(time), ..self };
        if ended.status == GenerationStatus::Completed {
            ended.failed("TASK_FAILED")
        } else {
            ended.completed()
        }
    }

    pub(super) fn still_processing(self) -> Self {
        Self {
            status: GenerationStatus::Processing,
            video_url: None,
            completed_at: None,
            error: None,
            ..self
        }
    }

    /// The same, but for one thing that is not so.
    pub(super) fn told_as(self, lie: StatusLie) -> Self {
        match lie {
            StatusLie::Status => self.contradicted(),
            StatusLie::Url => Self { video_url: Some(video_url("another")), ..self },
            StatusLie::Code => {
                let is_timeout = self.code() == Some(TIMEOUT);
                self.with_code(if is_timeout { "GOOGLE_DECLINED" } else { TIMEOUT })
            }
            StatusLie::Id => Self { generation_id: Uuid::new_v4().to_string(), ..self },
        }
    }

    /// The status in a word, or why it failed.
    pub(super) fn word(&self) -> &str {
        match self.status {
            GenerationStatus::Pending => "pending",
            GenerationStatus::Processing => "processing",
            GenerationStatus::Completed => "completed",
            GenerationStatus::Failed => self.code().unwrap_or("failed"),
        }
    }

    fn code(&self) -> Option<&str> {
        self.error.as_ref().map(|error| error.message.as_str())
    }

    fn completed(self) -> Self {
        let url = video_url(&self.generation_id);
        Self { status: GenerationStatus::Completed, video_url: Some(url), error: None, ..self }
    }

    fn failed(self, code: &str) -> Self {
        Self { status: GenerationStatus::Failed, video_url: None, ..self }.with_code(code)
    }

    fn with_code(self, code: &str) -> Self {
        Self { error: Some(GenerationError { message: code.to_owned(), details: Map::new() }), ..self }
    }
}

/// Where the provider's samples have their videos. There is none.
fn video_url(name: &str) -> String {
    format!("https://cdn.runblob.io/videos/{name}.mp4")
}
