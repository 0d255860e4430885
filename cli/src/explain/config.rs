//! Loads the gate's configuration, with the keys of the environment.

use super::made_token::MadeToken;
use crate::envoy_yaml::gate_configurations;
use crate::mint::{Audience, Kid, Minter};
use crate::option::UsageError;
use anyhow::{Result, anyhow, bail};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD as BASE64URL};
use blobgate::Config;
use blobgate::contract::signature::KEY_PREFIX;
use blobgate::hook::{self, Hook};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;
use time::OffsetDateTime;

/// A configuration of the gate.
pub(super) struct ExplainConfig {
    pub(super) config: Config,
    json: Value,
    /// The variables without a value. A key of no meaning stands for each.
    missing: Vec<String>,
    /// The key of the tokens that this command makes.
    own_key: String,
    /// The name of that key. No key of the configuration has it.
    own_kid: String,
}

/// The request's hook, which chooses one of several configurations in a file.
#[derive(Clone, Copy)]
pub(super) enum WantedHook<'a> {
    Any,
    Name(&'a str),
    Path(&'a str),
}

/// The variable of the key for tokens that this command makes.
const OWN_VARIABLE: &str = "BLOBGATE_EXPLAIN_TOKEN_KEY";

impl ExplainConfig {
    /// Loads the configuration of a file that has this hook.
    pub(super) fn load(file: &Path, wanted: WantedHook<'_>) -> Result<Self> {
        let mut loaded = Vec::new();
        for json in gate_configurations(file)? {
            loaded.push(Self::of(json, file)?);
        }
        let (mut fitting, others): (Vec<Self>, Vec<Self>) =
            loaded.into_iter().partition(|config| config.has(wanted));
        match (fitting.pop(), fitting.is_empty(), others.len()) {
            (Some(only), true, _) => Ok(only),
            (Some(_), false, _) => bail!(UsageError(format!(
                "{} has several configurations of the gate with this hook. Name a file with one, or another hook with --hook",
                file.display()
            ))),
            // A path without a hook is a verdict of the only configuration.
            (None, _, 1) if matches!(wanted, WantedHook::Path(_)) => {
                others.into_iter().next().ok_or_else(|| anyhow!("no configuration"))
            }
            (None, ..) => {
                let names: Vec<String> = others.iter().map(Self::names).collect();
                bail!(UsageError(format!(
                    "{} has no hook of this name or path. Name one of {}",
                    file.display(),
                    names.join(", ")
                )))
            }
        }
    }

    fn of(json: Value, file: &Path) -> Result<Self> {
        let mut random = [0; 32];
        getrandom::fill(&mut random)?;
        let own_key = hex::encode(random);
        let missing = RefCell::new(Vec::new());
        let env = |name: &str| match std::env::var(name) {
            _ if name == OWN_VARIABLE => Some(own_key.clone()),
            Ok(value) if !value.is_empty() => Some(value),
            _ => {
                missing.borrow_mut().push(name.to_owned());
                Some(placeholder(name))
            }
        };
        let own_kid = unused_kid(&json);
        let text = with_own_key(&json, &own_kid).to_string();
        let config = Config::load(text.as_bytes(), &env).map_err(|why| {
            let name = file.display();
            anyhow!("cannot load the gate's configuration in {name}: {why}. `blobgate check {name}` names the line")
        })?;
        Ok(Self { config, json, missing: missing.into_inner(), own_key, own_kid })
    }

    fn has(&self, wanted: WantedHook<'_>) -> bool {
        match wanted {
            WantedHook::Any => true,
            WantedHook::Name(name) => self.hook(name).is_some(),
            WantedHook::Path(path) => hook::find(&self.config.hooks, path.as_bytes()).is_ok(),
        }
    }

    /// The hook of a name.
    pub(super) fn hook(&self, name: &str) -> Option<&Arc<Hook>> {
        self.config.hooks.iter().find(|hook| *hook.name == *name)
    }

    /// The path of a request to a hook, with a token that this command makes.
    pub(super) fn path(
        &self,
        name: Option<&str>,
        token: Option<MadeToken>,
        now: OffsetDateTime,
    ) -> Result<String> {
        let hook = match (name, &self.config.hooks[..]) {
            (Some(name), _) => self.hook(name),
            (None, [only]) => Some(only),
            (None, _) => None,
        };
        let Some(hook) = hook else {
            bail!(UsageError(format!("name the request's hook with --hook: one of {}", self.names())));
        };
        match token {
            None => Ok(hook.path.clone()),
            Some(_) if hook.token.is_none() => bail!(UsageError(format!(
                "the hook {} takes no token: its trust rule does not name one. Leave out --token",
                hook.name
            ))),
            Some(token) => Ok(format!("{}/{}", hook.path, self.make_token(hook, token, now)?)),
        }
    }

    fn make_token(&self, hook: &Hook, kind: MadeToken, now: OffsetDateTime) -> Result<String> {
        let audience = format!("{}/{}", self.config.environment, kind.hook(&hook.name));
        let audience: Audience = audience.parse()?;
        let kid: Kid = self.own_kid.parse()?;
        // The same text twice is another key.
        let key = match kind {
            MadeToken::Invalid => self.own_key.repeat(2),
            _ => self.own_key.clone(),
        };
        Minter::new(&key, kid, audience)?.token(kind.expires(now), "explain")
    }

    /// The unset variable of the key that a token names. Without it this command cannot judge the token.
    pub(super) fn missing_key_of(&self, token: &str) -> Option<&str> {
        let header = BASE64URL.decode(token.split('.').next()?).ok()?;
        let header: Value = serde_json::from_slice(&header).ok()?;
        let key = self.json.get("token")?.get("keys")?.get(header.get("kid")?.as_str()?)?;
        let variable = key.get("env")?.as_str()?;
        self.missing.iter().map(String::as_str).find(|missing| *missing == variable)
    }

    /// The names of the hooks.
    pub(super) fn names(&self) -> String {
        self.config.hooks.iter().map(|hook| &*hook.name).collect::<Vec<_>>().join(", ")
    }

    /// The paths of the hooks, with their names.
    pub(super) fn paths(&self) -> String {
        let path = |hook: &Arc<Hook>| {
            let token = if hook.token.is_some() { "/{token}" } else { "" };
            format!("{}{token} ({})", hook.path, hook.name)
        };
        self.config.hooks.iter().map(path).collect::<Vec<_>>().join(", ")
    }
}

/// A valid key of no meaning, for a variable that is unset.
fn placeholder(variable: &str) -> String {
    format!("{KEY_PREFIX}{}", BASE64_STANDARD.encode(Sha256::digest(variable)))
}

/// The configuration with a key of this command. A hook accepts its tokens in this process alone.
fn with_own_key(json: &Value, kid: &str) -> Value {
    let mut json = json.clone();
    let keys = json.get_mut("token").and_then(|token| token.get_mut("keys")).and_then(Value::as_object_mut);
    if let Some(keys) = keys.filter(|keys| !keys.is_empty()) {
        keys.insert(kid.to_owned(), json!({"alg": "HS256", "env": OWN_VARIABLE}));
    }
    json
}

/// A name that no key of the configuration has.
fn unused_kid(json: &Value) -> String {
    let keys = json.get("token").and_then(|token| token.get("keys"));
    let is_used = |kid: &str| keys.is_some_and(|keys| keys.get(kid).is_some());
    let names =
        std::iter::once("explain".to_owned()).chain((1_u32..).map(|number| format!("explain-{number}")));
    names.into_iter().find(|kid| !is_used(kid)).unwrap_or_default()
}
