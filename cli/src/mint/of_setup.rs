//! `--setup`: the URL, the audience and the key of a setup folder.

use super::callback::CallbackUrl;
use super::claims::{Audience, Kid};
use super::key::MintKey;
use super::minter::Minter;
use crate::setup::{SECRETS_ENV, Setup};
use anyhow::{Context, Result, anyhow, bail};

/// The key that signs tokens for a setup.
#[derive(Debug)]
pub(crate) struct SetupTokenKey {
    pub(crate) kid: Kid,
    /// The variable with an HS256 key. `None`: EdDSA, and the setup has the public half alone.
    pub(crate) variable: Option<String>,
}

impl SetupTokenKey {
    /// The last HS256 key by its kid, since kids are months; else the last key.
    pub(crate) fn newest(setup: &Setup) -> Result<Self> {
        let keys = Self::all(setup)?;
        let shared = keys.iter().rposition(|key| key.variable.is_some());
        let newest = shared.unwrap_or(keys.len().saturating_sub(1));
        keys.into_iter().nth(newest).with_context(|| {
            format!(
                "cannot mint for {}: its hook takes no tokens. Add token_keys, and name `token` in hook.trust",
                setup.file.display()
            )
        })
    }

    fn of(setup: &Setup, kid: &Kid) -> Result<Self> {
        let found = Self::all(setup)?.into_iter().find(|key| key.kid.to_string() == kid.to_string());
        found.with_context(|| {
            format!(
                "cannot mint for {}: its token_keys have no {kid}. Pass another --kid, or none",
                setup.file.display()
            )
        })
    }

    /// All keys, by kid.
    fn all(setup: &Setup) -> Result<Vec<Self>> {
        // A setup may have keys for a rule to come.
        let takes_tokens = setup.hook.service_path() != setup.hook.path;
        let keys = setup.token_keys.as_ref().filter(|_| takes_tokens).and_then(|keys| keys.as_object());
        let mut keys = keys
            .into_iter()
            .flatten()
            .map(|(kid, key)| {
                let variable = key.get("env").and_then(|name| name.as_str()).map(str::to_owned);
                Ok(Self { kid: kid.parse().map_err(|error| anyhow!("{error}"))?, variable })
            })
            .collect::<Result<Vec<_>>>()?;
        keys.sort_by_key(|key| key.kid.to_string());
        Ok(keys)
    }

    /// The value of the variable: in secrets/env, else in the environment.
    pub(crate) fn secret(&self, setup: &Setup) -> Result<Option<String>> {
        let Some(variable) = &self.variable else { return Ok(None) };
        let kept = setup.secrets()?.into_iter().find(|(name, _)| name == variable);
        let value = kept.map(|(_, value)| value).or_else(|| std::env::var(variable).ok());
        match value.filter(|value| !value.is_empty()) {
            Some(value) => Ok(Some(value)),
            None => bail!(
                "no key: {} has no line {variable}=.... Add it, or set the variable",
                setup.resolve(SECRETS_ENV.as_ref()).display()
            ),
        }
    }

    /// A minter for the hook of a setup with an HS256 key.
    pub(crate) fn minter(self, setup: &Setup) -> Result<Option<Minter>> {
        let Some(secret) = self.secret(setup)? else { return Ok(None) };
        Ok(Some(Minter::new(&secret, self.kid, audience(setup)?)?))
    }
}

/// What a setup has of a token.
pub(super) struct SetupToken {
    pub(super) url: CallbackUrl,
    pub(super) aud: Audience,
    pub(super) kid: Kid,
    /// `None`: the private half is elsewhere.
    pub(super) key: Option<MintKey>,
}

impl SetupToken {
    pub(super) fn of(setup: &Setup, kid: Option<&Kid>) -> Result<Self> {
        let key = match kid {
            Some(kid) => SetupTokenKey::of(setup, kid)?,
            None => SetupTokenKey::newest(setup)?,
        };
        let secret = key.secret(setup)?;
        let parsed = secret.map(|secret| MintKey::parse(secret.into_bytes())).transpose();
        Ok(Self {
            url: setup.hook_url().parse()?,
            aud: audience(setup)?,
            key: parsed.with_context(|| {
                format!("{} of {}", key.variable.as_deref().unwrap_or_default(), setup.file.display())
            })?,
            kid: key.kid,
        })
    }
}

/// The `aud` of the tokens of a setup's hook.
pub(crate) fn audience(setup: &Setup) -> Result<Audience> {
    let text = format!("{}/{}", setup.environment, setup.hook.name);
    text.parse().map_err(|error| anyhow!("cannot mint for {}: {error}", setup.file.display()))
}
