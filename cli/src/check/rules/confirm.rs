//! The cluster of the provider's status API. Its answers authenticate senders.

use super::super::cursor::{Spot, YamlCursor};
use super::bootstrap::{BootstrapView, ClusterView, host_and_port};
use super::catalog::{
    CONFIRM_CERTIFICATE, CONFIRM_CLUSTER, CONFIRM_KEY, CONFIRM_NAME, CONFIRM_PLAINTEXT, CONFIRM_SANDBOX,
    CONFIRM_UNVERIFIED,
};
use super::gate::{ConfirmView, GateView};
use super::matcher::{self, Truth};
use super::reporter::Reporter;
use std::net::IpAddr;
use std::path::Path;

pub(super) fn check(bootstrap: &BootstrapView<'_>, reporter: &mut Reporter) {
    for (_, gate) in bootstrap.gated() {
        let Some(confirm) = &gate.confirm else { continue };
        match bootstrap.cluster(&confirm.cluster) {
            Some(cluster) => check_cluster(cluster, gate, confirm, reporter),
            None if bootstrap.has_all_clusters() => {
                let wrong = format!(
                    "is {}, which is no cluster of this file: no delivery is ever confirmed",
                    confirm.cluster
                );
                reporter.error(
                    &CONFIRM_CLUSTER,
                    confirm.spot.clone(),
                    wrong,
                    "write the name of the status API's cluster",
                );
            }
            None => {
                let wrong = format!("is {}, and its cluster is not in this file", confirm.cluster);
                reporter.not_checked(
                    &CONFIRM_CLUSTER,
                    confirm.spot.clone(),
                    wrong,
                    "check that it has TLS, and the API key",
                );
            }
        }
    }
}

fn check_cluster(
    cluster: &ClusterView<'_>,
    gate: &GateView<'_>,
    confirm: &ConfirmView,
    reporter: &mut Reporter,
) {
    if cluster.is_local() && gate.environment.as_deref() == Some("production") {
        let wrong = format!(
            "leads to this machine and not to {}: a sandbox confirms events that never happened",
            confirm.authority
        );
        reporter.warn(
            &CONFIRM_SANDBOX,
            cluster.at.spot_of("load_assignment"),
            wrong,
            "take the cluster of a file that `blobgate render` writes",
        );
    }
    if !injects_credential(cluster) {
        let wrong = format!(
            "has no credential_injector: without the API key, every call to {} gets 401",
            confirm.authority
        );
        reporter.warn(
            &CONFIRM_KEY,
            cluster.at.spot(),
            wrong,
            "add the http_filters of envoy.yaml's runblob_api",
        );
    }
    if cluster.at.get("transport_socket_matches").is_none() {
        check_tls(cluster, confirm, reporter);
    }
}

fn check_tls(cluster: &ClusterView<'_>, confirm: &ConfirmView, reporter: &mut Reporter) {
    let mut report = |rule, at: Spot, wrong: &str, remedy: &str| match cluster.is_local() {
        true => reporter.warn(rule, at, wrong, remedy),
        false => reporter.error(rule, at, wrong, remedy),
    };
    let Some(tls) = cluster.tls() else {
        let wrong = "is missing or not TLS: others on the way read the API key, and confirm forged events";
        return report(
            &CONFIRM_PLAINTEXT,
            cluster.at.spot_of("transport_socket"),
            wrong,
            "add UpstreamTlsContext, as envoy.yaml has it",
        );
    };
    let upstream = cluster.http_options().and_then(|options| options.get("upstream_http_protocol_options"));
    let is_auto = |key: &str| upstream.as_ref().is_some_and(|options| options.is_true(key));
    let host = confirm.authority.split(':').next().unwrap_or_default();
    match tls.text_at(&["sni"]) {
        None | Some("") if !is_auto("auto_sni") && !tls.is_true("auto_host_sni") => {
            report(
                &CONFIRM_NAME,
                tls.spot_of("sni"),
                "is missing: the status API's servers may refuse the connection",
                &format!("write `sni: {host}`"),
            );
        }
        Some(sni) if !cluster.is_local() && !sni.eq_ignore_ascii_case(host) => {
            reporter.warn(
                &CONFIRM_NAME,
                tls.spot_of("sni"),
                format!("is {sni}, and confirm.authority is {host}"),
                "write the same host in both",
            );
        }
        _ => {}
    }
    check_verification(
        &tls,
        is_auto("auto_san_validation") || tls.is_true("auto_sni_san_validation"),
        host,
        cluster.is_local(),
        reporter,
    );
    if !cluster.is_local() {
        check_certificate(cluster, &tls, host, reporter);
    }
}

