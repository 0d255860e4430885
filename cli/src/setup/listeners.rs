//! The addresses of a setup: its listeners have ports of their own, and no service is one of them.

use super::host::SetupHost;
use super::parse::{DEFAULT_LISTEN, PORT_KEYS};
use super::reader::{SetupReader, show};
use super::service::ServiceUrl;
use super::{Setup, SetupPorts};
use crate::check::cursor::{Spot, YamlCursor};
use std::net::{IpAddr, SocketAddr};

/// The address of the public listener.
pub(super) fn listen(root: &YamlCursor<'_>, reader: &mut SetupReader) -> Option<SocketAddr> {
    const EXPECTED: &str = "write ADDRESS:PORT, such as 0.0.0.0:443 or \"[::]:443\"";
    let Some(value) = root.get("listen") else { return Some(DEFAULT_LISTEN) };
    let address =
        value.text().and_then(|text| text.parse::<SocketAddr>().ok()).filter(|address| address.port() > 0);
    if address.is_none() {
        reader.fault(value.spot(), format!("is {}", show(value.node())), EXPECTED);
    }
    address
}

/// The ports on 127.0.0.1.
pub(super) fn ports(root: &YamlCursor<'_>, reader: &mut SetupReader) -> Option<SetupPorts> {
    let mut ports = SetupPorts::default();
    let Some(given) = root.get("ports") else { return Some(ports) };
    if !reader.object(&given, &PORT_KEYS, &|_| None) {
        return None;
    }
    let targets: [(&str, &mut u16); 5] = [
        ("services", &mut ports.services),
        ("metrics", &mut ports.metrics),
        ("inbox", &mut ports.inbox),
        ("admin", &mut ports.admin),
        ("access_log", &mut ports.access_log),
    ];
    let mut is_valid = true;
    for (key, target) in targets {
        if let Some(value) = given.get(key) {
            match reader.port(&value) {
                Some(port) => *target = port,
                None => is_valid = false,
            }
        }
    }
    is_valid.then_some(ports)
}

/// Each listener has a port of its own.
pub(super) fn check_ports(
    root: &YamlCursor<'_>,
    listen: SocketAddr,
    ports: SetupPorts,
    reader: &mut SetupReader,
) {
    let named = ports.named();
    let place = |key: &str| {
        let at = root
            .at(&["ports", key])
            .map(|value| value.spot())
            .or_else(|| root.get("listen").map(|at| at.spot()));
        let at = at.unwrap_or_else(|| root.spot());
        Spot { field: format!("ports.{key}"), ..at }
    };
    for (index, (key, port)) in named.iter().enumerate() {
        let other = named
            .iter()
            .take(index)
            .find(|(_, other)| other == port)
            .map(|(other, _)| format!("ports.{other}"));
        let other = other.or_else(|| (listen.port() == *port).then(|| "listen".to_owned()));
        if let Some(other) = other {
            reader.fault(place(key), format!("is {port}, as in {other}"), "write another port");
        }
    }
}

/// No service is one of the setup's own listeners: its deliveries would come back for ever.
pub(super) fn check_loops(setup: &Setup, root: &YamlCursor<'_>, reader: &mut SetupReader) {
    let services = &setup.services;
    let all = [
        ("completed", Some(&services.completed)),
        ("failed", Some(&services.failed)),
        ("quarantined", services.quarantined.as_ref()),
    ];
    for (key, url) in all {
        let Some(own) = url.and_then(|url| own_listener(setup, url)) else { continue };
        if let Some(value) = root.at(&["services", key]) {
            let wrong = format!("is this setup's own listener ({own}), so deliveries would run in a circle");
            reader.fault(value.spot(), wrong, "write the address of your service");
        }
    }
}

fn own_listener(setup: &Setup, url: &ServiceUrl) -> Option<String> {
    let is_public = |ip: IpAddr| match &url.host {
        SetupHost::Ip(other) => ip == *other || (ip.is_unspecified() && other.is_loopback()),
        SetupHost::Name(_) => url.host.is_loopback() && (ip.is_unspecified() || ip.is_loopback()),
    };
    if url.host == setup.host && Some(url.port) == setup.public_port {
        return Some("host".to_owned());
    }
    if url.port == setup.listen.port() && (url.host == setup.host || is_public(setup.listen.ip())) {
        return Some("listen".to_owned());
    }
    let own = setup.ports.named().into_iter().find(|(_, port)| *port == url.port);
    own.filter(|_| url.host.is_loopback()).map(|(key, _)| format!("ports.{key}"))
}
