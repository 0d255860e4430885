//! What was kept, judged again with today's configuration of the gate.

use crate::arrival::{Arrival, read_headers};
use crate::entry::QuarantineReason;
use crate::store::Quarantined;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use blobgate::confirm::Outcome;
use blobgate::hook::{Check, Hook};
use blobgate::policy::{Judged, Recorded, RecordedToken, Verdict, conclude, judge_again};
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
    format!("whsec_{}", STANDARD.encode(Sha256::digest(variable)))
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
    pub(crate) fn judge(&self, kept: Quarantined) -> Result<Now, String> {
        let hook = self.config.hooks.iter().find(|hook| *hook.name == kept.hook);
        let hook = hook.ok_or_else(|| format!("no hook is called {} in this configuration", kept.hook))?;
        let headers = read_headers(&kept.headers);
        let reason = match &kept.reason {
            Some(QuarantineReason::Gate(reason)) => Some(*reason),
            _ => None,
        };
        let recorded = self.recorded(hook, &kept, &headers, reason)?;
        let (judged, now): (_, fn(Arrival) -> Now) = match judge_again(hook, recorded, &kept.body) {
            Judged::Ask(question) => (conclude(question, Outcome::Confirmed), Now::WantsConfirmation),
            judged => (judged, Now::Holds),
        };
        let delivery = match judged {
            Judged::Forward(delivery) if delivery.verdict() == Verdict::Accepted => delivery,
            Judged::Forward(delivery) => {
                return Err(delivery.reason().map_or("observed", Reason::code).to_owned());
            }
            Judged::Refuse(refusal) => return Err(refusal.reason.code().to_owned()),
            // Whoever was asked about is not asked about again.
            Judged::Ask(_) => return Err(Reason::NotConfirmed.code().to_owned()),
        };
        let overridden = reason.filter(|reason| self.waived.contains(reason)).map(Reason::code);
        let headers = marked(headers, &forward::headers(&delivery), overridden);
        let path = String::from_utf8_lossy(&kept.path).into_owned();
        Arrival::read(&path, &headers, kept.body.into()).map(now).map_err(|error| error.to_string())
    }

    fn recorded(
        &self,
        hook: &Arc<Hook>,
        kept: &Quarantined,
        headers: &HeaderMap,
        reason: Option<Reason>,
    ) -> Result<Recorded, String> {
        use Reason::{
            HeaderInvalid, SourceDenied, TokenAudience, TokenExpired, TokenMismatch, UnsupportedEncoding,
        };
        let waived = |reason: &Reason| self.waived.contains(reason);
        // The prompt that it was bound to is on no record: it is as it was found, where it still counts.
        if reason == Some(TokenMismatch) && hook.checks.prompt == Check::Enforce && !waived(&TokenMismatch) {
            return Err(TokenMismatch.code().to_owned());
        }
        let proofs =
            headers.get("blobgate-proofs").and_then(|proofs| proofs.to_str().ok()).unwrap_or_default();
        let held = |proof| proofs.split(',').any(|found| found == proof);
        let late =
            reason.filter(|reason| matches!(reason, TokenExpired | TokenAudience)).unwrap_or(TokenExpired);
        let token = match (kept.token_id.clone(), kept.job.clone()) {
            (None, _) => RecordedToken::Absent,
            (Some(id), job) if held("token") || waived(&late) => RecordedToken::Good(id, job),
            (Some(id), job) => RecordedToken::Late(late, id, job),
        };
        let of_head = |reason: &Reason| matches!(reason, SourceDenied | HeaderInvalid | UnsupportedEncoding);
        Ok(Recorded {
            flaw: reason.filter(of_head).filter(|reason| !waived(reason)),
            token,
            confirmed: held("confirmed"),
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
        headers.keys().filter(|name| name.as_str().starts_with("blobgate-")).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
    let overridden = overridden.map(|code| ("blobgate-override", code.into()));
    for (name, value) in set.iter().cloned().chain(overridden) {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    // A signature's id is the event's, once there is one.
    if let Some(key) = headers.get("idempotency-key").cloned()
        && headers.contains_key("webhook-id")
    {
        headers.insert("webhook-id", key);
    }
    headers
}

#[cfg(test)]
mod tests;
