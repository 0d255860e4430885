//! Prints a line for each check, and a count at the end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

#[derive(Default)]
pub(crate) struct CheckList {
    passed: u32,
    failed: u32,
    left_out: Vec<String>,
}

impl CheckList {
    pub(crate) fn row(&mut self, name: &str, problem: Option<String>) {
        match problem {
            None => {
                self.passed += 1;
                println!("ok    {name}");
            }
            Some(problem) => {
                self.failed += 1;
                println!("FAIL  {name}\n      {problem}");
            }
        }
    }

    pub(crate) fn left_out(&mut self, name: &str, why: &str) {
        self.left_out.push(format!("left out: {name} ({why})"));
    }

    /// Runs a part. A panic is a failed check, and the next part still runs.
    pub(crate) fn part(&mut self, name: &str, run: impl FnOnce(&mut Self)) {
        if catch_unwind(AssertUnwindSafe(|| run(self))).is_err() {
            self.row(name, Some("it panicked: see above".to_owned()));
        }
    }

    pub(crate) fn conclude(self) -> ExitCode {
        self.left_out.iter().for_each(|line| println!("{line}"));
        let must_run_all = std::env::var("BLOBGATE_LEAVE_NOTHING_OUT").is_ok_and(|value| value == "1");
        let is_empty = self.passed + self.failed == 0 && self.left_out.is_empty();
        let fails = self.failed > 0 || is_empty || must_run_all && !self.left_out.is_empty();
        if is_empty {
            eprintln!(
                "make kill: nothing was checked: no part of PARTS runs on STORE. Change PARTS or STORE."
            );
        }
        if must_run_all && !self.left_out.is_empty() {
            eprintln!(
                "make kill: parts were left out, and BLOBGATE_LEAVE_NOTHING_OUT is 1. Install what they need."
            );
        }
        println!("{} passed, {} failed, {} left out", self.passed, self.failed, self.left_out.len());
        if fails { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

/// `None` if the condition holds.
pub(crate) fn unless(holds: bool, problem: impl FnOnce() -> String) -> Option<String> {
    (!holds).then(problem)
}
