//! The client's address and the client's TLS, as the gate gets them.

use super::super::cursor::{Spot, YamlCursor};
use super::super::finding::Level;
use super::bootstrap::{BootstrapView, Extent, ManagerView};
use super::catalog::{
    CLIENT_ADDRESS, CLIENT_CERTIFICATE, OLD_TLS, PLAIN_HTTP, PROXY_PROTOCOL, TLS_MISSING, TRUSTED_HOPS,
};
use super::gate::{GateView, HookHop, HookView};
use super::reporter::Reporter;
use super::routing::ServedHook;

pub(super) fn check(bootstrap: &BootstrapView<'_>, served: &[ServedHook<'_, '_>], reporter: &mut Reporter) {
    for served in served {
        if let Some(at) = &served.manager.at
            && bootstrap.extent == Extent::Whole
        {
            SourceCheck { at, hook: served.hook }.check(reporter);
        }
        if served.hook.hop == HookHop::Any {
            let wrong = format!(
                "accepts plain HTTP at the hook {}: others on the way read its tokens and change its events",
                served.hook.name
            );
            reporter.warn(
                &PLAIN_HTTP,
                served.hook.spot.clone(),
                wrong,
                "write `transport: tls_here` or behind_proxy",
            );
        }
    }
    check_tls(served, reporter);
    for (manager, gate) in bootstrap.gated() {
        if let Some(chain) = &manager.chain {
            check_context(chain, reporter);
        }
        if let Some(listener) = bootstrap.listener(manager) {
            check_proxy_protocol(&listener.at, manager, gate, reporter);
        }
    }
}

/// The fields from which Envoy takes the client's address.
struct SourceCheck<'s, 'y> {
    at: &'s YamlCursor<'y>,
    hook: &'s HookView,
}

impl SourceCheck<'_, '_> {
    fn check(&self, reporter: &mut Reporter) {
        let hops = self.at.number_at(&["xff_num_trusted_hops"]).unwrap_or_default();
        let detects = !self.at.list_is_empty(&["original_ip_detection_extensions"]);
        let name = &self.hook.name;
        match self.hook.hop {
            HookHop::BehindProxy if !detects => self.check_behind_proxy(hops, reporter),
            HookHop::BehindProxy => {}
            HookHop::TlsHere | HookHop::Any if hops >= 1.0 || detects => {
                let key = if detects { "original_ip_detection_extensions" } else { "xff_num_trusted_hops" };
                let wrong = format!(
                    "takes the client's address from a header, and the hook {name} has no behind_proxy"
                );
                let remedy =
                    "remove it, or write `transport: {behind_proxy: [...]}` with the proxy's addresses";
                self.report(&TRUSTED_HOPS, self.at.spot_of(key), &wrong, remedy, reporter);
            }
            HookHop::TlsHere | HookHop::Any => {
                if !self.at.is_true("use_remote_address") {
                    let wrong = format!(
                        "is not true: any client's x-forwarded-for is its address at the hook {name}"
                    );
                    let at = self.at.spot_of("use_remote_address");
                    self.report(&CLIENT_ADDRESS, at, &wrong, "write `use_remote_address: true`", reporter);
                }
            }
        }
    }

    fn check_behind_proxy(&self, hops: f64, reporter: &mut Reporter) {
        let name = &self.hook.name;
        if !self.at.is_true("use_remote_address") {
            let wrong =
                format!("is not true: any client's x-forwarded-for is its address at the hook {name}");
            let at = self.at.spot_of("use_remote_address");
            reporter.add_once(
                Level::Error,
                &CLIENT_ADDRESS,
                at,
                wrong,
                "write `use_remote_address: true`".to_owned(),
            );
        }
        if hops < 1.0 {
            let wrong = format!(
                "is 0: Envoy overwrites the proxy's x-forwarded-proto, and every delivery of the hook {name} gets 403 https-required"
            );
            let remedy = "write the number of proxies, such as `xff_num_trusted_hops: 1`".to_owned();
            reporter.add_once(
                Level::Error,
                &TRUSTED_HOPS,
                self.at.spot_of("xff_num_trusted_hops"),
                wrong,
                remedy,
            );
        }
    }

    /// An error where an allowlist decides: the gate refuses an address from a header as source-denied.
    fn report(
        &self,
        rule: &'static super::catalog::Rule,
        at: Spot,
        wrong: &str,
        remedy: &str,
        reporter: &mut Reporter,
    ) {
        let (level, wrong) = match self.hook.has_allowlist {
            true => (Level::Error, format!("{wrong}. Such a delivery gets 403 source-denied")),
            false => (Level::Warning, wrong.to_owned()),
        };
        reporter.add_once(level, rule, at, wrong, remedy.to_owned());
    }
}

