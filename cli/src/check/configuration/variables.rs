//! The environment variables of keys: which are set here, and which the module sees.

use super::draft::STAND_IN;
use super::{UnsetVariables, find_place};
use crate::check::finding::{Finding, Level};
use crate::check::gate::{GateSource, HostEnvironment, ModuleVariables};
use crate::check::yaml::YamlNode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use blobgate::contract::signature::KEY_PREFIX;
use sha2::{Digest, Sha256};

/// The variables that a configuration names.
pub(super) struct KeyVariables<'v> {
    variables: &'v ModuleVariables,
}

/// What is known of a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
enum KeyVariable {
    /// Its value, of this process or of the file.
    Known(String),
    UnsetHere,
    /// The list of the module's variables lacks it.
    NotPassed,
    /// A variable of a pod, or of the draft.
    Elsewhere,
}

impl<'v> KeyVariables<'v> {
    pub(super) fn new(variables: &'v ModuleVariables) -> Self {
        Self { variables }
    }

    /// The value for the loader: a valid stand-in where the real one is not known.
    pub(super) fn read(&self, name: &str) -> Option<String> {
        Some(match self.find(name) {
            KeyVariable::Known(value) => value,
            _ => format!("{KEY_PREFIX}{}", STANDARD.encode(Sha256::digest(name))),
        })
    }

    fn find(&self, name: &str) -> KeyVariable {
        if name.starts_with(STAND_IN) {
            return KeyVariable::Elsewhere;
        }
        match self.variables.listed.as_ref().map(|listed| listed.get(name)) {
            Some(None) => return KeyVariable::NotPassed,
            Some(Some(Some(value))) => return KeyVariable::Known(value.clone()),
            _ => {}
        }
        if self.variables.host == HostEnvironment::Pod {
            return KeyVariable::Elsewhere;
        }
        match std::env::var(name) {
            Ok(value) if !value.is_empty() => KeyVariable::Known(value),
            _ => KeyVariable::UnsetHere,
        }
    }

    /// Reports each variable of the configuration that the module may lack.
    pub(super) fn report(
        &self,
        source: &GateSource<'_>,
        tree: &YamlNode,
        unset: UnsetVariables,
        findings: &mut Vec<Finding>,
    ) {
        for (field, name) in named(tree) {
            let (level, rule, wrong, remedy) = match self.find(&name) {
                KeyVariable::Known(_) => continue,
                KeyVariable::NotPassed => {
                    findings.push(self.not_passed(&name));
                    continue;
                }
                KeyVariable::UnsetHere => (
                    match unset {
                        UnsetVariables::Warn => Level::Warning,
                        UnsetVariables::Refuse => Level::Error,
                    },
                    "variable-unset",
                    "which is not set here, so its key is not checked",
                    "set it where Envoy starts",
                ),
                KeyVariable::Elsewhere => (
                    Level::NotChecked,
                    "variable-of-pod",
                    "whose value is not in this file: it is a variable of the gateway's pod",
                    "",
                ),
            };
            let (line, column) = find_place(tree, &field);
            findings.push(Finding {
                line,
                column,
                field,
                level,
                rule,
                wrong: format!("is {}, {wrong}", show_name(&name)),
                remedy: remedy.to_owned(),
            });
        }
        self.report_values(source, findings);
    }

    fn not_passed(&self, name: &str) -> Finding {
        let (spot, list) = (&self.variables.spot, self.variables.list);
        let name = show_name(name);
        Finding {
            line: spot.line,
            column: spot.column,
            field: spot.field.clone(),
            level: Level::Error,
            rule: "variable-not-passed",
            wrong: format!("lacks {name}, so the module cannot read its key"),
            remedy: format!("add {name} to {list}"),
        }
    }

    /// A key in the file is in each copy of the file.
    fn report_values(&self, source: &GateSource<'_>, findings: &mut Vec<Finding>) {
        let in_file = self.variables.listed.iter().flatten().filter(|(_, value)| value.is_some());
        let mut names: Vec<&str> = in_file.map(|(name, _)| show_name(name)).collect();
        names.sort_unstable();
        findings.extend(names.first().map(|name| Finding {
            line: source.variables.spot.line,
            column: source.variables.spot.column,
            field: source.variables.spot.field.clone(),
            level: Level::Warning,
            rule: "key-in-file",
            wrong: format!("is beside the value of {name}, which each reader of the file gets"),
            remedy: format!(
                "list the name in {}, and set the variable where Envoy starts",
                source.variables.list
            ),
        }));
    }
}

/// The variables that a configuration names, each with its field.
fn named(tree: &YamlNode) -> Vec<(String, String)> {
    let keys = tree.at(&["token", "keys"]).map(YamlNode::map).unwrap_or_default();
    let of_tokens = keys.iter().filter_map(|(kid, key)| {
        Some((format!("token.keys.{}.env", kid.text), key.get("env")?.text()?.to_owned()))
    });
    let names = tree.at(&["sign", "env"]).map(YamlNode::list).unwrap_or_default();
    let of_sign = names
        .iter()
        .enumerate()
        .filter_map(|(index, name)| Some((format!("sign.env[{index}]"), name.text()?.to_owned())));
    of_tokens.chain(of_sign).filter(|(_, name)| is_name(name)).collect()
}

/// Whether the loader takes this as the name of a variable.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// A name, unless a key may stand in its place by mistake.
fn show_name(name: &str) -> &str {
    const MAX_SHOWN: usize = 31;
    let is_usual = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    let is_shown =
        is_name(name) && (name.len() <= MAX_SHOWN || name.contains('_') && name.bytes().all(is_usual));
    if is_shown { name } else { "the variable" }
}
