//! Why an action was not done.

use crate::reconcile::NotReleased;
use crate::reevaluate::CannotJudge;
use crate::release::CannotRelease;
use crate::store::StoreError;
use std::time::Duration;
use thiserror::Error;

/// A request that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadRequest {
    /// A name out of a list is wrong.
    #[error("{value:?} is no {what}: use one of {}", known.join(", "))]
    NotOneOf {
        /// What it should be.
        what: &'static str,
        /// What it is.
        value: String,
        /// What it could be.
        known: Vec<&'static str>,
    },
    /// A filter has no such name.
    #[error("{0:?} is nothing to filter by: use state, lane, hook, event, reason, generation, job, since")]
    NoSuchFilter(String),
    /// A value is given more than once.
    #[error("{0} is given twice")]
    Twice(&'static str),
    /// Not the name of a hook.
    #[error("{0:?} is no hook: write 1 to 32 of a-z 0-9 -")]
    NoHook(String),
    /// Not the name of a job.
    #[error("{0:?} is no job: write 1 to 64 of A-Z a-z 0-9 . _ ~ -")]
    NoJob(String),
    /// Not the id of a generation.
    #[error("{0:?} is no generation: write its UUID in the 8-4-4-4-12 form")]
    NoGeneration(String),
    /// Not a time.
    #[error("{0:?} is no time for since: write 2026-01-31T12:00:00Z")]
    NoTime(String),
    /// Not a number, or out of its range.
    #[error("{name} {value:?} is no number from 1{}", max.map(|max| format!(" to {max}")).unwrap_or_default())]
    NoNumber {
        /// Whose value it is.
        name: &'static str,
        /// What it is.
        value: String,
        /// The largest, where there is one.
        max: Option<i64>,
    },
    /// Not a place in the order of commits.
    #[error("{name} {value:?} is no cursor: take one from an answer, or 0.0")]
    NoCursor {
        /// Whose value it is.
        name: &'static str,
        /// What it is.
        value: String,
    },
    /// Not a part of an entry that `tail` adds.
    #[error("with {0:?} is neither came nor delivery")]
    NoPart(String),
    /// Ids and a filter, or neither.
    #[error("name entries by their ids or by a filter, and not by both")]
    IdsOrFilter,
    /// No id, or too many.
    #[error("name between 1 and {0} ids")]
    IdCount(i64),
    /// A range of a filter, with ids.
    #[error("after and until go with a filter, and not with ids")]
    RangeOfIds,
    /// A filter that every entry matches.
    #[error("an empty filter is every entry: say which are meant")]
    EmptyFilter,
    /// More or fewer entries than one transaction takes.
    #[error("limit {limit} is not between 1 and {max}")]
    Limit {
        /// What it is.
        limit: i64,
        /// The largest.
        max: i64,
    },
    /// A purge of entries that no job or generation names.
    #[error("name the job or the generation that is to be purged")]
    UnnamedPurge,
    /// A pause of nothing.
    #[error("name a hook, an event, or both")]
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

/// Why an action was not done.
#[derive(Debug, Error)]
pub(crate) enum Error {
    #[error(transparent)]
    BadRequest(#[from] BadRequest),
    #[error("the gate's configuration: {0}")]
    CannotJudge(#[from] CannotJudge),
    #[error("there is no entry {0}")]
    NoEntry(i64),
    #[error("there is no pause of {0}: a pause ends as it was set, and GET /pauses lists them")]
    NoPause(String),
    #[error("generation {generation} of hook {hook} is expected of job {expected:?}, and not of {named:?}")]
    OtherJob { hook: String, generation: String, expected: String, named: String },
    #[error(transparent)]
    CannotRelease(#[from] CannotRelease),
    #[error("this inbox asks nobody: start it with --provider")]
    NoProvider,
    #[error("it is expected, and its quarantined events wait: {0}; say it again later")]
    NotReleased(NotReleased),
    #[error("{0}")]
    NotNow(NotReleased),
    #[error("the store has event {0:?}, which this version does not know: use a newer one")]
    NewerEvent(String),
    #[error(
        "the store does not answer within {} s: whether it was done is not known, and the same again does no harm",
        .0.as_secs()
    )]
    Late(Duration),
    #[error(
        "store-replaced: the inbox does not use the store any more; `blobgate inbox stats` and its log say why, and how to go on"
    )]
    Replaced,
    #[error("the store does not answer: {0}")]
    Store(StoreError),
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        if error.is_replaced() { Self::Replaced } else { Self::Store(error) }
    }
}
