//! The gate's own filter.

use super::super::cursor::{Spot, YamlCursor};
use super::super::gate::{GatePlugin, HostEnvironment};
use super::bootstrap::{BootstrapView, Extent, FilterView, ManagerView};
use super::catalog::{
    ELSEWHERE, FAILURE_POLICY, FILTER_AFTER_ROUTER, FILTER_ORDER, GATE_NOWHERE, HOST_FLAG, MISSING_FILE,
    PEER_FILTER, RUNTIME, VM_ID,
};
use super::gate::{GateView, HookHop};
use super::native;
use super::reporter::Reporter;
use std::path::Path;
use std::time::Duration;

/// A filter of these types reads a body or changes a request, so that the gate judges something else than it forwards.
const CHANGING: [&str; 10] = [
    "Lua",
    "ExternalProcessor",
    "Decompressor",
    "GrpcJsonTranscoder",
    "GrpcJsonReverseTranscoder",
    "Wasm",
    "DynamicModuleFilter",
    "OAuth2",
    "HTTPFault",
    "AwsLambda",
];
/// The key of the direct peer's address in the filter state.
const PEER_KEY: &str = "blobgate.peer";
/// The time between RunBlob's attempts.
const RETRY_PAUSE: Duration = Duration::from_secs(30);

pub(super) fn check(bootstrap: &BootstrapView<'_>, reporter: &mut Reporter) {
    for (manager, gate) in bootstrap.gated() {
        match gate.kind {
            GatePlugin::Wasm => {
                check_plugin(&gate.plugin, reporter);
                check_machine(bootstrap, &gate.plugin, reporter);
            }
            GatePlugin::Native => native::check(bootstrap, &gate.plugin, reporter),
        }
        check_order(manager, reporter);
        check_peer(bootstrap, manager, gate, reporter);
    }
    for manager in &bootstrap.managers {
        for filter in &manager.filters {
            if let Some(source) = filter.at.get("config_discovery") {
                let wrong = format!("loads the filter {} from elsewhere", filter.name);
                reporter.not_checked(
                    &ELSEWHERE,
                    source.spot(),
                    wrong,
                    "check the file or server that has it",
                );
            }
        }
    }
    check_machines(bootstrap, reporter);
}

/// Reports a gate that is no HTTP filter of a listener. Every other rule is about filters of listeners, and finds nothing there.
pub(super) fn check_places(bootstrap: &BootstrapView<'_>, plugins: &[Spot], reporter: &mut Reporter) {
    /// Filters that contain filters, and filters that a server sends.
    const WRAPPERS: [&str; 5] =
        ["extension_config", "extensionConfig", "default_config", "defaultConfig", "EXTENSION_CONFIG"];
    for plugin in plugins {
        let node = |gate: &GateView<'_>| (gate.plugin.node().line, gate.plugin.node().column);
        if bootstrap.gated().any(|(_, gate)| node(gate) == (plugin.line, plugin.column)) {
            continue;
        }
        let at = plugin.clone();
        if WRAPPERS.iter().any(|name| at.field.contains(name)) {
            let wrong = "is the gate inside another filter: what stands around it is not checked";
            return reporter.not_checked(&GATE_NOWHERE, at, wrong, "");
        }
        let wrong =
            "is the gate, and no listener has it as a filter: Envoy refuses the file, or never runs the gate";
        let remedy = "correct a key or a type above: static_resources.listeners, filter_chains, filters, HttpConnectionManager, http_filters, Wasm with config, or DynamicModuleFilter";
        reporter.error(&GATE_NOWHERE, at, wrong, remedy);
    }
}

fn check_plugin(plugin: &YamlCursor<'_>, reporter: &mut Reporter) {
    if !plugin.is_true("allow_on_headers_stop_iteration") {
        let state = if plugin.get("allow_on_headers_stop_iteration").is_some() {
            "is not true"
        } else {
            "is missing"
        };
        let wrong = format!(
            "{state}: every delivery gets 503 host-misconfigured, since Envoy gives the gate no body"
        );
        reporter.error(
            &HOST_FLAG,
            plugin.spot_of("allow_on_headers_stop_iteration"),
            wrong,
            "write `allow_on_headers_stop_iteration: true`",
        );
    }
    let remedy = "write `failure_policy: FAIL_RELOAD`";
    if plugin.is_true("fail_open") {
        let wrong = "is true: while the module does not run, unjudged deliveries pass";
        return reporter.error(
            &FAILURE_POLICY,
            plugin.spot_of("fail_open"),
            wrong,
            "remove it, and write `failure_policy: FAIL_RELOAD`",
        );
    }
    let at = plugin.spot_of("failure_policy");
    match plugin.get("failure_policy") {
        Some(policy) if policy.is_enum("FAIL_OPEN", 3.0) => {
            let wrong = "is FAIL_OPEN: while the module does not run, unjudged deliveries pass";
            reporter.error(&FAILURE_POLICY, at, wrong, remedy);
        }
        Some(policy) if policy.is_enum("FAIL_RELOAD", 1.0) => {
            let backoff = ["reload_config", "backoff", "base_interval"];
            if plugin.duration_at(&backoff).is_some_and(|interval| interval >= RETRY_PAUSE)
                && let Some(interval) = plugin.at(&backoff)
            {
                let wrong = "is 30 s or more: RunBlob's next attempt comes while the module is still away";
                reporter.warn(&FAILURE_POLICY, interval.spot(), wrong, "write 1s");
            }
        }
        Some(policy) if !policy.is_enum("FAIL_CLOSED", 2.0) && !policy.is_enum("UNSPECIFIED", 0.0) => {
            reporter.error(&FAILURE_POLICY, at, "is no policy of Envoy, which does not start", remedy);
        }
        found => {
            let state = if found.is_some() { "does not reload the module" } else { "is missing" };
            let wrong =
                format!("{state}: after one trap, every delivery of a worker gets 503 until Envoy restarts");
            reporter.warn(&FAILURE_POLICY, at, wrong, remedy);
        }
    }
}

