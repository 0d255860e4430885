//! The gate's configuration, as far as it concerns Envoy's. The loader of the gate checks the rest.

use super::super::cursor::{Spot, YamlCursor};
use super::super::gate::{GatePlugin, is_gate};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use blobgate::confirm::DEFAULT_TIMEOUT;
use blobgate::contract::Verdict;
use blobgate::hook::{DEFAULT_BODY_BYTES, MAX_BODY_BYTES};
use serde_json::Value;
use std::time::Duration;

/// The last segment of a path with `{token}` in a sample request.
const SAMPLE_TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.e30.c2ln";

/// The gate's filter and its configuration.
pub(super) struct GateView<'y> {
    pub(super) kind: GatePlugin,
    /// The `PluginConfig`, or the `DynamicModuleFilter`.
    pub(super) plugin: YamlCursor<'y>,
    pub(super) hooks: Vec<HookView>,
    pub(super) environment: Option<String>,
    pub(super) confirm: Option<ConfirmView>,
}

/// What concerns Envoy in a hook.
#[derive(Debug)]
pub(super) struct HookView {
    pub(super) spot: Spot,
    pub(super) name: String,
    /// Without the token.
    pub(super) path: String,
    pub(super) takes_token: bool,
    pub(super) observes: bool,
    pub(super) quarantines: bool,
    pub(super) has_allowlist: bool,
    pub(super) hop: HookHop,
    pub(super) names_confirmed: bool,
    pub(super) max_body_bytes: usize,
}

/// A hook's `transport`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HookHop {
    TlsHere,
    BehindProxy,
    Any,
}

#[derive(Debug)]
pub(super) struct ConfirmView {
    /// The place of `cluster`.
    pub(super) spot: Spot,
    pub(super) cluster: String,
    pub(super) authority: String,
    pub(super) timeout: Duration,
}

/// A configuration and its places: those of YAML, or that of the text which is JSON.
struct GateSettings<'y> {
    value: Value,
    at: YamlCursor<'y>,
}

impl<'y> GateView<'y> {
    /// The gate of a filter, if it is one.
    pub(super) fn of_filter(kind: GatePlugin, plugin: YamlCursor<'y>) -> Option<Self> {
        let settings = plugin.get(kind.key()).and_then(|any| {
            let at = any.get("value")?;
            let is_bytes = any.text_at(&["@type"]).is_some_and(|kind| kind.ends_with(".BytesValue"));
            let value = match at.text() {
                Some(text) if is_bytes => serde_json::from_slice(&STANDARD.decode(text).ok()?).ok()?,
                Some(text) => serde_json::from_str(text).ok()?,
                None => at.node().to_json(),
            };
            value.get("hooks").is_some().then_some(GateSettings { value, at })
        });
        let Some(settings) = settings else {
            let none = |plugin| Self { kind, plugin, hooks: Vec::new(), environment: None, confirm: None };
            return is_gate(&plugin).then(|| none(plugin));
        };
        let hooks = settings.value.get("hooks").and_then(Value::as_array).into_iter().flatten().enumerate();
        let hooks = hooks.filter_map(|(index, hook)| settings.hook(index, hook)).collect();
        let environment = settings.value.get("environment").and_then(Value::as_str).map(str::to_owned);
        Some(Self { confirm: settings.confirm(), kind, plugin, hooks, environment })
    }

    pub(super) fn max_body_bytes(&self) -> usize {
        self.hooks.iter().map(|hook| hook.max_body_bytes).max().unwrap_or_default()
    }

    pub(super) fn takes_tokens(&self) -> bool {
        self.hooks.iter().any(|hook| hook.takes_token)
    }
}

impl GateSettings<'_> {
    fn hook(&self, index: usize, hook: &Value) -> Option<HookView> {
        let text = |key: &str| hook.get(key).and_then(Value::as_str);
        let whole = text("path")?;
        let path = whole.strip_suffix("/{token}");
        let hop = match hook.get("transport") {
            Some(Value::Object(_)) => HookHop::BehindProxy,
            Some(Value::String(any)) if any == "any" => HookHop::Any,
            _ => HookHop::TlsHere,
        };
        let trust = hook.get("trust").map(Value::to_string).unwrap_or_default();
        let source_is_enforced = hook.pointer("/checks/source").and_then(Value::as_str) != Some("observe");
        Some(HookView {
            spot: self.spot(&["hooks"], Some(index), "path"),
            name: text("name").unwrap_or_default().to_owned(),
            path: path.unwrap_or(whole).to_owned(),
            takes_token: path.is_some(),
            observes: text("mode") == Some("observe"),
            quarantines: text("quarantine") == Some("route"),
            has_allowlist: text("source") != Some("any") && source_is_enforced,
            hop,
            names_confirmed: trust.contains("confirmed"),
            // The gate does not load with more.
            max_body_bytes: hook
                .get("max_body_bytes")
                .and_then(|size| usize::try_from(size.as_u64()?).ok())
                .filter(|size| *size <= MAX_BODY_BYTES)
                .unwrap_or(DEFAULT_BODY_BYTES),
        })
    }

    fn confirm(&self) -> Option<ConfirmView> {
        let confirm = self.value.get("confirm")?;
        let text = |key: &str| confirm.get(key).and_then(Value::as_str);
        let timeout = text("timeout").and_then(|text| text.strip_suffix('s')?.parse().ok());
        let timeout = timeout.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Some(ConfirmView {
            spot: self.spot(&["confirm"], None, "cluster"),
            cluster: text("cluster")?.to_owned(),
            authority: text("authority").unwrap_or_default().to_owned(),
            timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
        })
    }

    /// The place of a key. In JSON text, the place of the text.
    fn spot(&self, section: &[&str], item: Option<usize>, key: &str) -> Spot {
        let section = self.at.at(section);
        let object = section.and_then(|section| match item {
            Some(index) => section.items().get(index).cloned(),
            None => Some(section),
        });
        object.map_or_else(|| self.at.spot(), |object| object.spot_of(key))
    }
}

impl HookView {
    /// The path of a genuine delivery.
    pub(super) fn delivery_path(&self) -> String {
        if self.takes_token { format!("{}/{SAMPLE_TOKEN}", self.path) } else { self.path.clone() }
    }

    /// The paths that a service may read as the hook's.
    pub(super) fn service_paths(&self) -> [String; 2] {
        [self.path.clone(), format!("{}/", self.path)]
    }

    /// The verdicts that the gate gives at this hook to deliveries which it forwards.
    pub(super) fn verdicts(&self) -> Vec<Verdict> {
        match (self.observes, self.quarantines) {
            (true, _) => vec![Verdict::Observed],
            (false, true) => vec![Verdict::Accepted, Verdict::Quarantined],
            (false, false) => vec![Verdict::Accepted],
        }
    }
}
