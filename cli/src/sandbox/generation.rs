//! A generation, in the form of status and webhook.

use super::clock;
use super::fault::StatusLie;
use super::script::{GenerationOutcome, TIMEOUT};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

/// The fields in the order of the provider's pages on the status and on webhooks, which are equal.
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

/// The error of a failed generation. Its message is the code. All samples of the provider have empty details.
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

    /// The generation at its end.
    pub(super) fn ended(self, outcome: &GenerationOutcome) -> Self {
        let ended = Self { completed_at: Some(clock::now()), ..self };
        match outcome {
            GenerationOutcome::Completed => ended.completed(),
            GenerationOutcome::Timeout => ended.failed(TIMEOUT),
            GenerationOutcome::Failed(code) => ended.failed(code),
        }
    }

    /// The generation with the opposite outcome.
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

    /// The generation with one false field.
    pub(super) fn with_lie(self, lie: StatusLie) -> Self {
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

    /// The status, or the error code.
    pub(super) fn summary(&self) -> &str {
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

/// A URL in the form of the provider's samples, without a video.
fn video_url(name: &str) -> String {
    format!("https://cdn.runblob.io/videos/{name}.mp4")
}
