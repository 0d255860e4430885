//! The rules about Envoy's configuration around the gate.

mod bootstrap;
pub(super) mod catalog;
mod clusters;
mod confirm;

mod delivery;
mod filter;
mod gate;
mod limits;
mod listeners;
mod logs;
mod manager;
mod matcher;
mod patches;
mod reporter;
mod requests;
mod routes;
mod routing;
mod source;
mod timeouts;
mod ungated;

use super::cursor::YamlCursor;
use super::finding::Finding;
use super::yaml::YamlNode;
use bootstrap::BootstrapView;
use reporter::Reporter;

/// Checks a whole configuration of Envoy.
pub(crate) fn check_bootstrap(root: &YamlNode, findings: &mut Vec<Finding>) {
    check(&BootstrapView::new(YamlCursor::new(root, "")), findings);
}

/// Checks the patches of an EnvoyFilter of Istio. What they leave out stands in Istio's own configuration.
pub(crate) fn check_envoy_filter(document: &YamlNode, findings: &mut Vec<Finding>) {
    let gateway = patches::view(YamlCursor::new(document, ""));
    // Without the gate, it is about something else.
    if gateway.gated().next().is_some() {
        check(&gateway, findings);
    }
}

fn check(bootstrap: &BootstrapView<'_>, findings: &mut Vec<Finding>) {
    let mut reporter = Reporter::default();
    let served = routing::check(bootstrap, &mut reporter);
    filter::check(bootstrap, &mut reporter);
    delivery::check(bootstrap, &served, &mut reporter);
    ungated::check(bootstrap, &mut reporter);
    manager::check(bootstrap, &mut reporter);
    requests::check(bootstrap, &mut reporter);
    source::check(bootstrap, &served, &mut reporter);
    limits::check(bootstrap, &mut reporter);
    timeouts::check(bootstrap, &mut reporter);
    logs::check(bootstrap, &mut reporter);
    listeners::check(bootstrap, &mut reporter);
    clusters::check(bootstrap, &mut reporter);
    confirm::check(bootstrap, &mut reporter);
    findings.extend(reporter.finish());
}
