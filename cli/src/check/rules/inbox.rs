//! Whether judged deliveries reach the inbox.

use super::catalog::INBOX_BYPASS;
use super::delivery::Destinations;
use super::matcher::{self, SampleRequest, SampleSender, Truth};
use super::reporter::Reporter;
use super::routes::RouteView;
use super::routing::ServedHook;
use blobgate::contract::{Kind, Verdict, header};

/// Each verdict of a hook has an event that may reach the inbox, where the hook's virtual host has a route to it.
pub(super) fn check(served: &[ServedHook<'_, '_>], destinations: &Destinations<'_>, reporter: &mut Reporter) {
    for one in served {
        let to_inbox = |route: &RouteView<'_>| {
            route.needs_verdict()
                && route.clusters().iter().any(|(cluster, _)| destinations.inboxes.contains(cluster))
        };
        let routes: Vec<_> = one.host.routes.iter().filter(|route| to_inbox(route)).collect();
        let Some(first) = routes.first() else { continue };
        let takes = |path: &str| routes.iter().any(|route| takes_path(route, path));
        if !takes(&one.hook.path) {
            // The inbox may be for other hooks of this host.
            if !served.iter().any(|other| std::ptr::eq(other.host, one.host) && takes(&other.hook.path)) {
                let at = first.at.spot_of("match");
                let wrong = "takes the path of no hook: every delivery bypasses the inbox";
                reporter.error(&INBOX_BYPASS, at, wrong, "write `prefix: /`");
            }
            continue;
        }
        for verdict in one.hook.verdicts() {
            if !requests(one, verdict)
                .any(|request| one.host.first_matches(&request).into_iter().any(to_inbox))
            {
                report(one, verdict, first, reporter);
            }
        }
    }
}

fn takes_path(route: &RouteView<'_>, path: &str) -> bool {
    route.at.get("match").is_some_and(|conditions| matcher::path(&conditions, path) != Truth::No)
}

/// The judged deliveries of a hook, one for each event.
fn requests<'s>(served: &'s ServedHook<'_, '_>, verdict: Verdict) -> impl Iterator<Item = SampleRequest<'s>> {
    Kind::ALL.iter().map(move |event| SampleRequest {
        path: &served.hook.path,
        sender: SampleSender::Provider,
        verdict: Some(verdict.name()),
        event: Some(event.name()),
    })
}

fn report(served: &ServedHook<'_, '_>, verdict: Verdict, route: &RouteView<'_>, reporter: &mut Reporter) {
    let hook = &served.hook.name;
    let unmet = requests(served, verdict)
        .map(|request| matcher::unmet_header(&route.at.get("match")?, &request))
        .collect::<Option<Vec<_>>>();
    let verdict = verdict.name();
    let Some(unmet) = unmet.and_then(|all| all.into_iter().next()) else {
        let wrong = format!(
            "comes after other routes for {verdict} deliveries of the hook {hook}: they bypass the inbox"
        );
        return reporter.error(&INBOX_BYPASS, route.at.spot(), wrong, "move it before them");
    };
    let remedy = match unmet.text_at(&["name"]) {
        Some(header::VERDICT) => "match `accepted|quarantined|observed`",
        Some(":method") => "match `exact: POST`",
        _ => "remove this condition",
    };
    let wrong = format!("leaves out {verdict} deliveries of the hook {hook}: they bypass the inbox");
    reporter.error(&INBOX_BYPASS, unmet.spot(), wrong, remedy);
}
