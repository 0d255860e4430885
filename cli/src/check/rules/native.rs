//! The gate's filter with the native module.

use super::super::cursor::YamlCursor;
use super::bootstrap::{BootstrapView, Extent};
use super::catalog::{COUNTER_NAMES, KEPT_LOADED, MISSING_FILE, TERMINAL};
use super::filter::check_file;
use super::reporter::Reporter;

/// The key of Envoy's runtime by which counters have no prefix: seen on 1.38.2 and 1.40.0.
const PLAIN_NAMES: &str = "envoy.reloadable_features.dynamic_modules_strip_custom_stat_prefix";
/// Envoy's default of `metrics_namespace`.
const DEFAULT_NAMESPACE: &str = "dynamicmodulescustom";

pub(super) fn check(bootstrap: &BootstrapView<'_>, plugin: &YamlCursor<'_>, reporter: &mut Reporter) {
    check_terminal(plugin, "terminal_filter", reporter);
    let Some(config) = plugin.get("dynamic_module_config") else {
        return missing(plugin, "dynamic_module_config", reporter);
    };
    check_module(bootstrap, &config, reporter);
    check_kept_loaded(&config, "do_not_close", reporter);
    check_names(bootstrap, &config, reporter);
}

pub(super) fn check_terminal(filter: &YamlCursor<'_>, key: &str, reporter: &mut Reporter) {
    if filter.is_true(key) {
        let wrong = "is true, and the gate forwards to a service: Envoy refuses it before the router";
        reporter.error(&TERMINAL, filter.spot_of(key), wrong, "remove it");
    }
}

/// A listener that changes may unload the module between two configurations.
pub(super) fn check_kept_loaded(module: &YamlCursor<'_>, key: &str, reporter: &mut Reporter) {
    if !module.is_true(key) {
        let state = if module.get(key).is_some() { "is not true" } else { "is missing" };
        let wrong =
            format!("{state}: when Envoy unloads the module, the count of confirm.per_minute begins again");
        reporter.warn(&KEPT_LOADED, module.spot_of(key), wrong, format!("write `{key}: true`"));
    }
}

/// A module that Envoy Gateway registers.
pub(super) fn check_registered(entry: &YamlCursor<'_>, reporter: &mut Reporter) {
    check_kept_loaded(entry, "doNotClose", reporter);
    if let Some(file) = entry.at(&["source", "local", "path"])
        && file.text().is_some_and(|name| !name.starts_with('/'))
    {
        let wrong = "is no absolute path, the only kind that Envoy Gateway takes";
        reporter.error(&MISSING_FILE, file.spot(), wrong, "write the path in the container of Envoy");
    }
}

fn check_module(bootstrap: &BootstrapView<'_>, config: &YamlCursor<'_>, reporter: &mut Reporter) {
    let Some(module) = config.get("module") else {
        // Envoy looks for libNAME.so in ENVOY_DYNAMIC_MODULES_SEARCH_PATH.
        return match config.get("name") {
            Some(_) => (),
            None => missing(config, "module", reporter),
        };
    };
    if module.get("remote").is_some() {
        return;
    }
    let Some(file) = module.at(&["local", "filename"]) else {
        return missing(&module, "local", reporter);
    };
    match file.text() {
        Some(name) if !name.contains('/') => {
            let wrong = "has no `/`: Envoy looks for it among the libraries of the system";
            reporter.error(&MISSING_FILE, file.spot(), wrong, format!("write ./{name}, or the whole path"));
        }
        _ => check_file(bootstrap, &file, reporter),
    }
}

fn missing(at: &YamlCursor<'_>, key: &str, reporter: &mut Reporter) {
    let wrong = "is missing: Envoy has no module to run";
    let remedy = "write `dynamic_module_config: {module: {local: {filename: ...}}}`";
    reporter.error(&MISSING_FILE, at.spot_of(key), wrong, remedy);
}

/// A part of a configuration does not show the runtime.
fn check_names(bootstrap: &BootstrapView<'_>, config: &YamlCursor<'_>, reporter: &mut Reporter) {
    if bootstrap.extent == Extent::Part {
        return;
    }
    let layers =
        bootstrap.root.get("layered_runtime").map(|runtime| runtime.list("layers")).unwrap_or_default();
    let is_set = |layer: &YamlCursor<'_>| {
        layer.get("static_layer").is_some_and(|layer| {
            let mut pairs = layer.pairs().into_iter();
            pairs.any(|(key, value)| {
                key == PLAIN_NAMES && (value.node().bool() == Some(true) || value.text() == Some("true"))
            })
        })
    };
    if layers.iter().any(is_set) {
        return;
    }
    let namespace = config.text_at(&["metrics_namespace"]).unwrap_or(DEFAULT_NAMESPACE);
    let wrong = format!(
        "is used without the runtime key {PLAIN_NAMES}: counters are called envoy_{namespace}_blobgate_..."
    );
    let remedy =
        "add the key to a static_layer, or strip the prefix as deploy/prometheus/prometheus.yaml does";
    reporter.warn(&COUNTER_NAMES, config.spot_of("metrics_namespace"), wrong, remedy);
}
