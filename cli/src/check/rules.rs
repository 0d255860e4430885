//! The rules about Envoy's configuration around the gate.

mod bootstrap;
pub(super) mod catalog;
mod clusters;
mod confirm;

mod delivery;
mod fields;
mod filter;
mod gate;
mod inbox;
mod limits;
mod listeners;
mod logs;
mod manager;
mod matcher;
mod native;
mod patch_fields;
mod patches;
mod reporter;
mod requests;
mod routes;
mod routing;
mod source;
mod timeouts;
mod ungated;

use super::cursor::{Spot, YamlCursor};
use super::finding::{Finding, Level};
use super::gate::HostEnvironment;
use blobgate_inbox::yaml::YamlNode;
use bootstrap::BootstrapView;
use reporter::Reporter;

/// Checks a whole configuration of Envoy, in which the gate's plugins have these places.
pub(crate) fn check_bootstrap(
    root: &YamlNode,
    plugins: &[Spot],
    host: HostEnvironment,
    findings: &mut Vec<Finding>,
) {
    let mut reporter = Reporter::default();
    let bootstrap = BootstrapView::new(YamlCursor::new(root, ""), host);
    filter::check_places(&bootstrap, plugins, &mut reporter);
    fields::check(&bootstrap, &mut reporter);
    check(&bootstrap, &mut reporter);
    findings.extend(reporter.finish());
}

/// Checks the patches of an EnvoyFilter of Istio. What they leave out stands in Istio's own configuration.
pub(crate) fn check_envoy_filter(document: &YamlNode, plugins: &[Spot], findings: &mut Vec<Finding>) {
    // Without the gate, it is about something else.
    if plugins.is_empty() {
        return;
    }
    let mut reporter = Reporter::default();
    let document = YamlCursor::new(document, "");
    patch_fields::check(&document, plugins, &mut reporter);
    let gateway = patches::view(document);
    if gateway.gated().next().is_some() {
        fields::check(&gateway, &mut reporter);
        check(&gateway, &mut reporter);
    } else if !reporter.has(Level::Error) {
        filter::check_places(&gateway, plugins, &mut reporter);
    }
    findings.extend(reporter.finish());
}

/// Checks a native module in an EnvoyExtensionPolicy of Envoy Gateway.
pub(crate) fn check_extension(extension: &YamlCursor<'_>, findings: &mut Vec<Finding>) {
    let mut reporter = Reporter::default();
    native::check_terminal(extension, "terminalFilter", &mut reporter);
    findings.extend(reporter.finish());
}

/// Checks a native module that an EnvoyProxy of Envoy Gateway registers.
pub(crate) fn check_registered_module(entry: &YamlCursor<'_>, findings: &mut Vec<Finding>) {
    let mut reporter = Reporter::default();
    native::check_registered(entry, &mut reporter);
    findings.extend(reporter.finish());
}

fn check(bootstrap: &BootstrapView<'_>, reporter: &mut Reporter) {
    let served = routing::check(bootstrap, reporter);
    filter::check(bootstrap, reporter);
    delivery::check(bootstrap, &served, reporter);
    ungated::check(bootstrap, reporter);
    manager::check(bootstrap, reporter);
    requests::check(bootstrap, reporter);
    source::check(bootstrap, &served, reporter);
    limits::check(bootstrap, reporter);
    timeouts::check(bootstrap, reporter);
    logs::check(bootstrap, reporter);
    listeners::check(bootstrap, reporter);
    clusters::check(bootstrap, reporter);
    confirm::check(bootstrap, reporter);
}
