//! Sizes: bodies that Envoy must buffer, and heads that the inbox must read.

use super::super::cursor::YamlCursor;
use super::super::gate::GatePlugin;
use super::bootstrap::{BootstrapView, Extent, ManagerView};
use super::catalog::{BUFFER_LIMIT, HEADER_LIMIT};
use super::delivery::Destinations;
use super::reporter::Reporter;
use blobgate_inbox::{MAX_HEAD, MAX_HEADERS};

/// Envoy's default of `per_connection_buffer_limit_bytes`.
const DEFAULT_BUFFER: f64 = 1_048_576.0;
/// Envoy's default of `max_request_headers_kb`.
const DEFAULT_HEAD_KB: f64 = 60.0;
/// The gate adds up to 8 KiB of headers.
const ADDED_KB: f64 = 8.0;
/// The gate's own 23 headers, Standard Webhooks' included, and about 10 of Envoy's.
const ADDED_HEADERS: f64 = 33.0;

pub(super) fn check(bootstrap: &BootstrapView<'_>, reporter: &mut Reporter) {
    let destinations = Destinations::new(bootstrap);
    for (manager, gate) in bootstrap.gated() {
        let needed = number(gate.max_body_bytes());
        let listener = bootstrap.listener(manager).map(|listener| &listener.at);
        // The native module sets the limits of its own stream: bodies of 150,000 bytes pass a listener's 32 KiB.
        if gate.kind == GatePlugin::Wasm {
            check_buffers(bootstrap, manager, listener, needed, reporter);
        }
        check_body(manager, needed, reporter);
        let has_inbox = manager.hosts.iter().flat_map(|host| &host.routes).any(|route| {
            route.needs_verdict()
                && route.clusters().iter().any(|(name, _)| destinations.inboxes.contains(name))
        });
        if let Some(at) = manager.at.as_ref().filter(|_| has_inbox) {
            check_head(at, reporter);
        }
    }
}

fn check_buffers(
    bootstrap: &BootstrapView<'_>,
    manager: &ManagerView<'_>,
    listener: Option<&YamlCursor<'_>>,
    needed: f64,
    reporter: &mut Reporter,
) {
    let key = "per_connection_buffer_limit_bytes";
    if let Some(listener) = listener {
        match listener.get(key) {
            Some(limit) => {
                check_limit(listener, key, limit.number().unwrap_or(DEFAULT_BUFFER), needed, reporter);
            }
            None if bootstrap.extent == Extent::Whole => {
                check_limit(listener, key, DEFAULT_BUFFER, needed, reporter);
            }
            None => {}
        }
    }
    // The window of the connection is not for one body: seen on Envoy 1.40.
    let key = "initial_stream_window_size";
    let http2 = manager.get("http2_protocol_options");
    if let Some((http2, limit)) = http2.as_ref().and_then(|http2| Some((http2, http2.number_at(&[key])?))) {
        check_limit(http2, key, limit, needed, reporter);
    }
}

fn check_limit(at: &YamlCursor<'_>, key: &str, limit: f64, needed: f64, reporter: &mut Reporter) {
    if limit < needed {
        let wrong = format!(
            "is {limit}, and a hook takes bodies of {needed} bytes: Envoy refuses larger ones before the gate"
        );
        reporter.error(&BUFFER_LIMIT, at.spot_of(key), wrong, "write 1048576, or lower max_body_bytes");
    }
}

fn check_body(manager: &ManagerView<'_>, needed: f64, reporter: &mut Reporter) {
    for filter in manager.filters.iter().filter(|filter| filter.kind == "Buffer") {
        let key = "max_request_bytes";
        if let Some((fields, limit)) =
            filter.fields.as_ref().and_then(|fields| Some((fields, fields.number_at(&[key])?)))
        {
            check_limit(fields, key, limit, needed, reporter);
        }
    }
    for host in &manager.hosts {
        for scope in host.routes.iter().map(|route| &route.at).chain([&host.at]) {
            check_repeats(scope, needed, reporter);
        }
    }
}

/// A route's own limit is for repeats: seen on Envoy 1.40, the gate still gets larger bodies.
fn check_repeats(scope: &YamlCursor<'_>, needed: f64, reporter: &mut Reporter) {
    for key in ["request_body_buffer_limit", "per_request_buffer_limit_bytes"] {
        if let Some(limit) = scope.number_at(&[key]).filter(|limit| *limit < needed) {
            let wrong = format!(
                "is {limit}, and a hook takes bodies of {needed} bytes: Envoy does not repeat larger ones while a service restarts"
            );
            reporter.warn(&BUFFER_LIMIT, scope.spot_of(key), wrong, "remove it");
        }
    }
}

/// The inbox refuses a head that is larger than its own limits.
fn check_head(at: &YamlCursor<'_>, reporter: &mut Reporter) {
    let max_kb = number(MAX_HEAD) / 1024.0 - ADDED_KB;
    if at.number_at(&["max_request_headers_kb"]).unwrap_or(DEFAULT_HEAD_KB) > max_kb {
        let wrong = format!(
            "lets heads pass that the inbox refuses with 503 each time: it reads {} KiB",
            MAX_HEAD / 1024
        );
        reporter.error(
            &HEADER_LIMIT,
            at.spot_of("max_request_headers_kb"),
            wrong,
            format!("write at most {max_kb}"),
        );
    }
    let max_count = number(MAX_HEADERS) - ADDED_HEADERS;
    let key = ["common_http_protocol_options", "max_headers_count"];
    if let Some(count) = at.at(&key)
        && count.number().is_some_and(|count| count > max_count)
    {
        let wrong = format!(
            "lets requests pass that the inbox refuses with 503 each time: it reads {MAX_HEADERS} headers"
        );
        reporter.error(&HEADER_LIMIT, count.spot(), wrong, format!("write at most {max_count}"));
    }
}

fn number(limit: usize) -> f64 {
    u32::try_from(limit).map_or(f64::MAX, f64::from)
}
