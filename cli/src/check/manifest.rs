//! Checks a manifest of Kubernetes. It shows only a part of a gateway, so each check names what it cannot see.

use super::FileContent;
use super::cursor::YamlCursor;
use super::document::Checker;
use super::embedded::Embedded;
use super::finding::{Finding, Level};
use super::frame;
use super::gate::{
    GateSource, HostEnvironment, ModuleVariables, SourceForm, is_configuration, whole_environment,
};
use super::rules::{catalog::Rule, check_envoy_filter, check_extension, check_registered_module};
use blobgate_inbox::yaml::{YamlNode, YamlReader};

/// The kind of a manifest.
pub(super) fn kind(root: &YamlNode) -> Option<&str> {
    root.get("apiVersion")?.text()?;
    root.get("kind")?.text()
}

pub(super) fn check(checker: &mut Checker<'_>, root: &YamlNode) {
    let Some(kind) = kind(root) else { return };
    checker.content = checker.content.max(FileContent::Manifests);
    let document = YamlCursor::new(root, "");
    let found = match kind {
        "ConfigMap" | "Secret" => check_texts(checker, &document),
        "WasmPlugin" => check_plugin(checker, document.get("spec"), "pluginConfig", istio_variables),
        "TrafficExtension" => {
            check_plugin(checker, document.at(&["spec", "wasm"]), "pluginConfig", istio_variables)
        }
        "EnvoyExtensionPolicy" => {
            let wasm = of_spec(&document, "wasm")
                .into_iter()
                .map(|plugin| check_plugin(checker, Some(plugin), "config", gateway_variables))
                .fold(0, usize::saturating_add);
            if wasm > 0 {
                report_flag(checker, &document, kind, "EnvoyPatchPolicy");
            }
            let native = of_spec(&document, "dynamicModule").into_iter();
            native
                .map(|extension| check_extension_of_gateway(checker, extension))
                .fold(wasm, usize::saturating_add)
        }
        "EnvoyProxy" => check_registry(checker, &document),
        _ if kind.ends_with("List")
            && !root.get("items").map(YamlNode::list).unwrap_or_default().is_empty() =>
        {
            for item in root.get("items").map(YamlNode::list).unwrap_or_default() {
                check(checker, item);
            }
            return;
        }
        _ => {
            if kind == "EnvoyFilter" {
                let plugins = checker.find_gates(root, HostEnvironment::Pod);
                check_envoy_filter(root, &plugins, &mut checker.findings);
                plugins.len()
            } else {
                checker.find_gates(root, HostEnvironment::Pod).len()
            }
        }
    };
    report_unseen(checker, &document, kind, found);
}

/// Names what stands in other files.
fn report_unseen(checker: &mut Checker<'_>, document: &YamlCursor<'_>, kind: &str, found: usize) {
    const LISTENERS: &str =
        "which does not show the gateway's listeners: TLS, client addresses, size limits, timeouts";
    const ROUTES: &str =
        "which does not show the routes: that each route to a service needs a verdict of the gate";
    const POLICY: &str =
        "which only registers the module: its configuration stands in an EnvoyExtensionPolicy";
    let mut note = |rule: &'static Rule, wrong: &str, remedy: &str| {
        let (at, wrong) = (document.spot_of("kind"), format!("is {kind}, {wrong}"));
        checker.findings.push(Finding::new(Level::NotChecked, rule, at, wrong, remedy));
    };
    match kind {
        _ if found == 0 => note(&frame::KIND, "whose manifest has no configuration of Blobgate", ""),
        "ConfigMap" | "Secret" => {}
        "EnvoyProxy" => note(&frame::PART, POLICY, "check that policy too"),
        "WasmPlugin" | "TrafficExtension" | "EnvoyExtensionPolicy" => {
            note(&frame::PART, LISTENERS, "");
            note(&frame::PART, ROUTES, "");
            if kind != "EnvoyExtensionPolicy" {
                report_flag(checker, document, kind, "EnvoyFilter");
            }
        }
        _ => note(&frame::PART, LISTENERS, ""),
    }
}

