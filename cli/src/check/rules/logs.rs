//! Paths in logs and traces. A path contains the callback token.

use super::super::cursor::{Spot, YamlCursor};
use super::bootstrap::{BootstrapView, ClusterView, Extent, ManagerView};
use super::catalog::{CLIENT_SAMPLING, LOGGED_PATH, TRACED_PATH};
use super::reporter::Reporter;
use super::ungated::removes;
use blobgate::contract::header;
use regex::Regex;

pub(super) fn check(bootstrap: &BootstrapView<'_>, reporter: &mut Reporter) {
    for (manager, gate) in bootstrap.gated() {
        let has_token = gate.takes_tokens();
        for log in logs(bootstrap, manager) {
            check_log(bootstrap, &log, has_token, reporter);
        }
        if let Some(tracing) = manager.get("tracing") {
            check_tracing(&tracing, has_token, reporter);
            if bootstrap.extent == Extent::Whole {
                check_sampling(manager, &tracing, reporter);
            }
        }
    }
}

/// A client's `traceparent` may say that its request is traced.
fn check_sampling(manager: &ManagerView<'_>, tracing: &YamlCursor<'_>, reporter: &mut Reporter) {
    if !manager.at.as_ref().is_some_and(|at| removes(at, header::TRACEPARENT)) {
        let wrong = "takes the client's traceparent: by its flag any client has its requests traced";
        let remedy = "remove it, as the early_header_mutation_extensions of envoy.yaml do";
        reporter.warn(&CLIENT_SAMPLING, tracing.spot(), wrong, remedy);
    }
}

/// The access logs of a manager, of its listener and of its router.
fn logs<'y>(bootstrap: &BootstrapView<'y>, manager: &ManagerView<'y>) -> Vec<YamlCursor<'y>> {
    let listener =
        bootstrap.listener(manager).map(|listener| listener.at.list("access_log")).unwrap_or_default();
    let routers = manager
        .filters
        .iter()
        .filter(|filter| filter.kind == "Router")
        .filter_map(|filter| filter.fields.as_ref());
    let routers = routers.flat_map(|router| router.list("upstream_log"));
    let own = manager.at.as_ref().map(|at| at.list("access_log")).unwrap_or_default();
    own.into_iter().chain(listener).chain(routers).collect()
}

fn check_log(bootstrap: &BootstrapView<'_>, log: &YamlCursor<'_>, has_token: bool, reporter: &mut Reporter) {
    let Some((kind, fields)) = log.get("typed_config").and_then(|any| any.message()) else { return };
    let mut texts = Vec::new();
    fields.texts(&mut texts);
    for (_, at) in texts.iter().filter(|(text, _)| logs_path(text)) {
        report(at.clone(), "writes paths into the log", has_token, reporter);
    }
    let own_formats = ["log_format", "format", "json_format", "typed_json_format"];
    let is_default = own_formats.iter().all(|key| fields.get(key).is_none());
    match kind {
        "StdoutAccessLog" | "StderrAccessLog" | "FileAccessLog" if is_default => {
            report(
                log.spot(),
                "has Envoy's default format, which writes paths into the log",
                has_token,
                reporter,
            );
        }
        "HttpGrpcAccessLogConfig" if !is_for_this_machine(bootstrap, &fields) => {
            report(log.spot(), "sends each request's path to the log's server", has_token, reporter);
        }
        _ => {}
    }
}

/// Whether a gRPC log goes to this machine alone, as to the inbox, which reads no path.
fn is_for_this_machine(bootstrap: &BootstrapView<'_>, fields: &YamlCursor<'_>) -> bool {
    let cluster = fields.at(&["common_config", "grpc_service", "envoy_grpc", "cluster_name"]);
    let cluster = cluster.as_ref().and_then(YamlCursor::text);
    cluster.and_then(|name| bootstrap.cluster(name)).is_some_and(ClusterView::is_local)
}

fn report(at: Spot, wrong: &str, has_token: bool, reporter: &mut Reporter) {
    let remedy = "log `%REQ(BLOBGATE-HOOK)%` instead, as envoy.yaml does";
    match has_token {
        true => reporter.error(&LOGGED_PATH, at, format!("{wrong}, and so callback tokens"), remedy),
        false => reporter.warn(&LOGGED_PATH, at, format!("{wrong}, and later callback tokens"), remedy),
    }
}

/// Whether a format string has a command with the path: `%REQ(:PATH)%`, `%PATH%`, `%CEL(request.path)%` and the like.
fn logs_path(text: &str) -> bool {
    const PATH: &str = r"(?i)%(?:REQ(?:_WITHOUT_QUERY)?\([^)]*(?::path|original-path)[^)]*\)|PATH(?:\([^)]*\))?|CEL\([^%]*(?:path|query)[^%]*\))(?::\d+)?%";
    Regex::new(PATH).is_ok_and(|path| path.is_match(text))
}

/// Envoy writes the URL of each request into a span unless a tag of its name replaces it, and custom tags as they say.
fn check_tracing(tracing: &YamlCursor<'_>, has_token: bool, reporter: &mut Reporter) {
    let mut report = |at: Spot, wrong: &str, remedy: &str| match has_token {
        true => reporter.error(&TRACED_PATH, at, format!("{wrong}, and so callback tokens"), remedy),
        false => reporter.warn(&TRACED_PATH, at, wrong, remedy),
    };
    let replaces_url = |tag: &YamlCursor<'_>| tag.text_at(&["tag"]) == Some("http.url");
    if !tracing.list("custom_tags").iter().any(replaces_url) {
        let remedy = "add `custom_tags: [{tag: http.url, literal: {value: \"-\"}}]`";
        report(
            tracing.spot_of("custom_tags"),
            "does not replace Envoy's tag http.url, which writes paths into traces",
            remedy,
        );
    }
    let mut texts = Vec::new();
    tracing.get("custom_tags").iter().for_each(|tags| tags.texts(&mut texts));
    tracing
        .get("operation")
        .iter()
        .chain(&tracing.get("upstream_operation"))
        .for_each(|name| name.texts(&mut texts));
    for (text, at) in texts {
        let names_path =
            text.eq_ignore_ascii_case(":path") || text.to_ascii_lowercase().contains("original-path");
        if names_path || logs_path(text) {
            report(at, "writes paths into traces", "remove the tag, or take blobgate-hook");
        }
    }
}
