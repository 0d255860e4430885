//! The fields of the HTTP connection manager that keep paths, headers and routes apart.

use super::super::cursor::YamlCursor;
use super::bootstrap::{BootstrapView, Extent, ManagerView};
use super::catalog::{INTERNAL_ADDRESSES, LOCAL_REPLY, PATH_SPELLING, UNDERSCORES};
use super::reporter::Reporter;
use super::routes::RouteAction;

pub(super) fn check(bootstrap: &BootstrapView<'_>, reporter: &mut Reporter) {
    for (manager, _) in bootstrap.gated() {
        let Some(at) = &manager.at else { continue };
        let is_whole = bootstrap.extent == Extent::Whole;
        check_spelling(manager, at, is_whole, reporter);
        check_underscores(at, is_whole, reporter);
        check_replies(at, reporter);
        if is_whole && at.list_is_empty(&["internal_address_config", "cidr_ranges"]) {
            let wrong = "is missing or empty: clients with a private address are internal, and their x-envoy headers set timeouts and retries";
            let remedy =
                "write `internal_address_config: {cidr_ranges: [{address_prefix: 0.0.0.0, prefix_len: 32}]}`";
            reporter.warn(&INTERNAL_ADDRESSES, at.spot_of("internal_address_config"), wrong, remedy);
        }
    }
}

/// Routes, gate and service read one spelling of a path. With other ways on the listener, another spelling takes them.
fn check_spelling(manager: &ManagerView<'_>, at: &YamlCursor<'_>, is_whole: bool, reporter: &mut Reporter) {
    let other_ways = manager.hosts.iter().any(|host| {
        host.routes.iter().any(|route| {
            !route.needs_verdict()
                && !manager.runs_gate(host, route)
                && matches!(route.action, RouteAction::Clusters(_) | RouteAction::AnyCluster)
        })
    });
    let mut report = |key: &str, wrong: &str, remedy: &str| {
        let wrong = format!("{wrong}, so that an unjudged delivery may take another route than the hook's");
        match other_ways {
            true => reporter.error(&PATH_SPELLING, at.spot_of(key), wrong, remedy),
            false => reporter.warn(&PATH_SPELLING, at.spot_of(key), wrong, remedy),
        }
    };
    let is_off = |key: &str| !at.is_true(key) && (is_whole || at.get(key).is_some());
    if is_off("normalize_path") {
        report(
            "normalize_path",
            "is not true: `/x/../webhook` stays as it is",
            "write `normalize_path: true`",
        );
    }
    if is_off("merge_slashes") {
        report("merge_slashes", "is not true: `//webhook` stays as it is", "write `merge_slashes: true`");
    }
    let action = at.get("path_with_escaped_slashes_action");
    let remedy = "write UNESCAPE_AND_FORWARD";
    match action {
        Some(action) if action.is_enum("UNESCAPE_AND_FORWARD", 4.0) => {}
        Some(action) if action.is_enum("UNESCAPE_AND_REDIRECT", 3.0) => {
            let wrong = "redirects: RunBlob does not follow redirects";
            reporter.warn(&PATH_SPELLING, action.spot(), wrong, remedy);
        }
        Some(action) if action.is_enum("REJECT_REQUEST", 2.0) => {
            let wrong = "refuses with 400, which RunBlob may take as final";
            reporter.warn(&PATH_SPELLING, action.spot(), wrong, remedy);
        }
        None if !is_whole => {}
        _ => report(
            "path_with_escaped_slashes_action",
            "is not UNESCAPE_AND_FORWARD: `/webhook%2F` stays as it is",
            remedy,
        ),
    }
}

fn check_underscores(at: &YamlCursor<'_>, is_whole: bool, reporter: &mut Reporter) {
    let key = "headers_with_underscores_action";
    let options = at.get("common_http_protocol_options");
    let spot = options
        .as_ref()
        .map_or_else(|| at.spot_of("common_http_protocol_options"), |options| options.spot_of(key));
    let remedy = "write `headers_with_underscores_action: DROP_HEADER`";
    match options.and_then(|options| options.get(key)) {
        Some(action) if action.is_enum("DROP_HEADER", 2.0) => {}
        Some(action) if action.is_enum("REJECT_REQUEST", 1.0) => {
            let wrong = "is REJECT_REQUEST: a genuine delivery with such a header gets 400 before the gate";
            reporter.error(&UNDERSCORES, spot, wrong, remedy);
        }
        None if !is_whole => {}
        _ => {
            let wrong = "does not drop headers with `_`: a service that reads `_` as `-` gets a client's beside the gate's";
            reporter.warn(&UNDERSCORES, spot, wrong, remedy);
        }
    }
}

/// A reply of Envoy with another status may end RunBlob's attempts.
fn check_replies(at: &YamlCursor<'_>, reporter: &mut Reporter) {
    let mappers = at.get("local_reply_config").map(|replies| replies.list("mappers")).unwrap_or_default();
    for status in mappers.iter().filter_map(|mapper| mapper.get("status_code")) {
        if status.number().is_some_and(|status| status < 500.0) {
            let wrong = "replaces the status of Envoy's own answers: RunBlob does not send again after it";
            reporter.error(&LOCAL_REPLY, status.spot(), wrong, "remove it");
        }
    }
}