/// The certificate of the provider, or of a proxy on the way to it, passes.
fn check_certificate(cluster: &ClusterView<'_>, tls: &YamlCursor<'_>, host: &str, reporter: &mut Reporter) {
    /// The certificate that `make certs` creates for this machine.
    const DEVELOPMENT: &str = "certs/edge.pem";
    let Some(context) = tls.at(&["common_tls_context", "validation_context"]) else { return };
    if let Some(file) = context.at(&["trusted_ca", "filename"])
        && file.text().is_some_and(|name| Path::new(name).ends_with(DEVELOPMENT))
    {
        let wrong = format!("is the certificate for development: every call to {host} fails");
        let remedy = "write `trusted_ca: {filename: /etc/ssl/certs/ca-certificates.crt}`";
        reporter.error(&CONFIRM_CERTIFICATE, file.spot(), wrong, remedy);
    }
    let addresses = cluster.addresses();
    let endpoints = addresses.iter().filter_map(|address| Some(host_and_port(address)?.0));
    let mut names: Vec<&str> = endpoints.filter(|name| name.parse::<IpAddr>().is_err()).collect();
    if names.is_empty() {
        names.extend(tls.text_at(&["sni"]));
    }
    names.push(host);
    // A certificate may have a wildcard in the place of the first label.
    let wildcards: Vec<String> =
        names.iter().filter_map(|name| Some(format!("*.{}", name.split_once('.')?.1))).collect();
    names.extend(wildcards.iter().map(String::as_str));
    let typed = context.list("match_typed_subject_alt_names");
    // Others are names of a proxy, such as a SPIFFE id.
    if typed.iter().any(|name| !name.get("san_type").is_some_and(|kind| kind.is_enum("DNS", 2.0))) {
        return;
    }
    let matchers: Vec<_> = typed.iter().filter_map(|name| name.get("matcher")).collect();
    let passes = |one: &YamlCursor<'_>| names.iter().any(|name| matcher::holds(one, name) != Truth::No);
    if let Some(first) = matchers.first()
        && !matchers.iter().any(passes)
    {
        let wrong = format!("is not the name of {host}: every call to it fails");
        let remedy = format!("write `{{exact: {host}}}`");
        reporter.error(&CONFIRM_CERTIFICATE, first.spot(), wrong, remedy);
    }
}

fn check_verification(
    tls: &YamlCursor<'_>,
    names_are_auto: bool,
    host: &str,
    is_local: bool,
    reporter: &mut Reporter,
) {
    let mut report = |at: Spot, wrong: &str, remedy: String| match is_local {
        true => reporter.warn(&CONFIRM_UNVERIFIED, at, wrong, remedy),
        false => reporter.error(&CONFIRM_UNVERIFIED, at, wrong, remedy),
    };
    let common = tls.get("common_tls_context");
    let dynamic = ["validation_context_sds_secret_config", "combined_validation_context"];
    if common.as_ref().is_some_and(|common| dynamic.iter().any(|key| common.get(key).is_some())) {
        return;
    }
    let context = common.as_ref().and_then(|common| common.get("validation_context"));
    let Some(context) = context else {
        let at = common
            .as_ref()
            .map_or_else(|| tls.spot_of("common_tls_context"), |common| common.spot_of("validation_context"));
        return report(
            at,
            "is missing: any host on the way can confirm forged events",
            "write validation_context with trusted_ca and match_typed_subject_alt_names".to_owned(),
        );
    };
    if context.get("trust_chain_verification").is_some_and(|chain| chain.is_enum("ACCEPT_UNTRUSTED", 1.0)) {
        let wrong = "accepts every certificate: any host on the way can confirm forged events";
        report(context.spot_of("trust_chain_verification"), wrong, "remove it".to_owned());
    }
    let pins = ["verify_certificate_spki", "verify_certificate_hash"];
    if pins.iter().any(|key| !context.list_is_empty(&[key])) {
        return;
    }
    let authorities = ["trusted_ca", "system_root_certs", "ca_certificate_provider_instance"];
    if authorities.iter().all(|key| context.get(key).is_none()) {
        let wrong =
            "is missing: Envoy verifies no certificate, and any host on the way can confirm forged events";
        report(
            context.spot_of("trusted_ca"),
            wrong,
            "write `trusted_ca: {filename: /etc/ssl/certs/ca-certificates.crt}`".to_owned(),
        );
    }
    let names = ["match_typed_subject_alt_names", "match_subject_alt_names"];
    if !names_are_auto && names.iter().all(|key| context.list_is_empty(&[key])) {
        let wrong = "is missing: the certificate of any other host passes too";
        let remedy =
            format!("write `match_typed_subject_alt_names: [{{san_type: DNS, matcher: {{exact: {host}}}}}]`");
        report(context.spot_of("match_typed_subject_alt_names"), wrong, remedy);
    }
}

/// Whether the cluster adds the API key, or another header with one.
pub(super) fn injects_credential(cluster: &ClusterView<'_>) -> bool {
    let filters = cluster.http_options().map(|options| options.list("http_filters")).unwrap_or_default();
    filters.iter().any(|filter| {
        filter
            .get("typed_config")
            .and_then(|any| any.message())
            .is_some_and(|(kind, _)| kind == "CredentialInjector")
    })
}
