//! The configuration: read from what the host hands over, and turned into domain types at load.

mod node;
mod wire;

pub use node::ConfigError;
pub(crate) use node::Node;

use crate::hook::Hook;
use crate::json::{self, Value};
use std::sync::Arc;

/// A configuration with which nothing can be wrong any more.
#[derive(Debug)]
pub struct Config {
    /// In each log line and counter: `[a-z0-9-]{1,32}`.
    pub environment: String,
    /// At least one.
    pub hooks: Vec<Arc<Hook>>,
}

const SECTIONS: &[&str] = &["version", "environment", "hooks"];
const LATER_SECTIONS: &[&str] = &["token", "confirm", "sign"];
/// More than any sane file nests.
const MAX_DEPTH: usize = 32;

impl Config {
    /// Reads a configuration: a serialised `google.protobuf.Struct`, which is how Envoy hands over a Struct, or JSON
    /// text, which is how it hands over a StringValue.
    ///
    /// # Errors
    /// One sentence: the field, what is wrong with it, what would be right.
    pub fn load(bytes: &[u8]) -> Result<Self, ConfigError> {
        if bytes.is_empty() {
            return Err(ConfigError::of_file("is empty; write version, environment and hooks"));
        }
        let document = match bytes.trim_ascii_start().first() {
            Some(b'{') if !wire::is_struct(bytes) => read_json(bytes)?,
            _ => wire::read_struct(bytes).ok_or_else(|| {
                ConfigError::of_file(
                    "is neither a google.protobuf.Struct nor a JSON object; write it as one of them",
                )
            })?,
        };
        Self::of(&document)
    }

    /// Whether any hook asks for the direct peer's address.
    pub fn asks_for_peer(&self) -> bool {
        self.hooks.iter().any(|hook| hook.transport.is_behind_proxy())
    }

    fn of(document: &Value<'_>) -> Result<Self, ConfigError> {
        let root = Node::root(document);
        if let Some(section) = LATER_SECTIONS.iter().find(|section| document.field(section).is_some()) {
            return Err(ConfigError::new(section, "is not in this version; leave it out"));
        }
        let fields = root.fields(SECTIONS, "an object with version, environment and hooks")?;
        fields.required("version", "1")?.whole_number(1, 1)?;
        let environment = fields.required("environment", "a name such as production")?.name()?;
        let hooks = fields.required("hooks", "a list of hooks")?;
        let mut loaded: Vec<Arc<Hook>> = Vec::new();
        for node in hooks.list("a list of hooks")? {
            let hook = Hook::parse(&node)?;
            if loaded.iter().any(|other| other.name == hook.name) {
                return Err(node.clash("name", &hook.name));
            }
            if loaded.iter().any(|other| other.path == hook.path) {
                return Err(node.clash("path", &hook.path));
            }
            loaded.push(Arc::new(hook));
        }
        if loaded.is_empty() {
            return Err(hooks.wrong("at least one hook"));
        }
        Ok(Self { environment, hooks: loaded })
    }
}

fn read_json(text: &[u8]) -> Result<Value<'_>, ConfigError> {
    json::parse(text, MAX_DEPTH, &[]).map_err(|reason| {
        ConfigError::of_file(match reason {
            crate::Reason::JsonDuplicateKey => "has a key twice in one object; write each once",
            crate::Reason::JsonTooDeep => "is nested too deeply; write it as the README shows",
            _ => "is not JSON; write one JSON object",
        })
    })
}

/// For what the design of a later version has, and this one does not.
pub(crate) fn not_in_this_version(node: &Node<'_>, right: &str) -> ConfigError {
    node.because("is not in this version", right)
}
