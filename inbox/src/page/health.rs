//! Whether all is well, in one sentence; otherwise each problem, the gravest first, with the place to go.

use super::{encode, entries_path, wording};
use crate::incidents::Runbook;
use crate::service::{ActivePause, EntryState, FaultStatus, InboxStats, RouteStats, SpaceStatus};
use serde::Serialize;

/// The seconds that an event may wait: those of the alert `BlobgateOldestWaiting`.
const MAX_WAIT: i64 = 15 * 60;
/// The used share of the space, in percent, from which the overview warns.
pub(super) const SPACE_WARNS: i64 = 80;
/// The most routes in the list of problems.
const MAX_ROUTES: usize = 5;

/// The sentence, and the problems.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct HealthView {
    /// `ok`, `warn` or `bad`.
    tone: &'static str,
    sentence: String,
    problems: Vec<HealthProblem>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct HealthProblem {
    tone: &'static str,
    #[serde(skip)]
    headline: &'static str,
    text: String,
    since: Option<String>,
    links: Vec<HealthLink>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct HealthLink {
    label: &'static str,
    path: String,
}

impl HealthView {
    /// `docs` is the base URL of the book.
    pub(super) fn new(stats: &InboxStats, docs: &str) -> Self {
        let mut problems: Vec<_> = stats.faults.iter().map(|fault| of_fault(fault, docs)).collect();
        problems.extend(stats.refused.as_ref().map(|refused| HealthProblem {
            since: Some(refused.at.clone()),
            ..bad(
                "The inbox refused the newest delivery",
                format!("the inbox refused the newest delivery, with the reason {}", refused.reason),
                vec![runbook(docs, Runbook::of_refusal(&refused.reason).page())],
            )
        }));
        problems.extend(of_dead(stats, docs));
        let failing = |route: &&RouteStats| !route.paused && (route.down || route.failing.is_some());
        problems
            .extend(stats.routes.iter().filter(failing).take(MAX_ROUTES).map(|route| of_route(route, docs)));
        problems.extend((stats.overdue > 0).then(|| {
            bad(
                "Events are overdue",
                format!(
                    "{} without an event in time",
                    counted(stats.overdue, "announced generation is", "announced generations are")
                ),
                vec![
                    HealthLink { label: "See them", path: "#overdue".to_owned() },
                    runbook(docs, Runbook::Overdue.page()),
                ],
            )
        }));
        problems.extend(of_waiting(stats, docs));
        problems.extend(of_quarantine(stats, docs));
        problems.extend(stats.pauses.iter().map(of_pause));
        problems.extend(of_space(stats, docs));
        problems.extend(stats.rescued.iter().map(|path| {
            warn(
                "A rescued file needs a decision",
                format!("a rescued file lies beside the store: {path}. Restore it, or move it away"),
                vec![page(docs, "How to restore", "howto/backup")],
            )
        }));
        // Stable: each kind stays at its place.
        problems.sort_by_key(|problem| problem.tone != "bad");
        let tone = problems.first().map_or("ok", |worst| worst.tone);
        Self { tone, sentence: sentence(&problems), problems }
    }
}

fn sentence(problems: &[HealthProblem]) -> String {
    let Some((worst, others)) = problems.split_first() else { return "All is well".to_owned() };
    match others.len() {
        0 => worst.headline.to_owned(),
        1 => format!("{}, and one more thing", worst.headline),
        more => format!("{}, and {more} more things", worst.headline),
    }
}

fn of_fault(fault: &FaultStatus, docs: &str) -> HealthProblem {
    let (headline, scope) = if fault.partial {
        ("The inbox refuses some deliveries", "refuses some deliveries")
    } else {
        ("The inbox refuses deliveries", "is not ready, and refuses deliveries")
    };
    let text = format!("the inbox {scope}: {}: {}", fault.reason, fault.detail);
    let links = vec![runbook(docs, Runbook::of_refusal(&fault.reason).page())];
    HealthProblem { since: Some(fault.since.clone()), ..bad(headline, text, links) }
}

fn of_dead(stats: &InboxStats, docs: &str) -> Option<HealthProblem> {
    let dead = count(stats, EntryState::Dead);
    let text = format!(
        "{} dead: the inbox has given up after 72 hours of attempts",
        counted(dead, "event is", "events are")
    );
    let links = vec![see(list_of(EntryState::Dead)), runbook(docs, Runbook::Dead.page())];
    (dead > 0).then(|| bad("Events are dead", text, links))
}

fn of_route(route: &RouteStats, docs: &str) -> HealthProblem {
    let outcome = route.failing.as_ref().map_or("unanswered", |failing| failing.outcome.as_str());
    let (headline, name) = if route.down {
        ("A service is down", Runbook::RouteDown.page())
    } else {
        ("A service refuses its events", Runbook::ServiceFails.page())
    };
    let text = format!("the service of {} {}: {}", route.route, failure(outcome), waiting(route.waiting));
    let hook = route.route.split('/').next().unwrap_or_default();
    let list = entries_path(&encode([("state", "waiting"), ("hook", hook)].into_iter()));
    let since = route.failing.as_ref().map(|failing| failing.since.clone());
    HealthProblem { since, ..bad(headline, text, vec![see(list), runbook(docs, name)]) }
}

fn waiting(count: i64) -> String {
    if count == 0 { "no event waits".to_owned() } else { counted(count, "event waits", "events wait") }
}

fn of_waiting(stats: &InboxStats, docs: &str) -> Option<HealthProblem> {
    let seconds = stats.oldest_waiting_seconds.filter(|seconds| *seconds >= MAX_WAIT)?;
    let text = format!("the oldest waiting event has waited for {}", wording::span(seconds));
    let links = vec![see(list_of(EntryState::Waiting)), runbook(docs, "oldest-waiting")];
    Some(warn("An event waits for long", text, links))
}

fn of_quarantine(stats: &InboxStats, docs: &str) -> Option<HealthProblem> {
    let quarantined = count(stats, EntryState::Quarantined);
    let text = format!(
        "{} in quarantine for your decision",
        counted(quarantined, "delivery waits", "deliveries wait")
    );
    let links = vec![see(list_of(EntryState::Quarantined)), runbook(docs, Runbook::Quarantined.page())];
    (quarantined > 0).then(|| warn("Deliveries wait for your decision", text, links))
}

fn of_pause(pause: &ActivePause) -> HealthProblem {
    let subject = match (&pause.hook, pause.event) {
        (Some(hook), Some(event)) => format!("{event} events of hook {hook}"),
        (Some(hook), None) => format!("hook {hook}"),
        (None, Some(event)) => format!("{event} events"),
        (None, None) => "all events".to_owned(),
    };
    let links = vec![HealthLink { label: "See the pauses", path: "#routes".to_owned() }];
    let problem = warn("Deliveries are paused", format!("deliveries of {subject} are paused"), links);
    HealthProblem { since: Some(pause.since.clone()), ..problem }
}

fn of_space(stats: &InboxStats, docs: &str) -> Option<HealthProblem> {
    let percent = percent(&stats.space);
    let text = format!("the store uses {percent} % of its limit");
    let links = vec![runbook(docs, "disk-fills")];
    (percent >= SPACE_WARNS).then(|| warn("The store fills", text, links))
}

fn count(stats: &InboxStats, state: EntryState) -> i64 {
    stats.states.get(&state).copied().unwrap_or_default()
}

fn counted(count: i64, one: &str, many: &str) -> String {
    format!("{} {}", wording::count(count), if count == 1 { one } else { many })
}

fn bad(headline: &'static str, text: String, links: Vec<HealthLink>) -> HealthProblem {
    HealthProblem { tone: "bad", headline, text, since: None, links }
}

fn warn(headline: &'static str, text: String, links: Vec<HealthLink>) -> HealthProblem {
    HealthProblem { tone: "warn", ..bad(headline, text, links) }
}

fn see(path: String) -> HealthLink {
    HealthLink { label: "See them", path }
}

fn runbook(docs: &str, name: &str) -> HealthLink {
    page(docs, "Runbook", &format!("operate/runbooks/blobgate-{name}"))
}

fn page(docs: &str, label: &'static str, name: &str) -> HealthLink {
    HealthLink { label, path: format!("{docs}/{name}.html") }
}

/// The path of the list of a state.
pub(super) fn list_of(state: EntryState) -> String {
    entries_path(&encode([("state", state.name())].into_iter()))
}

/// The outcome of a failed attempt in words.
pub(super) fn failure(outcome: &str) -> String {
    match outcome {
        "unanswered" => "does not answer".to_owned(),
        "other" => "answers another status".to_owned(),
        outcome => format!("answers {outcome}"),
    }
}

/// The used share of the limit.
pub(super) fn percent(space: &SpaceStatus) -> i64 {
    space.bytes.saturating_mul(100).checked_div(space.limit).unwrap_or_default().clamp(0, 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::{FailureStatus, RefusalStatus};
    use std::path::Path;

    fn route(name: &str, paused: bool) -> RouteStats {
        let failing = Some(FailureStatus { outcome: "5xx".to_owned(), since: "S".to_owned() });
        RouteStats { route: name.to_owned(), waiting: 3, paused, failing, ..RouteStats::default() }
    }

    #[test]
    fn all_is_well_without_a_problem() {
        let health = HealthView::new(&InboxStats::default(), "");
        assert_eq!((health.tone, health.sentence.as_str(), health.problems.len()), ("ok", "All is well", 0));
    }

    #[test]
    fn lists_the_gravest_problem_first_and_each_with_a_link() {
        let pause =
            |hook: &str| ActivePause { hook: Some(hook.to_owned()), event: None, since: "S".to_owned() };
        let mut stats = InboxStats {
            overdue: 1,
            oldest_waiting_seconds: Some(900),
            refused: Some(RefusalStatus { reason: "signature".to_owned(), at: "S".to_owned() }),
            pauses: vec![pause("veo3")],
            routes: vec![route("veo3/completed", false), route("veo3/failed", true)],
            rescued: vec!["inbox.db.rescued".to_owned()],
            ..InboxStats::default()
        };
        stats.states.insert(EntryState::Dead, 1_200);
        stats.states.insert(EntryState::Quarantined, 1);
        stats.space.bytes = 80;
        stats.space.limit = 100;
        let health = HealthView::new(&stats, "docs");
        let texts: Vec<_> =
            health.problems.iter().map(|problem| (problem.tone, problem.text.as_str())).collect();
        assert_eq!(
            texts,
            [
                ("bad", "the inbox refused the newest delivery, with the reason signature"),
                ("bad", "1,200 events are dead: the inbox has given up after 72 hours of attempts"),
                ("bad", "the service of veo3/completed answers 5xx: 3 events wait"),
                ("bad", "1 announced generation is without an event in time"),
                ("warn", "the oldest waiting event has waited for 15 min"),
                ("warn", "1 delivery waits in quarantine for your decision"),
                ("warn", "deliveries of hook veo3 are paused"),
                ("warn", "the store uses 80 % of its limit"),
                (
                    "warn",
                    "a rescued file lies beside the store: inbox.db.rescued. Restore it, or move it away"
                ),
            ]
        );
        assert_eq!(health.sentence, "The inbox refused the newest delivery, and 8 more things");
        assert!(health.problems.iter().all(|problem| !problem.links.is_empty()));
        for path in health.problems.iter().flat_map(|problem| &problem.links).map(|link| &link.path) {
            let Some(page) = path.strip_prefix("docs/") else { continue };
            let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page).with_extension("md");
            assert!(page.is_file(), "{}", page.display());
        }
    }
}
