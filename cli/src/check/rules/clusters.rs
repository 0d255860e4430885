//! The clusters that routes and the gate use.

use super::super::cursor::YamlCursor;
use super::bootstrap::{BootstrapView, ClusterView, ManagerView, host_and_port, is_local_host};
use super::catalog::{
    CLUSTER_LOOP, DNS_FAMILY, INBOX_HEALTH, INBOX_PORT, OUTLIERS, STATIC_NAME, UNKNOWN_CLUSTER,
};
use super::delivery::Destinations;
use super::reporter::Reporter;
use std::collections::BTreeSet;
use std::net::IpAddr;

pub(super) fn check(bootstrap: &BootstrapView<'_>, reporter: &mut Reporter) {
    let destinations = Destinations::new(bootstrap);
    check_names(bootstrap, reporter);
    for cluster in &bootstrap.clusters {
        check_addresses(cluster, reporter);
        if destinations.gated.contains(cluster.name) {
            check_loop(bootstrap, cluster, reporter);
            if let Some(outliers) = cluster.at.get("outlier_detection") {
                let wrong = format!(
                    "takes {} away after failed deliveries: the next ones get 503 without an attempt",
                    cluster.name
                );
                reporter.warn(&OUTLIERS, outliers.spot(), wrong, "remove it");
            }
        }
        if destinations.inboxes.contains(cluster.name) {
            check_inbox(cluster, reporter);
        }
    }
}

fn check_names(bootstrap: &BootstrapView<'_>, reporter: &mut Reporter) {
    if !bootstrap.has_all_clusters() {
        return;
    }
    let routes = bootstrap.managers.iter().flat_map(|manager| &manager.hosts).flat_map(|host| &host.routes);
    for (name, at) in routes.flat_map(|route| route.clusters()) {
        if bootstrap.cluster(name).is_none() {
            let wrong = format!("is {name}, which is no cluster of this file: Envoy does not start");
            reporter.error(&UNKNOWN_CLUSTER, at.spot(), wrong, "write the name of a cluster");
        }
    }
}

fn check_addresses(cluster: &ClusterView<'_>, reporter: &mut Reporter) {
    let resolves = cluster
        .at
        .get("type")
        .is_some_and(|kind| kind.is_enum("STRICT_DNS", 1.0) || kind.is_enum("LOGICAL_DNS", 2.0));
    let is_name = |address: &YamlCursor<'_>| {
        host_and_port(address).is_some_and(|(host, _)| host.parse::<IpAddr>().is_err())
    };
    let names: Vec<_> = cluster.addresses().into_iter().filter(is_name).collect();
    let Some(name) = names.first() else { return };
    let is_static = cluster.at.get("type").is_none_or(|kind| kind.is_enum("STATIC", 0.0))
        && cluster.at.get("cluster_type").is_none();
    if is_static {
        let wrong = "is a name, and the cluster is STATIC: Envoy does not start";
        return reporter.error(
            &STATIC_NAME,
            name.spot(),
            wrong,
            "write `type: STRICT_DNS` with `dns_lookup_family: V4_PREFERRED`",
        );
    }
    let family = cluster.at.get("dns_lookup_family");
    let only_v6 =
        family.as_ref().is_none_or(|family| family.is_enum("AUTO", 0.0) || family.is_enum("V6_ONLY", 2.0));
    let is_remote =
        names.iter().any(|name| host_and_port(name).is_some_and(|(host, _)| !is_local_host(host)));
    if resolves && only_v6 && is_remote {
        let wrong =
            "takes only IPv6 addresses where there are any: on a machine without IPv6 every call gets 503";
        reporter.warn(
            &DNS_FAMILY,
            cluster.at.spot_of("dns_lookup_family"),
            wrong,
            "write `dns_lookup_family: V4_PREFERRED`",
        );
    }
}

