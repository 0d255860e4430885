//! The gate's configuration of a setup. The gate's own loader checks it, so its rules stand in one place.

use super::error::SetupFault;
use super::reader::SetupReader;
use crate::check::check_gate_tree;
use crate::check::cursor::{Spot, YamlCursor};
use blobgate_inbox::yaml::{YamlKey, YamlNode, YamlValue};

pub(super) const DEFAULT_HOOK: &str = "veo3";
pub(super) const DEFAULT_SIGNING_KEY: &str = "BLOBGATE_SIGNING_KEY";
/// The keys of a hook that the gate checks itself.
const OF_HOOK: [&str; 4] = ["path", "source", "trust", "result_url"];

/// Checks the setup's part of the gate's configuration, and returns the whole one, with the places of the setup file.
pub(super) fn check(root: &YamlCursor<'_>, reader: &mut SetupReader) -> YamlNode {
    let tree = tree(root);
    for finding in check_gate_tree(&tree) {
        let at = Spot { line: finding.line, column: finding.column, field: finding.field };
        let fault = translate(at, &finding.wrong, &finding.remedy);
        // A key that the setup reader has faulted already.
        if !reader.faults.iter().any(|known| known.field == fault.field) {
            reader.faults.push(fault);
        }
    }
    tree
}

/// A fault of the gate's configuration in the words of the setup file.
pub(super) fn translate(at: Spot, wrong: &str, remedy: &str) -> SetupFault {
    let words = [
        ("hooks[0]", "hook"),
        ("token.keys", "token_keys"),
        ("sign.env", "signing_keys"),
        ("the section confirm is missing", "api_key_file is missing"),
        ("a section confirm with cluster and authority", "api_key_file: secrets/runblob-key"),
        ("the section token is missing", "token_keys is missing"),
        ("a section token with keys", "token_keys: {\"2026-11\": {alg: HS256, env: BLOBGATE_TOKEN_KEY}}"),
        ("is unset or empty, or Envoy does not pass it to the module", "is unset or empty"),
        (
            "a variable that is set, and list it in vm_config.environment_variables.host_env_keys",
            "a variable that secrets/env has",
        ),
    ];
    let say = |text: &str| words.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    let field = say(&at.field);
    let field = match field.as_str() {
        "token" => "token_keys".to_owned(),
        "sign" => "signing_keys".to_owned(),
        _ => field,
    };
    SetupFault { line: at.line, column: at.column, field, wrong: say(wrong), remedy: say(remedy) }
}

fn tree(root: &YamlCursor<'_>) -> YamlNode {
    let mut object = PlacedObject::at(root);
    object.add("version", YamlValue::Number(1.0));
    object.copy(root, "environment", "environment");
    if let Some(hook) = root.get("hook") {
        object.add_node("hooks", &hook, YamlValue::List(vec![hook_tree(&hook)]));
    }
    if let Some(keys) = root.get("token_keys") {
        let mut token = PlacedObject::at(&keys);
        token.copy(root, "token_keys", "keys");
        object.add_node("token", &keys, token.finish().value);
    }
    if let Some(file) = root.get("api_key_file") {
        let mut confirm = PlacedObject::at(&file);
        confirm.add("cluster", text("runblob_api"));
        confirm.add("authority", text("platform.runblob.io"));
        confirm.add("per_minute", YamlValue::Number(40.0));
        confirm.add("timeout", text("3s"));
        object.add_node("confirm", &file, confirm.finish().value);
    }
    let keys = root.get("signing_keys");
    let mut sign = PlacedObject::at(keys.as_ref().unwrap_or(root));
    match &keys {
        Some(_) => sign.copy(root, "signing_keys", "env"),
        None => {
            let name = YamlNode { value: text(DEFAULT_SIGNING_KEY), ..sign.node(YamlValue::Null) };
            sign.add("env", YamlValue::List(vec![name]));
        }
    }
    object.add("sign", sign.finish().value);
    object.finish()
}

fn hook_tree(hook: &YamlCursor<'_>) -> YamlNode {
    let mut object = PlacedObject::at(hook);
    match hook.get("name") {
        Some(_) => object.copy(hook, "name", "name"),
        None => object.add("name", text(DEFAULT_HOOK)),
    }
    object.add("dialect", text("veo3"));
    object.add("transport", text("tls_here"));
    for key in OF_HOOK {
        object.copy(hook, key, key);
    }
    object.add("quarantine", text(quarantine(hook)));
    object.finish()
}

/// An open hook authenticates no sender, so nothing is quarantined.
fn quarantine(hook: &YamlCursor<'_>) -> &'static str {
    if hook.text_at(&["trust"]) == Some("open") { "none" } else { "route" }
}

fn text(text: &str) -> YamlValue {
    YamlValue::Text(text.to_owned())
}

/// An object at the place of another node.
struct PlacedObject {
    line: usize,
    column: usize,
    pairs: Vec<(YamlKey, YamlNode)>,
}

impl PlacedObject {
    fn at(place: &YamlCursor<'_>) -> Self {
        let Spot { line, column, .. } = place.spot();
        Self { line, column, pairs: Vec::new() }
    }

    fn node(&self, value: YamlValue) -> YamlNode {
        YamlNode { line: self.line, column: self.column, value }
    }

    fn add(&mut self, key: &str, value: YamlValue) {
        let key = YamlKey { line: self.line, column: self.column, text: key.to_owned() };
        let value = self.node(value);
        self.pairs.push((key, value));
    }

    fn add_node(&mut self, key: &str, place: &YamlCursor<'_>, value: YamlValue) {
        let Spot { line, column, .. } = place.spot();
        let key = YamlKey { line, column, text: key.to_owned() };
        self.pairs.push((key, YamlNode { line, column, value }));
    }

    /// Copies a key with its value, under another name.
    fn copy(&mut self, from: &YamlCursor<'_>, key: &str, name: &str) {
        if let (Some(at), Some(value)) = (from.node().key(key), from.get(key)) {
            let key = YamlKey { text: name.to_owned(), ..at.clone() };
            self.pairs.push((key, value.node().clone()));
        }
    }

    fn finish(self) -> YamlNode {
        YamlNode { line: self.line, column: self.column, value: YamlValue::Map(self.pairs) }
    }
}
