//! The trace of a decision: what each stage saw, and its verdict, for the terminal of an operator.
//!
//! The policy reports each stage to an [`Observer`] in the run that decides. The gate's observer is `()`: its reports are never
//! made, and the compiler removes the calls.

use crate::reason::Stage;
use crate::violation::Violation;

/// Gets a report of each stage, in the order of the stages. A refusal ends the reports.
pub trait Observer {
    /// Notes a stage. `report` makes the report only for an observer that reads it.
    fn stage(&mut self, report: impl FnOnce() -> StageReport);
}

/// Notes nothing.
impl Observer for () {
    #[inline]
    fn stage(&mut self, _report: impl FnOnce() -> StageReport) {}
}

/// What a stage saw, and its verdict. The stage `event` has a report for each of its checks: the id, the result URL, the prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageReport {
    /// The stage.
    pub stage: Stage,
    /// What the stage saw: at most [`MAX_SAW`] bytes of visible ASCII and spaces. It may contain values of the delivery, but no
    /// token and no secret.
    pub saw: String,
    /// The verdict.
    pub verdict: StageVerdict,
}

/// The verdict of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageVerdict {
    /// The delivery breaks no rule of the stage.
    Passed,
    /// The delivery breaks a rule.
    Violated(Violation),
    /// The delivery breaks a rule, and the hook or the check only observes.
    Observed(Violation),
    /// The stage does not run, for this reason.
    Skipped(&'static str),
}

/// The reports of one delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace(pub Vec<StageReport>);

impl Observer for Trace {
    fn stage(&mut self, report: impl FnOnce() -> StageReport) {
        self.0.push(report());
    }
}

/// The largest size of [`StageReport::saw`].
pub const MAX_SAW: usize = 200;

impl StageReport {
    /// A report. Each character outside visible ASCII and space becomes `?`, because a terminal obeys control characters.
    pub(crate) fn new(stage: Stage, saw: &str, verdict: StageVerdict) -> Self {
        let visible = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { '?' };
        let mut seen: String = saw.chars().take(MAX_SAW).map(visible).collect();
        if seen.len() < saw.chars().count() {
            seen.truncate(MAX_SAW.saturating_sub(3));
            seen.push_str("...");
        }
        Self { stage, saw: seen, verdict }
    }
}

impl StageVerdict {
    /// The verdict of an enforced check.
    pub(crate) fn of(judged: Result<(), Violation>) -> Self {
        judged.map_or_else(StageVerdict::Violated, |()| StageVerdict::Passed)
    }

    /// The violation.
    pub fn violation(&self) -> Option<Violation> {
        match self {
            StageVerdict::Violated(violation) | StageVerdict::Observed(violation) => Some(*violation),
            StageVerdict::Passed | StageVerdict::Skipped(_) => None,
        }
    }
}
