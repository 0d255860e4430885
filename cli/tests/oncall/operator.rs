//! What an operator sees and does: alerts, and the blocks of their runbooks.

use crate::stack::Stack;
use blobgate_testkit::book::{Block, blocks};
use blobgate_testkit::prometheus::ActiveAlert;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Instant;

/// The limit between a fault and its alert.
const MAX_EVALUATIONS: u64 = 2;

/// An operator who watches a stack.
pub(crate) struct Operator {
    blocks: Vec<Block>,
    fault: Instant,
    /// The alerts with the severity `page` since the fault, by their names.
    pages: RefCell<BTreeMap<String, ActiveAlert>>,
}

impl Operator {
    /// Begins at the fault.
    pub(crate) fn at_fault() -> Self {
        Self { blocks: blocks("oncall/"), fault: Instant::now(), pages: RefCell::default() }
    }

    /// Waits for the alert, for two evaluations at most. The other alerts must not page.
    #[track_caller]
    pub(crate) fn sees(&self, stack: &Stack, alert: &str) -> ActiveAlert {
        let found = stack.prometheus().within_evaluations(MAX_EVALUATIONS, alert, |_| {
            self.looks(stack).into_iter().find(|active| active.firing && active.name == alert)
        });
        println!("{alert} fires after {} s: {:?}", self.fault.elapsed().as_secs(), found.labels);
        found
    }

    /// Waits until the alert no longer fires, for the evaluations of the time in its runbook.
    #[track_caller]
    pub(crate) fn sees_end(&self, stack: &Stack, alert: &str, evaluations: u64) {
        let mended = Instant::now();
        stack.prometheus().within_evaluations(evaluations, &format!("end of {alert}"), |_| {
            self.looks(stack).iter().all(|active| active.name != alert).then_some(())
        });
        println!("{alert} ends {} s after the remedy", mended.elapsed().as_secs());
    }

    /// The alerts now, pending or firing.
    pub(crate) fn looks(&self, stack: &Stack) -> Vec<ActiveAlert> {
        let alerts = stack.alerts();
        let pages = alerts.iter().filter(|active| active.firing && active.label("severity") == "page");
        self.pages.borrow_mut().extend(pages.map(|active| (active.name.clone(), active.clone())));
        alerts
    }

    /// Asserts that exactly these alerts have woken somebody since the fault.
    #[track_caller]
    pub(crate) fn was_woken_by(&self, pages: &[&str]) {
        let woken = self.pages.borrow();
        assert_eq!(woken.keys().map(String::as_str).collect::<Vec<_>>(), pages, "{woken:#?}");
    }

    /// Runs a block of a runbook. Its output must contain these words.
    #[track_caller]
    pub(crate) fn runs(
        &self,
        stack: &Stack,
        block: &str,
        replaced: &[(&str, &str)],
        words: &[&str],
    ) -> String {
        let name = format!("oncall/{block}");
        let found = self.blocks.iter().find(|block| block.name == name);
        let found = found.unwrap_or_else(|| panic!("no runbook has a block {name}"));
        let text = stack.run(&found.text, replaced);
        for word in words {
            assert!(text.contains(word), "{name} does not print {word}: {text}");
        }
        text
    }
}

/// The id of the newest entry of a table that `blobgate inbox ls` or `show` prints.
#[track_caller]
pub(crate) fn entry_in(text: &str) -> String {
    let id = text.lines().find_map(|line| line.strip_prefix("entry ")?.split(':').next());
    id.unwrap_or_else(|| panic!("no entry in {text}")).to_owned()
}
