//! Signs the tokens of the demo's callback URLs.

use super::delivery::TokenKind;
use crate::mint::{Audience, Kid, Minter};
use anyhow::{Context, Result, anyhow};
use reqwest::Url;
use std::path::Path;
use time::{Duration, OffsetDateTime};

/// The gate's key, by its name in the repository's `envoy.yaml`.
const VARIABLE: &str = "BLOBGATE_TOKEN_KEY";

/// The distance of an expiry from now, in both directions. It exceeds any clock error.
const TTL: Duration = Duration::hours(1);

pub(super) struct Tokens(Minter);

impl Tokens {
    /// Reads the key from lines `NAME=value`. Errors contain no value.
    pub(super) fn from_file(file: &Path, kid: Kid, aud: Audience) -> Result<Self> {
        let name = file.display();
        let lines = std::fs::read_to_string(file).map_err(|why| {
            anyhow!("cannot read the gate's environment {name}: {why}. `make run` makes it, --secrets names another")
        })?;
        let key = lines.lines().find_map(|line| line.strip_prefix(VARIABLE)?.strip_prefix('='));
        let key = key.with_context(|| {
            format!("cannot sign tokens: {name} has no line {VARIABLE}=.... `dev/secrets` makes one")
        })?;
        Ok(Self(Minter::new(key, kid, aud).with_context(|| format!("{VARIABLE} in {name}"))?))
    }

    /// The callback URL of a hook, with a token for this job.
    pub(super) fn callback(&self, hook: &Url, token: TokenKind, job: &str) -> Result<Url> {
        let now = OffsetDateTime::now_utc();
        let (minter, expires) = match token {
            TokenKind::None => return Ok(hook.clone()),
            TokenKind::Valid => (&self.0, now.saturating_add(TTL)),
            TokenKind::Expired => (&self.0, now.saturating_sub(TTL)),
            TokenKind::Foreign => (&self.0.with_random_key()?, now.saturating_add(TTL)),
        };
        let mut url = hook.clone();
        url.set_path(&format!("{}/{}", url.path().trim_end_matches('/'), minter.token(expires, job)?));
        Ok(url)
    }
}
