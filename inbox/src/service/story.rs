//! Tells the story of a generation: its expectation, deliveries, decisions and attempts in order of time, and the next step.
//!
//! [`read`] collects the stored facts. [`tell`] and [`next`] are pure: they order and word them.

mod ask;
mod asked;
mod facts;
mod next;
mod read;
mod step;
mod tell;
#[cfg(test)]
mod tests;
mod words;

use super::Operations;
use super::error::{BadRequest, Error};
use super::filter::{read_generation, read_hook, read_job, read_request_id};
use super::names::EventKind;
use crate::store::SearchKey;
use serde::{Deserialize, Serialize};

/// A request for the story of one generation, job, request or entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoryRequest {
    /// The generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<String>,
    /// The job of its token or of its announcement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// The `x-request-id` of its first delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The number of one of its entries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<i64>,
    /// Only this hook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<String>,
}

/// The stories that match a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoryAnswer {
    /// The time of the answer, by the store's clock.
    pub now: String,
    /// The stories, the newest first; none without a matching entry or expectation.
    pub stories: Vec<GenerationStory>,
    /// The number of further entries and expectations that match.
    pub more: i64,
    /// The answer of the status API, if the request called it.
    pub status_api: Option<StatusNow>,
    /// The next steps without a story.
    pub next: Vec<StoryStep>,
}

/// The story of a generation, or of an entry without one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationStory {
    /// The hook.
    pub hook: String,
    /// The generation, if the gate could read one.
    pub generation: Option<String>,
    /// The announced job, or that of its newest entry.
    pub job: Option<String>,
    /// The present state in a few words.
    pub state: String,
    /// The events, the oldest first. Lines without a time are last.
    pub lines: Vec<StoryLine>,
    /// The number of further entries.
    pub more_entries: i64,
    /// The next steps.
    pub next: Vec<StoryStep>,
}

/// One event of a story.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoryLine {
    /// Its time; nothing if the store has none. A line that is still to come has a later time than the answer.
    pub at: Option<String>,
    /// Its kind.
    pub what: StoryEvent,
    /// Its entry.
    pub entry: Option<i64>,
    /// The event in words.
    pub text: String,
    /// What to do about its reason.
    pub remedy: Option<String>,
}

/// The kind of an event of a story.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoryEvent {
    /// The application announced the generation.
    Expected,
    /// No accepted event came in time.
    Overdue,
    /// A delivery became an entry.
    Received,
    /// A delivery from a hook that only observes became an entry.
    Observed,
    /// A delivery went to quarantine.
    Quarantined,
    /// The reconciler fetched the event.
    Reconciled,
    /// The provider delivered the same event again.
    Repeated,
    /// An accepted event has another job than the announced one.
    JobMismatch,
    /// The reconciler called the status API.
    StatusCall,
    /// Another event replaced the entry.
    Superseded,
    /// A quarantined entry was released.
    Released,
    /// A person had the entry delivered again.
    Replayed,
    /// An attempt failed.
    Attempt,
    /// The service answered 2xx.
    Delivered,
    /// The inbox gave the entry up.
    Dead,
    /// A person gave the entry up.
    Dropped,
    /// The body is deleted.
    Purged,
    /// Deliveries are paused.
    Paused,
    /// The route's service fails or is down.
    RouteFails,
    /// An attempt runs, or is due.
    Due,
    /// The reconciler is going to call the status API.
    CallDue,
}

impl StoryEvent {
    /// All kinds.
    pub const ALL: [Self; 21] = [
        Self::Expected,
        Self::Overdue,
        Self::Received,
        Self::Observed,
        Self::Quarantined,
        Self::Reconciled,
        Self::Repeated,
        Self::JobMismatch,
        Self::StatusCall,
        Self::Superseded,
        Self::Released,
        Self::Replayed,
        Self::Attempt,
        Self::Delivered,
        Self::Dead,
        Self::Dropped,
        Self::Purged,
        Self::Paused,
        Self::RouteFails,
        Self::Due,
        Self::CallDue,
    ];
}

