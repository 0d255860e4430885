//! Times: RunBlob waits 30 s for an answer.

use super::super::cursor::YamlCursor;
use super::bootstrap::{BootstrapView, Extent, ManagerView};
use super::catalog::{CONFIRM_TIMEOUT, IDLE_TIMEOUT, RETRIES, SENDER_TIMEOUT, SLOW_CLIENTS};
use super::delivery::Destinations;
use super::gate::GateView;
use super::reporter::Reporter;
use super::routes::RouteView;
use std::time::Duration;

/// RunBlob's request timeout.
const SENDER: Duration = Duration::from_secs(30);
/// Envoy's default of a route's `timeout`.
const DEFAULT_ROUTE: Duration = Duration::from_secs(15);
/// A longer `request_timeout` is the cause, where its sum with a route's `timeout` is too long.
const LONG_RECEIVE: Duration = Duration::from_secs(5);
/// Envoy's default of `max_retries` of a circuit breaker.
const DEFAULT_RETRIES: f64 = 3.0;

pub(super) fn check(bootstrap: &BootstrapView<'_>, reporter: &mut Reporter) {
    let destinations = Destinations::new(bootstrap);
    for (manager, gate) in bootstrap.gated() {
        let receive =
            manager.get("request_timeout").and_then(|timeout| timeout.duration()).unwrap_or_default();
        check_receive(bootstrap, manager, gate, receive, reporter);
        let mut longest = Duration::ZERO;
        let routes = manager.hosts.iter().flat_map(|host| host.routes.iter().map(move |route| (host, route)));
        let judged = routes.filter(|(host, route)| route.needs_verdict() || manager.runs_gate(host, route));
        for (host, route) in judged {
            let Some(forward) = route.forward() else { continue };
            let counted = if receive > LONG_RECEIVE { Duration::ZERO } else { receive };
            longest = longest.max(check_route(&forward, counted, reporter));
            let policy = forward.get("retry_policy").or_else(|| host.at.get("retry_policy"));
            if let Some(policy) = policy {
                check_retries(bootstrap, route, &policy, &destinations, reporter);
            }
        }
        check_sum(manager, receive, longest, reporter);
        check_idle(manager, longest, reporter);
    }
}

fn check_receive(
    bootstrap: &BootstrapView<'_>,
    manager: &ManagerView<'_>,
    gate: &GateView<'_>,
    receive: Duration,
    reporter: &mut Reporter,
) {
    let Some(at) = &manager.at else { return };
    if receive.is_zero() {
        if bootstrap.extent == Extent::Whole {
            let wrong = "is missing or 0: a client that sends slowly occupies a connection and its body's memory for minutes";
            reporter.warn(&SLOW_CLIENTS, at.spot_of("request_timeout"), wrong, "write `request_timeout: 5s`");
        }
        return;
    }
    let Some(confirm) = gate.confirm.as_ref().filter(|_| gate.hooks.iter().any(|hook| hook.names_confirmed))
    else {
        return;
    };
    if receive <= confirm.timeout {
        let wrong = format!(
            "ends while a confirmation may still run, for up to {}s: the sender then gets 408",
            confirm.timeout.as_secs_f64()
        );
        reporter.error(
            &CONFIRM_TIMEOUT,
            at.spot_of("request_timeout"),
            wrong,
            "make it longer than confirm.timeout, such as 5s",
        );
    }
}

/// The times of a long `request_timeout` and the longest route.
fn check_sum(manager: &ManagerView<'_>, receive: Duration, longest: Duration, reporter: &mut Reporter) {
    if receive > LONG_RECEIVE
        && longest < SENDER
        && receive.saturating_add(longest) >= SENDER
        && let Some(at) = &manager.at
    {
        let wrong = format!(
            "is {}s, and with a route's {}s an answer comes after RunBlob's 30 s: it sends again what has arrived",
            receive.as_secs_f64(),
            longest.as_secs_f64()
        );
        reporter.error(&SENDER_TIMEOUT, at.spot_of("request_timeout"), wrong, "write 5s");
    }
}

