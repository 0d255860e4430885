//! The fields of an EnvoyFilter around its patches. istiod ignores what it does not know, without a message.

use super::super::cursor::{Spot, YamlCursor};
use super::catalog::PATCH;
use super::reporter::Reporter;

/// The keys of an EnvoyFilter's objects. An item of a list has the key of the list.
const KEYS: [(&[&str], &[&str]); 10] = [
    (&["spec"], &["configPatches", "priority", "targetRefs", "workloadSelector"]),
    (&["spec", "workloadSelector"], &["labels"]),
    (&["spec", "configPatches"], &["applyTo", "match", "patch"]),
    (&["spec", "configPatches", "patch"], &["filterClass", "operation", "value"]),
    (
        &["spec", "configPatches", "match"],
        &["cluster", "context", "listener", "proxy", "routeConfiguration", "waypoint"],
    ),
    (
        &["spec", "configPatches", "match", "listener"],
        &["filterChain", "listenerFilter", "name", "portName", "portNumber"],
    ),
    (
        &["spec", "configPatches", "match", "listener", "filterChain"],
        &["applicationProtocols", "destinationPort", "filter", "name", "sni", "transportProtocol"],
    ),
    (&["spec", "configPatches", "match", "listener", "filterChain", "filter"], &["name", "subFilter"]),
    (
        &["spec", "configPatches", "match", "routeConfiguration"],
        &["gateway", "name", "portName", "portNumber", "vhost"],
    ),
    (&["spec", "configPatches", "match", "routeConfiguration", "vhost"], &["domainName", "name", "route"]),
];
const KINDS: [&str; 11] = [
    "LISTENER",
    "FILTER_CHAIN",
    "NETWORK_FILTER",
    "HTTP_FILTER",
    "ROUTE_CONFIGURATION",
    "VIRTUAL_HOST",
    "HTTP_ROUTE",
    "CLUSTER",
    "EXTENSION_CONFIG",
    "BOOTSTRAP",
    "LISTENER_FILTER",
];
const OPERATIONS: [&str; 8] = [
    "MERGE",
    "ADD",
    "REMOVE",
    "INSERT_BEFORE",
    "INSERT_AFTER",
    "INSERT_FIRST",
    "REPLACE",
    "MERGE_AND_REPLACE_LIST",
];
const CONTEXTS: [&str; 5] = ["ANY", "SIDECAR_INBOUND", "SIDECAR_OUTBOUND", "GATEWAY", "WAYPOINT"];

/// The types of the gate's filter.
const FILTERS: [&str; 2] = [".http.wasm.v3.Wasm", ".http.dynamic_modules.v3.DynamicModuleFilter"];

pub(super) fn check(document: &YamlCursor<'_>, plugins: &[Spot], reporter: &mut Reporter) {
    for (path, known) in KEYS {
        objects(document, path).iter().for_each(|object| check_keys(object, known, reporter));
    }
    let patches = objects(document, &["spec", "configPatches"]);
    for patch in &patches {
        check_word(patch, &["applyTo"], &KINDS, reporter);
        check_word(patch, &["patch", "operation"], &OPERATIONS, reporter);
        check_word(patch, &["match", "context"], &CONTEXTS, reporter);
        if let Some(value) = patch.at(&["patch", "value"]) {
            check_types(&value, reporter);
        }
        let spot = patch.spot();
        if plugins.iter().any(|plugin| plugin.field.starts_with(&format!("{}.", spot.field))) {
            check_gate(patch, &patches, reporter);
        }
    }
}

/// The objects at a path, through lists.
fn objects<'y>(document: &YamlCursor<'y>, path: &[&str]) -> Vec<YamlCursor<'y>> {
    let below = |object: YamlCursor<'y>, key: &str| match object.get(key) {
        Some(list) if !list.node().list().is_empty() => list.items(),
        found => found.into_iter().collect(),
    };
    path.iter().fold(vec![document.clone()], |objects, key| {
        objects.into_iter().flat_map(|object| below(object, key)).collect()
    })
}

fn check_keys(object: &YamlCursor<'_>, known: &[&str], reporter: &mut Reporter) {
    for (key, value) in object.pairs() {
        if !known.contains(&key) {
            let remedy = format!("write one of {}", known.join(", "));
            reporter.error(&PATCH, value.spot(), "is no key of an EnvoyFilter: it has no effect", remedy);
        }
    }
}

fn check_word(patch: &YamlCursor<'_>, path: &[&str], known: &[&str], reporter: &mut Reporter) {
    let Some(word) = patch.at(path) else { return };
    if word.text().is_none_or(|text| !known.contains(&text)) {
        let remedy = format!("write one of {}", known.join(", "));
        reporter.error(&PATCH, word.spot(), "is no word that istiod knows: the patch has no effect", remedy);
    }
}

