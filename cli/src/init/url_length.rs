//! The length of callback URLs. Some systems cut a URL at 255 characters.

use crate::mint::{Minter, USUAL_WIDTH};
use anyhow::Result;
use time::OffsetDateTime;

/// The longest `job` of a token.
const MAX_JOB: usize = 64;

/// As long as `order-17`.
const USUAL_JOB: usize = 8;

/// An Ed25519 signature has 32 bytes more than HMAC-SHA256, in base64url.
const EDDSA_MORE: usize = 43;

pub(super) struct UrlLength {
    /// With a job of 8 characters.
    usual: usize,
    /// The longest job with which a URL fits; `None` if none does.
    longest_job: Option<usize>,
}

impl UrlLength {
    pub(super) fn of(hook_url: &str, minter: &Minter) -> Result<Self> {
        let length = |job: usize| -> Result<usize> {
            let token = minter.token(OffsetDateTime::now_utc(), &"x".repeat(job))?;
            Ok(hook_url.len().saturating_add(token.len()).saturating_add(1))
        };
        let mut longest_job = None;
        for job in 1..=MAX_JOB {
            if length(job)? <= USUAL_WIDTH {
                longest_job = Some(job);
            }
        }
        Ok(Self { usual: length(USUAL_JOB)?, longest_job })
    }

    /// Sentences for a person.
    pub(super) fn text(&self) -> String {
        let usual = self.usual;
        let eddsa = format!(
            "EdDSA makes it {EDDSA_MORE} longer, and then the gate cannot sign tokens: `blobgate mint --new-key`."
        );
        match self.longest_job {
            Some(job) if job >= USUAL_JOB => format!(
                "HS256. A callback URL has {usual} characters with a job of {USUAL_JOB}, \
                 and fits in {USUAL_WIDTH} with a job of up to {job}. {eddsa}"
            ),
            _ => format!(
                "HS256. A callback URL has {usual} characters with a job of {USUAL_JOB}, and some databases cut it \
                 at {USUAL_WIDTH}. Shorten the host, --path, --hook or --environment. {eddsa}"
            ),
        }
    }
}
