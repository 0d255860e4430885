//! The operator's actions, without HTTP. The admin listener, the tool and the demo share their requests and answers.
//!
//! Times are RFC 3339 in UTC.

mod audit;
mod change;
mod entries;
mod error;
mod expect;
mod filter;
mod moment;
mod names;
mod pauses;
mod payload;
mod problem;
mod reconcile;
mod reevaluate;
mod refusals;
mod release;
mod retries;
mod stats;
mod story;
mod tail;
mod traffic;

use crate::handles::InboxHandles;
use crate::reconcile::{Releaser, StatusCaller};
use crate::store::StoreError;
use ::time::OffsetDateTime;
use ::time::macros::format_description;
pub use audit::{AuditPage, AuditRecord, AuditRequest};
pub use change::{ChangeAnswer, ChangePreview, ChangeRequest, EntryRefusal, RefusalCount, StateCount};
pub use entries::{AttemptRecord, EntryDetail, EntryPage, EntrySummary, ListRequest};
pub(crate) use entries::{read_id, read_number};
pub use error::BadRequest;
pub(crate) use error::Error;
pub use expect::{ExpectAnswer, ExpectRequest, ExpectationStatus, JobMismatch};
pub use filter::{
    EntryFilter, codes, own_reasons, read_generation, read_hook, read_job, read_request_id, reasons,
    split_detail,
};
pub use moment::{MomentError, parse_moment};
pub use names::{EntryState, EventKind, ExpectationState, Lane};
pub use pauses::{ActivePause, PauseAnswer, PauseTarget};
pub use payload::{BodyEncoding, EntryPayload, HeaderLine};
pub use problem::{ProblemCode, ProblemDocument};
pub use reconcile::{ReconcileAnswer, ReconcilePreview, ReconcileQuestion, ReconcileRequest};
pub use reevaluate::{ReevaluateAnswer, ReevaluateRequest, waivable};
pub use refusals::{GateRefusal, RefusalGroup, RefusalPage, RefusalRequest};
pub use release::{ReleaseAsAnswer, ReleaseAsRequest, ReleaseOutcome};
pub(crate) use retries::Retries;
pub use stats::{
    BudgetStatus, FailureStatus, FaultStatus, InboxStats, RefusalStatus, RouteStats, SpaceStatus,
};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
pub use story::{
    ComparedEntry, ComparedVerdict, GenerationStory, StatusNow, StoryAnswer, StoryEvent, StoryLine,
    StoryRequest, StoryStep,
};
pub use tail::{TailEntry, TailPage, TailRequest, TailWith, check_cursor};
use tokio::sync::Notify;
pub use traffic::{TrafficAnswer, TrafficMinute};

/// The operator's actions. Each is a method, in the file of its subject.
pub(crate) struct Operations {
    pub(crate) shared: InboxHandles,
    pub(crate) releaser: Releaser,
    pub(crate) retries: Retries,
    /// Wakes the reconciler.
    pub(crate) nudge: Arc<Notify>,
    /// The calls of the reconciler in a minute; nothing without a status API.
    pub(crate) per_minute: Option<u32>,
    /// Calls the status API for a person; nothing without one.
    pub(crate) status_caller: Option<Arc<StatusCaller>>,
    /// Whether the log says that an expectation came to an inbox without a status API.
    pub(crate) warned_of_no_provider: AtomicBool,
    /// The time from an expectation to the first call, in microseconds.
    pub(crate) reconcile_after: i64,
    /// Whether a listener takes Envoy's access log.
    pub(crate) receives_refusals: bool,
}

/// A change waits for others, as long as a statement may take, and then for its own.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Writes in its own task, which ends even when the client leaves.
async fn written<T: Send + 'static>(
    write: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, Error> {
    match tokio::time::timeout(WRITE_TIMEOUT, tokio::spawn(write)).await {
        Ok(Ok(done)) => Ok(done?),
        Ok(Err(_)) | Err(_) => Err(Error::Late(WRITE_TIMEOUT)),
    }
}

/// The ids of changed entries, for the log.
fn named<'a>(ids: impl Iterator<Item = &'a i64>) -> String {
    const MAX_NAMED: usize = 20;
    let mut ids = ids.map(i64::to_string);
    let mut first: Vec<_> = ids.by_ref().take(MAX_NAMED).collect();
    first.extend(ids.next().map(|_| "…".to_owned()));
    first.join(",")
}

/// Microseconds since 1970, in RFC 3339.
pub(crate) fn time(micros: i64) -> String {
    let at = i128::from(micros).saturating_mul(1_000);
    let at = OffsetDateTime::from_unix_timestamp_nanos(at).ok();
    // `Rfc3339` omits trailing zeros, but times of one length sort as text.
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    at.and_then(|at| at.format(format).ok()).unwrap_or_default()
}
