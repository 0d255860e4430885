//! Where judged deliveries go, and that unjudged ones go nowhere.

use super::super::cursor::{Spot, YamlCursor};
use super::bootstrap::BootstrapView;
use super::catalog::{
    GATE_HEADERS, OPEN_ROUTE, QUARANTINE_ROUTE, REDIRECT, UNDELIVERED, UNGATED_JUDGED, UNKNOWN_HEADER,
};
use super::inbox;
use super::matcher::{SampleRequest, SampleSender};
use super::reporter::Reporter;
use super::routes::{RouteAction, RouteView};
use super::routing::{ServedHook, unjudged};
use blobgate::contract::header::{self, PREFIX, WEBHOOK_PREFIX};
use blobgate::contract::{Kind, Verdict};
use std::collections::BTreeSet;

/// The gate headers, and those that the inbox adds.
pub(super) const KNOWN_HEADERS: [&str; 24] = [
    header::VERDICT,
    header::HOOK,
    header::DIALECT,
    header::CONTRACT,
    header::REASON,
    header::OBSERVED,
    header::GENERATION_ID,
    header::EVENT,
    header::CLAIMED_EVENT,
    header::RESULT_HOST,
    header::CLIENT,
    header::DETAIL,
    header::DRIFT,
    header::PROOFS,
    header::TOKEN_ID,
    header::JOB,
    header::ERROR_CODE,
    header::ERROR_CLASS,
    header::ERROR_RETRYABLE,
    header::ATTEMPT,
    header::REDELIVERY,
    header::SUPERSEDES,
    header::OVERRIDE,
    header::SOURCE,
];

/// The clusters by what they get.
pub(super) struct Destinations<'y> {
    /// Accepted deliveries and no quarantined ones.
    pub(super) services: BTreeSet<&'y str>,
    /// Every verdict, by one route.
    pub(super) inboxes: BTreeSet<&'y str>,
    /// All that judged deliveries reach.
    pub(super) gated: BTreeSet<&'y str>,
}

