//! What was kept, judged again with today's configuration of the gate.

use crate::arrival::{Arrival, read_headers};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use blobgate::confirm::Outcome;
use blobgate::contract::signature::KEY_PREFIX;
use blobgate::contract::{Proof, Verdict, header};
use blobgate::hook::{Check, Hook};
use blobgate::policy::{Decision, OriginalFindings, OriginalToken, conclude, reevaluate};
use blobgate::request::ContentType;
use blobgate::{Config, Reason, forward};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Today's configuration, and which reasons of the head an operator overrides.
#[derive(Debug)]
pub(crate) struct Judge {
    config: Config,
    waived: BTreeSet<Reason>,
}

/// A kept entry, with what came.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct Kept {
    pub(crate) hook: String,
    pub(crate) reason: Option<String>,
    pub(crate) token_id: Option<String>,
    pub(crate) job: Option<String>,
    pub(crate) path: Vec<u8>,
    pub(crate) headers: Vec<u8>,
    pub(crate) body: Vec<u8>,
    /// Headers for once the provider says the same, where it was judged again.
    pub(crate) judged: Option<Vec<u8>>,
}

/// What a kept entry is by today's configuration.
#[derive(Debug)]
pub(crate) enum Now {
    Holds(Arrival),
    /// As soon as the provider says the same.
    WantsConfirmation(Arrival),
}

/// What only the head shows, and nobody can look at again.
pub(crate) const WAIVABLE: [Reason; 6] = [
    Reason::SourceDenied,
    Reason::HeaderInvalid,
    Reason::UnsupportedEncoding,
    Reason::TokenExpired,
    Reason::TokenAudience,
    Reason::TokenMismatch,
];
/// A key of either kind that nobody has, another for each variable: what is judged again verifies and signs nothing.
fn no_key(variable: &str) -> String {
    format!("{KEY_PREFIX}{}", STANDARD.encode(Sha256::digest(variable)))
}

impl Judge {
    /// Reads the gate's configuration, as JSON text, and reasons by their codes.
    ///
    /// # Errors
    /// One sentence.
    pub(crate) fn new(config: &[u8], waived: &[String]) -> Result<Self, String> {
        let config = Config::load(config, &|name| Some(no_key(name))).map_err(|error| error.to_string())?;
        let waived = waived.iter().map(|code| waivable(code)).collect::<Result<_, _>>()?;
        Ok(Self { config, waived })
    }

    /// What it is now, or why it stays.
    pub(crate) fn judge(&self, kept: Kept) -> Result<Now, String> {
        let hook = self.config.hooks.iter().find(|hook| *hook.name == kept.hook);
        let hook = hook.ok_or_else(|| format!("no hook is called {} in this configuration", kept.hook))?;
        let headers = read_headers(&kept.headers);
        let reason = kept.reason.as_deref().and_then(Reason::parse);
        let recorded = self.recorded(hook, &kept, &headers, reason)?;
        let (decided, now): (_, fn(Arrival) -> Now) = match reevaluate(hook, recorded, &kept.body) {
            Decision::Confirm(question) => (conclude(question, Outcome::Confirmed), Now::WantsConfirmation),
            Decision::Forward(delivery) => (Ok(delivery), Now::Holds),
            Decision::Refuse(refusal) => (Err(refusal), Now::Holds),
        };
        let delivery = match decided {
            Ok(delivery) if delivery.verdict() == Verdict::Accepted => delivery,
            Ok(delivery) => return Err(delivery.reason().map_or("observed", Reason::code).to_owned()),
            Err(refusal) => return Err(refusal.reason.code().to_owned()),
        };
        let overridden = reason.filter(|reason| self.waived.contains(reason)).map(Reason::code);
        let headers = marked(headers, &forward::headers(&delivery), overridden);
        let path = String::from_utf8_lossy(&kept.path).into_owned();
        Arrival::read(&path, &headers, kept.body.into()).map(now).map_err(|error| error.to_string())
    }

    fn recorded(
        &self,
        hook: &Arc<Hook>,
        kept: &Kept,
        headers: &HeaderMap,
        reason: Option<Reason>,
    ) -> Result<OriginalFindings, String> {
        use Reason::{
            HeaderInvalid, SourceDenied, TokenAudience, TokenExpired, TokenMismatch, UnsupportedEncoding,
        };
        let waived = |reason: &Reason| self.waived.contains(reason);
        // The prompt that it was bound to is on no record: it is as it was found, where it still counts.
        if reason == Some(TokenMismatch) && hook.checks.prompt == Check::Enforce && !waived(&TokenMismatch) {
            return Err(TokenMismatch.code().to_owned());
        }
        let proofs = headers.get(header::PROOFS).and_then(|proofs| proofs.to_str().ok()).unwrap_or_default();
        let held = |proof: Proof| proofs.split(',').any(|found| found == proof.name());
        let late =
            reason.filter(|reason| matches!(reason, TokenExpired | TokenAudience)).unwrap_or(TokenExpired);
        let token = match (kept.token_id.clone(), kept.job.clone()) {
            (None, _) => OriginalToken::Absent,
            (Some(id), job) if held(Proof::Token) || waived(&late) => OriginalToken::Good(id, job),
            (Some(id), job) => OriginalToken::OutOfScope(late, id, job),
        };
        let of_head = |reason: &Reason| matches!(reason, SourceDenied | HeaderInvalid | UnsupportedEncoding);
        Ok(OriginalFindings {
            violation: reason.filter(of_head).filter(|reason| !waived(reason)),
            token,
            confirmed: held(Proof::Confirmed),
            content_type: match headers.get("content-type").map(HeaderValue::as_bytes) {
                Some(b"application/json") => ContentType::Json,
                Some(other) if other.starts_with(b"application/json") => ContentType::JsonInOtherWords,
                _ => ContentType::Other,
            },
        })
    }
}

fn waivable(code: &str) -> Result<Reason, String> {
    WAIVABLE.into_iter().find(|reason| reason.code() == code).ok_or_else(|| {
        let all: Vec<_> = WAIVABLE.iter().map(|reason| reason.code()).collect();
        format!("{code:?} cannot be waived: only what the head shows can, {}", all.join(", "))
    })
}

/// The headers as the gate sets them on what it accepts.
pub(crate) fn marked(
    mut headers: HeaderMap,
    set: &[(&'static str, std::borrow::Cow<'_, str>)],
    overridden: Option<&str>,
) -> HeaderMap {
    let ours: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with(header::PREFIX)).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
    let overridden = overridden.map(|code| (header::OVERRIDE, code.into()));
    for (name, value) in set.iter().cloned().chain(overridden) {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    // A signature's id is the event's, once there is one.
    if let Some(key) = headers.get(header::IDEMPOTENCY_KEY).cloned()
        && headers.contains_key(header::WEBHOOK_ID)
    {
        headers.insert(header::WEBHOOK_ID, key);
    }
    headers
}

#[cfg(test)]
mod tests;
