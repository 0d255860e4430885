//! Whether the gate runs on each hook's path.

use super::super::cursor::YamlCursor;
use super::bootstrap::{BootstrapView, Extent, ManagerView};
use super::catalog::{DISABLED_HOOK, ELSEWHERE, EMPTY_ENTRY, OPEN_ROUTE, UNKNOWN_FILTER, UNROUTED_HOOK};
use super::delivery::Destinations;
use super::gate::HookView;
use super::matcher::{SampleRequest, SampleSender};
use super::reporter::Reporter;
use super::routes::{HostView, RouteAction, RouteView, per_filter};

/// A hook on a virtual host where the gate runs on its path.
pub(super) struct ServedHook<'b, 'y> {
    pub(super) manager: &'b ManagerView<'y>,
    pub(super) host: &'b HostView<'y>,
    pub(super) hook: &'b HookView,
}

/// A hook's path on a virtual host that does not serve it.
struct UnservedHook<'b, 'y> {
    manager: &'b ManagerView<'y>,
    /// The first route that does not enable the gate.
    route: Option<&'b RouteView<'y>>,
}

/// Reports hooks that no virtual host serves. Returns the others.
pub(super) fn check<'b, 'y>(
    bootstrap: &'b BootstrapView<'y>,
    reporter: &mut Reporter,
) -> Vec<ServedHook<'b, 'y>> {
    let mut all_served: Vec<ServedHook<'b, 'y>> = Vec::new();
    let mut all_unserved: Vec<(&HookView, Vec<UnservedHook<'b, 'y>>)> = Vec::new();
    for manager in &bootstrap.managers {
        routes_are_elsewhere(manager, reporter);
    }
    for (manager, gate) in bootstrap.gated() {
        check_names(manager, reporter);
        for hook in &gate.hooks {
            let (served, unserved) = on_hosts(manager, hook);
            all_served.extend(served);
            if !routes_are_elsewhere(manager, reporter) && (!manager.hosts.is_empty() || is_whole(bootstrap))
            {
                all_unserved.push((hook, unserved));
            }
        }
    }
    let gated = Destinations::new(bootstrap).gated;
    for (hook, unserved) in all_unserved {
        // The rule about ungated routes reports a way to a service.
        let leads_to_service = |unserved: &UnservedHook<'_, '_>| {
            unserved.route.is_some_and(|route| match &route.action {
                RouteAction::AnyCluster => !gated.is_empty(),
                _ => route.clusters().iter().any(|(cluster, _)| gated.contains(cluster)),
            })
        };
        if unserved.iter().any(leads_to_service) {
            continue;
        }
        if !all_served.iter().any(|served| served.hook.name == hook.name && served.hook.path == hook.path) {
            report(hook, &unserved, reporter);
        }
    }
    all_served
}

fn is_whole(bootstrap: &BootstrapView<'_>) -> bool {
    bootstrap.extent == Extent::Whole
}

fn on_hosts<'b, 'y>(
    manager: &'b ManagerView<'y>,
    hook: &'b HookView,
) -> (Vec<ServedHook<'b, 'y>>, Vec<UnservedHook<'b, 'y>>) {
    let path = hook.delivery_path();
    let (mut served, mut unserved) = (Vec::new(), Vec::new());
    for host in &manager.hosts {
        let routes = host.first_matches(&unjudged(&path, SampleSender::Provider));
        let open = routes.iter().find(|route| !manager.runs_gate(host, route));
        match (routes.is_empty(), open) {
            (false, None) => served.push(ServedHook { manager, host, hook }),
            _ => unserved.push(UnservedHook { manager, route: open.copied() }),
        }
    }
    if manager.hosts.is_empty() {
        unserved.push(UnservedHook { manager, route: None });
    }
    (served, unserved)
}

/// A request without gate headers: a client's are removed.
pub(super) fn unjudged(path: &str, sender: SampleSender) -> SampleRequest<'_> {
    SampleRequest { path, sender, verdict: None, event: None }
}

