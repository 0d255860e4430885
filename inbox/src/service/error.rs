//! Why an action fails.

use super::moment::MomentError;
use crate::reconcile::ReleaseError;
use crate::reevaluate::ReevaluateError;
use crate::release::ReleaseAsError;
use crate::store::StoreError;
use std::time::Duration;
use thiserror::Error;

/// A value of a request is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadRequest {
    /// An unknown name of a closed list.
    #[error("unknown {what} {value:?}: use one of {}", known.join(", "))]
    NotOneOf {
        /// The list.
        what: &'static str,
        /// The name.
        value: String,
        /// All names of the list.
        known: Vec<&'static str>,
    },
    /// An unknown filter.
    #[error(
        "unknown filter {0:?}: use state, lane, hook, event, reason, generation, job, request_id or since"
    )]
    NoSuchFilter(String),
    /// An unknown filter of refusals.
    #[error("unknown filter {0:?}: use hook or reason")]
    NoSuchRefusalFilter(String),
    /// An unknown parameter of a story.
    #[error("unknown parameter {0:?}: use generation, job, request_id, entry or hook")]
    NoSuchSubject(String),
    /// No subject of a story, or several.
    #[error("the request needs one of generation, job, request_id and entry: pass exactly one of them")]
    StorySubject,
    /// An invalid request id.
    #[error("invalid request id {0:?}: use 1 to 64 of A-Z a-z 0-9 . _ -")]
    NoRequestId(String),
    /// A parameter that occurs more than once.
    #[error("{0} occurs twice: pass it once")]
    Twice(&'static str),
    /// An invalid hook.
    #[error("invalid hook {0:?}: use 1 to 32 of a-z 0-9 -")]
    NoHook(String),
    /// An invalid job.
    #[error("invalid job {0:?}: use 1 to 64 of A-Z a-z 0-9 . _ ~ -")]
    NoJob(String),
    /// An invalid generation.
    #[error("invalid generation {0:?}: use a UUID in the 8-4-4-4-12 form")]
    NoGeneration(String),
    /// An invalid time.
    #[error("invalid since {value:?}: {why}")]
    NoTime {
        /// The value.
        value: String,
        /// The reason.
        why: MomentError,
    },
    /// An invalid number, or one out of its range.
    #[error("invalid {name} {value:?}: use a number {}", max.map_or("above 0".to_owned(), |max| format!("from 1 to {max}")))]
    NoNumber {
        /// The parameter.
        name: &'static str,
        /// Its value.
        value: String,
        /// The largest valid number.
        max: Option<i64>,
    },
    /// An invalid cursor.
    #[error("invalid {name} {value:?}: use a cursor from an answer, or 0.0")]
    NoCursor {
        /// The parameter.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// An unknown part of an entry.
    #[error("invalid with {0:?}: use came or delivery")]
    NoPart(String),
    /// Ids and a filter, or neither.
    #[error("the request needs ids or a filter: pass exactly one of them")]
    IdsOrFilter,
    /// No id, or too many.
    #[error("the request needs 1 to {0} ids: split a longer list")]
    IdCount(i64),
    /// A range beside ids.
    #[error("after and until need a filter: leave them out, or pass a filter instead of ids")]
    RangeOfIds,
    /// A filter that every entry matches.
    #[error("an empty filter matches every entry: add a condition")]
    EmptyFilter,
    /// More or fewer entries than one transaction takes.
    #[error("invalid limit {limit}: use a number from 1 to {max}")]
    Limit {
        /// The requested number.
        limit: i64,
        /// The largest.
        max: i64,
    },
    /// An unknown parameter of the audit.
    #[error("unknown parameter {0:?}: use entry, limit or before")]
    NoSuchAuditParameter(String),
    /// A purge without a job and without a generation.
    #[error("a purge needs a job or a generation: add one to the filter")]
    UnnamedPurge,
    /// A pause without a hook and without an event.
    #[error("a pause needs a hook or an event: pass at least one of them")]
    UnnamedPause,
}

impl BadRequest {
    pub(super) fn not_one_of(
        what: &'static str,
        value: &str,
        known: impl Iterator<Item = &'static str>,
    ) -> Self {
        Self::NotOneOf { what, value: value.to_owned(), known: known.collect() }
    }
}

/// Why an action fails.
#[derive(Debug, Error)]
pub(crate) enum Error {
    #[error(transparent)]
    BadRequest(#[from] BadRequest),
    #[error(transparent)]
    Configuration(#[from] ReevaluateError),
    #[error("no entry {0}: `blobgate inbox ls` lists the entries")]
    NoEntry(i64),
    #[error("no pause of {0}: pass the same hook and event as when it was set; GET /pauses lists the pauses")]
    NoPause(String),
    #[error(
        "no action {0} to continue: the caller has begun none with this number, kind, filter and target in the last 12 hours. Leave action out to begin a new one"
    )]
    NoAction(i64),
    #[error(
        "generation {generation} of hook {hook} already has the job {expected:?}, not {named:?}: check the job"
    )]
    OtherJob { hook: String, generation: String, expected: String, named: String },
    #[error(transparent)]
    ReleaseAs(#[from] ReleaseAsError),
    #[error("this inbox runs without a status API: start it with --provider")]
    NoProvider,
    #[error(
        "the expectation is stored, but its quarantined entries are not released: {0}. Repeat the request later"
    )]
    NotReleased(ReleaseError),
    #[error("{0}")]
    NotNow(ReleaseError),
    #[error("the store contains the unknown event {0:?}: use the newer version that stored it")]
    NewerEvent(String),
    #[error("the filter of action {0} has a condition of a newer version: use that version")]
    NewerFilter(i64),
    #[error(
        "the store did not answer within {} s: the request may have taken effect; repeating it is safe",
        .0.as_secs()
    )]
    Late(Duration),
    #[error(
        "store-replaced: the store's files were removed or replaced, and the inbox no longer uses them: \
         `blobgate inbox stats` shows what to do"
    )]
    Replaced,
    #[error("the store failed: {0}. Repeat the request later")]
    Store(StoreError),
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        if error.is_replaced() { Self::Replaced } else { Self::Store(error) }
    }
}
