//! Ways to a gated service without the gate.

use super::super::cursor::YamlCursor;
use super::bootstrap::{
    BootstrapView, Extent, ListenerView, ManagerView, host_and_port, is_local_host, is_loopback,
};
use super::catalog::{EARLY_REMOVAL, EXPOSED_SERVICES, GATE_HEADERS, HOST_NAMES, UNGATED_ROUTE};
use super::delivery::{Destinations, KNOWN_HEADERS, target};
use super::gate::HookView;
use super::matcher::{self, SampleSender, Truth};
use super::reporter::Reporter;
use super::routes::{HostView, RouteAction, RouteView};
use super::routing::unjudged;
use blobgate::contract::header;
use std::collections::BTreeSet;

pub(super) fn check(bootstrap: &BootstrapView<'_>, reporter: &mut Reporter) {
    let destinations = Destinations::new(bootstrap);
    let ways = Ways {
        bootstrap,
        destinations,
        hooks: bootstrap.gated().flat_map(|(_, gate)| &gate.hooks).collect(),
    };
    bootstrap.listeners.iter().for_each(|listener| ways.check_tcp(listener, reporter));
    for manager in &bootstrap.managers {
        for host in &manager.hosts {
            ways.check_host(manager, host, reporter);
        }
        match manager.gate_filter() {
            Some(_) => {
                check_early_removal(bootstrap, manager, reporter);
                check_early_headers(manager, reporter);
            }
            None => ways.check_exposed(manager, reporter),
        }
    }
}

struct Ways<'b, 'y> {
    bootstrap: &'b BootstrapView<'y>,
    destinations: Destinations<'y>,
    hooks: Vec<&'b HookView>,
}