/// A step of a person, or the reason to wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoryStep {
    /// The reason, or all there is to do.
    pub why: String,
    /// The command, without the options of the admin listener.
    pub command: Option<String>,
}

/// The state of a generation by the status API, now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusNow {
    /// Whether the inbox called the status API. Each call counts against the budget.
    pub called: bool,
    /// `completed`, `failed`, `timeout`, an outcome of a confirmation such as `unknown`, or why there was no call.
    pub outcome: String,
    /// The event, if the generation has ended.
    pub event: Option<EventKind>,
    /// The outcome in words.
    pub text: String,
    /// The stored events, each compared with the answer.
    pub compared: Vec<ComparedEntry>,
}

/// A stored event beside the answer of the status API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComparedEntry {
    /// The entry.
    pub entry: i64,
    /// The result.
    pub verdict: ComparedVerdict,
}

/// The result of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ComparedVerdict {
    /// Equal in status, result URL up to its query, and error code.
    Confirmed,
    /// Another status, result URL or error code.
    Contradicted,
    /// Its body is deleted, so only the kind of the event is compared: it is equal.
    SameEvent,
    /// Its body is no valid event.
    Unreadable,
}

/// The selected generations.
enum StorySubject {
    Key(SearchKey),
    Entry(i64),
}

/// Keeps an answer below a megabyte.
const MAX_STORIES: usize = 10;

impl Operations {
    /// Tells the stories that match, by the store alone.
    pub(crate) async fn story(&self, request: &StoryRequest) -> Result<StoryAnswer, Error> {
        let (subject, hook) = request.check()?;
        let found = self.find(&subject, hook.as_deref()).await?;
        self.tell(request, &found, None).await
    }

    fn reconciles(&self) -> bool {
        self.per_minute.is_some()
    }
}

impl StoryRequest {
    /// Reads the pairs of a query.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub(crate) fn read(pairs: &[(String, String)]) -> Result<Self, BadRequest> {
        let mut request = Self::default();
        for (name, value) in pairs {
            let (name, place) = match name.as_str() {
                "generation" => ("generation", &mut request.generation),
                "job" => ("job", &mut request.job),
                "request_id" => ("request_id", &mut request.request_id),
                "hook" => ("hook", &mut request.hook),
                "entry" => {
                    if request.entry.replace(super::read_id(value)?).is_some() {
                        return Err(BadRequest::Twice("entry"));
                    }
                    continue;
                }
                _ => return Err(BadRequest::NoSuchSubject(name.clone())),
            };
            if place.replace(value.clone()).is_some() {
                return Err(BadRequest::Twice(name));
            }
        }
        Ok(request)
    }

    /// The pairs of a query.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        [
            ("generation", self.generation.clone()),
            ("job", self.job.clone()),
            ("request_id", self.request_id.clone()),
            ("entry", self.entry.map(|id| id.to_string())),
            ("hook", self.hook.clone()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }

    /// The subject, and the only hook.
    fn check(&self) -> Result<(StorySubject, Option<String>), BadRequest> {
        let hook = self.hook.as_deref().map(read_hook).transpose()?;
        let subject = match (&self.generation, &self.job, &self.request_id, self.entry) {
            (Some(value), None, None, None) => {
                StorySubject::Key(SearchKey::Generation(read_generation(value)?))
            }
            (None, Some(value), None, None) => StorySubject::Key(SearchKey::Job(read_job(value)?)),
            (None, None, Some(value), None) => {
                StorySubject::Key(SearchKey::RequestId(read_request_id(value)?))
            }
            (None, None, None, Some(id)) if id > 0 => StorySubject::Entry(id),
            (None, None, None, Some(id)) => {
                return Err(BadRequest::NoNumber { name: "entry", value: id.to_string(), max: None });
            }
            _ => return Err(BadRequest::StorySubject),
        };
        Ok((subject, hook))
    }
}
