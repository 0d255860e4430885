//! The part of the book's page of metrics that the inbox renders.

use super::*;
use blobgate_testkit_book::{check_part, code, items_between, table};

/// What `/metrics` shows once each metric has a sample.
fn with_a_sample_of_each() -> String {
    tests::with_a_sample_of_each().text(ExpositionFormat::OpenMetrics).unwrap()
}

#[test]
fn the_reference_has_each_metric() {
    let text = with_a_sample_of_each();
    let line = |kind: &str, name: &str| {
        let start = format!("# {kind} {name} ");
        text.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or_default().to_owned()
    };
    let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let rows: Vec<_> = names
        .map(|(name, kind)| {
            let sample = text.lines().find(|line| line.starts_with(name)).unwrap();
            let labels = sample.split_once('{').map_or("", |(_, rest)| rest.split_once('}').unwrap().0);
            let labels =
                labels.split(',').filter_map(|label| label.split_once('=')).filter(|(name, _)| *name != "le");
            let labels: Vec<String> = labels.map(|(name, _)| code(name)).collect();
            let suffix = if kind == "counter" { "_total" } else { "" };
            [code(&format!("{name}{suffix}")), kind.to_owned(), labels.join(", "), line("HELP", name)]
        })
        .collect();
    assert!(rows.len() > 20 && rows.iter().all(|[.., help]| !help.is_empty()), "{rows:?}");

    const OUTCOME: &str = include_str!("../reconcile/outcome.rs");
    let docs = items_between(OUTCOME, "pub(super) enum CallOutcome {\n", "\n}");
    let outcomes = docs.iter().filter_map(|(variant, docs)| {
        let (_, rest) = OUTCOME.split_once(&format!("Self::{variant} => \""))?;
        Some([code(rest.split_once('"')?.0), docs.clone()])
    });
    let outcomes: Vec<_> = outcomes.collect();
    assert_eq!(outcomes.len(), docs.len() - 1, "each but the status API's own");
    check_part(
        "metrics",
        "inbox",
        &format!(
            "## Inbox\n\nThe inbox serves these at `/metrics` of its admin listener, and of the metrics listener (`--metrics`). A client that\n\
             names OpenMetrics in `Accept` gets OpenMetrics 1.0.0, another one Prometheus' text format.\n\n{}\n\
             `reason` of `blobgate_inbox_refused_total` is a [code of the receive listener](inbox-api.md#refusals-of-the-receive-listener),\n\
             or `not-http` for a request that cannot be read. `reason` of `blobgate_inbox_quarantined_total` is a\n\
             [reason for quarantine](store.md#reasons-for-quarantine), or `other` for one of a newer gate. `reason` of\n\
             `blobgate_inbox_fault` is a [fault](inbox-api.md#health).\n\n\
             A `route` is `HOOK/EVENT` or `HOOK/observed/EVENT`; of quarantined deliveries, `HOOK/quarantined`. The first 1,000 routes of a\n\
             process have their name, and all others are `other`.\n\n\
             `outcome` of `blobgate_inbox_attempts_total` is `delivered`, `4xx`, `5xx`, `other`, `unanswered` or `lease-lost`; of\n\
             `blobgate_inbox_route_failing` one of `4xx`, `5xx`, `other` and `unanswered`. All four exist from the first attempt of a\n\
             process on the route. `what` of `blobgate_inbox_bytes` is `all`, `quarantine`, `dead` or `observed`; `state` of\n\
             `blobgate_inbox_entries` an [entry state](store.md#entry-states). With PostgreSQL there is no `disk_free_bytes`,\n\
             `disk_size_bytes` and `disk_reserve_bytes`.\n\n\
             ### Reconcile outcomes\n\n\
             The label `outcome` of `blobgate_inbox_reconciliations_total`: one of these, or a\n\
             [confirm outcome](#confirm-outcomes) of the status API.\n\n{}",
            table(["metric", "type", "labels", "meaning"], rows),
            table(["outcome", "meaning"], outcomes),
        ),
    );
}
