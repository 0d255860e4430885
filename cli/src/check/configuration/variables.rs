//! The environment variables of keys: which are set here, and which the module sees.

use super::draft::STAND_IN;
use super::{UnsetVariables, find_spot};
use crate::check::cursor::Spot;
use crate::check::finding::{Finding, Level};
use crate::check::frame;
use crate::check::gate::{HostEnvironment, ModuleVariables};
use crate::check::key_text::is_like_key;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use blobgate::contract::signature::KEY_PREFIX;
use blobgate_inbox::yaml::YamlNode;
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
    pub(super) fn report(&self, tree: &YamlNode, unset: UnsetVariables, findings: &mut Vec<Finding>) {
        for (field, name) in named(tree) {
            let at = find_spot(tree, &field);
            let shown = show_name(&name);
            findings.extend(match self.find(&name) {
                KeyVariable::Known(_) => None,
                _ if is_like_key(&name) => {
                    let wrong = "is a key, not the name of an environment variable";
                    let remedy =
                        "write the variable's name, and make a new key: each reader of the file has this one";
                    Some(Finding::new(Level::Error, &frame::KEY_AS_NAME, at, wrong, remedy))
                }
                KeyVariable::NotPassed => Some(self.not_passed(shown)),
                KeyVariable::UnsetHere => {
                    let level = match unset {
                        UnsetVariables::Warn => Level::Warning,
                        UnsetVariables::Refuse => Level::Error,
                    };
                    let wrong = format!("is {shown}, which is not set here, so its key is not checked");
                    Some(Finding::new(level, &frame::VARIABLE_UNSET, at, wrong, "set it where Envoy starts"))
                }
                KeyVariable::Elsewhere => {
                    let wrong =
                        format!("is {shown}, a variable of the gateway's pod: its key is not in this file");
                    Some(Finding::new(Level::NotChecked, &frame::VARIABLE_OF_POD, at, wrong, ""))
                }
            });
        }
        self.report_values(tree, findings);
    }

    fn not_passed(&self, name: &str) -> Finding {
        let wrong = format!("lacks {name}, so the module cannot read its key");
        let remedy = format!("add {name} to {}", self.variables.list);
        Finding::new(Level::Error, &frame::VARIABLE_NOT_PASSED, self.spot(), wrong, remedy)
    }

    /// A key in the file is in each copy of the file.
    fn report_values(&self, tree: &YamlNode, findings: &mut Vec<Finding>) {
        let keys = named(tree);
        for (name, at) in &self.variables.values {
            if keys.iter().any(|(_, key)| key == name) {
                let wrong = format!("is the key in {}, which each reader of the file gets", show_name(name));
                let list = self.variables.list;
                let remedy = format!("list its name in {list}, and set the variable where Envoy starts");
                findings.push(Finding::new(Level::Warning, &frame::KEY_IN_FILE, at.clone(), wrong, remedy));
            }
        }
    }

    fn spot(&self) -> Spot {
        self.variables.spot.clone()
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
