//! Judges an entry in quarantine with today's configuration of the gate.

use crate::arrival::{Arrival, ArrivalError, read_headers};
use crate::entry::QuarantineReason;
use crate::store::QuarantinedEntry;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use blobgate::confirm::Outcome;
use blobgate::contract::signature::KEY_PREFIX;
use blobgate::contract::{Proof, Verdict, header};
use blobgate::hook::{Check, Hook};
use blobgate::policy::{Decision, OriginalFindings, OriginalToken, conclude, reevaluate};
use blobgate::reason::Stage;
use blobgate::request::ContentType;
use blobgate::{Config, Reason, forward};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::sync::Arc;
use thiserror::Error;

/// Today's configuration, and the reasons of the head that an operator overrides.
#[derive(Debug)]
pub(crate) struct Judge {
    config: Config,
    waived: BTreeSet<Reason>,
}

/// What an entry in quarantine is by today's configuration.
#[derive(Debug)]
pub(crate) enum Reevaluation {
    Passes(Arrival),
    /// It passes once the provider confirms it.
    NeedsConfirmation(Arrival),
}

/// Why a gate's configuration judges nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum ReevaluateError {
    #[error("{0}")]
    Config(String),
    #[error("{code:?} cannot be waived: only what the head shows can, {}", waivable().map(Reason::code).collect::<Vec<_>>().join(", "))]
    NotWaivable { code: String },
}

/// Why an entry does not pass.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum RuleFailure {
    #[error("no hook is called {0} in this configuration")]
    NoHook(String),
    #[error("{}", .0.code())]
    Reason(Reason),
    #[error("observed")]
    Observed,
    #[error(transparent)]
    NotOurs(#[from] ArrivalError),
}

/// Reasons that only the head shows, which the inbox does not store: an operator can override them.
pub(crate) fn waivable() -> impl Iterator<Item = Reason> {
    let of_head = Reason::ALL.iter().copied().filter(is_of_head);
    of_head.chain([Reason::TokenExpired, Reason::TokenAudience, Reason::TokenMismatch])
}

/// Whether the head breaks a rule, the token's aside. A body that is missing shows again.
fn is_of_head(reason: &Reason) -> bool {
    let is_of_stage = matches!(reason.stage(), Stage::Source | Stage::Request);
    is_of_stage && !reason.is_final() && *reason != Reason::BodyMissing
}

/// A key of either kind that nobody has, another for each variable: reevaluation verifies and signs nothing.
fn no_key(variable: &str) -> String {
    format!("{KEY_PREFIX}{}", STANDARD.encode(Sha256::digest(variable)))
}

impl Judge {
    /// Reads the gate's configuration, as JSON text, and reasons by their codes.
    pub(crate) fn new(config: &[u8], waived: &[String]) -> Result<Self, ReevaluateError> {
        let config = Config::load(config, &|name| Some(no_key(name)))
            .map_err(|error| ReevaluateError::Config(error.to_string()))?;
        let waived = waived.iter().map(|code| read_waivable(code)).collect::<Result<_, _>>()?;
        Ok(Self { config, waived })
    }

    /// What it is now, or why it stays.
    pub(crate) fn judge(&self, kept: QuarantinedEntry) -> Result<Reevaluation, RuleFailure> {
        let hook = self.config.hooks.iter().find(|hook| *hook.name == kept.hook);
        let hook = hook.ok_or_else(|| RuleFailure::NoHook(kept.hook.clone()))?;
        let headers = read_headers(&kept.headers);
        let reason = match &kept.reason {
            Some(QuarantineReason::Gate(reason)) => Some(*reason),
            _ => None,
        };
        let recorded = self.recorded(hook, &kept, &headers, reason)?;
        let (decided, now): (_, fn(Arrival) -> Reevaluation) = match reevaluate(hook, recorded, &kept.body) {
            Decision::Confirm(question) => {
                (conclude(question, Outcome::Confirmed), Reevaluation::NeedsConfirmation)
            }
            Decision::Forward(delivery) => (Ok(delivery), Reevaluation::Passes),
            Decision::Refuse(refusal) => (Err(refusal), Reevaluation::Passes),
        };
        let delivery = match decided {
            Ok(delivery) if delivery.verdict() == Verdict::Accepted => delivery,
            Ok(delivery) => return Err(delivery.reason().map_or(RuleFailure::Observed, RuleFailure::Reason)),
            Err(refusal) => return Err(RuleFailure::Reason(refusal.reason)),
        };
        let overridden = reason.filter(|reason| self.waived.contains(reason)).map(Reason::code);
        let headers = marked(headers, &forward::headers(&delivery), overridden);
        let path = String::from_utf8_lossy(&kept.path).into_owned();
        Ok(now(Arrival::read(&path, &headers, kept.body.into())?))
    }

    fn recorded(
        &self,
        hook: &Arc<Hook>,
        kept: &QuarantinedEntry,
        headers: &HeaderMap,
        reason: Option<Reason>,
    ) -> Result<OriginalFindings, RuleFailure> {
        use Reason::{TokenAudience, TokenExpired, TokenMismatch};
        let waived = |reason: &Reason| self.waived.contains(reason);
        // The prompt that it was bound to is on no record: it is as it was found, where it still counts.
        if reason == Some(TokenMismatch) && hook.checks.prompt == Check::Enforce && !waived(&TokenMismatch) {
            return Err(RuleFailure::Reason(TokenMismatch));
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
        Ok(OriginalFindings {
            violation: reason.filter(is_of_head).filter(|reason| !waived(reason)),
            token,
            confirmed: held(Proof::Confirmed),
            content_type: match headers.get("content-type").map(HeaderValue::as_bytes) {
                Some(b"application/json") => ContentType::Json,
                Some(other) if other.starts_with(b"application/json") => ContentType::JsonVariant,
                _ => ContentType::Other,
            },
        })
    }
}

fn read_waivable(code: &str) -> Result<Reason, ReevaluateError> {
    let reason = waivable().find(|reason| reason.code() == code);
    reason.ok_or_else(|| ReevaluateError::NotWaivable { code: code.to_owned() })
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
