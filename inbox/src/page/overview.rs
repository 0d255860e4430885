//! The overview: whether all is well, and the numbers of the inbox, each with a link to its list.

use super::chart::TrafficChart;
use super::health::{HealthView, SPACE_WARNS, failure, list_of, percent};
use super::render::{NavPlace, render};
use super::{PageAnswer, PageState, Visitor, encode, entries_path};
use crate::service::{
    ActivePause, BudgetStatus, EntryState, FailureStatus, InboxStats, ReconcileQuestion, RouteStats,
    SpaceStatus, TrafficAnswer,
};
use axum::extract::State;
use serde::Serialize;
use std::cmp::Reverse;

/// The overdue generations in the view.
const MAX_OVERDUE: usize = 10;

#[derive(Serialize)]
struct OverviewView {
    health: HealthView,
    tiles: Vec<TileView>,
    chart: TrafficChart,
    routes: Vec<RouteRow>,
    pauses: Vec<ActivePause>,
    quarantined: Vec<ReasonCount>,
    overdue: Vec<ReconcileQuestion>,
    overdue_count: i64,
    space: SpaceView,
    provider: Option<BudgetStatus>,
    tombstones: i64,
}

/// A number with its list.
#[derive(Serialize)]
struct TileView {
    label: &'static str,
    count: Option<i64>,
    /// The time of the oldest waiting entry.
    at: Option<String>,
    tone: &'static str,
    path: Option<String>,
}

#[derive(Serialize)]
struct RouteRow {
    route: RouteStats,
    failing: Option<FailureStatus>,
    /// What its newest attempt got, in words.
    failure: Option<String>,
    /// The hook and the event, for a pause.
    target: String,
    /// The beginning of the path of its list; the state follows.
    list: String,
}

#[derive(Serialize)]
struct ReasonCount {
    reason: String,
    meaning: String,
    count: i64,
    path: String,
}

#[derive(Serialize)]
struct SpaceView {
    space: SpaceStatus,
    percent: i64,
    tone: &'static str,
}

pub(super) async fn show(State(admin): PageState, visitor: Visitor) -> PageAnswer {
    let stats = admin.operations.stats().await?;
    let mut overdue = Vec::new();
    if stats.overdue > 0 {
        overdue = admin.operations.preview_reconcile().await?.questions;
        overdue.truncate(MAX_OVERDUE);
    }
    let view = OverviewView::new(stats, overdue, admin.operations.traffic(), &admin.docs);
    render("overview.html", &visitor, NavPlace::Overview, &view)
}

impl OverviewView {
    fn new(stats: InboxStats, overdue: Vec<ReconcileQuestion>, traffic: TrafficAnswer, docs: &str) -> Self {
        Self {
            health: HealthView::new(&stats, docs),
            tiles: tiles(&stats),
            chart: TrafficChart::new(traffic),
            quarantined: quarantined(&stats),
            overdue,
            overdue_count: stats.overdue,
            space: SpaceView::new(stats.space),
            provider: stats.provider,
            tombstones: stats.tombstones,
            pauses: stats.pauses,
            routes: stats.routes.into_iter().map(RouteRow::new).collect(),
        }
    }
}

fn tiles(stats: &InboxStats) -> Vec<TileView> {
    let count = |state| stats.states.get(&state).copied().unwrap_or_default();
    let of_state = |label, state, tone_above_zero| {
        let count = count(state);
        let tone = if count > 0 { tone_above_zero } else { "" };
        TileView { label, count: Some(count), at: None, tone, path: Some(list_of(state)) }
    };
    let delivered =
        stats.routes.iter().fold(0_i64, |sum, route| sum.saturating_add(route.delivered_last_day));
    vec![
        of_state("quarantined", EntryState::Quarantined, "warn"),
        of_state("dead", EntryState::Dead, "bad"),
        TileView {
            label: "overdue",
            count: Some(stats.overdue),
            at: None,
            tone: if stats.overdue > 0 { "bad" } else { "" },
            path: (stats.overdue > 0).then(|| "#overdue".to_owned()),
        },
        of_state("waiting", EntryState::Waiting, ""),
        of_state("in flight", EntryState::InFlight, ""),
        TileView {
            label: "delivered in 24 h",
            count: Some(delivered),
            at: None,
            tone: "",
            path: Some(list_of(EntryState::Delivered)),
        },
        TileView {
            label: "oldest waiting",
            count: None,
            at: stats.oldest_waiting_at.clone(),
            tone: "",
            path: stats.oldest_waiting_at.as_ref().map(|_| list_of(EntryState::Waiting)),
        },
    ]
}