fn check_machine(bootstrap: &BootstrapView<'_>, plugin: &YamlCursor<'_>, reporter: &mut Reporter) {
    let Some(machine) = plugin.get("vm_config") else {
        return reporter.error(
            &MISSING_FILE,
            plugin.spot_of("vm_config"),
            "is missing: Envoy has no module to run",
            "write vm_config with code.local.filename",
        );
    };
    if let Some(runtime) = machine.get("runtime")
        && !runtime.text().is_some_and(|runtime| matches!(runtime, "" | "envoy.wasm.runtime.v8"))
    {
        let wrong = "is not V8, the only runtime of Envoy's release builds";
        reporter.error(&RUNTIME, runtime.spot(), wrong, "write envoy.wasm.runtime.v8");
    }
    let code = machine.get("code");
    let Some(code) = code.filter(|code| code.get("local").or_else(|| code.get("remote")).is_some()) else {
        return reporter.error(
            &MISSING_FILE,
            machine.spot_of("code"),
            "is missing: Envoy has no module to run",
            "write `code: {local: {filename: ...}}`",
        );
    };
    if let Some(file) = code.at(&["local", "filename"]) {
        check_file(bootstrap, &file, reporter);
    }
}

/// A manifest names a file of its pod.
pub(super) fn check_file(bootstrap: &BootstrapView<'_>, file: &YamlCursor<'_>, reporter: &mut Reporter) {
    if bootstrap.host == HostEnvironment::Envoy
        && let Some(name) = file.text()
        && !Path::new(name).is_file()
    {
        let wrong = format!("is {name}, and this machine has no such file below the current directory");
        reporter.warn(
            &MISSING_FILE,
            file.spot(),
            wrong,
            "build the module, or check from the directory in which Envoy starts",
        );
    }
}

fn check_order(manager: &ManagerView<'_>, reporter: &mut Reporter) {
    let Some(gate) = manager.filters.iter().position(|filter| filter.gate.is_some()) else { return };
    let Some(own) = manager.filters.get(gate) else { return };
    let router = manager.filters.iter().position(|filter| filter.kind == "Router");
    if router.is_some_and(|router| router < gate) {
        let wrong = "stands after the router, which is the last filter: Envoy does not start";
        return reporter.error(&FILTER_AFTER_ROUTER, own.at.spot(), wrong, "move it before the router");
    }
    for (index, filter) in manager.filters.iter().enumerate() {
        if index != gate && CHANGING.contains(&filter.kind) && !is_peer(filter) {
            let (place, remedy) = match index < gate {
                true => ("before", "move it after the gate, or off the hook's routes"),
                false => ("after", "take it off the hook's routes"),
            };
            let wrong = format!(
                "may change requests {place} the gate: the gate then judges or signs another request than the service gets"
            );
            reporter.warn(&FILTER_ORDER, filter.at.spot(), wrong, remedy);
        }
    }
}

/// Behind a proxy, the gate reads the direct peer's address from the filter state.
fn check_peer(
    bootstrap: &BootstrapView<'_>,
    manager: &ManagerView<'_>,
    gate: &GateView<'_>,
    reporter: &mut Reporter,
) {
    let Some(hook) = gate.hooks.iter().find(|hook| hook.hop == HookHop::BehindProxy) else { return };
    let before = manager.filters.iter().take_while(|filter| filter.gate.is_none());
    if bootstrap.extent == Extent::Whole && !before.into_iter().any(is_peer) {
        let at = manager.gate_filter().map_or_else(|| hook.spot.clone(), |filter| filter.at.spot());
        let wrong = format!(
            "has no filter before it that sets {PEER_KEY}: every delivery of the hook {} gets 403 https-required",
            hook.name
        );
        let remedy = "add the set_filter_state filter of docs/howto/load-balancers.md before it";
        reporter.error(&PEER_FILTER, at, wrong, remedy);
    }
}

fn is_peer(filter: &FilterView<'_>) -> bool {
    let mut texts = Vec::new();
    filter.fields.iter().for_each(|fields| fields.texts(&mut texts));
    texts.iter().any(|(text, _)| *text == PEER_KEY)
}

/// Wasm filters with one `vm_id` share the count of calls, and native ones always do.
fn check_machines(bootstrap: &BootstrapView<'_>, reporter: &mut Reporter) {
    let with_calls: Vec<_> = bootstrap
        .gated()
        .filter(|(_, gate)| gate.confirm.is_some())
        .map(|(_, gate)| (gate.kind, &gate.plugin))
        .collect();
    let Some(((first_kind, first), others)) = with_calls.split_first() else { return };
    let id = |plugin: &YamlCursor<'_>| plugin.text_at(&["vm_config", "vm_id"]).unwrap_or_default().to_owned();
    for (kind, other) in others {
        if kind != first_kind {
            let wrong = "is another build of the gate than that of another listener: each counts confirm.per_minute by itself";
            reporter.warn(&VM_ID, other.spot(), wrong, "take one build for all listeners");
        } else if *kind == GatePlugin::Wasm && id(other) != id(first) {
            let wrong = format!(
                "differs from {:?}, which another gate of this Envoy has: each counts confirm.per_minute by itself",
                id(first)
            );
            let machine = other.get("vm_config").unwrap_or_else(|| (*other).clone());
            reporter.warn(&VM_ID, machine.spot_of("vm_id"), wrong, "write one vm_id in both");
        }
    }
}
