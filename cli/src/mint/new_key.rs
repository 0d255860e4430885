//! `--new-key`: a key, and the lines that take it to the gate and to the minter.

use super::claims::Kid;
use super::key::{self, Algorithm, EncodedKey, MintKey};
use anyhow::{Result, anyhow};
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use time::OffsetDateTime;

pub(super) fn run(algorithm: Algorithm, kid: Option<Kid>, out: Option<&Path>, json: bool) -> Result<()> {
    let kid = match kid {
        Some(kid) => kid,
        None => this_month(OffsetDateTime::now_utc()).parse().map_err(|error| anyhow!("{error}"))?,
    };
    let key = MintKey::random(algorithm)?;
    let new = NewKey { private: key.written()?, public: key.public(), kid };
    if let Some(file) = out {
        new.save(file)?;
    }
    let said = if json { serde_json::to_string_pretty(&new.json(out))? } else { new.text(out) };
    Ok(super::print(&said)?)
}

struct NewKey {
    kid: Kid,
    private: EncodedKey,
    /// None with HS256, whose one key both sides have.
    public: Option<String>,
}

impl NewKey {
    fn save(&self, file: &Path) -> Result<()> {
        let mut to =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(|error| {
                match error.kind() {
                    io::ErrorKind::AlreadyExists => {
                        anyhow!("{} is there already, and a key is not written over", file.display())
                    }
                    _ => anyhow!("{} cannot be written: {error}", file.display()),
                }
            })?;
        writeln!(to, "{}", self.private.0)?;
        Ok(to.sync_all()?)
    }

    /// The line under `token.keys`.
    fn line(&self) -> String {
        let (kid, variable) = (&self.kid, self.kid.variable());
        match &self.public {
            Some(public) => format!(r#""{kid}": {{alg: EdDSA, public: "{public}"}}"#),
            None => format!(r#""{kid}": {{alg: HS256, env: {variable}}}"#),
        }
    }

    fn text(&self, out: Option<&Path>) -> String {
        let (kid, private) = (&self.kid, &self.private.0);
        let gate = format!("For the gate, in envoy.yaml under token.keys:\n{}\n", self.line());
        let shared = self.public.is_none().then(|| self.kid.variable());
        let environment = match (&shared, out) {
            (None, _) => String::new(),
            (Some(variable), None) => {
                format!(
                    "\nand in the environment of its Envoy, a secret, named under host_env_keys:\n{variable}={private}\n"
                )
            }
            (Some(variable), Some(file)) => format!(
                "\nand in the environment of its Envoy, a secret, named under host_env_keys:\n{variable}, with what is in {}\n",
                file.display()
            ),
        };
        let minter = match out {
            Some(file) => format!(
                "For the minter, the private key is in {}, a secret:\nblobgate mint --kid {kid} --key-file {}\n",
                file.display(),
                file.display()
            ),
            None if shared.is_some() => {
                format!("For the minter, in its environment, a secret:\n{}={private}\n", key::VARIABLE)
            }
            None => format!("For the minter, in its environment, a secret:\n{}='{private}'\n", key::VARIABLE),
        };
        let order = format!(
            "Give it to every gate before the first token is minted with --kid {kid}. A key that this one follows\n\
             stays with the gates until its longest token has expired."
        );
        format!("{gate}{environment}\n{minter}\n{order}")
    }

    fn json(&self, out: Option<&Path>) -> Value {
        let private = out.is_none().then_some(&self.private.0);
        let gate = match &self.public {
            Some(public) => json!({"alg": Algorithm::EdDsa, "public": public}),
            None => json!({"alg": Algorithm::Hs256, "env": self.kid.variable()}),
        };
        let file = out.map(|file| file.display().to_string());
        json!({
            "kid": self.kid,
            "gate": {"line": self.line(), "key": gate},
            "minter": {"env": key::VARIABLE, "private": private, "file": file},
        })
    }
}

/// The usual name of a key: the month in which it was made.
fn this_month(now: OffsetDateTime) -> String {
    format!("{:04}-{:02}", now.year(), u8::from(now.month()))
}