impl<'y> Ways<'_, 'y> {
    fn check_host(&self, manager: &ManagerView<'y>, host: &HostView<'y>, reporter: &mut Reporter) {
        let open: Vec<&RouteView<'y>> = host
            .routes
            .iter()
            .filter(|route| {
                !route.needs_verdict() && !manager.runs_gate(host, route) && self.leads_to_gated(route)
            })
            .collect();
        for route in open {
            let hook = self.hooks.iter().find(|hook| reaches(host, route, hook));
            match hook {
                Some(hook) => {
                    let wrong = format!(
                        "leads to {} without the gate, on the path of the hook {}: forged events get in",
                        target(route),
                        hook.name
                    );
                    let remedy = "remove it, or put it below the hook's routes and enable the gate on them";
                    match self.bootstrap.is_local(manager) && manager.gate_filter().is_none() {
                        true => reporter.warn(&UNGATED_ROUTE, route.at.spot(), wrong, remedy),
                        false => reporter.error(&UNGATED_ROUTE, route.at.spot(), wrong, remedy),
                    }
                }
                None => {
                    let wrong = format!(
                        "leads to {}, which gets judged deliveries, without the gate: the service must take no events on these paths",
                        target(route)
                    );
                    reporter.warn(
                        &UNGATED_ROUTE,
                        route.at.spot(),
                        wrong,
                        "lead it to another service, or check the service's own routes",
                    );
                }
            }
        }
    }

    fn leads_to_gated(&self, route: &RouteView<'y>) -> bool {
        match &route.action {
            RouteAction::AnyCluster => !self.destinations.gated.is_empty(),
            _ => route.clusters().iter().any(|(name, _)| self.is_gated(name)),
        }
    }

    /// Whether a cluster gets judged deliveries, perhaps by another name of the same address.
    fn is_gated(&self, name: &str) -> bool {
        let gated = &self.destinations.gated;
        let addresses = |name: &str| -> BTreeSet<String> {
            let cluster = self.bootstrap.cluster(name);
            let found = cluster.map(|cluster| cluster.addresses()).unwrap_or_default();
            found.iter().map(|address| address.node().to_json().to_string()).collect()
        };
        let own = addresses(name);
        gated.contains(name)
            || (!gated.is_empty() && self.is_of_client(name))
            || self.is_trusting_listener(name)
            || gated.iter().any(|gated| !own.is_disjoint(&addresses(gated)))
    }

    /// Whether a header of the client names the cluster's address, which may be that of a service.
    fn is_of_client(&self, name: &str) -> bool {
        self.bootstrap.cluster(name).is_some_and(|cluster| {
            let original = cluster.at.get("original_dst_lb_config");
            let kind = cluster.at.text_at(&["cluster_type", "name"]).unwrap_or_default();
            original.is_some_and(|original| original.is_true("use_http_header"))
                || kind.ends_with("dynamic_forward_proxy")
        })
    }

    /// Whether a cluster is a listener of this Envoy that routes by gate headers without a gate.
    fn is_trusting_listener(&self, name: &str) -> bool {
        let addresses = self.bootstrap.cluster(name).map(|cluster| cluster.addresses()).unwrap_or_default();
        let local = addresses.iter().filter_map(host_and_port).filter(|(host, _)| is_local_host(host));
        let ports: Vec<u64> = local.map(|(_, port)| port).collect();
        let trusting = self.bootstrap.managers.iter().filter(|manager| {
            let mut routes = manager.hosts.iter().flat_map(|host| &host.routes);
            manager.gate_filter().is_none()
                && routes.any(|route| route.needs_verdict() && !route.clusters().is_empty())
        });
        let own = trusting.filter_map(|manager| self.bootstrap.listener(manager)?.at.get("address"));
        own.filter_map(|address| host_and_port(&address)).any(|(_, port)| port != 0 && ports.contains(&port))
    }

    /// A TCP proxy judges nothing.
    fn check_tcp(&self, listener: &ListenerView<'y>, reporter: &mut Reporter) {
        let chains =
            listener.at.list("filter_chains").into_iter().chain(listener.at.get("default_filter_chain"));
        let filters = chains.flat_map(|chain| chain.list("filters"));
        let proxies = filters.filter_map(|filter| filter.message_at("typed_config", "TcpProxy"));
        for cluster in proxies.filter_map(|proxy| proxy.get("cluster")) {
            if !cluster.text().is_some_and(|name| self.is_gated(name)) {
                continue;
            }
            let wrong = format!("leads the listener {} to a gated service without the gate", listener.name);
            let remedy = "remove it, or let it lead to the gate's listener";
            match is_loopback(&listener.at) {
                true => reporter.warn(&UNGATED_ROUTE, cluster.spot(), wrong, remedy),
                false => reporter.error(
                    &UNGATED_ROUTE,
                    cluster.spot(),
                    format!("{wrong}: forged events get in"),
                    remedy,
                ),
            }
        }
    }

    /// Without a gate, a client's own gate headers choose the route.
    fn check_exposed(&self, manager: &ManagerView<'y>, reporter: &mut Reporter) {
        let judged = |host: &HostView<'y>| {
            host.routes.iter().any(|route| route.needs_verdict() && !route.clusters().is_empty())
        };
        let Some(listener) = self.bootstrap.listener(manager) else { return };
        let mut hosts = manager.hosts.iter().filter(|host| judged(host)).peekable();
        if hosts.peek().is_none() {
            return;
        }
        if !self.bootstrap.is_local(manager) {
            let wrong = format!(
                "is reachable from other machines, and the listener {} routes by gate headers without a gate: any client can forge them",
                listener.name
            );
            return reporter.error(
                &EXPOSED_SERVICES,
                listener.at.spot_of("address"),
                wrong,
                "write 127.0.0.1, or add the gate",
            );
        }
        for host in hosts {
            if let Some(star) = host.at.list("domains").into_iter().find(|domain| domain.text() == Some("*"))
            {
                let wrong =
                    "takes every name as Host: a web page that rebinds its name can reach the services";
                reporter.warn(&HOST_NAMES, star.spot(), wrong, "name the loopback addresses");
            }
        }
    }
}