/// The clusters to which the listener at an address of this machine leads judged deliveries.
fn leads_to<'b>(bootstrap: &'b BootstrapView<'_>, cluster: &ClusterView<'_>) -> Vec<&'b str> {
    let ports: Vec<u64> = cluster
        .addresses()
        .iter()
        .filter_map(host_and_port)
        .filter(|(host, port)| is_local_host(host) && *port != 0)
        .map(|(_, port)| port)
        .collect();
    let is_there = |manager: &&ManagerView<'_>| {
        let address = bootstrap.listener(manager).and_then(|listener| listener.at.get("address"));
        address.and_then(|address| host_and_port(&address)).is_some_and(|(_, port)| ports.contains(&port))
    };
    let hosts = bootstrap.managers.iter().filter(is_there).flat_map(|manager| &manager.hosts);
    let routes = hosts.flat_map(|host| &host.routes).filter(|route| route.needs_verdict());
    routes.flat_map(|route| route.clusters()).map(|(name, _)| *name).collect()
}

/// Whether the listeners of this Envoy lead a cluster's deliveries to the cluster again.
fn is_circle(bootstrap: &BootstrapView<'_>, cluster: &ClusterView<'_>) -> bool {
    let mut next = leads_to(bootstrap, cluster);
    let mut seen = BTreeSet::new();
    while let Some(name) = next.pop() {
        if name == cluster.name {
            return true;
        }
        if seen.insert(name)
            && let Some(other) = bootstrap.cluster(name)
        {
            next.extend(leads_to(bootstrap, other));
        }
    }
    false
}

/// A gated cluster that is a listener of this Envoy with the gate sends deliveries in a circle.
fn check_loop(bootstrap: &BootstrapView<'_>, cluster: &ClusterView<'_>, reporter: &mut Reporter) {
    let listeners = bootstrap.gated().filter_map(|(manager, _)| bootstrap.listener(manager));
    let ports: Vec<u64> = listeners
        .filter_map(|listener| Some(host_and_port(&listener.at.get("address")?)?.1))
        .filter(|port| *port != 0)
        .collect();
    for address in cluster.addresses() {
        if let Some((host, port)) = host_and_port(&address)
            && is_local_host(host)
            && ports.contains(&port)
        {
            let wrong = format!("is port {port} of this Envoy's own gate: judged deliveries come back to it");
            return reporter.error(&CLUSTER_LOOP, address.spot(), wrong, "write the service's address");
        }
    }
    if is_circle(bootstrap, cluster) {
        let addresses = cluster.addresses();
        let at = addresses.first().map_or_else(|| cluster.at.spot(), YamlCursor::spot);
        let wrong = format!("is a listener of this Envoy that leads to {} again", cluster.name);
        reporter.error(&CLUSTER_LOOP, at, wrong, "write the service's address");
    }
}

fn check_inbox(cluster: &ClusterView<'_>, reporter: &mut Reporter) {
    let groups = cluster.at.get("load_assignment").map(|load| load.list("endpoints")).unwrap_or_default();
    for endpoint in
        groups.iter().flat_map(|group| group.list("lb_endpoints")).filter_map(|one| one.get("endpoint"))
    {
        let check = endpoint.number_at(&["health_check_config", "port_value"]);
        let receive = endpoint.number_at(&["address", "socket_address", "port_value"]);
        if check.is_some() && check == receive {
            let wrong = "is the port that takes deliveries: health checks go to the inbox's admin port, which takes no deliveries";
            let at = endpoint
                .get("health_check_config")
                .map_or_else(|| endpoint.spot(), |check| check.spot_of("port_value"));
            reporter.error(
                &INBOX_PORT,
                at,
                wrong,
                "write the port of the inbox's --admin there, and that of --listen in the address",
            );
        }
    }
    if cluster.at.list_is_empty(&["health_checks"]) {
        let wrong = format!("is missing: no metric shows that {} is away", cluster.name);
        return reporter.warn(
            &INBOX_HEALTH,
            cluster.at.spot_of("health_checks"),
            wrong,
            "add the health_checks of envoy.yaml",
        );
    }
    let threshold = ["common_lb_config", "healthy_panic_threshold", "value"];
    if cluster.at.number_at(&threshold) != Some(100.0) {
        let at = cluster
            .at
            .at(&threshold)
            .map_or_else(|| cluster.at.spot_of("common_lb_config"), |value| value.spot());
        let wrong = "is not 100: Envoy refuses deliveries that an unhealthy inbox could store";
        reporter.warn(
            &INBOX_HEALTH,
            at,
            wrong,
            "write `common_lb_config: {healthy_panic_threshold: {value: 100}}`",
        );
    }
}
