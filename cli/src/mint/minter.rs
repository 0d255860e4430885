//! Signs tokens with one key for one hook. The demo uses it.

use super::claims::{Audience, Kid, MintedClaims, Reference};
use super::key::{Algorithm, MintKey};
use anyhow::{Result, anyhow};
use time::OffsetDateTime;

pub(crate) struct Minter {
    key: MintKey,
    kid: Kid,
    aud: Audience,
}

impl Minter {
    /// Takes the key in the form of the gate's environment.
    pub(crate) fn new(key: &str, kid: Kid, aud: Audience) -> Result<Self> {
        Ok(Self { key: MintKey::parse(key.as_bytes().to_vec())?, kid, aud })
    }

    /// A minter with the same kid and audience, and a random key.
    pub(crate) fn with_random_key(&self) -> Result<Self> {
        Ok(Self { key: MintKey::random(Algorithm::Hs256)?, kid: self.kid.clone(), aud: self.aud.clone() })
    }

    pub(crate) fn token(&self, expires: OffsetDateTime, job: &str) -> Result<String> {
        let job = Some(job.parse().map_err(|why| anyhow!("the job {job:?} is invalid: {why}"))?);
        let jti = Some(Reference::random()?);
        let claims =
            MintedClaims { exp: expires.unix_timestamp(), aud: self.aud.clone(), job, jti, ph: None };
        claims.sign(&self.key, &self.kid)
    }
}
