//! Manifests of Kubernetes: each shows a part, and `check` says which part it cannot see.

use super::{Files, GATE, finds, found, root, shipped};

const NOT_SEEN: [&str; 3] = ["2 not checked host-flag-elsewhere", "2 not checked part", "2 not checked part"];

fn indent(text: &str, by: usize) -> String {
    text.lines().map(|line| format!("{}{line}\n", " ".repeat(by))).collect()
}

fn wasm_plugin(more: &str, gate: &str) -> String {
    format!(
        "apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: {{name: a}}\nspec:\n  url: oci://a/blobgate\n{more}  \
         pluginConfig:\n{}",
        indent(gate, 4)
    )
}

#[track_caller]
fn finds_in_manifest(file: &str, code: i32, seen: &[&str]) {
    finds("manifest.yaml", file, code, &[&NOT_SEEN[..], seen].concat());
}

#[test]
fn checks_an_envoy_filter() {
    let file = std::fs::read_to_string(root().join("deploy/istio/envoyfilter.yaml")).unwrap();
    let broken = file.replace("environment: production", "environment: Production");
    let line = broken.lines().position(|line| line.contains("Production")).unwrap() + 1;
    let found = found(&Files::new(&[("a.yaml", &broken)]).check(&["a.yaml"]), 1);
    assert!(found.contains(&format!("{line} error configuration")), "{found:?}");
    assert!(found.contains(&"4 not checked part".to_owned()), "{found:?}");
}

#[test]
fn checks_the_plugins_of_istio() {
    let reload = "  failStrategy: FAIL_RELOAD\n";
    finds_in_manifest(&wasm_plugin(reload, GATE), 0, &[]);
    finds_in_manifest(&wasm_plugin(reload, &GATE.replace("/a", "a")), 1, &["11 error configuration"]);
    finds_in_manifest(&wasm_plugin("", GATE), 0, &["5 warning fail-strategy"]);
    finds_in_manifest(&wasm_plugin("  failStrategy: FAIL_OPEN\n", GATE), 1, &["6 error fail-strategy"]);
    let signed = format!("{GATE}sign: {{env: [A_KEY]}}\n");
    finds_in_manifest(&wasm_plugin(reload, &signed), 1, &["5 error variable-not-passed"]);
    let with_env = format!("{reload}  vmConfig: {{env: [{{name: A_KEY, valueFrom: HOST}}]}}\n");
    finds_in_manifest(&wasm_plugin(&with_env, &signed), 0, &["13 not checked variable-of-pod"]);
    let extension = wasm_plugin(reload, GATE)
        .replace("WasmPlugin", "TrafficExtension")
        .replace("spec:\n", "spec:\n wasm:\n");
    finds_in_manifest(&extension, 0, &[]);
    // Kubernetes has merge keys, which Envoy has not.
    let merged = GATE.replace("version: 1", "<<: {version: 1}");
    finds_in_manifest(&wasm_plugin(reload, &merged), 0, &[]);
}

#[test]
fn checks_the_plugins_of_envoy_gateway() {
    let policy = |more: &str, gate: &str| {
        format!(
            "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyExtensionPolicy\nspec:\n  wasm:\n  - name: blobgate\n{more}    \
             config:\n{}",
            indent(gate, 6)
        )
    };
    let signed = format!("{GATE}sign: {{env: [A_KEY]}}\n");
    finds_in_manifest(&policy("", GATE), 0, &[]);
    finds_in_manifest(&policy("", &signed), 1, &["5 error variable-not-passed"]);
    let keys = "    env: {hostKeys: [A_KEY]}\n";
    finds_in_manifest(&policy(keys, &signed), 0, &["12 not checked variable-of-pod"]);
    finds_in_manifest(&policy("    failOpen: true\n", GATE), 1, &["6 error fail-strategy"]);
    finds_in_manifest(&policy("", "version: 1\n"), 1, &["7 error configuration", "7 error configuration"]);
}

