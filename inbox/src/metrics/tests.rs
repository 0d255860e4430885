//! The names of metrics and labels, as literals: dashboards and alerts contain them.

use super::*;

#[test]
fn exposes_these_names_and_labels() {
    let metrics = Metrics::new();
    let x = || "x".to_owned();
    metrics.received.get_or_create(&WhatLabel { what: x() }).inc();
    metrics.refused.get_or_create(&ReasonLabel { reason: x() }).inc();
    metrics.quarantined.get_or_create(&ReasonLabel { reason: x() }).inc();
    metrics.attempts.get_or_create(&AttemptLabels { route: x(), outcome: x() }).inc();
    metrics.reconciliations.get_or_create(&OutcomeLabel { outcome: x() }).inc();
    for gauge in [&metrics.down, &metrics.paused, &metrics.in_flight] {
        gauge.get_or_create(&RouteLabel { route: x() }).set(1);
    }
    for gauge in [&metrics.entries, &metrics.bytes] {
        gauge.get_or_create(&WhatLabel { what: x() }).set(1);
    }
    let text = metrics.text().unwrap();
    // Without values, and only the count of a histogram.
    let mut samples: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.contains("_bucket{") && !line.contains("_sum "))
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    samples.sort_unstable();
    samples.dedup();
    assert_eq!(
        samples,
        [
            r#"blobgate_inbox_accept_errors_total{listener="admin",reason="descriptors"}"#,
            r#"blobgate_inbox_accept_errors_total{listener="admin",reason="other"}"#,
            r#"blobgate_inbox_accept_errors_total{listener="receive",reason="descriptors"}"#,
            r#"blobgate_inbox_accept_errors_total{listener="receive",reason="other"}"#,
            "blobgate_inbox_attempt_seconds_count",
            r#"blobgate_inbox_attempts_total{route="x",outcome="x"}"#,
            "blobgate_inbox_batch_events_count",
            r#"blobgate_inbox_bytes{what="x"}"#,
            "blobgate_inbox_clock_offset_seconds",
            "blobgate_inbox_commit_seconds_count",
            r#"blobgate_inbox_connections_ended_total{listener="admin",reason="idle"}"#,
            r#"blobgate_inbox_connections_ended_total{listener="admin",reason="room"}"#,
            r#"blobgate_inbox_connections_ended_total{listener="admin",reason="stalled"}"#,
            r#"blobgate_inbox_connections_ended_total{listener="receive",reason="idle"}"#,
            r#"blobgate_inbox_connections_ended_total{listener="receive",reason="room"}"#,
            r#"blobgate_inbox_connections_ended_total{listener="receive",reason="stalled"}"#,
            "blobgate_inbox_dead_total",
            "blobgate_inbox_disk_free_bytes",
            r#"blobgate_inbox_entries{what="x"}"#,
            "blobgate_inbox_expected",
            "blobgate_inbox_expected_overdue",
            "blobgate_inbox_expected_unknown_total",
            "blobgate_inbox_job_mismatch_total",
            "blobgate_inbox_oldest_waiting_seconds",
            "blobgate_inbox_purged_total",
            r#"blobgate_inbox_quarantined_total{reason="x"}"#,
            r#"blobgate_inbox_received_total{what="x"}"#,
            r#"blobgate_inbox_reconciliations_total{outcome="x"}"#,
            r#"blobgate_inbox_refused_total{reason="not-http"}"#,
            r#"blobgate_inbox_refused_total{reason="x"}"#,
            r#"blobgate_inbox_route_down{route="x"}"#,
            r#"blobgate_inbox_route_in_flight{route="x"}"#,
            r#"blobgate_inbox_route_paused{route="x"}"#,
            "blobgate_inbox_store_errors_total",
        ]
    );
}
