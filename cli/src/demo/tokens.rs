//! The tokens of the demo's callback URLs, and the key that signs them.

use super::delivery::Token;
use crate::mint::{Audience, Kid, Minter};
use anyhow::{Context, Result};
use reqwest::Url;
use std::path::Path;
use time::{Duration, OffsetDateTime};

/// The variable of the gate's environment with the key, as the repository's `envoy.yaml` names it.
const VARIABLE: &str = "BLOBGATE_TOKEN_KEY";

/// How far from now a token expires, in the future or in the past: longer than any clock is wrong.
const FAR: Duration = Duration::hours(1);

pub(super) struct Tokens(Minter);

impl Tokens {
    /// From lines `NAME=value`. Errors say nothing of a value.
    pub(super) fn from_file(file: &Path, kid: Kid, aud: Audience) -> Result<Self> {
        let name = file.display();
        let lines = std::fs::read_to_string(file).with_context(|| {
            format!(
                "the gate's environment {name} cannot be read: `make run` makes it, --secrets names another"
            )
        })?;
        let key = lines.lines().find_map(|line| line.strip_prefix(VARIABLE)?.strip_prefix('='));
        let key = key.with_context(|| format!("{name} has no line {VARIABLE}=..."))?;
        Ok(Self(Minter::new(key, kid, aud).with_context(|| format!("{VARIABLE} of {name}"))?))
    }

    /// The callback URL of a hook with such a token, for this job.
    pub(super) fn callback(&self, hook: &Url, token: Token, job: &str) -> Result<Url> {
        let now = OffsetDateTime::now_utc();
        let (minter, expires) = match token {
            Token::None => return Ok(hook.clone()),
            Token::Good => (&self.0, now.saturating_add(FAR)),
            Token::Expired => (&self.0, now.saturating_sub(FAR)),
            Token::Foreign => (&self.0.foreign()?, now.saturating_add(FAR)),
        };
        let mut url = hook.clone();
        url.set_path(&format!("{}/{}", url.path().trim_end_matches('/'), minter.token(expires, job)?));
        Ok(url)
    }
}
