//! The configuration: the bytes that the host passes, parsed into domain types.

#[cfg(not(target_family = "wasm"))]
mod schema;
mod wire;

use crate::answer::parse_docs;
use crate::confirm::Provider;
use crate::contract;
use crate::hook::{Hooks, SharedSections};
use crate::json::{self, Value};
use crate::keyring::Keyring;
use crate::settings::{ConfigError, Environment, Node, keys};
#[cfg(not(target_family = "wasm"))]
use crate::settings::{Section, ValueForm};
use crate::sign::Signer;
use crate::token::TokenKeys;
#[cfg(not(target_family = "wasm"))]
pub use schema::schema;
use std::sync::Arc;

/// A valid configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name in each log line and counter: `[a-z0-9-]{1,32}`.
    pub environment: String,
    /// The base URL of the documentation, for problem documents.
    pub docs: String,
    /// At least one.
    pub hooks: Hooks,
}

keys! {
    /// The keys of the configuration itself.
    "": SECTIONS, section {
        /// The version of this format.
        "version": ValueForm::exactly(1.into());
        /// The name in each log line, counter and token audience.
        "environment": ValueForm::name();
        /// The address where you publish this book. The `type` of a problem document begins with it.
        "docs": crate::answer::docs_form() => format!("`{}`", contract::DOCS);
        /// Every guarded path. At least one.
        "hooks": ValueForm::list(&ValueForm::section("hook")).written("a list of [hooks](#hook)");
        /// The keys that verify callback tokens.
        "token": ValueForm::section("token") => "none: no hook's `trust` may name `token`";
        /// The provider's status API.
        "confirm": ValueForm::section("confirm") => "none: no hook's `trust` may name `confirmed`";
        /// The keys that sign deliveries to services.
        "sign": ValueForm::section("sign") => "none: the gate signs nothing";
    }
}

/// Every section of a configuration, in the order of the book.
#[cfg(not(target_family = "wasm"))]
pub fn sections() -> Vec<Section> {
    vec![
        section(),
        crate::hook::section(),
        crate::trust::section(),
        crate::transport::section(),
        crate::enforcement::section(),
        crate::token::section(),
        crate::token::key_section(),
        crate::confirm::section(),
        crate::sign::section(),
    ]
}

/// A valid configuration is 5 deep.
const MAX_DEPTH: usize = 32;

impl Config {
    /// Reads a configuration. Envoy passes a Struct as a serialised `google.protobuf.Struct`, and a StringValue as
    /// JSON text.
    ///
    /// # Errors
    /// One sentence: the field, its fault, and a valid value.
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
        let hooks = Hooks::parse(&fields.required("hooks", "a list of hooks")?, &shared)?;
        Ok(Self { environment: shared.environment, docs, hooks })
    }
}

fn read_json(text: &[u8]) -> Result<Value<'_>, ConfigError> {
    json::parse(text, MAX_DEPTH, &[]).map_err(|violation| {
        ConfigError::of_file(match violation.reason {
            crate::Reason::JsonDuplicateKey => "has a key twice in one object; write each once",
            crate::Reason::JsonTooDeep => "is nested more than 32 deep; write only documented keys",
            _ => "is not JSON; write one JSON object",
        })
    })
}
