//! Forms of requests that Envoy refuses or holds back before the gate.

use super::super::cursor::YamlCursor;
use super::bootstrap::{BootstrapView, Extent};
use super::catalog::{CONTINUE, REFUSED_FORMS, UPGRADES};
use super::reporter::Reporter;

pub(super) fn check(bootstrap: &BootstrapView<'_>, reporter: &mut Reporter) {
    for (manager, _) in bootstrap.gated() {
        let Some(at) = &manager.at else { continue };
        if at.is_true("proxy_100_continue") {
            let wrong = "is true: a sender that waits for 100 sends no body, and the gate waits for it";
            reporter.error(&CONTINUE, at.spot_of("proxy_100_continue"), wrong, "remove it");
        }
        let routes = manager.hosts.iter().flat_map(|host| &host.routes).filter_map(|route| route.forward());
        for scope in routes.chain([at.clone()]) {
            if let Some(upgrades) =
                scope.get("upgrade_configs").filter(|upgrades| !upgrades.items().is_empty())
            {
                let wrong = "lets upgraded requests pass, whose end the gate never sees";
                reporter.warn(&UPGRADES, upgrades.spot(), wrong, "remove it from the hook's listener");
            }
        }
        if bootstrap.extent == Extent::Whole {
            check_forms(at, reporter);
        }
    }
}

fn check_forms(at: &YamlCursor<'_>, reporter: &mut Reporter) {
    if at.list_is_empty(&["http_protocol_options", "ignore_http_11_upgrade"]) {
        let spot = place(at, "http_protocol_options", "ignore_http_11_upgrade");
        let wrong = "is missing: Envoy answers 403 to a genuine delivery that offers an upgrade, as Apache HttpClient does";
        reporter.warn(
            &REFUSED_FORMS,
            spot,
            wrong,
            "write `ignore_http_11_upgrade: [{safe_regex: {regex: \"\\\\C*\"}}]`",
        );
    }
    let key = "override_stream_error_on_invalid_http_message";
    if !at.get("http2_protocol_options").is_some_and(|options| options.is_true(key)) {
        let spot = place(at, "http2_protocol_options", key);
        let wrong = "is not true: one invalid request ends the other deliveries of its HTTP/2 connection";
        reporter.warn(&REFUSED_FORMS, spot, wrong, format!("write `{key}: true`"));
    }
}

/// The place of a key in a section, or of the missing section.
pub(super) fn place(at: &YamlCursor<'_>, section: &str, key: &str) -> super::super::cursor::Spot {
    at.get(section).map_or_else(|| at.spot_of(section), |section| section.spot_of(key))
}