impl<'y> Destinations<'y> {
    pub(super) fn new(bootstrap: &BootstrapView<'y>) -> Self {
        let judged =
            bootstrap.managers.iter().flat_map(|manager| &manager.hosts).flat_map(|host| &host.routes);
        let judged: Vec<_> = judged.filter(|route| route.needs_verdict()).collect();
        let of = |is_kind: &dyn Fn(&RouteView<'y>) -> bool| -> BTreeSet<&'y str> {
            let routes = judged.iter().filter(|route| is_kind(route));
            routes.flat_map(|route| route.clusters()).map(|(name, _)| *name).collect()
        };
        let is_named = |name: &str| name.contains("inbox");
        let (by_events, by_inbox) = (of(&RouteView::is_to_service), of(&RouteView::is_to_inbox));
        let gated = of(&|_| true);
        let services: BTreeSet<_> = by_events.iter().copied().filter(|name| !is_named(name)).collect();
        let inboxes = by_inbox.iter().copied().filter(|name| !services.contains(name));
        let named = gated.iter().copied().filter(|name| is_named(name));
        Self { inboxes: inboxes.chain(named).collect(), services, gated }
    }
}

pub(super) fn check(bootstrap: &BootstrapView<'_>, served: &[ServedHook<'_, '_>], reporter: &mut Reporter) {
    let destinations = Destinations::new(bootstrap);
    for served in served {
        check_closed(served, reporter);
        check_redirect(served, reporter);
        check_verdicts(served, &destinations, reporter);
    }
    inbox::check(served, &destinations, reporter);
    let hosts = bootstrap.managers.iter().flat_map(|manager| &manager.hosts);
    hosts.flat_map(|host| &host.routes).for_each(|route| check_matched_headers(route, reporter));
    for (manager, _) in bootstrap.gated() {
        for host in &manager.hosts {
            for route in &host.routes {
                check_headers(&route.at, reporter);
                if route.needs_verdict() && !route.clusters().is_empty() && !manager.runs_gate(host, route) {
                    let wrong = format!(
                        "does not enable the gate: {} stays closed only as long as Envoy removes a client's gate headers",
                        route.name()
                    );
                    let remedy = "add the gate to its typed_per_filter_config, as the closed route has it";
                    reporter.warn(&UNGATED_JUDGED, route.at.spot(), wrong, remedy);
                }
            }
            check_headers(&host.at, reporter);
            host.table.iter().for_each(|table| check_headers(table, reporter));
        }
    }
}

/// Without a running gate, a delivery gets 503 and comes again.
fn check_closed(served: &ServedHook<'_, '_>, reporter: &mut Reporter) {
    let path = served.hook.delivery_path();
    for route in served.host.first_matches(&unjudged(&path, SampleSender::Provider)) {
        let (hook, remedy) = (
            &served.hook.name,
            "write `direct_response: {status: 503}`, and let routes with blobgate-verdict before it lead to services",
        );
        match route.action {
            RouteAction::Direct(503.0) => {}
            RouteAction::Direct(status) => {
                let at = route
                    .at
                    .get("direct_response")
                    .map_or_else(|| route.at.spot(), |direct| direct.spot_of("status"));
                let wrong = format!(
                    "is {status}, not 503: without a running gate, RunBlob does not send a delivery to the hook {hook} again"
                );
                if (500.0..600.0).contains(&status) {
                    reporter.warn(&OPEN_ROUTE, at, format!("is {status}, not 503"), "write 503");
                } else {
                    reporter.error(&OPEN_ROUTE, at, wrong, "write 503");
                }
            }
            RouteAction::Redirect => {
                let wrong = format!(
                    "redirects an unjudged delivery of the hook {hook}: RunBlob does not follow redirects"
                );
                reporter.error(&OPEN_ROUTE, route.at.spot_of("redirect"), wrong, remedy);
            }
            _ => {
                let wrong = format!(
                    "takes unjudged deliveries of the hook {hook}: without a running gate, forged ones reach {}",
                    target(route)
                );
                reporter.error(&OPEN_ROUTE, route.at.spot(), wrong, remedy);
            }
        }
    }
}

fn check_redirect(served: &ServedHook<'_, '_>, reporter: &mut Reporter) {
    if let Some(tls) = served.host.at.get("require_tls")
        && !tls.is_enum("NONE", 0.0)
    {
        let wrong =
            "redirects plain HTTP: RunBlob does not follow redirects, and the gate's own answer is 403";
        reporter.warn(&REDIRECT, tls.spot(), wrong, "remove it");
    }
}

/// Each verdict of the hook leads to a service or to the inbox.
fn check_verdicts(served: &ServedHook<'_, '_>, destinations: &Destinations<'_>, reporter: &mut Reporter) {
    for verdict in served.hook.verdicts() {
        let mut lost: Vec<(Spot, bool, Vec<&str>)> = Vec::new();
        // An observing hook also forwards what is no event.
        let none = (verdict == Verdict::Observed).then_some(None);
        for event in Kind::ALL.iter().copied().map(Some).chain(none) {
            let request = SampleRequest {
                path: &served.hook.path,
                sender: SampleSender::Provider,
                verdict: Some(verdict.name()),
                event: event.map(Kind::name),
            };
            let routes = served.host.first_matches(&request);
            if verdict == Verdict::Quarantined {
                routes.iter().for_each(|route| check_quarantine(route, destinations, reporter));
            }
            let last = routes.last();
            if matches!(
                last.map(|route| &route.action),
                Some(RouteAction::Clusters(_) | RouteAction::AnyCluster)
            ) {
                continue;
            }
            let at = last.map_or_else(|| served.hook.spot.clone(), |route| route.at.spot());
            match lost.iter_mut().find(|(known, ..)| *known == at) {
                Some((.., events)) => events.push(event.map_or("no event", Kind::name)),
                None => lost.push((at, last.is_some(), vec![event.map_or("no event", Kind::name)])),
            }
        }
        for (at, has_route, events) in lost {
            undelivered(at, served, verdict, &events, has_route, reporter);
        }
    }
}

fn undelivered(
    at: Spot,
    served: &ServedHook<'_, '_>,
    verdict: Verdict,
    events: &[&str],
    has_route: bool,
    reporter: &mut Reporter,
) {
    let (verdict, events, hook) = (verdict.name(), events.join(", "), &served.hook.name);
    let wrong = match has_route {
        true => format!(
            "is the first route for {verdict} events of the hook {hook} ({events}), and leads to no cluster: they never arrive"
        ),
        false => {
            format!("has no route for {verdict} events of the hook {hook} ({events}): they never arrive")
        }
    };
    let remedy =
        format!("add a route before it that matches `{}: {verdict}` and leads to a service", header::VERDICT);
    reporter.error(&UNDELIVERED, at, wrong, remedy);
}

fn check_quarantine(route: &RouteView<'_>, destinations: &Destinations<'_>, reporter: &mut Reporter) {
    for (cluster, at) in route.clusters() {
        if destinations.services.contains(cluster) && !destinations.inboxes.contains(cluster) {
            let wrong = format!(
                "leads quarantined deliveries to {cluster}, which takes accepted ones: it may act on an invalid event"
            );
            let remedy = "lead them to the inbox, or to a service of their own";
            reporter.error(&QUARANTINE_ROUTE, at.spot(), wrong, remedy);
        }
    }
}

/// A matcher of a header that the gate never sets.
fn check_matched_headers(route: &RouteView<'_>, reporter: &mut Reporter) {
    let conditions = route.at.get("match").map(|conditions| conditions.list("headers")).unwrap_or_default();
    for matcher in conditions {
        let name = matcher.text_at(&["name"]).unwrap_or_default().to_ascii_lowercase();
        if name.starts_with(PREFIX) && !KNOWN_HEADERS.contains(&&*name) {
            let wrong = format!("is {name}, which is no header of the gate: no delivery has it");
            let remedy = format!("write {}, {} or another gate header", header::VERDICT, header::EVENT);
            reporter.error(&UNKNOWN_HEADER, matcher.spot_of("name"), wrong, remedy);
        }
    }
}

/// Routes that set or remove gate headers replace the gate's.
fn check_headers(scope: &YamlCursor<'_>, reporter: &mut Reporter) {
    let is_gates = |name: &str| {
        let name = name.to_ascii_lowercase();
        name.starts_with(PREFIX) || name.starts_with(WEBHOOK_PREFIX) || name == header::IDEMPOTENCY_KEY
    };
    let added = scope.list("request_headers_to_add").into_iter();
    let added = added.filter_map(|option| option.at(&["header", "key"]));
    for name in added.chain(scope.list("request_headers_to_remove")) {
        if name.text().is_some_and(is_gates) {
            let wrong =
                "changes a header that only the gate sets: services then act on another verdict or signature";
            reporter.error(&GATE_HEADERS, name.spot(), wrong, "leave this header alone");
        }
    }
}

pub(super) fn target(route: &RouteView<'_>) -> String {
    match &route.action {
        RouteAction::Clusters(clusters) => {
            let names: Vec<&str> = clusters.iter().map(|(name, _)| *name).collect();
            names.join(", ")
        }
        RouteAction::AnyCluster => "any cluster".to_owned(),
        _ => "no cluster".to_owned(),
    }
}