impl<'y> ManagerView<'y> {
    /// Whether the gate runs on requests whose first route is this one.
    pub(super) fn runs_gate(&self, host: &HostView<'y>, route: &RouteView<'y>) -> bool {
        let Some(gate) = self.gate_filter() else { return false };
        // A name of no filter is a mistake of its own, and was meant for the gate.
        let is_for_gate =
            |name: &str| name == gate.name || !self.filters.iter().any(|filter| filter.name == name);
        host.states(route, is_for_gate).unwrap_or(!gate.is_disabled())
    }
}

fn report(hook: &HookView, unserved: &[UnservedHook<'_, '_>], reporter: &mut Reporter) {
    let HookView { name, path, .. } = hook;
    let closed = |route: &&RouteView<'_>| matches!(route.action, RouteAction::Direct(_));
    let routes = || unserved.iter().filter_map(|unserved| unserved.route);
    if let Some(route) = routes().find(closed).or_else(|| routes().next()) {
        let wrong = format!(
            "does not enable the gate, and is the first route for the path of the hook {name}: the gate never runs on it"
        );
        let remedy = "add the gate's filter to its typed_per_filter_config, as `{\"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig, config: {}}`";
        return reporter.error(&DISABLED_HOOK, route.at.spot(), wrong, remedy);
    }
    let remedy =
        format!("add a route with `path_separated_prefix: {path}`, the gate and direct_response 503");
    let runs_anyway = unserved
        .iter()
        .any(|unserved| unserved.manager.gate_filter().is_some_and(|filter| !filter.is_disabled()));
    if runs_anyway {
        let wrong = format!(
            "has no route of its own: without a running gate, deliveries to the hook {name} get 404 or another route"
        );
        return reporter.error(&OPEN_ROUTE, hook.spot.clone(), wrong, remedy);
    }
    let wrong = format!("matches no route: deliveries to the hook {name} get 404");
    reporter.error(&UNROUTED_HOOK, hook.spot.clone(), wrong, remedy);
}

/// Reports names in `typed_per_filter_config` that no filter has. Envoy ignores them.
fn check_names(manager: &ManagerView<'_>, reporter: &mut Reporter) {
    let Some(gate) = manager.gate_filter() else { return };
    let check = |scope: &YamlCursor<'_>, reporter: &mut Reporter| {
        for (name, entry) in per_filter(scope) {
            let is_config = entry.text_at(&["@type"]).is_some_and(|kind| kind.ends_with(".FilterConfig"));
            if is_config && entry.get("config").is_none() && !entry.is_true("disabled") {
                let wrong = "has neither config nor `disabled: true`: Envoy refuses it";
                let remedy = "write `config: {}` beside its @type";
                reporter.error(&EMPTY_ENTRY, entry.spot(), wrong, remedy);
            }
            if manager.filters.iter().any(|filter| filter.name == name) {
                continue;
            }
            let wrong = "is the name of no HTTP filter here: Envoy ignores it";
            let remedy = format!("write the filter's name; the gate's is {}", gate.name);
            match is_config {
                true => reporter.error(&UNKNOWN_FILTER, entry.spot(), wrong, remedy),
                false => reporter.warn(&UNKNOWN_FILTER, entry.spot(), wrong, remedy),
            }
        }
    };
    for host in &manager.hosts {
        host.table.iter().for_each(|table| check(table, reporter));
        check(&host.at, reporter);
        host.routes.iter().for_each(|route| check(&route.at, reporter));
    }
}

/// Reports routes that the file does not show.
fn routes_are_elsewhere(manager: &ManagerView<'_>, reporter: &mut Reporter) -> bool {
    let hosts = manager.hosts.iter().map(|host| host.at.get("matcher"));
    let vhds = manager.get("route_config").and_then(|table| table.get("vhds"));
    let keys = ["rds", "scoped_routes"].map(|key| manager.get(key)).into_iter();
    let Some(at) = keys.chain([vhds]).chain(hosts).flatten().next() else { return false };
    let wrong = "has routes that this file does not show as a list";
    reporter.not_checked(&ELSEWHERE, at.spot(), wrong, "check that each hook's path ends in a 503 of Envoy");
    true
}
