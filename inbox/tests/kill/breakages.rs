//! Deliberate breakages, each of which must fail the rounds. The part `trace` has `break-synchronous-off`.

use crate::check::{CheckList, unless};
use crate::judge::{MISSING, NEVER_DELIVERED, UNEXPLAINED};
use crate::rounds::{self, Breakage};
use std::path::Path;

const BREAKAGES: [Breakage; 3] = [
    Breakage { failpoint: "break-answer-before-commit=return", figure: MISSING },
    Breakage { failpoint: "break-no-unique-key=return", figure: UNEXPLAINED },
    Breakage { failpoint: "break-done-before-sent=return", figure: NEVER_DELIVERED },
];

pub(crate) fn run(program: &Path, kind: &str, rounds: usize, seed: u64, checks: &mut CheckList) {
    for breakage in &BREAKAGES {
        let report = rounds::run(program, kind, rounds, seed, Some(breakage));
        let (found, total) = (report.figures[breakage.figure], report.rounds);
        let name = breakage.failpoint.trim_end_matches("=return");
        checks.row(
            &format!("{kind}: {name} fails the run ({found} {} after {total} rounds)", breakage.figure),
            unless(found > 0, || format!("{total} rounds passed")),
        );
    }
}
