//! The parts of an Envoy configuration that concern the gate: listeners, HTTP connection managers, filters, clusters.

use super::super::cursor::YamlCursor;
use super::super::gate::{GatePlugin, HostEnvironment};
use super::gate::GateView;
use super::routes::HostView;
use std::net::IpAddr;

/// An Envoy configuration, or the part of one that a manifest has.
pub(super) struct BootstrapView<'y> {
    pub(super) root: YamlCursor<'y>,
    /// Whether the file has everything. What is missing in a part may stand elsewhere.
    pub(super) extent: Extent,
    pub(super) host: HostEnvironment,
    pub(super) listeners: Vec<ListenerView<'y>>,
    pub(super) managers: Vec<ManagerView<'y>>,
    pub(super) clusters: Vec<ClusterView<'y>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    Whole,
    Part,
}

pub(super) struct ListenerView<'y> {
    pub(super) at: YamlCursor<'y>,
    pub(super) name: &'y str,
}

/// A filter chain's HTTP connection manager.
pub(super) struct ManagerView<'y> {
    /// Its fields.
    pub(super) at: Option<YamlCursor<'y>>,
    /// An index of [`BootstrapView::listeners`].
    pub(super) listener: Option<usize>,
    pub(super) chain: Option<YamlCursor<'y>>,
    pub(super) filters: Vec<FilterView<'y>>,
    pub(super) hosts: Vec<HostView<'y>>,
}

/// An HTTP filter.
pub(super) struct FilterView<'y> {
    pub(super) at: YamlCursor<'y>,
    pub(super) name: &'y str,
    /// The last part of its type, such as `Router`.
    pub(super) kind: &'y str,
    pub(super) fields: Option<YamlCursor<'y>>,
    pub(super) gate: Option<GateView<'y>>,
}

pub(super) struct ClusterView<'y> {
    pub(super) at: YamlCursor<'y>,
    pub(super) name: &'y str,
}

impl<'y> BootstrapView<'y> {
    pub(super) fn new(root: YamlCursor<'y>, host: HostEnvironment) -> Self {
        let listeners: Vec<_> = root
            .get("static_resources")
            .map(|resources| resources.list("listeners"))
            .unwrap_or_default()
            .into_iter()
            .map(|at| ListenerView { name: at.text_at(&["name"]).unwrap_or("without a name"), at })
            .collect();
        let managers =
            listeners.iter().enumerate().flat_map(|(index, listener)| managers(index, &listener.at));
        let clusters = root
            .get("static_resources")
            .map(|resources| resources.list("clusters"))
            .unwrap_or_default()
            .into_iter()
            .map(|at| ClusterView { name: at.text_at(&["name"]).unwrap_or_default(), at });
        Self {
            managers: managers.collect(),
            clusters: clusters.collect(),
            extent: Extent::Whole,
            host,
            listeners,
            root,
        }
    }

    pub(super) fn cluster(&self, name: &str) -> Option<&ClusterView<'y>> {
        self.clusters.iter().find(|cluster| cluster.name == name)
    }

    /// Whether every cluster stands in this file.
    pub(super) fn has_all_clusters(&self) -> bool {
        self.extent == Extent::Whole && self.root.at(&["dynamic_resources", "cds_config"]).is_none()
    }

    pub(super) fn listener(&self, manager: &ManagerView<'y>) -> Option<&ListenerView<'y>> {
        manager.listener.and_then(|index| self.listeners.get(index))
    }

    /// The managers that have the gate, each with it.
    pub(super) fn gated(&self) -> impl Iterator<Item = (&ManagerView<'y>, &GateView<'y>)> {
        self.managers.iter().filter_map(|manager| Some((manager, manager.gate()?)))
    }

    /// Whether only this machine reaches the manager's listener.
    pub(super) fn is_local(&self, manager: &ManagerView<'y>) -> bool {
        self.listener(manager).is_some_and(|listener| is_loopback(&listener.at))
    }
}

fn managers<'y>(listener: usize, at: &YamlCursor<'y>) -> Vec<ManagerView<'y>> {
    let chains = at.list("filter_chains").into_iter().chain(at.get("default_filter_chain"));
    let of_chain = |chain: YamlCursor<'y>| {
        let filters = chain.list("filters").into_iter();
        let fields = filters.filter_map(|filter| filter.message_at("typed_config", "HttpConnectionManager"));
        fields.map(|at| ManagerView::new(at, listener, chain.clone())).collect::<Vec<_>>()
    };
    chains.flat_map(of_chain).collect()
}