/// Returns the route's timeout.
fn check_route(forward: &YamlCursor<'_>, receive: Duration, reporter: &mut Reporter) -> Duration {
    let timeout = forward.get("timeout").and_then(|timeout| timeout.duration()).unwrap_or(DEFAULT_ROUTE);
    let at = forward.spot_of("timeout");
    let remedy = format!("write at most {}s", 25_u64.saturating_sub(receive.as_secs()));
    if timeout.is_zero() {
        let wrong =
            "is 0, which is no limit: RunBlob gives up after 30 s, while the delivery is still on its way";
        reporter.error(&SENDER_TIMEOUT, at, wrong, "write 20s");
    } else if timeout.saturating_add(receive) >= SENDER {
        let wrong = format!(
            "is {}s, and with {}s to receive a request an answer comes after RunBlob's 30 s: it sends again what has arrived",
            timeout.as_secs_f64(),
            receive.as_secs_f64()
        );
        reporter.error(&SENDER_TIMEOUT, at, wrong, remedy);
    }
    check_attempt(forward, timeout, reporter);
    timeout
}

/// A route's own limits, shorter than its timeout.
fn check_attempt(forward: &YamlCursor<'_>, timeout: Duration, reporter: &mut Reporter) {
    /// A service that stores a delivery may take this long.
    const MIN_ATTEMPT: Duration = Duration::from_secs(1);
    let is_below = |limit: &YamlCursor<'_>, least: Duration| {
        limit.duration().is_some_and(|time| !time.is_zero() && time < least)
    };
    if let Some(limit) = forward.get("idle_timeout").filter(|limit| is_below(limit, timeout)) {
        let wrong = "ends deliveries before the route's timeout: RunBlob sends them again";
        reporter.warn(&IDLE_TIMEOUT, limit.spot(), wrong, "remove it");
    }
    let limit = forward.at(&["retry_policy", "per_try_timeout"]);
    if let Some(limit) = limit.filter(|limit| is_below(limit, MIN_ATTEMPT)) {
        let wrong = "ends an attempt that the service may still take: RunBlob sends it again";
        reporter.warn(&IDLE_TIMEOUT, limit.spot(), wrong, "remove it, since the route has a timeout");
    }
}

fn check_idle(manager: &ManagerView<'_>, longest: Duration, reporter: &mut Reporter) {
    let limits = [
        manager.get("stream_idle_timeout"),
        manager.get("common_http_protocol_options").and_then(|options| options.get("max_stream_duration")),
    ];
    for limit in limits.into_iter().flatten() {
        if limit.duration().is_some_and(|time| !time.is_zero() && time < longest) {
            let wrong = format!(
                "ends requests before their route's timeout of {}s: RunBlob sends them again",
                longest.as_secs_f64()
            );
            let remedy =
                format!("write more than {}s, or shorten the route's timeout", longest.as_secs_f64());
            reporter.warn(&IDLE_TIMEOUT, limit.spot(), wrong, remedy);
        }
    }
}

fn check_retries(
    bootstrap: &BootstrapView<'_>,
    route: &RouteView<'_>,
    policy: &YamlCursor<'_>,
    destinations: &Destinations<'_>,
    reporter: &mut Reporter,
) {
    let repeats =
        ["5xx", "gateway-error", "reset", "retriable-4xx", "retriable-status-codes", "retriable-headers"];
    let conditions = policy.text_at(&["retry_on"]).unwrap_or_default();
    let repeat = conditions.split(',').map(str::trim).find(|condition| repeats.contains(condition));
    for (cluster, _) in route.clusters() {
        if let Some(condition) = repeat
            && destinations.services.contains(cluster)
        {
            let wrong =
                format!("has {condition}: Envoy repeats deliveries that the service may have taken already");
            reporter.warn(
                &RETRIES,
                policy.spot_of("retry_on"),
                wrong,
                "write `connect-failure,refused-stream`",
            );
        }
        let Some(cluster) = bootstrap.cluster(cluster) else { continue };
        let thresholds = cluster.at.get("circuit_breakers").map(|breakers| breakers.list("thresholds"));
        let limits = thresholds.unwrap_or_default();
        let limit = limits.iter().filter_map(|limit| limit.number_at(&["max_retries"])).reduce(f64::max);
        if limit.unwrap_or(DEFAULT_RETRIES) <= DEFAULT_RETRIES {
            let wrong = format!(
                "allows {} retries at a time: further deliveries to {} get 503 at once while it restarts",
                limit.unwrap_or(DEFAULT_RETRIES),
                cluster.name
            );
            reporter.warn(
                &RETRIES,
                cluster.at.spot_of("circuit_breakers"),
                wrong,
                "write `circuit_breakers: {thresholds: [{max_retries: 1024}]}`",
            );
        }
    }
}
