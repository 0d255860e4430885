//! The names of metrics and labels, as literals: dashboards and alerts contain them.

use super::*;
use crate::entry::EntryState;
use crate::health::Fault;
use crate::store::RouteUsage;

/// Metrics with a sample of each.
pub(super) fn with_a_sample_of_each() -> Metrics {
    let metrics = Metrics::new(&Arc::default());
    metrics.received("x/failed", "new");
    metrics.create_refused(["x"]);
    metrics.quarantined(&QuarantineReason::TokenReused);
    metrics.attempted("x/failed", "4xx", Duration::ZERO);
    metrics.died("x/failed");
    metrics.create_reconciled(["x"]);
    metrics.commit(1, Duration::ZERO);
    metrics.set_health([("x/failed", RouteHealth::default())].into_iter());
    metrics.listeners.create("x");
    metrics.measured(&usage(&[row("x/failed", EntryState::Waiting, 1), quarantined("x", 1)]));
    metrics.set_disk(Disk { free: 1, size: 2, reserve: 3 });
    metrics
}

fn row(route: &str, state: EntryState, count: i64) -> RouteUsage {
    RouteUsage { route: route.to_owned(), state, reason: None, count }
}

fn quarantined(hook: &str, count: i64) -> RouteUsage {
    let reason = Some(QuarantineReason::EventConflict);
    RouteUsage { reason, ..row(&quarantined_route(hook), EntryState::Quarantined, count) }
}

fn usage(routes: &[RouteUsage]) -> Usage {
    let mut usage = Usage { routes: routes.to_vec(), ..Usage::default() };
    for row in routes {
        let count = usage.states.entry(row.state).or_default();
        *count = count.checked_add(row.count).unwrap();
    }
    usage
}

#[track_caller]
fn has(metrics: &Metrics, lines: &[&str]) {
    let text = metrics.text(ExpositionFormat::Text).unwrap();
    for line in lines {
        let line = format!("blobgate_inbox_{line}");
        assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
    }
}

#[test]
fn exposes_these_names_and_labels() {
    let text = with_a_sample_of_each().text(ExpositionFormat::Text).unwrap();
    // The name and the names of labels, and only the count of a histogram.
    let mut samples: Vec<String> = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.contains("_bucket{") && !line.contains("_sum"))
        .map(|line| {
            let (name, labels) = line
                .rsplit_once(' ')
                .unwrap()
                .0
                .split_once('{')
                .unwrap_or((line.split(' ').next().unwrap(), ""));
            let labels: Vec<_> =
                labels.split(',').filter_map(|label| Some(label.split_once('=')?.0)).collect();
            format!("{} {}", name.strip_prefix("blobgate_inbox_").unwrap(), labels.join(","))
        })
        .collect();
    samples.sort_unstable();
    samples.dedup();
    assert_eq!(
        samples,
        [
            "accept_errors_total listener,reason",
            "attempt_seconds_count route",
            "attempts_total route,outcome",
            "batch_events_count ",
            "bytes what",
            "clock_offset_seconds ",
            "commit_seconds_count ",
            "connections_ended_total listener,reason",
            "dead_total route",
            "disk_free_bytes ",
            "disk_reserve_bytes ",
            "disk_size_bytes ",
            "entries route,state",
            "expected ",
            "expected_overdue ",
            "expected_unknown_total ",
            "fault reason",
            "job_mismatch_total ",
            "oldest_waiting_seconds route",
            "purged_total ",
            "quarantine_entries hook,reason",
            "quarantined_total reason",
            "received_total route,what",
            "reconciliations_total outcome",
            "refused_total reason",
            "route_down route",
            "route_failing route,outcome",
            "route_in_flight route",
            "route_paused route",
            "store_errors_total ",
        ]
    );
}