/// The Wasm module needs a flag that the manifest's kind lacks.
fn report_flag(checker: &mut Checker<'_>, document: &YamlCursor<'_>, kind: &str, patch: &str) {
    let wrong = format!(
        "is {kind}, which cannot set allow_on_headers_stop_iteration: without it every delivery gets 503"
    );
    let (at, remedy) = (document.spot_of("kind"), format!("set it with an {patch}"));
    checker.findings.push(Finding::new(Level::NotChecked, &frame::HOST_FLAG_ELSEWHERE, at, wrong, remedy));
}

fn of_spec<'y>(document: &YamlCursor<'y>, key: &str) -> Vec<YamlCursor<'y>> {
    document.get("spec").map(|spec| spec.list(key)).unwrap_or_default()
}

/// A native module in a policy of Envoy Gateway.
fn check_extension_of_gateway(checker: &mut Checker<'_>, extension: YamlCursor<'_>) -> usize {
    let variables = |extension: &YamlCursor<'_>| whole_environment(extension, HostEnvironment::Pod);
    let found = check_plugin(checker, Some(extension.clone()), "config", variables);
    if found > 0 {
        check_extension(&extension, &mut checker.findings);
    }
    found
}

/// The native modules that policies may name. Returns how many are the gate's.
fn check_registry(checker: &mut Checker<'_>, document: &YamlCursor<'_>) -> usize {
    let names: [&[&str]; 3] = [&["name"], &["source", "local", "path"], &["source", "remote", "url"]];
    let is_gate = |entry: &YamlCursor<'_>| {
        names.iter().any(|name| entry.text_at(name).is_some_and(|text| text.contains("blobgate")))
    };
    let gates: Vec<_> = of_spec(document, "dynamicModules").into_iter().filter(is_gate).collect();
    for gate in &gates {
        checker.content = FileContent::Gate;
        check_registered_module(gate, &mut checker.findings);
    }
    gates.len()
}

/// The texts of a ConfigMap, each a file with a configuration.
fn check_texts(checker: &mut Checker<'_>, document: &YamlCursor<'_>) -> usize {
    let sections = ["data", "stringData"].into_iter().filter_map(|section| document.get(section));
    let files: Vec<_> = sections.flat_map(|section| section.pairs()).collect();
    let mut found: usize = 0;
    // A text in a text is no file of a pod.
    if checker.depth > 0 {
        return 0;
    }
    for (name, file) in files {
        let Some(text) = file.text() else { continue };
        let reader = if name.ends_with(".json") { YamlReader::Json } else { YamlReader::Envoy };
        let documents = match Embedded::new(file.node(), text, &checker.lines).parse_all(reader) {
            Ok(documents) => documents,
            Err(error) => {
                if text.contains("blobgate") || text.contains("hooks") {
                    checker.content = FileContent::Gate;
                    found = found.saturating_add(1);
                    checker.findings.push(super::syntax_error(&error, text));
                }
                continue;
            }
        };
        let before = std::mem::replace(&mut checker.content, FileContent::Nothing);
        let count = checker.findings.len();
        checker.depth = checker.depth.saturating_add(1);
        checker.check_documents(&documents, reader, HostEnvironment::Pod);
        checker.depth = checker.depth.saturating_sub(1);
        if checker.content == FileContent::Gate {
            found = found.saturating_add(1);
        } else {
            // Another program's file.
            checker.findings.truncate(count);
        }
        checker.content = checker.content.max(before);
    }
    found
}

