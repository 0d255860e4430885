//! `--new-key`: makes a key, and prints its lines for the gate and the minter.

use super::claims::Kid;
use super::key::{self, Algorithm, EncodedKey, MintKey};
use crate::new_file::NewFile;
use crate::output::{print_json, print_lines};
use anyhow::{Result, anyhow};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use time::OffsetDateTime;

pub(super) fn run(algorithm: Algorithm, kid: Option<Kid>, out: Option<&Path>, json: bool) -> Result<()> {
    let kid = match kid {
        Some(kid) => kid,
        None => this_month(OffsetDateTime::now_utc()).parse().map_err(|error| anyhow!("{error}"))?,
    };
    let key = MintKey::random(algorithm)?;
    let new = NewKey { private: key.encode()?, public: key.public(), kid };
    if let Some(file) = out {
        new.save(file)?;
    }
    if json {
        print_json(serde_json::to_string_pretty(&new.json(out))?);
    } else {
        print_lines(&new.text(out));
    }
    Ok(())
}

struct NewKey {
    kid: Kid,
    private: EncodedKey,
    /// `None` with HS256: gate and minter share the key.
    public: Option<String>,
}

impl NewKey {
    fn save(&self, file: &Path) -> Result<()> {
        let mut to = NewFile::create(file)?;
        writeln!(to, "{}", self.private.0)?;
        to.publish()
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
                    "\nAnd, as a secret, in Envoy's environment and in host_env_keys:\n{variable}={private}\n"
                )
            }
            (Some(variable), Some(file)) => format!(
                "\nAnd, as a secret, in Envoy's environment and in host_env_keys:\n{variable} with the content of {}\n",
                file.display()
            ),
        };
        let minter = match out {
            Some(file) => format!(
                "For the minter, as a secret, the file {}:\nblobgate mint --kid {kid} --key-file {}\n",
                file.display(),
                file.display()
            ),
            None if shared.is_some() => {
                format!("For the minter, as a secret, in its environment:\n{}={private}\n", key::VARIABLE)
            }
            None => {
                format!("For the minter, as a secret, in its environment:\n{}='{private}'\n", key::VARIABLE)
            }
        };
        let order = format!(
            "Add it to every gate before you mint with --kid {kid}. Keep an older key in the gates until its last token\n\
             has expired."
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

/// The usual name of a key: its month.
pub(crate) fn this_month(now: OffsetDateTime) -> String {
    format!("{:04}-{:02}", now.year(), u8::from(now.month()))
}