/// istiod drops fields that a message does not have. A TypedStruct needs its `type_url`.
fn check_types(value: &YamlCursor<'_>, reporter: &mut Reporter) {
    if let Some(kind) = value.text_at(&["@type"]) {
        let is_struct = kind.ends_with(".TypedStruct");
        if is_struct && value.get("type_url").is_none() {
            let wrong = "is missing in a TypedStruct: Envoy does not know its type";
            reporter.error(&PATCH, value.spot_of("type_url"), wrong, "write the type_url of the message");
        }
        if FILTERS.iter().any(|filter| kind.ends_with(filter))
            && let Some(fields) = value.get("value")
        {
            let wrong = "is no field of this type: istiod drops it, and the filter has no configuration";
            let remedy = "write udpa.type.v1.TypedStruct as @type and this type as type_url";
            reporter.error(&PATCH, fields.spot(), wrong, remedy);
        }
    }
    value.items().iter().for_each(|item| check_types(item, reporter));
    value.pairs().iter().for_each(|(_, item)| check_types(item, reporter));
}

/// The patch that has the gate's filter.
fn check_gate(patch: &YamlCursor<'_>, patches: &[YamlCursor<'_>], reporter: &mut Reporter) {
    let kind = patch.text_at(&["applyTo"]);
    if kind == Some("HTTP_FILTER") {
        let at = patch.get("patch").map_or_else(|| patch.spot(), |change| change.spot_of("operation"));
        let remedy = "write `operation: INSERT_FIRST`";
        match patch.text_at(&["patch", "operation"]) {
            None | Some("MERGE" | "MERGE_AND_REPLACE_LIST" | "REPLACE" | "REMOVE" | "INVALID") => {
                let wrong = "inserts no filter: no gate runs, unless another patch inserts it";
                let filter = ["match", "listener", "filterChain", "filter", "subFilter"];
                match patch.at(&filter) {
                    // It changes a filter that it names.
                    Some(_) => reporter.warn(&PATCH, at, wrong, remedy),
                    None => reporter.error(&PATCH, at, wrong, remedy),
                }
            }
            Some("ADD") => {
                let wrong = "adds the gate after the router, which is the last filter";
                reporter.error(&PATCH, at, wrong, remedy);
            }
            _ => {}
        }
    }
    if let Some(context) = patch.at(&["match", "context"])
        && context.text().is_some_and(|text| text.starts_with("SIDECAR_"))
    {
        let wrong = "is for sidecars: the gateway, where clients arrive, has no gate";
        reporter.warn(&PATCH, context.spot(), wrong, "write `context: GATEWAY`");
    }
    check_host(patch, patches, reporter);
}

/// The gate's filter chain, the one of its connection manager, and the virtual host are of one name.
fn check_host(gate: &YamlCursor<'_>, patches: &[YamlCursor<'_>], reporter: &mut Reporter) {
    const SNI: [&str; 4] = ["match", "listener", "filterChain", "sni"];
    let Some(own) = gate.at(&SNI) else { return };
    let Some(name) = own.text() else { return };
    let of =
        |kind: &'static str| patches.iter().filter(move |patch| patch.text_at(&["applyTo"]) == Some(kind));
    let managers: Vec<_> = of("NETWORK_FILTER").filter_map(|patch| patch.at(&SNI)).collect();
    let is_own = |sni: &YamlCursor<'_>| sni.text() == Some(name);
    if let Some(other) = managers.first().filter(|_| !managers.iter().any(is_own)) {
        let wrong =
            format!("differs from {name}, which the gate's patch has: this patch is for another host");
        reporter.error(&PATCH, other.spot(), wrong, "write one host in both");
    }
    let hosts = of("VIRTUAL_HOST").filter_map(|patch| patch.at(&["patch", "value"]));
    let domains: Vec<_> = hosts.flat_map(|host| host.list("domains")).collect();
    let is_named = |domain: &YamlCursor<'_>| {
        let text = domain.text().unwrap_or_default();
        let (host, _) = text.rsplit_once(':').unwrap_or((text, ""));
        let suffix = host.strip_prefix('*').or_else(|| name.strip_prefix("*"));
        host.eq_ignore_ascii_case(name)
            || suffix.is_some_and(|suffix| name.ends_with(suffix) || host.ends_with(suffix))
    };
    if !domains.is_empty() && !domains.iter().any(is_named) {
        let wrong = format!("is {name}, and no virtual host here has this domain: the gate has no route");
        reporter.error(&PATCH, own.spot(), wrong, "write the domain of the virtual host");
    }
}