/// A hook with `tls_here` has a listener that ends TLS.
fn check_tls(served: &[ServedHook<'_, '_>], reporter: &mut Reporter) {
    for one in served.iter().filter(|one| one.hook.hop == HookHop::TlsHere) {
        let same = served.iter().filter(|other| other.hook.name == one.hook.name);
        let chains: Vec<Option<bool>> = same.map(|other| other.manager.has_tls()).collect();
        if chains.iter().all(|tls| *tls == Some(false))
            && let Some(chain) = &one.manager.chain
        {
            let wrong = format!(
                "is missing: the hook {} has `transport: tls_here`, and every delivery gets 403 https-required",
                one.hook.name
            );
            let remedy = "add a transport_socket with DownstreamTlsContext, or write `transport: {behind_proxy: [...]}`";
            return reporter.error(&TLS_MISSING, chain.spot_of("transport_socket"), wrong, remedy);
        }
    }
}

fn check_context(chain: &YamlCursor<'_>, reporter: &mut Reporter) {
    let socket = chain.get("transport_socket");
    let Some(context) = socket.and_then(|socket| socket.message_at("typed_config", "DownstreamTlsContext"))
    else {
        return;
    };
    if context.is_true("require_client_certificate") {
        let wrong = "is true: RunBlob has no certificate, so that no delivery arrives";
        reporter.error(
            &CLIENT_CERTIFICATE,
            context.spot_of("require_client_certificate"),
            wrong,
            "remove it",
        );
    }
    let Some(common) = context.get("common_tls_context") else { return };
    if let Some(version) = common.at(&["tls_params", "tls_minimum_protocol_version"])
        && (version.is_enum("TLSv1_0", 1.0) || version.is_enum("TLSv1_1", 2.0))
    {
        reporter.warn(&OLD_TLS, version.spot(), "allows a version of TLS that is insecure", "write TLSv1_2");
    }
    if let Some(version) = common.at(&["tls_params", "tls_maximum_protocol_version"])
        && (version.is_enum("TLSv1_0", 1.0) || version.is_enum("TLSv1_1", 2.0))
    {
        reporter.error(
            &OLD_TLS,
            version.spot(),
            "excludes the versions of TLS that senders use",
            "remove it",
        );
    }
    let sources = [
        "tls_certificates",
        "tls_certificate_sds_secret_configs",
        "custom_tls_certificate_selector",
        "tls_certificate_provider_instance",
        "tls_certificate_certificate_provider_instance",
    ];
    if sources.iter().all(|key| common.get(key).is_none()) {
        let remedy = "write tls_certificates or tls_certificate_sds_secret_configs";
        reporter.error(&TLS_MISSING, common.spot(), "names no certificate: Envoy does not start", remedy);
    }
}

/// With the PROXY protocol, the peer writes the client's address.
fn check_proxy_protocol(
    listener: &YamlCursor<'_>,
    manager: &ManagerView<'_>,
    gate: &GateView<'_>,
    reporter: &mut Reporter,
) {
    const DIRECT: &str = "allow_requests_without_proxy_protocol";
    let filters = listener.list("listener_filters");
    let heads: Vec<_> =
        filters.iter().filter_map(|filter| filter.message_at("typed_config", "ProxyProtocol")).collect();
    if let Some(head) = heads.iter().find(|head| head.is_true(DIRECT)) {
        let wrong = "lets clients connect directly, and any of them may write an address of the allowlist";
        let remedy = "remove it, and let only the balancer connect";
        return reporter.warn(&PROXY_PROTOCOL, head.spot_of(DIRECT), wrong, remedy);
    }
    let Some(head) = heads.first() else { return };
    let is_matched = manager
        .chain
        .as_ref()
        .is_some_and(|chain| !chain.list_is_empty(&["filter_chain_match", "direct_source_prefix_ranges"]));
    // Behind a proxy, the gate knows the balancer's addresses.
    let trusts = |hook: &HookView| hook.has_allowlist && hook.hop != HookHop::BehindProxy;
    if let Some(hook) = gate.hooks.iter().find(|hook| trusts(hook))
        && !is_matched
    {
        let wrong = format!(
            "takes the client's address from any client that reaches the port, and the hook {} has an allowlist",
            hook.name
        );
        let remedy =
            "write `filter_chain_match: {direct_source_prefix_ranges: [...]}` with the balancer's addresses";
        reporter.warn(&PROXY_PROTOCOL, head.spot(), wrong, remedy);
    }
}