/// A plugin whose fields are those of a custom resource.
fn check_plugin(
    checker: &mut Checker<'_>,
    plugin: Option<YamlCursor<'_>>,
    key: &str,
    variables: fn(&YamlCursor<'_>) -> ModuleVariables,
) -> usize {
    let Some(plugin) = plugin else { return 0 };
    let names: [&[&str]; 6] = [
        &["pluginName"],
        &["url"],
        &["name"],
        &["filterName"],
        &["code", "image", "url"],
        &["code", "http", "url"],
    ];
    let is_named =
        names.iter().any(|name| plugin.text_at(name).is_some_and(|text| text.contains("blobgate")));
    let configuration = plugin.get(key);
    if !is_named && !configuration.as_ref().is_some_and(|value| is_configuration(value.node())) {
        return 0;
    }
    checker.content = FileContent::Gate;
    check_failure(checker, &plugin);
    match configuration {
        Some(value) => {
            let form = SourceForm::Tree(value.node());
            let (spot, variables) = (value.spot(), variables(&plugin));
            checker.check_gate(&GateSource { spot, plugin: plugin.spot(), form, variables });
        }
        None => {
            checker.findings.push(Finding::new(
                Level::Error,
                &frame::CONFIGURATION_FORM,
                plugin.spot_of(key),
                "is missing: the module does not start",
                "write version, environment and hooks there",
            ));
        }
    }
    1
}

/// What happens after a trap of the module.
fn check_failure(checker: &mut Checker<'_>, plugin: &YamlCursor<'_>) {
    const OPEN: &str = "forwards deliveries unjudged after a trap of the module";
    const CLOSED: &str = "refuses every delivery after a trap of the module, until the gateway restarts";
    let istio = plugin.get("pluginConfig").or_else(|| plugin.get("url")).is_some();
    let strategy = plugin.text_at(&["failStrategy"]);
    let (level, key, wrong, remedy) = if plugin.is_true("failOpen") {
        (Level::Error, "failOpen", format!("is true: it {OPEN}"), "remove it")
    } else if strategy == Some("FAIL_OPEN") {
        (Level::Error, "failStrategy", format!("is FAIL_OPEN: it {OPEN}"), "write FAIL_RELOAD")
    } else if istio && strategy != Some("FAIL_RELOAD") {
        (
            Level::Warning,
            "failStrategy",
            format!("is not FAIL_RELOAD: the gateway {CLOSED}"),
            "write FAIL_RELOAD",
        )
    } else {
        return;
    };
    let finding = Finding::new(level, &frame::FAIL_STRATEGY, plugin.spot_of(key), wrong, remedy);
    checker.findings.push(finding);
}

/// `vmConfig.env` of Istio.
fn istio_variables(plugin: &YamlCursor<'_>) -> ModuleVariables {
    let vm = plugin.get("vmConfig");
    let spot = vm.as_ref().map_or_else(|| plugin.spot_of("vmConfig"), |vm| vm.spot_of("env"));
    let variables = vm.map(|vm| vm.list("env")).unwrap_or_default();
    let values = variables.iter().filter(|variable| variable.text_at(&["valueFrom"]) != Some("HOST"));
    let values = values.filter_map(|variable| {
        Some((variable.text_at(&["name"])?.to_owned(), variable.get("value")?.spot()))
    });
    let values = values.collect();
    let variable = |variable: YamlCursor<'_>| {
        let is_of_host = variable.text_at(&["valueFrom"]) == Some("HOST");
        let value = variable.text_at(&["value"]).filter(|_| !is_of_host).map(str::to_owned);
        Some((variable.text_at(&["name"])?.to_owned(), value))
    };
    let listed = variables.into_iter().filter_map(variable).collect();
    ModuleVariables {
        listed: Some(listed),
        values,
        spot,
        list: "vmConfig.env with valueFrom: HOST",
        host: HostEnvironment::Pod,
    }
}

/// `env.hostKeys` of Envoy Gateway.
fn gateway_variables(plugin: &YamlCursor<'_>) -> ModuleVariables {
    let env = plugin.get("env");
    let spot = env.as_ref().map_or_else(|| plugin.spot_of("env"), |env| env.spot_of("hostKeys"));
    let names = env.map(|env| env.list("hostKeys")).unwrap_or_default();
    let listed = names.iter().filter_map(|name| Some((name.text()?.to_owned(), None))).collect();
    ModuleVariables {
        listed: Some(listed),
        values: Vec::new(),
        spot,
        list: "env.hostKeys",
        host: HostEnvironment::Pod,
    }
}
