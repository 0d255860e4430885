use super::*;
use std::path::Path;

fn taken(incidents: &Incidents, kind: IncidentKind) -> Option<(Vec<(String, u64)>, Runbook)> {
    let tally = incidents.take(kind)?;
    Some((tally.counts.into_iter().collect(), tally.runbook))
}

fn row(counts: &[(&str, u64)], runbook: Runbook) -> Option<(Vec<(String, u64)>, Runbook)> {
    Some((counts.iter().map(|(label, count)| ((*label).to_owned(), *count)).collect(), runbook))
}

#[test]
fn sums_each_kind_by_reason_or_route_until_it_is_taken() {
    let incidents = Incidents::noted();
    for reason in ["token-expired", "source-denied", "token-expired", "a header's text"] {
        incidents.quarantined(&QuarantineReason::parse(reason));
    }
    incidents.dead("veo3/completed");
    incidents.refused("full");
    let quarantined = row(&[("other", 1), ("source-denied", 1), ("token-expired", 2)], Runbook::Quarantined);
    assert_eq!(taken(&incidents, IncidentKind::Quarantined), quarantined);
    assert_eq!(taken(&incidents, IncidentKind::Quarantined), None);
    assert_eq!(taken(&incidents, IncidentKind::Dead), row(&[("veo3/completed", 1)], Runbook::Dead));
    assert_eq!(taken(&incidents, IncidentKind::Refused), row(&[("full", 1)], Runbook::InboxRefuses));
    // The first incident of a kind waits for those that come with it.
    incidents.dead("veo3/failed");
    assert!(incidents.has(IncidentKind::Dead, Duration::ZERO));
    assert!(!incidents.has(IncidentKind::Dead, Duration::from_secs(3_600)));
    assert!(!incidents.has(IncidentKind::Down, Duration::ZERO));
    assert_eq!(taken(&incidents, IncidentKind::Dead), row(&[("veo3/failed", 1)], Runbook::Dead));
}

#[test]
fn counts_generations_that_become_overdue() {
    let incidents = Incidents::noted();
    for now in [0, 2, 2, 1, 4, 0] {
        incidents.overdue(now);
    }
    incidents.unknown();
    assert_eq!(
        taken(&incidents, IncidentKind::Overdue),
        row(&[("no-event", 5), ("unknown", 1)], Runbook::Overdue)
    );
    incidents.overdue(0);
    assert_eq!(taken(&incidents, IncidentKind::Overdue), None);
}

#[test]
fn a_route_is_down_after_five_failures_in_a_row() {
    let incidents = Incidents::noted();
    let fail = |count, failed| (0..count).for_each(|_| incidents.failed("veo3/completed", failed));
    fail(4, FailedAttempt::Answered);
    incidents.delivered("veo3/completed");
    fail(4, FailedAttempt::Answered);
    assert_eq!(taken(&incidents, IncidentKind::Down), None);
    fail(1, FailedAttempt::Answered);
    let counted = |count, runbook| row(&[("veo3/completed", count)], runbook);
    assert_eq!(taken(&incidents, IncidentKind::Down), counted(5, Runbook::ServiceFails));
    // It stays down, and an attempt without an answer is the more urgent cause.
    fail(1, FailedAttempt::Answered);
    fail(1, FailedAttempt::Down);
    fail(1, FailedAttempt::Answered);
    assert_eq!(taken(&incidents, IncidentKind::Down), counted(3, Runbook::RouteDown));
    incidents.delivered("veo3/completed");
    fail(1, FailedAttempt::Down);
    assert_eq!(taken(&incidents, IncidentKind::Down), None);
}

#[test]
fn remembers_a_bounded_number_of_labels() {
    let incidents = Incidents::noted();
    for number in 0..10_000 {
        incidents.dead(&format!("hook-{number}/completed"));
        incidents.failed(&format!("hook-{number}/completed"), FailedAttempt::Down);
    }
    incidents.dead(&"a".repeat(1_000_000));
    let tally = incidents.take(IncidentKind::Dead).unwrap();
    assert_eq!((tally.counts.len(), tally.count()), (MAX_LABELS + 1, 10_001));
    assert_eq!(tally.counts[OTHER], 9_951);
    assert_eq!(incidents.state().unwrap().failing.len(), MAX_ROUTES);
}

#[test]
fn an_inbox_that_does_not_notify_notes_nothing() {
    let incidents = Incidents::default();
    incidents.dead("veo3/completed");
    incidents.overdue(3);
    incidents.failed("veo3/completed", FailedAttempt::Down);
    assert_eq!(taken(&incidents, IncidentKind::Dead), None);
}

#[test]
fn the_book_has_each_runbook() {
    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operate/runbooks");
    for runbook in Runbook::ALL {
        let page = format!("{FOLDER}/blobgate-{}.md", runbook.page());
        assert!(Path::new(&page).is_file(), "{page}");
    }
}
