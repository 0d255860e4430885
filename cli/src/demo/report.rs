//! What came of it all, for people and for machines.

mod json;
mod table;

use super::delivery::Hook;
use super::gate::Gate;
use super::outcome::Outcome;
use super::service::Service;
use reqwest::Url;
use std::io::{self, Write};

pub(super) struct Report<'a> {
    pub(super) gate: &'a Gate,
    pub(super) sandbox: &'a Url,
    /// Where the inbox is, in words.
    pub(super) inbox: &'a str,
    pub(super) mode: Mode,
    pub(super) services: &'a [Service],
    pub(super) outcomes: Vec<Outcome>,
}

/// Whether what was sent went by an inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Inbox,
    Alone,
    /// Some of it: the path changed meanwhile.
    Mixed,
}

impl Report<'_> {
    pub(super) fn is_as_expected(&self) -> bool {
        self.outcomes.iter().all(|outcome| outcome.faults.is_empty())
    }

    /// The hook that a row was sent to.
    fn path(&self, outcome: &Outcome) -> &str {
        match outcome.row.delivery.hook {
            Hook::Open => self.gate.hooks.edge.path(),
            Hook::Proven(_) => self.gate.hooks.token.path(),
        }
    }
}

impl Mode {
    pub(super) fn of(outcomes: &[Outcome]) -> Self {
        let [by_inbox, past_it] =
            [0, 1].map(|way| outcomes.iter().any(|outcome| outcome.ways.get(way) == Some(&true)));
        match (by_inbox, past_it) {
            (true, false) => Mode::Inbox,
            (false, _) => Mode::Alone,
            (true, true) => Mode::Mixed,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Mode::Inbox => "inbox",
            Mode::Alone => "alone",
            Mode::Mixed => "mixed",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Mode::Inbox => "in the path, and delivers",
            Mode::Alone => "not in the path, the gate alone",
            Mode::Mixed => "in the path of some of it, which has changed meanwhile",
        }
    }
}

/// A reader that has gone (`| head`) changes nothing about the verdict.
fn write(text: &str) {
    let mut out = io::stdout().lock();
    let _gone = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