#[test]
fn checks_the_native_module_of_envoy_gateway() {
    const NOT_SEEN: [&str; 2] = ["2 not checked part", "2 not checked part"];
    let policy = |more: &str, gate: &str| {
        format!(
            "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyExtensionPolicy\nspec:\n  dynamicModule:\n  - name: blobgate\n{more}    \
             config:\n{}",
            indent(gate, 6)
        )
    };
    let finds_in_policy = |file: &str, code: i32, seen: &[&str]| {
        finds("policy.yaml", file, code, &[&NOT_SEEN[..], seen].concat());
    };
    let signed = format!("{GATE}sign: {{env: [A_KEY]}}\n");
    finds_in_policy(&policy("", GATE), 0, &[]);
    // The module sees each variable of the pod.
    finds_in_policy(&policy("    filterName: blobgate\n", &signed), 0, &["12 not checked variable-of-pod"]);
    finds_in_policy(&policy("    terminalFilter: true\n", GATE), 1, &["6 error terminal-filter"]);
    finds_in_policy(&policy("", "version: 1\n"), 1, &["7 error configuration", "7 error configuration"]);
    let unnamed = policy("", GATE).replace("name: blobgate", "name: m");
    finds_in_policy(&unnamed, 0, &[]);
    let without = policy("", GATE);
    let (without, _) = without.split_once("    config:").unwrap();
    finds_in_policy(without, 1, &["5 error configuration-form"]);
    let other = policy("", "a: 1\n").replace("name: blobgate", "name: m");
    finds("policy.yaml", &other, 1, &["2 not checked kind", "- error no-configuration"]);

    let proxy = |module: &str| {
        format!(
            "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyProxy\nspec:\n  dynamicModules:\n  - name: blobgate\n{module}"
        )
    };
    let local = "    source: {type: Local, local: {path: /etc/blobgate/libblobgate.so}}\n";
    finds("proxy.yaml", &proxy(&format!("    doNotClose: true\n{local}")), 0, &["2 not checked part"]);
    finds("proxy.yaml", &proxy(local), 0, &["2 not checked part", "5 warning kept-loaded"]);
    let relative = local.replace("/etc/blobgate/", "./");
    let file = proxy(&format!("    doNotClose: true\n{relative}"));
    finds("proxy.yaml", &file, 1, &["2 not checked part", "7 error module-file"]);
    finds(
        "proxy.yaml",
        &proxy(local).replace("blobgate", "a"),
        1,
        &["2 not checked kind", "- error no-configuration"],
    );
}

/// The shipped EnvoyFilter with the native module.
#[test]
fn checks_an_envoy_filter_with_the_native_module() {
    let file = std::fs::read_to_string(root().join("deploy/istio/envoyfilter.yaml")).unwrap();
    let wasm = "          type_url: type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm\n";
    let (before, rest) = file.split_once(wasm).unwrap();
    let (_, gate) = rest.split_once("                value:\n").unwrap();
    let native = |more: &str| {
        format!(
            "{before}          type_url: type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter
          value:
            dynamic_module_config: {{name: blobgate, do_not_close: true}}
            filter_name: blobgate
{more}            filter_config:
                \"@type\": type.googleapis.com/google.protobuf.Struct
                value:
{gate}"
        )
    };
    let check = |file: &str, code: i32| found(&Files::new(&[("a.yaml", file)]).check(&["a.yaml"]), code);
    let shipped = check(&file, 0);
    assert_eq!(check(&native(""), 0).len(), shipped.len(), "{shipped:?}");
    let text = native("            terminal_filter: true\n");
    let line = text.lines().position(|line| line.contains("terminal_filter")).unwrap() + 1;
    assert!(check(&text, 1).contains(&format!("{line} error terminal-filter")));
    let text = native("").replace("transport: tls_here", "transport: tls");
    let line = text.lines().position(|line| line.contains("transport: tls")).unwrap() + 1;
    assert!(check(&text, 1).contains(&format!("{line} error configuration")));
    // istiod drops `value` beside another type than TypedStruct.
    let kind = "envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter";
    let typed = format!(
        "type.googleapis.com/udpa.type.v1.TypedStruct\n          type_url: type.googleapis.com/{kind}"
    );
    let text = native("").replace(&typed, &format!("type.googleapis.com/{kind}"));
    assert_ne!(text, native(""));
    let found = check(&text, 1);
    assert!(found.iter().any(|line| line.ends_with(" error patch")), "{found:?}");
}

