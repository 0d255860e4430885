//! Values that Envoy refuses, in every part of its configuration: regular expressions, times, domains.

use super::super::cursor::YamlCursor;
use super::bootstrap::{BootstrapView, Extent, ManagerView};
use super::catalog::{DOMAINS, DURATION, REGEX};
use super::reporter::Reporter;
use regex::Regex;
use std::collections::HashMap;

/// Fields that are a `google.protobuf.Duration` wherever Envoy has them.
const DURATIONS: [&str; 21] = [
    "timeout",
    "idle_timeout",
    "request_timeout",
    "request_headers_timeout",
    "stream_idle_timeout",
    "delayed_close_timeout",
    "drain_timeout",
    "connect_timeout",
    "per_try_timeout",
    "per_try_idle_timeout",
    "max_connection_duration",
    "transport_socket_connect_timeout",
    "listener_filters_timeout",
    "interval",
    "base_interval",
    "max_interval",
    "no_traffic_interval",
    "no_traffic_healthy_interval",
    "unhealthy_interval",
    "refresh_interval",
    "dns_refresh_rate",
];
/// Objects with fields of the user, of the gate, or of a filter that has its own.
const OTHERS: [&str; 8] = [
    "configuration",
    "filter_config",
    "filter_context",
    "filter_metadata",
    "static_layer",
    "metadata",
    "typed_metadata",
    "json_format",
];

pub(super) fn check(bootstrap: &BootstrapView<'_>, reporter: &mut Reporter) {
    check_tree(&bootstrap.root, reporter);
    // A patch may be for a virtual host with domains of its own, and several patches for several ports.
    if bootstrap.extent == Extent::Whole {
        bootstrap.managers.iter().for_each(|manager| check_domains(manager, reporter));
    }
}

fn check_tree(node: &YamlCursor<'_>, reporter: &mut Reporter) {
    // The user's own object.
    if node.text_at(&["@type"]).is_some_and(|kind| kind.ends_with("google.protobuf.Struct")) {
        return;
    }
    for item in node.items() {
        check_tree(&item, reporter);
    }
    for (key, value) in node.pairs() {
        let key = snake(key);
        if OTHERS.contains(&&*key) {
            continue;
        }
        if key == "regex" {
            check_regex(&value, reporter);
        }
        if DURATIONS.contains(&&*key) {
            check_duration(&value, reporter);
        }
        check_tree(&value, reporter);
    }
}

/// The name of a field in snake case.
fn snake(key: &str) -> String {
    let mut name = String::with_capacity(key.len());
    for letter in key.chars() {
        if letter.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// Mistakes that are mistakes for RE2 too, which differs from this program's engine.
fn check_regex(value: &YamlCursor<'_>, reporter: &mut Reporter) {
    const OF_BOTH: [&str; 4] = [
        "unclosed group",
        "unopened group",
        "unclosed character class",
        "repetition operator missing expression",
    ];
    let Some(Err(error)) = value.text().map(Regex::new) else { return };
    let error = error.to_string();
    if let Some(fault) = OF_BOTH.iter().find(|fault| error.contains(*fault)) {
        let wrong = format!("is no regular expression ({fault}): Envoy refuses it");
        reporter.error(&REGEX, value.spot(), wrong, "correct it");
    }
}

fn check_duration(value: &YamlCursor<'_>, reporter: &mut Reporter) {
    let is_duration = |text: &str| {
        text.strip_suffix('s').is_some_and(|number| {
            let number = number.strip_prefix('-').unwrap_or(number);
            let (whole, part) = number.split_once('.').unwrap_or((number, ""));
            let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
            !whole.is_empty() && is_number(whole) && is_number(part) && part.len() <= 9
        })
    };
    let shown = match (value.text(), value.node().number()) {
        (Some(text), _) if !is_duration(text) => text.chars().take(20).collect(),
        (None, Some(number)) => number.to_string(),
        _ => return,
    };
    let wrong = format!("is {shown}, which is no time: Envoy refuses it");
    reporter.error(&DURATION, value.spot(), wrong, "write seconds, such as `20s` or `0.5s`");
}

fn check_domains(manager: &ManagerView<'_>, reporter: &mut Reporter) {
    let mut known: HashMap<String, usize> = HashMap::new();
    for host in manager.hosts.iter().map(|host| &host.at) {
        let domains = host.list("domains");
        if domains.is_empty() {
            let wrong = "is missing: Envoy refuses it";
            reporter.error(
                &DOMAINS,
                host.spot_of("domains"),
                wrong,
                "write `domains: [\"*\"]` or the host's names",
            );
        }
        for domain in domains {
            let Some(name) = domain.text().map(str::to_ascii_lowercase) else { continue };
            if let Some(line) = known.insert(name.clone(), domain.spot().line) {
                let wrong = format!("is {name}, which line {line} has too: Envoy refuses it");
                reporter.error(&DOMAINS, domain.spot(), wrong, "write each name once");
            }
        }
    }
}
