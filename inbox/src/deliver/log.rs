//! The log lines about routes and entries. No line has a service's answer: it can repeat the body of its delivery.

use super::LeasedEntry;
use super::attempt::AttemptOutcome;
use crate::line_limit::permits;
use blobgate::event::Kind;

/// A route is down, or up again, after an attempt of this entry.
pub(super) fn health_changed(change: &str, outcome: &AttemptOutcome, entry: i64, leased: &LeasedEntry) {
    let route = leased.route.as_str();
    let (hook, event) = parts(route);
    let request_id = leased.request_id.as_deref();
    let cause = match outcome {
        AttemptOutcome::Answered(status, _) => format!("its service answers {}", status.as_u16()),
        AttemptOutcome::Unanswered(_) | AttemptOutcome::LeaseLost => outcome.to_string(),
    };
    tracing::warn!(
        route,
        hook,
        event,
        entry,
        request_id,
        "route={route} is {change}: {cause} (entry={entry} request_id={})",
        request_id.unwrap_or("-")
    );
}

/// An entry has had all its attempts.
pub(super) fn died(entry: i64, leased: Option<&LeasedEntry>) {
    if !permits(("dead", "")) {
        return;
    }
    let route = leased.map(|leased| leased.route.as_str());
    let request_id = leased.and_then(|leased| leased.request_id.as_deref());
    let (hook, event) = route.map(parts).unzip();
    tracing::error!(
        entry,
        route,
        hook,
        event = event.flatten(),
        generation = leased.and_then(|leased| leased.generation.as_deref()),
        request_id,
        "entry={entry} is dead after 72 h of attempts: `blobgate inbox show {entry}` shows them (request_id={})",
        request_id.unwrap_or("-")
    );
}

/// The hook and the event of a route: `HOOK/EVENT` or `HOOK/observed/EVENT`.
fn parts(route: &str) -> (&str, Option<&'static str>) {
    let hook = route.split('/').next().unwrap_or(route);
    (hook, route.rsplit('/').next().and_then(Kind::parse).map(Kind::name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_hook_and_the_event_of_a_route() {
        assert_eq!(parts("veo3/completed"), ("veo3", Some("completed")));
        assert_eq!(parts("veo3/observed/failed"), ("veo3", Some("failed")));
        assert_eq!(parts("veo3/observed"), ("veo3", None));
    }
}