/// Whether a request to the hook's path at the service may take this route.
fn reaches<'y>(host: &HostView<'y>, route: &RouteView<'y>, hook: &HookView) -> bool {
    let takes = |path: &str| {
        let request = unjudged(path, SampleSender::Anyone);
        host.first_matches(&request).iter().any(|first| std::ptr::eq(*first, route))
    };
    let rewritten = route.forward().and_then(|forward| forward.get("prefix_rewrite"));
    let regex = route.forward().and_then(|forward| forward.get("regex_rewrite"));
    let mut paths = hook.service_paths().to_vec();
    paths.push(hook.delivery_path());
    if regex.is_some() {
        return false;
    }
    let Some(rewrite) = rewritten.and_then(|rewrite| rewrite.text()) else {
        return paths.iter().any(|path| takes(path));
    };
    let prefix = |key| route.at.get("match").and_then(|conditions| conditions.text_at(&[key]));
    let Some(prefix) = prefix("prefix").or_else(|| prefix("path_separated_prefix")) else {
        return paths.iter().any(|path| path == rewrite) && route.at.get("match").is_some();
    };
    let before = |path: &String| Some(format!("{prefix}{}", path.strip_prefix(rewrite)?));
    paths.iter().filter_map(before).any(|path| takes(&path))
}

/// Envoy removes a client's gate headers before it chooses a route.
fn check_early_removal(bootstrap: &BootstrapView<'_>, manager: &ManagerView<'_>, reporter: &mut Reporter) {
    /// The headers that choose routes.
    const ROUTING: [&str; 3] = [header::VERDICT, header::EVENT, header::HOOK];
    let Some(at) = &manager.at else { return };
    if ROUTING.into_iter().all(|name| removes(at, name)) {
        return;
    }
    let spot = at.spot_of("early_header_mutation_extensions");
    let wrong = "keeps gate headers of clients: a client's blobgate-verdict chooses the route, and while the gate does not run, forged events reach services";
    let remedy = "add a HeaderMutation with `remove_on_match: {key_matcher: {prefix: blobgate-}}`";
    // Another manifest may have it.
    match bootstrap.extent == Extent::Part && at.list_is_empty(&["early_header_mutation_extensions"]) {
        true => reporter.warn(&EARLY_REMOVAL, spot, wrong, remedy),
        false => reporter.error(&EARLY_REMOVAL, spot, wrong, remedy),
    }
}

/// An early mutation that sets a gate header from a request is no better than the client's header.
fn check_early_headers(manager: &ManagerView<'_>, reporter: &mut Reporter) {
    let Some(at) = &manager.at else { return };
    let extensions = at.list("early_header_mutation_extensions").into_iter();
    let extensions =
        extensions.filter_map(|extension| extension.message_at("typed_config", "HeaderMutation"));
    for mutation in extensions.flat_map(|extension| extension.list("mutations")) {
        if let Some(name) = mutation.at(&["append", "header", "key"])
            && name
                .text()
                .is_some_and(|text| KNOWN_HEADERS.iter().any(|known| known.eq_ignore_ascii_case(text)))
        {
            let wrong =
                "sets a header that only the gate sets: an unjudged delivery then takes a judged one's route";
            reporter.error(&GATE_HEADERS, name.spot(), wrong, "leave this header alone");
        }
    }
}

/// Whether Envoy removes a client's header of this name before it chooses a route.
pub(super) fn removes(manager: &YamlCursor<'_>, name: &str) -> bool {
    let extensions = manager.list("early_header_mutation_extensions").into_iter();
    let extensions =
        extensions.filter_map(|extension| extension.message_at("typed_config", "HeaderMutation"));
    extensions.flat_map(|extension| extension.list("mutations")).any(|mutation| {
        let matcher = mutation.at(&["remove_on_match", "key_matcher"]);
        matcher.is_some_and(|matcher| matcher::holds(&matcher, name) == Truth::Yes)
            || mutation.text_at(&["remove"]).is_some_and(|removed| removed.eq_ignore_ascii_case(name))
    })
}
