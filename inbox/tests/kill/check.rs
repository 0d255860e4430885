//! A line for each check, and a count at the end.

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

    /// A part that panics has failed, and the others go on.
    pub(crate) fn part(&mut self, name: &str, run: impl FnOnce(&mut Self)) {
        if catch_unwind(AssertUnwindSafe(|| run(self))).is_err() {
            self.row(name, Some("it broke off: see above".to_owned()));
        }
    }

    pub(crate) fn conclude(self) -> ExitCode {
        self.left_out.iter().for_each(|line| println!("{line}"));
        let nothing_out = std::env::var("BLOBGATE_LEAVE_NOTHING_OUT").is_ok_and(|value| value == "1");
        let is_empty = self.passed + self.failed == 0 && self.left_out.is_empty();
        let fails = self.failed > 0 || is_empty || nothing_out && !self.left_out.is_empty();
        if is_empty {
            eprintln!("make kill: nothing was checked: these PARTS have nothing for this STORE.");
        }
        if nothing_out && !self.left_out.is_empty() {
            eprintln!("make kill: nothing may be left out here, for BLOBGATE_LEAVE_NOTHING_OUT is 1.");
        }
        println!("{} passed, {} failed, {} left out", self.passed, self.failed, self.left_out.len());
        if fails { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

/// `None` where it holds.
pub(crate) fn unless(holds: bool, problem: impl FnOnce() -> String) -> Option<String> {
    (!holds).then(problem)
}
