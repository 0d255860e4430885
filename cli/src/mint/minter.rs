//! Tokens of one key for one hook, for who needs some of several kinds.

use super::claims::{Audience, Claims, Kid, Reference};
use super::key::{Algorithm, Key};
use anyhow::{Result, anyhow};
use time::OffsetDateTime;

pub(crate) struct Minter {
    key: Key,
    kid: Kid,
    aud: Audience,
}

impl Minter {
    /// The key is written as in the gate's environment.
    pub(crate) fn new(key: &str, kid: Kid, aud: Audience) -> Result<Self> {
        Ok(Self { key: Key::parse(key.as_bytes().to_vec())?, kid, aud })
    }

    /// The same names, and a key that no gate has.
    pub(crate) fn foreign(&self) -> Result<Self> {
        Ok(Self { key: Key::random(Algorithm::Hs256)?, kid: self.kid.clone(), aud: self.aud.clone() })
    }

    pub(crate) fn token(&self, expires: OffsetDateTime, job: &str) -> Result<String> {
        let job = Some(job.parse().map_err(|why| anyhow!("the job {job:?}: {why}"))?);
        let jti = Some(Reference::random()?);
        let claims = Claims { exp: expires.unix_timestamp(), aud: self.aud.clone(), job, jti, ph: None };
        claims.sign(&self.key, &self.kid)
    }
}
