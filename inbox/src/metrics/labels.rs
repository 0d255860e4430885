//! The labels. Each has a bound: a hook comes from a header, which any client of an unsigned inbox can send.

use prometheus_client::encoding::EncodeLabelSet;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// The routes with a label of their own, some 200 hooks. Each has about 40 series, so a scrape has up to 4 MB.
const MAX_ROUTES: usize = 1_000;
/// The label of all other routes. A route contains a slash, so no route has this name.
pub(super) const OTHER: &str = "other";
/// The end of the route of quarantined deliveries: `HOOK/quarantined`.
const QUARANTINED: &str = "/quarantined";

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
pub(super) struct WhatLabel {
    pub(super) what: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReasonLabel {
    pub(super) reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OutcomeLabel {
    pub(super) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
pub(super) struct RouteLabel {
    pub(super) route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReceivedLabels {
    pub(super) route: String,
    pub(super) what: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
pub(super) struct AttemptLabels {
    pub(super) route: String,
    pub(super) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
pub(super) struct EntryLabels {
    pub(super) route: String,
    pub(super) state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
pub(super) struct QuarantineLabels {
    pub(super) hook: String,
    pub(super) reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ListenerLabels {
    pub(super) listener: &'static str,
    pub(super) reason: &'static str,
}

/// The routes with a label of their own: the first ones of this process.
#[derive(Clone, Debug, Default)]
pub(super) struct RouteNames(Arc<Mutex<BTreeSet<String>>>);

impl RouteNames {
    /// The label of a route, and whether this is its first use.
    pub(super) fn label(&self, route: &str) -> (String, bool) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(route) {
            return (route.to_owned(), false);
        }
        let label = if known.len() < MAX_ROUTES { route } else { OTHER };
        (label.to_owned(), known.insert(label.to_owned()))
    }
}

/// The hook of a route of quarantined deliveries.
pub(super) fn quarantined_hook(route: &str) -> Option<&str> {
    route.strip_suffix(QUARANTINED)
}

/// The route of the quarantined deliveries of a hook.
pub(crate) fn quarantined_route(hook: &str) -> String {
    format!("{hook}{QUARANTINED}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_a_label_to_the_first_routes() {
        let names = RouteNames::default();
        for number in 0..MAX_ROUTES {
            let route = format!("hook-{number}/failed");
            assert_eq!(names.label(&route), (route, true));
        }
        assert_eq!(names.label("late/failed"), (OTHER.to_owned(), true));
        assert_eq!(names.label("later/failed"), (OTHER.to_owned(), false));
        assert_eq!(names.label("hook-0/failed"), ("hook-0/failed".to_owned(), false));
    }
}
