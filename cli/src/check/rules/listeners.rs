//! Addresses: who reaches which listener.

use super::super::cursor::YamlCursor;
use super::bootstrap::{BootstrapView, ManagerView, host_and_port, is_local_host};
use super::catalog::{
    ADMIN_ADDRESS, ADMIN_EXPOSED, ELSEWHERE, INBOX_OFF, LOOPBACK_LISTENER, NODE, PORT_TWICE,
};
use super::reporter::Reporter;
use super::routes::RouteView;

/// The pages of the admin page that only read.
const HARMLESS: [&str; 3] = ["/stats/prometheus", "/stats", "/ready"];
/// The runtime key of the shipped routes to the inbox.
const INBOX_KEY: &str = "blobgate.inbox";

pub(super) fn check(bootstrap: &BootstrapView<'_>, reporter: &mut Reporter) {
    for (manager, _) in bootstrap.gated() {
        if bootstrap.is_local(manager)
            && let Some(listener) = bootstrap.listener(manager)
        {
            let wrong =
                format!("is a loopback address: only this machine reaches the listener {}", listener.name);
            reporter.warn(
                &LOOPBACK_LISTENER,
                listener.at.spot_of("address"),
                wrong,
                "write 0.0.0.0 for senders on other machines",
            );
        }
    }
    check_ports(bootstrap, reporter);
    check_admin(bootstrap, reporter);
    check_dynamic(bootstrap, reporter);
    check_runtime(bootstrap, reporter);
    check_node(bootstrap, reporter);
}

fn check_ports(bootstrap: &BootstrapView<'_>, reporter: &mut Reporter) {
    let addresses: Vec<_> =
        bootstrap.listeners.iter().filter_map(|listener| listener.at.get("address")).collect();
    for (index, address) in addresses.iter().enumerate() {
        let Some(own) = host_and_port(address).filter(|(_, port)| *port != 0) else { continue };
        if addresses.iter().take(index).any(|other| host_and_port(other) == Some(own)) {
            let wrong = format!("is {}:{}, which another listener has: Envoy does not start", own.0, own.1);
            reporter.error(&PORT_TWICE, address.spot(), wrong, "write a port of its own");
        }
    }
}

fn check_admin(bootstrap: &BootstrapView<'_>, reporter: &mut Reporter) {
    let Some(address) = bootstrap.root.at(&["admin", "address"]) else { return };
    let remedy = "write `{pipe: {path: ./run/admin.sock, mode: 384}}`";
    if let Some((host, _)) = host_and_port(&address) {
        match is_local_host(host) {
            true => {
                let wrong =
                    "is a port, which web pages in a browser on this machine reach too: they can stop Envoy";
                reporter.warn(&ADMIN_ADDRESS, address.spot(), wrong, remedy);
            }
            false => {
                let wrong = "is reachable from other machines: they can read everything, and stop Envoy";
                reporter.error(&ADMIN_ADDRESS, address.spot(), wrong, remedy);
            }
        }
    }
    let leads_to_admin = |route: &&RouteView<'_>| {
        route.clusters().iter().any(|(name, _)| {
            let addresses = bootstrap.cluster(name).map(|cluster| cluster.addresses()).unwrap_or_default();
            addresses.iter().any(|found| is_same_address(found, &address))
        })
    };
    for manager in &bootstrap.managers {
        for route in manager.hosts.iter().flat_map(|host| &host.routes).filter(leads_to_admin) {
            check_admin_route(bootstrap, manager, route, reporter);
        }
    }
}

fn check_admin_route(
    bootstrap: &BootstrapView<'_>,
    manager: &ManagerView<'_>,
    route: &RouteView<'_>,
    reporter: &mut Reporter,
) {
    let path = route.at.get("match").and_then(|conditions| conditions.text_at(&["path"]));
    let remedy = "match `path: /stats/prometheus` or `path: /ready` with GET, on a loopback listener";
    match path.is_some_and(|path| HARMLESS.contains(&path)) {
        true if bootstrap.is_local(manager) => {}
        true => {
            let wrong = "shows Envoy's metrics to other machines";
            reporter.warn(
                &ADMIN_EXPOSED,
                route.at.spot(),
                wrong,
                "bind the listener to an address that only the scraper reaches",
            );
        }
        false if bootstrap.is_local(manager) => {
            let wrong =
                "leads to the whole admin page: web pages in a browser on this machine can stop Envoy";
            reporter.warn(&ADMIN_EXPOSED, route.at.spot(), wrong, remedy);
        }
        false => {
            let wrong = "leads other machines to the whole admin page: they can stop Envoy";
            reporter.error(&ADMIN_EXPOSED, route.at.spot(), wrong, remedy);
        }
    }
}

fn is_same_address(one: &YamlCursor<'_>, other: &YamlCursor<'_>) -> bool {
    let pipe = |address: &YamlCursor<'_>| address.text_at(&["pipe", "path"]).map(str::to_owned);
    let port = |address: &YamlCursor<'_>| host_and_port(address).map(|(_, port)| port);
    (pipe(one).is_some() && pipe(one) == pipe(other)) || (port(one).is_some() && port(one) == port(other))
}

fn check_dynamic(bootstrap: &BootstrapView<'_>, reporter: &mut Reporter) {
    for (key, what) in [("lds_config", "listeners"), ("cds_config", "clusters")] {
        if let Some(source) = bootstrap.root.at(&["dynamic_resources", key]) {
            let wrong = format!("loads more {what} from elsewhere");
            reporter.not_checked(&ELSEWHERE, source.spot(), wrong, "check the file or server that has them");
        }
    }
}

fn check_runtime(bootstrap: &BootstrapView<'_>, reporter: &mut Reporter) {
    let layers =
        bootstrap.root.get("layered_runtime").map(|runtime| runtime.list("layers")).unwrap_or_default();
    for value in layers.iter().filter_map(|layer| layer.get("static_layer")?.get(INBOX_KEY)) {
        if value.number().is_some_and(|percentage| percentage < 100.0) {
            let wrong = "is less than 100: deliveries bypass the inbox, and an outage of a service for two minutes loses them";
            reporter.warn(&INBOX_OFF, value.spot(), wrong, "write 100 where an inbox runs");
        }
    }
}

/// `credential_injector` in a static cluster needs a node.
fn check_node(bootstrap: &BootstrapView<'_>, reporter: &mut Reporter) {
    let injects = bootstrap.clusters.iter().any(super::confirm::injects_credential);
    let node = bootstrap.root.get("node");
    for key in ["id", "cluster"] {
        let is_there =
            node.as_ref().and_then(|node| node.text_at(&[key])).is_some_and(|text| !text.is_empty());
        if injects && !is_there {
            let at = node.as_ref().map_or_else(|| bootstrap.root.spot_of("node"), |node| node.spot_of(key));
            let wrong = "is missing: credential_injector needs it, and Envoy does not start";
            reporter.error(&NODE, at, wrong, "write `node: {id: gate-1, cluster: blobgate}`");
        }
    }
}
