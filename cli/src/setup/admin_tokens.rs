//! The admin tokens of a setup file.

use super::Setup;
use super::error::SetupError;
use super::reader::{SetupReader, show};
use crate::check::cursor::YamlCursor;
use crate::check::key_text::is_like_key;
use blobgate_inbox::{AccessRole, AccessToken, check_tokens};
use std::collections::BTreeSet;

pub(super) const ADMIN_TOKEN_KEYS: [&str; 2] = ["role", "env"];

/// An admin token of the inbox. During a rotation it has two variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SetupAdminToken {
    pub(crate) name: String,
    pub(crate) role: AccessRole,
    pub(crate) variables: Vec<String>,
}

/// Reads `inbox.admin_tokens`. Each name has a role, and the variables with its tokens.
pub(super) fn read(inbox: &YamlCursor<'_>, reader: &mut SetupReader) -> Vec<SetupAdminToken> {
    const EXPECTED: &str = "write prometheus: {role: read, env: BLOBGATE_READ_TOKEN}";
    let Some(tokens) = inbox.get("admin_tokens") else { return Vec::new() };
    let pairs = tokens.pairs();
    if pairs.is_empty() {
        reader.fault(tokens.spot(), format!("is {}", show(tokens.node())), EXPECTED);
    }
    let names: Vec<&str> = pairs.iter().map(|(name, _)| *name).collect();
    // An unknown name is no fault, but one that is there twice is.
    reader.object(&tokens, &names, &|_| None);
    let mut seen = BTreeSet::new();
    let read = pairs.into_iter().filter_map(|(name, token)| {
        if !AccessToken::is_name(name) || is_like_key(name) {
            let remedy = "write one to 64 letters, digits, `-`, `_` or `.`, such as prometheus";
            reader.fault(token.spot(), "is no name of an admin token", remedy);
            return None;
        }
        one(name, &token, &mut seen, reader)
    });
    read.collect()
}

fn one<'y>(
    name: &str,
    token: &YamlCursor<'y>,
    seen: &mut BTreeSet<&'y str>,
    reader: &mut SetupReader,
) -> Option<SetupAdminToken> {
    if !reader.object(token, &ADMIN_TOKEN_KEYS, &|_| None) {
        return None;
    }
    reader.missing(token, "role", "read, expect or operate");
    reader.missing(token, "env", "the name of the variable with the token");
    let role = token.get("role")?;
    let Some(known) = role.text().and_then(AccessRole::parse) else {
        reader.fault(role.spot(), format!("is {}", show(role.node())), "write read, expect or operate");
        return None;
    };
    let env = token.get("env")?;
    let items = if env.text().is_some() { vec![env.clone()] } else { env.items() };
    if items.is_empty() {
        reader.fault(
            env.spot(),
            format!("is {}", show(env.node())),
            "write the name of a variable, or a list of names",
        );
    }
    let mut variables = Vec::new();
    for item in items {
        let text = item.text().filter(|text| is_variable(text));
        match text {
            Some(text) if seen.insert(text) => variables.push(text.to_owned()),
            Some(_) => reader.fault(
                item.spot(),
                "names a variable a second time",
                "give each token a variable of its own",
            ),
            None => reader.fault(
                item.spot(),
                format!("is {}", show(item.node())),
                "write the name of a variable in secrets/env, such as BLOBGATE_READ_TOKEN, and not its value",
            ),
        }
    }
    Some(SetupAdminToken { name: name.to_owned(), role: known, variables })
}

/// A name that inbox.env and the option can contain. It is no token that stands in the place of its name.
fn is_variable(text: &str) -> bool {
    let is_usual = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    text.starts_with(|first: char| first.is_ascii_uppercase() || first == '_') && text.bytes().all(is_usual)
}

impl SetupAdminToken {
    /// The values of `--admin-token`.
    pub(super) fn options(&self) -> impl Iterator<Item = String> {
        self.variables.iter().map(|variable| format!("{}:{}:{variable}", self.name, self.role.name()))
    }
}

/// Checks the values of the variables, as `inbox serve` does.
pub(super) fn check_values(setup: &Setup, read: &dyn Fn(&str) -> Option<String>) -> Result<(), SetupError> {
    const REMEDY: &str = "Set it to the output of `openssl rand -hex 32`";
    let mut tokens = Vec::new();
    for token in &setup.admin_tokens {
        for variable in &token.variables {
            let unusable = |why: String| SetupError::unusable(super::SECRETS_ENV, why, REMEDY);
            let value = read(variable).filter(|value| !value.is_empty());
            let value = value
                .ok_or_else(|| unusable(format!("it does not have {variable}, the token {}", token.name)))?;
            if setup.keys().any(|key| read(key).is_some_and(|key| key == value)) {
                return Err(unusable(format!("{variable} is a key of the gate, too")));
            }
            let token = AccessToken::new(&token.name, token.role, &value);
            tokens.push(
                token
                    .map_err(|wrong| unusable(format!("{variable} is no admin token: {}", first(&wrong))))?,
            );
        }
    }
    check_tokens(&tokens).map_err(|wrong| SetupError::unusable(super::SECRETS_ENV, first(&wrong), REMEDY))
}

/// The sentence without its remedy.
fn first(error: &impl ToString) -> String {
    let text = error.to_string();
    text.split_once(". ").map_or(text.clone(), |(first, _)| first.to_owned())
}