impl<'y> ManagerView<'y> {
    fn new(at: YamlCursor<'y>, listener: usize, chain: YamlCursor<'y>) -> Self {
        let filters = at.list("http_filters").into_iter().map(FilterView::new).collect();
        let hosts = match at.get("route_config") {
            Some(routes) => routes
                .list("virtual_hosts")
                .into_iter()
                .map(|host| HostView::new(host, Some(&routes)))
                .collect(),
            None => Vec::new(),
        };
        Self { at: Some(at), listener: Some(listener), chain: Some(chain), filters, hosts }
    }

    pub(super) fn gate_filter(&self) -> Option<&FilterView<'y>> {
        self.filters.iter().find(|filter| filter.gate.is_some())
    }

    pub(super) fn gate(&self) -> Option<&GateView<'y>> {
        self.gate_filter()?.gate.as_ref()
    }

    pub(super) fn get(&self, key: &str) -> Option<YamlCursor<'y>> {
        self.at.as_ref()?.get(key)
    }

    /// Whether the chain ends TLS. Nothing where the file does not show the chain.
    pub(super) fn has_tls(&self) -> Option<bool> {
        let socket = self.chain.as_ref()?.get("transport_socket");
        let kind = socket.and_then(|socket| Some(socket.get("typed_config")?.message()?.0));
        Some(kind.is_some_and(|kind| kind != "RawBuffer"))
    }
}

impl<'y> FilterView<'y> {
    pub(super) fn new(at: YamlCursor<'y>) -> Self {
        let name = at.text_at(&["name"]).unwrap_or_default();
        let (kind, fields) = match at.get("typed_config").and_then(|any| any.message()) {
            Some((kind, fields)) => (kind, Some(fields)),
            None => ("", None),
        };
        let gate = fields.as_ref().and_then(|fields| match kind {
            "Wasm" => GateView::of_filter(GatePlugin::Wasm, fields.get("config")?),
            "DynamicModuleFilter" => GateView::of_filter(GatePlugin::Native, fields.clone()),
            _ => None,
        });
        Self { name, kind, fields, gate, at }
    }

    /// Whether routes must enable it.
    pub(super) fn is_disabled(&self) -> bool {
        self.at.is_true("disabled")
    }
}

impl<'y> ClusterView<'y> {
    /// The addresses of its endpoints: of each the `socket_address` or the `pipe`.
    pub(super) fn addresses(&self) -> Vec<YamlCursor<'y>> {
        let groups = self.at.get("load_assignment").map(|load| load.list("endpoints")).unwrap_or_default();
        let endpoints = groups.iter().flat_map(|group| group.list("lb_endpoints"));
        let address = |endpoint: YamlCursor<'y>| endpoint.at(&["endpoint", "address"]);
        endpoints.filter_map(address).collect()
    }

    /// Whether it has endpoints, and all are on this machine.
    pub(super) fn is_local(&self) -> bool {
        let addresses = self.addresses();
        !addresses.is_empty()
            && addresses.iter().all(|address| {
                address.get("pipe").is_some()
                    || address.text_at(&["socket_address", "address"]).is_some_and(is_local_host)
            })
    }

    /// Its upstream TLS.
    pub(super) fn tls(&self) -> Option<YamlCursor<'y>> {
        self.at.get("transport_socket")?.message_at("typed_config", "UpstreamTlsContext")
    }

    pub(super) fn http_options(&self) -> Option<YamlCursor<'y>> {
        let options = self.at.get("typed_extension_protocol_options")?;
        let (_, options) =
            options.pairs().into_iter().find(|(name, _)| name.ends_with("HttpProtocolOptions"))?;
        Some(options)
    }
}

/// Whether a listener's addresses are all of this machine: loopback, a pipe, or internal.
pub(super) fn is_loopback(listener: &YamlCursor<'_>) -> bool {
    let more = listener.list("additional_addresses").into_iter().filter_map(|more| more.get("address"));
    let addresses: Vec<_> = listener.get("address").into_iter().chain(more).collect();
    let is_local = |address: &YamlCursor<'_>| match address.text_at(&["socket_address", "address"]) {
        Some(host) => is_local_host(host),
        None => address.get("socket_address").is_none(),
    };
    !addresses.is_empty() && addresses.iter().all(is_local)
}

pub(super) fn is_local_host(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// The host and port of an address.
pub(super) fn host_and_port<'y>(address: &YamlCursor<'y>) -> Option<(&'y str, u64)> {
    let socket = address.get("socket_address")?;
    let port = socket.get("port_value")?.number()?;
    Some((socket.text_at(&["address"])?, format!("{port:.0}").parse().ok()?))
}
