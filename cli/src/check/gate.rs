//! Finds the gate's configurations in a tree.

use super::cursor::{Spot, YamlCursor};
use super::embedded::Embedded;
use super::finding::{Finding, Level};
use super::frame;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use blobgate::config::sections;
use blobgate_inbox::yaml::{YamlNode, YamlPath, YamlReader, YamlValue, parse_yaml};
use std::collections::{HashMap, HashSet};

/// A configuration of the gate in a file.
pub(crate) struct GateSource<'y> {
    /// Its place, and its path in the file.
    pub(crate) spot: Spot,
    /// The place of the plugin, or of the resource that is one.
    pub(crate) plugin: Spot,
    pub(crate) form: SourceForm<'y>,
    pub(crate) variables: ModuleVariables,
}

pub(crate) enum SourceForm<'y> {
    /// A Struct.
    Tree(&'y YamlNode),
    /// Text in a StringValue or in BytesValue: its tree with the places of the file, or the place where it is no JSON.
    Json { text: String, tree: Result<YamlNode, (usize, usize)> },
}

/// The filter that runs the gate, by its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GatePlugin {
    /// A `PluginConfig`, the `config` of a Wasm filter.
    Wasm,
    /// A `DynamicModuleFilter`.
    Native,
}

impl GatePlugin {
    /// The kind of an object that may be a plugin.
    pub(super) fn of(plugin: &YamlCursor<'_>) -> Option<Self> {
        let has = |key| plugin.get(key).is_some();
        if has("dynamic_module_config") || has("filter_config") {
            Some(Self::Native)
        } else {
            (has("vm_config") || has("configuration")).then_some(Self::Wasm)
        }
    }

    /// The key of the gate's configuration.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Wasm => "configuration",
            Self::Native => "filter_config",
        }
    }

    /// The object that names the module.
    fn module(self) -> &'static str {
        match self {
            Self::Wasm => "vm_config",
            Self::Native => "dynamic_module_config",
        }
    }

    /// The keys with a name or a file.
    fn names(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::Wasm => &[
                &["name"],
                &["vm_config", "vm_id"],
                &["vm_config", "code", "local", "filename"],
                &["vm_config", "code", "remote", "http_uri", "uri"],
                &["root_id"],
            ],
            Self::Native => &[
                &["filter_name"],
                &["dynamic_module_config", "name"],
                &["dynamic_module_config", "module", "local", "filename"],
                &["dynamic_module_config", "module", "remote", "http_uri", "uri"],
            ],
        }
    }
}

/// The environment variables that the module can read.
pub(crate) struct ModuleVariables {
    /// The names, with the values that stand in the file. Nothing where the file does not say.
    pub(crate) listed: Option<HashMap<String, Option<String>>>,
    /// The places of these values.
    pub(crate) values: Vec<(String, Spot)>,
    /// The place of the list, or of the object that lacks it.
    pub(crate) spot: Spot,
    /// The list, such as `host_env_keys`.
    pub(crate) list: &'static str,
    pub(crate) host: HostEnvironment,
}

/// Whose environment has the variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostEnvironment {
    /// An Envoy that starts with this file, perhaps here.
    Envoy,
    /// A pod.
    Pod,
}

/// Whether a node has the keys of the gate's configuration.
pub(crate) fn is_configuration(node: &YamlNode) -> bool {
    let known = sections().into_iter().next().map(|root| root.keys).unwrap_or_default();
    node.get("hooks").is_some() || known.iter().filter(|key| node.get(key.key).is_some()).count() > 1
}

/// A file that is a configuration itself.
pub(crate) fn bare<'y>(root: &'y YamlNode) -> GateSource<'y> {
    let spot = YamlCursor::new(root, "").spot();
    let variables = ModuleVariables {
        listed: None,
        values: Vec::new(),
        spot: spot.clone(),
        list: "host_env_keys",
        host: HostEnvironment::Envoy,
    };
    GateSource { plugin: spot.clone(), spot, form: SourceForm::Tree(root), variables }
}

/// A configuration whose keys are not in this process's environment.
pub(super) fn without_keys(root: &YamlNode) -> GateSource<'_> {
    let source = bare(root);
    GateSource { variables: ModuleVariables { host: HostEnvironment::Pod, ..source.variables }, ..source }
}

/// Finds the gate's plugins in Envoy's configuration, each once.
pub(crate) fn find_plugins<'y>(
    root: &'y YamlNode,
    host: HostEnvironment,
    lines: &[&str],
    findings: &mut Vec<Finding>,
) -> Vec<GateSource<'y>> {
    let mut known = HashSet::new();
    let mut sources = Vec::new();
    root.walk(&YamlPath::Root(""), &mut |path, node| {
        /// Only these objects are worth a path.
        const KEYS: [&str; 7] = [
            "vm_config",
            "vmConfig",
            "configuration",
            "dynamic_module_config",
            "dynamicModuleConfig",
            "filter_config",
            "filterConfig",
        ];
        if !KEYS.into_iter().any(|key| node.get(key).is_some()) {
            return;
        }
        let plugin = YamlCursor::new(node, &path.to_string());
        if is_gate(&plugin) && known.insert((node.line, node.column)) {
            sources.extend(read_plugin(&plugin, host, lines, findings));
        }
    });
    sources
}

