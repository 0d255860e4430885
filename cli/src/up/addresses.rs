//! The addresses of all parts: Envoy's listeners and clusters in `./envoy.yaml`.

use super::Error;
use blobgate_inbox::envoy_yaml::parse_yaml;
use serde_json::Value;
use std::net::SocketAddr;

/// Envoy reads it in the same folder.
pub(super) const CONFIG: &str = "envoy.yaml";

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Addresses {
    pub(super) edge: SocketAddr,
    pub(super) plaintext: SocketAddr,
    /// The listener for the inbox's attempts and status calls.
    pub(super) services: SocketAddr,
    pub(super) metrics: SocketAddr,
    pub(super) video: SocketAddr,
    pub(super) failure: SocketAddr,
    pub(super) quarantine: SocketAddr,
    pub(super) sandbox: SocketAddr,
    pub(super) inbox: SocketAddr,
    /// The inbox's listener for Envoy's access log.
    pub(super) access_log: SocketAddr,
    /// The inbox's admin listener. Envoy does not use it.
    pub(super) admin: SocketAddr,
}

impl Addresses {
    pub(super) fn read(admin: SocketAddr) -> Result<Self, Error> {
        let text = std::fs::read_to_string(CONFIG).map_err(|why| Error::Unreadable {
            file: "./envoy.yaml",
            why,
            remedy: "Run this command in a clone of the repository",
        })?;
        Self::parse(&text, admin)
    }

    fn parse(text: &str, admin: SocketAddr) -> Result<Self, Error> {
        let yaml = parse_yaml(text).map_err(Error::NotYaml)?;
        let listener = |name| address(&yaml, "listener", name, "/address");
        let cluster = |name| {
            address(&yaml, "cluster", name, "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address")
        };
        Ok(Self {
            edge: listener("edge")?,
            plaintext: listener("plaintext")?,
            services: listener("services")?,
            metrics: listener("metrics")?,
            video: cluster("video_service")?,
            failure: cluster("failure_service")?,
            quarantine: cluster("quarantine_service")?,
            sandbox: cluster("runblob_api")?,
            inbox: cluster("inbox")?,
            access_log: cluster("inbox_access_log")?,
            admin,
        })
    }
}

/// The names and addresses of a configuration's listeners; none for a file that is no YAML.
pub(super) fn listeners(text: &str) -> Vec<(String, SocketAddr)> {
    let yaml = parse_yaml(text).unwrap_or_default();
    let all = yaml.pointer("/static_resources/listeners").and_then(Value::as_array);
    let named = |listener: &Value| {
        let name = listener.get("name").and_then(Value::as_str).unwrap_or_default();
        Some((name.to_owned(), socket_address(listener.get("address")?)?))
    };
    all.into_iter().flatten().filter_map(named).collect()
}

fn address(yaml: &Value, kind: &str, name: &str, place: &str) -> Result<SocketAddr, Error> {
    let find = || {
        let all = yaml.pointer(&format!("/static_resources/{kind}s"))?.as_array()?;
        let named = all.iter().find(|one| one.get("name").and_then(Value::as_str) == Some(name))?;
        socket_address(named.pointer(place)?)
    };
    find().ok_or_else(|| Error::NoAddress(format!("{kind} `{name}`")))
}

fn socket_address(address: &Value) -> Option<SocketAddr> {
    let socket = address.get("socket_address")?;
    let ip = socket.get("address")?.as_str()?.parse().ok()?;
    let port = u16::try_from(socket.get("port_value")?.as_u64()?).ok()?;
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../../envoy.yaml");

    fn local(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    #[track_caller]
    fn refuses(from: &str, to: &str, error: &str) {
        assert!(SHIPPED.contains(from), "envoy.yaml has no {from}");
        let text = SHIPPED.replace(from, to);
        assert_eq!(Addresses::parse(&text, local(9085)).unwrap_err().to_string(), error);
    }

    #[test]
    fn reads_the_shipped_file() {
        let expected = Addresses {
            edge: local(8443),
            plaintext: local(8080),
            services: local(8090),
            metrics: local(9901),
            video: local(9081),
            failure: local(9082),
            quarantine: local(9083),
            sandbox: local(9443),
            inbox: local(9084),
            access_log: local(9087),
            admin: local(9085),
        };
        assert_eq!(Addresses::parse(SHIPPED, local(9085)).unwrap(), expected);
    }

    #[test]
    fn lists_the_listeners() {
        let expected = [("edge", 8443), ("plaintext", 8080), ("services", 8090), ("metrics", 9901)];
        let expected = expected.map(|(name, port)| (name.to_owned(), local(port)));
        assert_eq!(listeners(SHIPPED), expected);
        assert_eq!(listeners("a: [1"), []);
        let pipe = "static_resources: {listeners: [{name: a, address: {pipe: {path: x}}}]}";
        assert_eq!(listeners(pipe), []);
    }

    #[test]
    fn names_a_missing_address() {
        let end = "with an IP address and a port. Add it, as in the repository's file";
        refuses("name: plaintext", "name: other", &format!("./envoy.yaml has no listener `plaintext` {end}"));
        refuses(
            "port_value: 9084",
            "port_value: 90840",
            &format!("./envoy.yaml has no cluster `inbox` {end}"),
        );
        refuses(
            "address: 127.0.0.1, port_value: 9443",
            "address: platform.runblob.io, port_value: 443",
            &format!("./envoy.yaml has no cluster `runblob_api` {end}"),
        );
    }
}
