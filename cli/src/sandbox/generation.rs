//! A generation, as the status and the webhook show it.

use super::clock;
use super::fault::Lie;
use super::script::{Outcome, TIMEOUT};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

/// Fields and their order are those of the provider's pages on the status and on webhooks, which are the same.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Generation {
    pub(super) generation_id: String,
    pub(super) status: Status,
    pub(super) prompt: String,
    pub(super) video_url: Option<String>,
    pub(super) created_at: String,
    pub(super) completed_at: Option<String>,
    pub(super) seed: u64,
    pub(super) error: Option<Failure>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Pending,
    Processing,
    Completed,
    Failed,
}

/// Why a generation failed: the code is the message, and the details are empty wherever the provider shows them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Failure {
    pub(super) message: String,
    #[serde(default)]
    pub(super) details: Map<String, Value>,
}

impl Generation {
    pub(super) fn new(id: Uuid, prompt: String, seed: u64) -> Self {
        Self {
            generation_id: id.to_string(),
            status: Status::Pending,
            prompt,
            video_url: None,
            created_at: clock::now(),
            completed_at: None,
            seed,
            error: None,
        }
    }

    pub(super) fn is_final(&self) -> bool {
        matches!(self.status, Status::Completed | Status::Failed)
    }

    /// The same at its end.
    pub(super) fn ended(self, outcome: &Outcome) -> Self {
        let ended = Self { completed_at: Some(clock::now()), ..self };
        match outcome {
            Outcome::Completed => ended.completed(),
            Outcome::Timeout => ended.failed(TIMEOUT),
            Outcome::Failed(code) => ended.failed(code),
        }
    }

    /// The same with the opposite end.
    pub(super) fn contradicted(self) -> Self {
        let time = self.completed_at.clone().unwrap_or_else(clock::now);
        let ended = Self { completed_at: Some(time), ..self };
        if ended.status == Status::Completed { ended.failed("TASK_FAILED") } else { ended.completed() }
    }

    pub(super) fn still_processing(self) -> Self {
        Self { status: Status::Processing, video_url: None, completed_at: None, error: None, ..self }
    }

    /// The same, but for one thing that is not so.
    pub(super) fn told_as(self, lie: Lie) -> Self {
        match lie {
            Lie::Status => self.contradicted(),
            Lie::Url => Self { video_url: Some(video_url("another")), ..self },
            Lie::Code => {
                let is_timeout = self.code() == Some(TIMEOUT);
                self.with_code(if is_timeout { "GOOGLE_DECLINED" } else { TIMEOUT })
            }
            Lie::Id => Self { generation_id: Uuid::new_v4().to_string(), ..self },
        }
    }

    /// The status in a word, or why it failed.
    pub(super) fn word(&self) -> &str {
        match self.status {
            Status::Pending => "pending",
            Status::Processing => "processing",
            Status::Completed => "completed",
            Status::Failed => self.code().unwrap_or("failed"),
        }
    }

    fn code(&self) -> Option<&str> {
        self.error.as_ref().map(|error| error.message.as_str())
    }

    fn completed(self) -> Self {
        let url = video_url(&self.generation_id);
        Self { status: Status::Completed, video_url: Some(url), error: None, ..self }
    }

    fn failed(self, code: &str) -> Self {
        Self { status: Status::Failed, video_url: None, ..self }.with_code(code)
    }

    fn with_code(self, code: &str) -> Self {
        Self { error: Some(Failure { message: code.to_owned(), details: Map::new() }), ..self }
    }
}

/// Where the provider's samples have their videos. There is none.
fn video_url(name: &str) -> String {
    format!("https://cdn.runblob.io/videos/{name}.mp4")
}