/// The quarantine by reason, the most frequent first.
fn quarantined(stats: &InboxStats) -> Vec<ReasonCount> {
    let mut reasons: Vec<_> = stats
        .quarantined
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(reason, count)| ReasonCount {
            meaning: crate::entry::QuarantineReason::parse(reason).meaning(),
            path: entries_path(&encode([("state", "quarantined"), ("reason", reason)].into_iter())),
            reason: reason.clone(),
            count: *count,
        })
        .collect();
    reasons.sort_by_key(|reason| Reverse(reason.count));
    reasons
}

impl RouteRow {
    fn new(route: RouteStats) -> Self {
        let mut parts = route.route.split('/');
        let hook = parts.next().unwrap_or_default();
        let rest: Vec<_> = parts.collect();
        let event = rest.last().copied().unwrap_or_default();
        let target = [("hook", hook), ("event", event)];
        let lane = (rest.first() == Some(&"observed")).then_some(("lane", "observed"));
        Self {
            target: encode(target.into_iter()),
            list: format!("{}&state=", entries_path(&encode(target.into_iter().chain(lane)))),
            failure: route.failing.as_ref().map(|failing| failure(&failing.outcome)),
            failing: route.failing.clone(),
            route,
        }
    }
}

impl SpaceView {
    fn new(space: SpaceStatus) -> Self {
        let percent = percent(&space);
        let tone = match percent {
            95.. => "bad",
            SPACE_WARNS.. => "warn",
            _ => "",
        };
        Self { space, percent, tone }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::render::tests::{HOSTILE, check_inert, operator, text_of};
    use crate::service::FaultStatus;
    use serde_json::json;

    #[test]
    fn shows_hostile_names_as_text() {
        let fault = FaultStatus {
            reason: HOSTILE.to_owned(),
            since: HOSTILE.to_owned(),
            detail: HOSTILE.to_owned(),
            partial: true,
        };
        let failing = Some(FailureStatus { outcome: HOSTILE.to_owned(), since: HOSTILE.to_owned() });
        let route = RouteStats { route: HOSTILE.to_owned(), failing, ..RouteStats::default() };
        let pause = ActivePause { hook: Some(HOSTILE.to_owned()), event: None, since: HOSTILE.to_owned() };
        let stats = InboxStats {
            routes: vec![route],
            quarantined: [(HOSTILE.to_owned(), 1)].into(),
            pauses: vec![pause],
            overdue: 1,
            faults: vec![fault],
            rescued: vec![HOSTILE.to_owned()],
            ..InboxStats::default()
        };
        let question = json!({
            "hook": HOSTILE, "generation_id": HOSTILE, "job": HOSTILE, "state": "expected", "expected_at": HOSTILE,
            "calls": 0, "answer": HOSTILE, "next_call_at": HOSTILE, "job_mismatch": null, "due": true, "why": HOSTILE,
        });
        let overdue = vec![serde_json::from_value(question).unwrap()];
        let traffic = TrafficAnswer { since: HOSTILE.to_owned(), minutes: Vec::new() };
        let view = OverviewView::new(stats, overdue, traffic, "https://docs.example");
        let html = text_of("overview.html", &operator(), NavPlace::Overview, &view);
        check_inert(&html, 22);
    }

    #[test]
    fn an_idle_inbox_is_well() {
        let traffic = TrafficAnswer { since: "2026-01-31T11:00:00.000Z".to_owned(), minutes: Vec::new() };
        let view = OverviewView::new(InboxStats::default(), Vec::new(), traffic, "https://docs.example");
        let html = text_of("overview.html", &operator(), NavPlace::Overview, &view);
        assert!(html.contains("<h1>All is well</h1>"), "{html}");
        assert!(html.contains("Counted by this inbox since its start, <time datetime=\"2026-01-31T11:00:00.000Z\" title=\"2026-01-31 11:00:00.000 UTC\">1 h ago</time>"));
    }
}