#[test]
fn known_series_exist_at_0() {
    let faults = Arc::new(Faults::default());
    let metrics = Metrics::new(&faults);
    has(
        &metrics,
        &[
            r#"quarantined_total{reason="token-expired"} 0"#,
            r#"quarantined_total{reason="event-conflict"} 0"#,
            r#"quarantined_total{reason="other"} 0"#,
            r#"fault{reason="full"} 0"#,
            r#"fault{reason="signature"} 0"#,
            r#"fault{reason="store-failing"} 0"#,
        ],
    );
    let text = metrics.text(ExpositionFormat::Text).unwrap();
    assert!(!text.contains("disk_"), "a PostgreSQL server's disk is not visible:\n{text}");
    // A route of the store, before its first delivery in this process.
    metrics.measured(&usage(&[row("veo3/failed", EntryState::Dead, 2), quarantined("veo3", 1)]));
    has(
        &metrics,
        &[
            r#"received_total{route="veo3/failed",what="new"} 0"#,
            r#"received_total{route="veo3/quarantined",what="quarantined"} 0"#,
            r#"attempts_total{route="veo3/failed",outcome="4xx"} 0"#,
            r#"dead_total{route="veo3/failed"} 0"#,
            r#"oldest_waiting_seconds{route="veo3/failed"} 0"#,
        ],
    );
    let text = metrics.text(ExpositionFormat::Text).unwrap();
    assert!(!text.contains("route_failing"), "unknown before the first attempt:\n{text}");
    assert!(!text.contains(r#"attempts_total{route="veo3/quarantined""#), "{text}");
    faults.raise(Fault::Signature, "");
    has(&metrics, &[r#"fault{reason="signature"} 1"#, r#"fault{reason="full"} 0"#]);
}

#[test]
fn a_route_fails_until_a_delivery() {
    let metrics = Metrics::new(&Arc::default());
    let failing =
        |outcome, value| format!(r#"route_failing{{route="veo3/failed",outcome="{outcome}"}} {value}"#);
    let attempt = |outcome, values: [u8; 4]| {
        metrics.attempted("veo3/failed", outcome, Duration::ZERO);
        let outcomes = ["4xx", "5xx", "other", "unanswered"].into_iter().zip(values);
        let lines: Vec<_> = outcomes.map(|(outcome, value)| failing(outcome, value)).collect();
        has(&metrics, &lines.iter().map(String::as_str).collect::<Vec<_>>());
        metrics.failure("veo3/failed")
    };
    assert_eq!(attempt("delivered", [0, 0, 0, 0]), None);
    let first = attempt("4xx", [1, 0, 0, 0]).unwrap();
    assert_eq!(first.outcome, "4xx");
    assert_eq!(attempt("4xx", [1, 0, 0, 0]), Some(first), "since the first one");
    // A lost lease tells nothing about the service.
    assert_eq!(attempt("lease-lost", [1, 0, 0, 0]), Some(first));
    assert_eq!(attempt("5xx", [0, 1, 0, 0]).unwrap().outcome, "5xx");
    assert_eq!(attempt("unanswered", [0, 0, 0, 1]).unwrap().outcome, "unanswered");
    assert_eq!(attempt("other", [0, 0, 1, 0]).unwrap().outcome, "other");
    assert_eq!(attempt("delivered", [0, 0, 0, 0]), None);
    assert_eq!(metrics.failure("veo3/completed"), None);
}

#[test]
fn a_measurement_replaces_the_last_one() {
    let metrics = Metrics::new(&Arc::default());
    let waiting = row("veo3/failed", EntryState::Waiting, 2);
    let oldest_waiting = [("veo3/failed".to_owned(), 77)].into();
    metrics.measured(&Usage {
        oldest_waiting,
        ..usage(&[waiting, quarantined("veo3", 3), quarantined("sora", 4)])
    });
    has(
        &metrics,
        &[
            r#"entries{route="veo3/failed",state="waiting"} 2"#,
            r#"entries{route="veo3/quarantined",state="quarantined"} 3"#,
            r#"quarantine_entries{hook="veo3",reason="event-conflict"} 3"#,
            r#"quarantine_entries{hook="sora",reason="event-conflict"} 4"#,
            r#"oldest_waiting_seconds{route="veo3/failed"} 77"#,
        ],
    );
    metrics.measured(&usage(&[row("veo3/failed", EntryState::Delivered, 2), quarantined("sora", 1)]));
    has(
        &metrics,
        &[
            r#"entries{route="veo3/failed",state="waiting"} 0"#,
            r#"entries{route="veo3/failed",state="delivered"} 2"#,
            r#"entries{route="veo3/quarantined",state="quarantined"} 0"#,
            r#"quarantine_entries{hook="veo3",reason="event-conflict"} 0"#,
            r#"quarantine_entries{hook="sora",reason="event-conflict"} 1"#,
            r#"oldest_waiting_seconds{route="veo3/failed"} 0"#,
        ],
    );
}

/// Any client of an unsigned inbox can name hooks.
#[test]
fn a_flood_of_names_adds_no_series() {
    let metrics = Metrics::new(&Arc::default());
    let flood: Vec<_> = (0..3_000).map(|number| format!("flood-{number}")).collect();
    let series = |metrics: &Metrics| metrics.text(ExpositionFormat::Text).unwrap().lines().count();
    let all = |hooks: &[String]| {
        let routes: Vec<_> = hooks.iter().map(|hook| format!("{hook}/failed")).collect();
        for route in &routes {
            metrics.received(route, "new");
            metrics.attempted(route, "5xx", Duration::ZERO);
            metrics.died(route);
        }
        let health = RouteHealth { is_down: true, in_flight: 1, ..RouteHealth::default() };
        metrics.set_health(routes.iter().map(|route| (route.as_str(), health)));
        let rows = routes.iter().map(|route| row(route, EntryState::Waiting, 1));
        let rows: Vec<_> = rows.chain(hooks.iter().map(|hook| quarantined(hook, 1))).collect();
        let mut usage = usage(&rows);
        usage.oldest_waiting = routes.iter().map(|route| (route.clone(), 5)).collect();
        // Routes that the store does not list.
        usage.states.insert(EntryState::Dead, 9);
        metrics.measured(&usage);
    };
    all(&flood[..2_000]);
    let before = series(&metrics);
    all(&flood);
    assert_eq!(series(&metrics), before);
    has(
        &metrics,
        &[
            r#"received_total{route="other",what="new"} 3000"#,
            r#"route_in_flight{route="other"} 2000"#,
            r#"route_down{route="other"} 1"#,
            r#"entries{route="other",state="waiting"} 2000"#,
            r#"entries{route="other",state="dead"} 9"#,
            r#"quarantine_entries{hook="other",reason="event-conflict"} 3000"#,
            r#"oldest_waiting_seconds{route="other"} 5"#,
        ],
    );
    assert!(metrics.is_down("flood-2999/failed") && metrics.failure("flood-2999/failed").is_some());
}

#[test]
fn both_formats_have_the_same_samples() {
    let metrics = with_a_sample_of_each();
    let samples = |format| {
        let text = metrics.text(format).unwrap();
        let mut lines: Vec<_> =
            text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
        lines.sort_unstable();
        (lines, text.ends_with("\n# EOF\n"))
    };
    let (open, text) = (samples(ExpositionFormat::OpenMetrics), samples(ExpositionFormat::Text));
    assert!(open.0.len() > 60 && open.0 == text.0);
    assert_eq!((open.1, text.1), (true, false));
}
