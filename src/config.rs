//! The configuration: read from what the host hands over, and turned into domain types at load.

mod wire;

use crate::answer::parse_docs;
use crate::confirm::Provider;
use crate::contract;
use crate::hook::{Hook, SharedSections};
use crate::json::{self, Value};
use crate::keyring::Keyring;
use crate::settings::{ConfigError, Environment, Node};
use crate::sign::Signer;
use crate::token::TokenKeys;
use std::sync::Arc;

/// A configuration with which nothing can be wrong any more.
#[derive(Debug)]
pub struct Config {
    /// In each log line and counter: `[a-z0-9-]{1,32}`.
    pub environment: String,
    /// The base URL of the documentation, in the problem documents of refusals.
    pub docs: String,
    /// At least one.
    pub hooks: Vec<Arc<Hook>>,
}

const SECTIONS: &[&str] = &["version", "environment", "docs", "hooks", "token", "confirm", "sign"];
/// More than any sane file nests.
const MAX_DEPTH: usize = 32;

impl Config {
    /// Reads a configuration: a serialised `google.protobuf.Struct`, which is how Envoy hands over a Struct, or JSON
    /// text, which is how it hands over a StringValue.
    ///
    /// # Errors
    /// One sentence: the field, what is wrong with it, what would be right.
    ///
    /// ```
    /// use blobgate::Config;
    ///
    /// let hook = r#"{"name": "veo3", "path": "/hooks/veo3", "dialect": "veo3", "source": "any",
    ///     "trust": "open", "quarantine": "none", "result_url": "any"}"#;
    /// let text = format!(r#"{{"version": 1, "environment": "example", "hooks": [{hook}]}}"#);
    /// assert_eq!(&*Config::load(text.as_bytes(), &|_| None).unwrap().hooks[0].name, "veo3");
    ///
    /// let error = Config::load(text.replace("1,", "2,").as_bytes(), &|_| None).unwrap_err();
    /// assert_eq!(error.to_string(), "version is 2; write 1");
    /// ```
    pub fn load(bytes: &[u8], env: Environment<'_>) -> Result<Self, ConfigError> {
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
        Self::of(&document, env)
    }

    fn of(document: &Value<'_>, env: Environment<'_>) -> Result<Self, ConfigError> {
        let root = Node::root(document);
        let fields = root.fields(SECTIONS, "an object with version, environment and hooks")?;
        fields.required("version", "1")?.whole_number(1, 1)?;
        let environment = fields.required("environment", "a name such as production")?.name()?;
        let docs = fields
            .optional("docs")
            .map_or_else(|| Ok(contract::DOCS.to_owned()), |node| parse_docs(&node))?;
        let mut keyring = Keyring::new(env);
        let shared = SharedSections {
            environment,
            token: fields
                .optional("token")
                .map(|node| TokenKeys::parse(&node.redact_values(), &mut keyring))
                .transpose()?
                .map(Arc::new),
            confirm: fields.optional("confirm").map(|node| Provider::parse(&node)).transpose()?.map(Arc::new),
            sign: fields
                .optional("sign")
                .map(|node| Signer::parse(&node.redact_values(), &mut keyring))
                .transpose()?
                .map(Arc::new),
        };
        let hooks = fields.required("hooks", "a list of hooks")?;
        let mut loaded: Vec<Arc<Hook>> = Vec::new();
        for node in hooks.list("a list of hooks")? {
            let hook = Hook::parse(&node, &shared)?;
            if loaded.iter().any(|other| other.name == hook.name) {
                return Err(node.clash("name", &hook.name));
            }
            if loaded.iter().any(|other| other.path == hook.path) {
                return Err(node.clash("path", &hook.path));
            }
            if let Some(other) = loaded.iter().find(|other| other.meets(&hook)) {
                return Err(node.meeting(&hook.path, &other.path));
            }
            loaded.push(Arc::new(hook));
        }
        if loaded.is_empty() {
            return Err(hooks.invalid("at least one hook"));
        }
        Ok(Self { environment: shared.environment, docs, hooks: loaded })
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
