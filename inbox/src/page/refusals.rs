//! The refusals of the gates, by hook and reason.

use super::prose::{ProsePiece, pieces};
use super::render::{NavPlace, render};
use super::{PageAnswer, PageState, Visitor, encode};
use crate::service::{Error, GateRefusal, RefusalGroup, RefusalPage, RefusalRequest};
use axum::extract::{Query, State};
use serde::Serialize;

/// The refusals of a group at first. The list of one group has all that the inbox remembers.
const SHORT: usize = 5;

#[derive(Serialize)]
struct RefusalsView {
    receives: bool,
    since: String,
    dropped: u64,
    groups: Vec<GroupView>,
    /// The conditions, if the view is about some groups alone.
    chips: Vec<(&'static str, String)>,
    /// How to have the gate report.
    help: String,
}

#[derive(Debug, Serialize)]
struct GroupView {
    hook: Option<String>,
    reason: String,
    meaning: Option<String>,
    remedy: Vec<ProsePiece>,
    count: u64,
    /// The newest first.
    newest: Vec<GateRefusal>,
    /// The number between the newest and the oldest ones that nothing remembers, and those that only the list of the group shows.
    between: u64,
    oldest: Vec<GateRefusal>,
    /// The path of the group alone.
    path: String,
}

pub(super) async fn show(
    State(admin): PageState,
    visitor: Visitor,
    Query(pairs): Query<Vec<(String, String)>>,
) -> PageAnswer {
    let pairs: Vec<_> = pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let request = RefusalRequest::read(&pairs).map_err(Error::from)?;
    let chips = request.pairs();
    let page = admin.operations.refusals(&request);
    let view = RefusalsView::new(page, chips, &admin.docs);
    render("refusals.html", &visitor, NavPlace::Refusals, &view)
}

impl RefusalsView {
    fn new(page: RefusalPage, chips: Vec<(&'static str, String)>, docs: &str) -> Self {
        let limit = if chips.is_empty() { SHORT } else { usize::MAX };
        Self {
            receives: page.receives,
            since: page.since,
            dropped: page.dropped,
            groups: page.groups.into_iter().map(|group| GroupView::new(group, limit, docs)).collect(),
            chips,
            help: format!("{docs}/reference/command-line.html"),
        }
    }
}

impl GroupView {
    fn new(group: RefusalGroup, limit: usize, docs: &str) -> Self {
        let RefusalGroup { hook, reason, meaning, remedy, count, first, last } = group;
        let mut newest: Vec<_> = last.into_iter().rev().collect();
        let mut oldest: Vec<_> = first.into_iter().rev().collect();
        // Few refusals are all in the first part.
        if newest.is_empty() {
            std::mem::swap(&mut newest, &mut oldest);
        }
        newest.truncate(limit);
        if limit < usize::MAX {
            oldest.clear();
        }
        let shown = newest.len().saturating_add(oldest.len());
        let between = count.saturating_sub(u64::try_from(shown).unwrap_or(u64::MAX));
        let hook_pair = hook.as_deref().map(|hook| ("hook", hook));
        let pairs = hook_pair.into_iter().chain([("reason", reason.as_str())]);
        let path = format!("/page/refusals?{}", encode(pairs));
        Self {
            path,
            meaning,
            remedy: remedy.map(|remedy| pieces(&remedy, docs)).unwrap_or_default(),
            count,
            newest,
            between,
            oldest,
            hook,
            reason,
        }
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test may panic: that is how it fails")]
mod tests {
    use super::*;
    use crate::page::render::tests::{HOSTILE, check_inert, operator, text_of};

    fn group(first: usize, last: usize, count: u64) -> RefusalGroup {
        let refusals = |from: usize, count: usize| {
            (from..from + count)
                .map(|at| GateRefusal { at: at.to_string(), ..GateRefusal::default() })
                .collect()
        };
        RefusalGroup {
            hook: Some("veo3".to_owned()),
            reason: "a&b".to_owned(),
            count,
            first: refusals(0, first),
            last: refusals(1_000, last),
            ..RefusalGroup::default()
        }
    }

    #[track_caller]
    fn row(group: RefusalGroup, limit: usize, newest: &str, between: u64, oldest: &str) {
        let view = GroupView::new(group, limit, "");
        let first = |list: &[GateRefusal]| list.first().map(|refusal| refusal.at.clone()).unwrap_or_default();
        assert_eq!(
            (first(&view.newest).as_str(), view.between, first(&view.oldest).as_str()),
            (newest, between, oldest)
        );
        assert_eq!(view.path, "/page/refusals?hook=veo3&reason=a%26b");
    }

    #[test]
    fn shows_the_newest_and_counts_the_rest() {
        row(group(3, 0, 3), SHORT, "2", 0, "");
        row(group(100, 50, 150), SHORT, "1049", 145, "");
        row(group(100, 100, 5_000), usize::MAX, "1099", 4_800, "99");
    }

    #[test]
    fn shows_hostile_refusals_as_text() {
        let text = || Some(HOSTILE.to_owned());
        let refusal = GateRefusal {
            at: HOSTILE.to_owned(),
            client: text(),
            method: text(),
            detail: text(),
            request_id: text(),
            generation: text(),
            job: text(),
            gate: text(),
            ..GateRefusal::default()
        };
        let group = RefusalGroup {
            hook: text(),
            reason: HOSTILE.to_owned(),
            meaning: text(),
            remedy: text(),
            count: 7,
            first: vec![refusal.clone()],
            last: vec![refusal],
        };
        let page = RefusalPage { receives: true, since: HOSTILE.to_owned(), groups: vec![group], dropped: 1 };
        let view = RefusalsView::new(page, vec![("hook", HOSTILE.to_owned())], "https://docs.example");
        let html = text_of("refusals.html", &operator(), NavPlace::Refusals, &view);
        check_inert(&html, 20);
    }
}