/// Lines are those of the ConfigMap.
#[test]
fn checks_files_in_a_config_map() {
    let broken = shipped().replace("version: 1\n", "version: 9\n");
    let map = format!(
        "apiVersion: v1\nkind: ConfigMap\ndata:\n  other.conf: |\n    a = [b\n  envoy.yaml: |\n{}",
        indent(&broken, 4)
    );
    let line = map.lines().position(|line| line.contains("version: 9")).unwrap() + 1;
    let found = found(&Files::new(&[("map.yaml", &map)]).check(&["map.yaml"]), 1);
    let errors: Vec<&String> = found.iter().filter(|line| line.contains("error")).collect();
    assert_eq!(errors, [&format!("{line} error configuration")], "{found:?}");
    // The module is a file of the pod.
    assert!(found.iter().all(|line| !line.contains("module-file")), "{found:?}");
    let bare = "apiVersion: v1\nkind: ConfigMap\ndata:\n  gate.json: '{\"version\": 1, \"hooks\": []}'\n";
    finds("map.yaml", bare, 1, &["4 error configuration", "4 error configuration"]);
    let syntax = "apiVersion: v1\nkind: ConfigMap\ndata:\n  gate.yaml: |\n    hooks:\n    - [a\n";
    finds("map.yaml", syntax, 1, &["6 error syntax"]);
}

/// A text of a ConfigMap in a ConfigMap is no file of a pod, so nesting has no cost.
#[test]
fn reads_the_texts_of_one_config_map() {
    let mut map = String::from("version: 9\nenvironment: a\nhooks: []\n");
    for _ in 0..2 {
        map = format!("apiVersion: v1\nkind: ConfigMap\ndata:\n  a.yaml: |\n{}", indent(&map, 4));
    }
    finds("map.yaml", &map, 1, &["2 not checked kind", "- error no-configuration"]);
}

#[test]
fn shows_the_first_of_many_documents() {
    let found =
        found(&Files::new(&[("a.yaml", &format!("{GATE}---\na: 1\n").repeat(200))]).check(&["a.yaml"]), 1);
    assert!(found.len() < 110, "{}", found.len());
    assert!(found.last().unwrap().ends_with("not checked more-errors"), "{found:?}");
}

#[test]
fn reads_several_documents_and_lists() {
    let other = "apiVersion: v1\nkind: Service\nspec: {}\n";
    let reload = "  failStrategy: FAIL_RELOAD\n";
    let both = format!("---\n{other}---\n{}---\n", wasm_plugin(reload, &GATE.replace("/a", "a")));
    let seen = [
        "3 not checked kind",
        "7 not checked host-flag-elsewhere",
        "7 not checked part",
        "7 not checked part",
    ];
    finds("all.yaml", &both, 1, &[&seen[..], &["16 error configuration"]].concat());
    let list = format!("apiVersion: v1\nkind: List\nitems:\n-\n{}", indent(&wasm_plugin(reload, GATE), 2));
    let seen = ["6 not checked host-flag-elsewhere", "6 not checked part", "6 not checked part"];
    finds("list.yaml", &list, 0, &seen);
    // Manifests without the gate are an error only where no file has it.
    finds("other.yaml", other, 1, &["2 not checked kind", "- error no-configuration"]);
    let files = Files::new(&[("other.yaml", other), ("gate.yaml", GATE)]);
    assert_eq!(found(&files.check(&["other.yaml", "gate.yaml"]), 0), ["2 not checked kind"]);
}