/// A plugin of the gate, by its name, its module or its configuration.
pub(super) fn is_gate(plugin: &YamlCursor<'_>) -> bool {
    let Some(kind) = GatePlugin::of(plugin) else { return false };
    let value = plugin.at(&[kind.key(), "value"]).or_else(|| plugin.get(kind.key()));
    let has_configuration = value.is_some_and(|value| match value.text() {
        Some(text) => {
            parse_yaml(text, YamlReader::Json).is_ok_and(|trees| trees.first().is_some_and(is_configuration))
        }
        None => is_configuration(value.node()),
    });
    let mut names = kind.names().iter();
    let is_named = plugin.get(kind.module()).is_some()
        && names.any(|name| plugin.text_at(name).is_some_and(|text| text.contains("blobgate")));
    has_configuration || is_named
}

fn read_plugin<'y>(
    plugin: &YamlCursor<'y>,
    host: HostEnvironment,
    lines: &[&str],
    findings: &mut Vec<Finding>,
) -> Option<GateSource<'y>> {
    const STRUCT: &str =
        "write {\"@type\": type.googleapis.com/google.protobuf.Struct, value: {version: 1, ...}}";
    let mut wrong = |spot: Spot, wrong: &str| {
        findings.push(Finding::new(Level::Error, &frame::CONFIGURATION_FORM, spot, wrong, STRUCT));
        None
    };
    let plugin_kind = GatePlugin::of(plugin)?;
    let Some(any) = plugin.get(plugin_kind.key()) else {
        return wrong(plugin.spot_of(plugin_kind.key()), "is missing: the module does not start");
    };
    let kind = any.text_at(&["@type"]).map(|url| url.rsplit('/').next().unwrap_or(url));
    let Some(value) = any.get("value").filter(|_| kind.is_some()) else {
        let missing = if kind.is_none() { "@type" } else { "value" };
        return wrong(any.spot_of(missing), "is missing: Envoy does not load the file");
    };
    let spot = value.spot();
    let form = match (kind, &value.node().value) {
        (Some("google.protobuf.Struct"), YamlValue::Map(_)) => SourceForm::Tree(value.node()),
        (Some("google.protobuf.StringValue"), YamlValue::Text(text)) => {
            let embedded = Embedded::new(value.node(), text, lines);
            SourceForm::Json { text: text.clone(), tree: embedded.parse_json() }
        }
        (Some("google.protobuf.BytesValue"), YamlValue::Text(encoded)) => {
            let Some(text) = STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok())
            else {
                return wrong(spot, "is not the base64 of JSON text");
            };
            let tree = Embedded::at_one_place(value.node(), &text).parse_json();
            SourceForm::Json { text, tree }
        }
        (Some("google.protobuf.Struct" | "google.protobuf.StringValue"), _) => {
            return wrong(spot, "has another form than its @type: Envoy does not load the file");
        }
        _ => return wrong(any.spot_of("@type"), "is a type that the gate does not read"),
    };
    Some(GateSource { spot, plugin: plugin.spot(), form, variables: variables_of(plugin_kind, plugin, host) })
}

fn variables_of(kind: GatePlugin, plugin: &YamlCursor<'_>, host: HostEnvironment) -> ModuleVariables {
    match kind {
        GatePlugin::Wasm => plugin_variables(plugin, host),
        GatePlugin::Native => whole_environment(plugin, host),
    }
}

/// The native module reads every variable of Envoy.
pub(super) fn whole_environment(plugin: &YamlCursor<'_>, host: HostEnvironment) -> ModuleVariables {
    let (spot, list) = (plugin.spot(), "the environment of Envoy");
    ModuleVariables { listed: None, values: Vec::new(), spot, list, host }
}

fn plugin_variables(plugin: &YamlCursor<'_>, host: HostEnvironment) -> ModuleVariables {
    const VARIABLES: &str = "environment_variables";
    const LIST: &str = "host_env_keys";
    let variables = plugin.at(&["vm_config", VARIABLES]);
    let spot = match (&variables, plugin.get("vm_config")) {
        (Some(variables), _) => variables.spot_of(LIST),
        (None, Some(vm)) => vm.spot_of(VARIABLES),
        (None, None) => plugin.spot_of("vm_config"),
    };
    let (mut listed, mut values) = (HashMap::new(), Vec::new());
    if let Some(variables) = variables {
        let of_host = variables.list(LIST).into_iter().filter_map(|name| name.text().map(str::to_owned));
        listed.extend(of_host.map(|name| (name, None)));
        let of_file = variables.get("key_values").map(|pairs| pairs.pairs()).unwrap_or_default();
        values.extend(of_file.iter().map(|(name, value)| ((*name).to_owned(), value.spot())));
        listed.extend(
            of_file.into_iter().map(|(name, value)| (name.to_owned(), value.text().map(str::to_owned))),
        );
    }
    ModuleVariables { listed: Some(listed), values, spot, list: LIST, host }
}
