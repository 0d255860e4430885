//! The parts of a gateway's configuration that the patches of an EnvoyFilter have.

use super::super::cursor::YamlCursor;
use super::super::gate::HostEnvironment;
use super::bootstrap::{BootstrapView, Extent, FilterView, ListenerView, ManagerView};
use super::routes::{HostView, RouteView};

/// A gateway as the patches make it: one connection manager with their filters, hosts and fields.
pub(super) fn view(document: YamlCursor<'_>) -> BootstrapView<'_> {
    let patches = document.get("spec").map(|spec| spec.list("configPatches")).unwrap_or_default();
    let of = |kind: &str| -> Vec<YamlCursor<'_>> {
        let patches = patches.iter().filter(|patch| patch.text_at(&["applyTo"]) == Some(kind));
        let kept = patches.filter(|patch| patch.text_at(&["patch", "operation"]) != Some("REMOVE"));
        kept.filter_map(|patch| patch.at(&["patch", "value"])).collect()
    };
    let listeners: Vec<_> =
        of("LISTENER").into_iter().map(|at| ListenerView { at, name: "of the gateway" }).collect();
    let managers = of("NETWORK_FILTER").into_iter();
    let at = managers.filter_map(|filter| filter.message_at("typed_config", "HttpConnectionManager")).next();
    let mut hosts: Vec<_> = of("VIRTUAL_HOST").into_iter().map(|host| HostView::new(host, None)).collect();
    // Each patch inserts before the routes of the patches above it.
    let routes: Vec<_> = of("HTTP_ROUTE").into_iter().rev().map(RouteView::new).collect();
    if !routes.is_empty() {
        hosts.push(HostView { at: document.clone(), routes, table: None });
    }
    let filters = of("HTTP_FILTER").into_iter().map(FilterView::new).collect();
    // Listeners in several patches are one listener with other ports.
    let listener = (!listeners.is_empty()).then_some(0);
    let manager = ManagerView { at, listener, chain: None, filters, hosts };
    BootstrapView {
        root: document,
        extent: Extent::Part,
        host: HostEnvironment::Pod,
        listeners,
        managers: vec![manager],
        clusters: Vec::new(),
    }
}
