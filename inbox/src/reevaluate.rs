//! Reevaluates a quarantined entry with today's configuration of the gate.

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
use blobgate::{Config, Reason, Violation, forward};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use thiserror::Error;

/// Today's configuration, and the waived reasons.
#[derive(Debug)]
pub(crate) struct Judge {
    config: Config,
    waived: BTreeSet<Reason>,
}

/// The outcome of a reevaluation.
#[derive(Debug)]
pub(crate) enum ReevaluatedEntry {
    Passes(Arrival),
    /// It passes once the status API confirms it.
    NeedsConfirmation(Arrival),
}

/// Why a request to reevaluate is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum ReevaluateError {
    #[error("cannot load the gate's configuration: {0}")]
    Config(String),
    #[error("cannot waive {code:?}: use one of {}", waivable().map(Reason::code).collect::<Vec<_>>().join(", "))]
    NotWaivable { code: String },
}

/// Why an entry stays in quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum RuleFailure {
    #[error("this configuration has no hook {0}")]
    NoHook(String),
    #[error("{}{}", .0.reason.code(), .0.text().map(|detail| format!(": {detail}")).unwrap_or_default())]
    Violation(Violation),
    #[error("observed")]
    Observed,
    #[error(transparent)]
    NotOurs(#[from] ArrivalError),
}

/// The reasons that depend on the head alone. Of the head the store contains the client's address at most, so an operator can
/// waive them.
pub(crate) fn waivable() -> impl Iterator<Item = Reason> {
    let of_head = Reason::ALL.iter().copied().filter(is_of_head);
    of_head.chain([Reason::TokenExpired, Reason::TokenAudience, Reason::TokenMismatch])
}

/// Whether the head alone has the violation, the token's aside. A missing body shows in the entry.
fn is_of_head(reason: &Reason) -> bool {
    let is_of_stage = matches!(reason.stage(), Stage::Source | Stage::Request);
    is_of_stage && !reason.is_final() && *reason != Reason::BodyMissing
}

/// A valid but useless key for each variable: reevaluation verifies and signs nothing.
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

    /// Judges an entry.
    pub(crate) fn judge(&self, entry: QuarantinedEntry) -> Result<ReevaluatedEntry, RuleFailure> {
        let hook = self.config.hooks.iter().find(|hook| *hook.name == entry.hook);
        let hook = hook.ok_or_else(|| RuleFailure::NoHook(entry.hook.clone()))?;
        let headers = read_headers(&entry.headers);
        let reason = match &entry.reason {
            Some(QuarantineReason::Gate(reason)) => Some(*reason),
            _ => None,
        };
        let record = HeadRecord {
            headers: &headers,
            client: entry.client.as_deref(),
            token_id: entry.token_id.as_deref(),
            job: entry.job.as_deref(),
            reason,
        };
        let findings =
            record.findings(hook, &self.waived).map_err(|reason| RuleFailure::Violation(reason.into()))?;
        let (decided, outcome): (_, fn(Arrival) -> ReevaluatedEntry) =
            match reevaluate(hook, findings, &entry.body, &mut ()) {
                Decision::Confirm(question) => {
                    (conclude(question, Outcome::Confirmed, &mut ()), ReevaluatedEntry::NeedsConfirmation)
                }
                Decision::Forward(delivery) => (Ok(delivery), ReevaluatedEntry::Passes),
                Decision::Refuse(refusal) => (Err(refusal), ReevaluatedEntry::Passes),
            };
        let delivery = match decided {
            Ok(delivery) if delivery.verdict() == Verdict::Accepted => delivery,
            Ok(delivery) => {
                return Err(delivery.violation().map_or(RuleFailure::Observed, RuleFailure::Violation));
            }
            Err(refusal) => return Err(RuleFailure::Violation(refusal.violation)),
        };
        let overridden = reason.filter(|reason| self.waived.contains(reason)).map(Reason::code);
        let mut headers = with_gate_headers(headers, &forward::headers(&delivery), overridden);
        entry.ids.set(&mut headers);
        let path = String::from_utf8_lossy(&entry.path).into_owned();
        Ok(outcome(Arrival::read(&path, &headers, entry.body.into())?))
    }
}

/// The stored record of a delivery's head.
pub(crate) struct HeadRecord<'a> {
    pub(crate) headers: &'a HeaderMap,
    /// The client's address.
    pub(crate) client: Option<&'a str>,
    pub(crate) token_id: Option<&'a str>,
    pub(crate) job: Option<&'a str>,
    /// The gate's reason for a quarantine.
    pub(crate) reason: Option<Reason>,
}

impl HeadRecord<'_> {
    /// The gate's findings when the delivery arrived, for a hook of today's configuration.
    ///
    /// # Errors
    /// The violation that stands, because the store does not have the part of the head that it is about.
    pub(crate) fn findings(
        &self,
        hook: &Hook,
        waived: &BTreeSet<Reason>,
    ) -> Result<OriginalFindings, Reason> {
        use Reason::{TokenAudience, TokenExpired, TokenMismatch};
        let waived = |reason: &Reason| waived.contains(reason);
        // The store does not contain the prompt that the token is bound to, so the old violation stands.
        if self.reason == Some(TokenMismatch)
            && hook.checks.prompt == Check::Enforce
            && !waived(&TokenMismatch)
        {
            return Err(TokenMismatch);
        }
        let headers = self.headers;
        let proofs = headers.get(header::PROOFS).and_then(|proofs| proofs.to_str().ok()).unwrap_or_default();
        let has = |proof: Proof| proofs.split(',').any(|found| found == proof.name());
        let scope_violation = self
            .reason
            .filter(|reason| matches!(reason, TokenExpired | TokenAudience))
            .unwrap_or(TokenExpired);
        let token = match (self.token_id.map(str::to_owned), self.job.map(str::to_owned)) {
            (None, _) => OriginalToken::Absent,
            (Some(id), job) if has(Proof::Token) || waived(&scope_violation) => OriginalToken::Good(id, job),
            (Some(id), job) => OriginalToken::OutOfScope(scope_violation, id, job),
        };
        let client = self.client.and_then(|client| client.parse().ok());
        let is_allowed = |reason: &Reason| {
            *reason == Reason::SourceDenied && client.is_some_and(|client| hook.source.allows(client))
        };
        Ok(OriginalFindings {
            violation: self.reason.filter(is_of_head).filter(|reason| !waived(reason) && !is_allowed(reason)),
            token,
            confirmed: has(Proof::Confirmed),
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

/// Replaces the gate headers by those of an accepted event.
pub(crate) fn with_gate_headers(
    mut headers: HeaderMap,
    set: &[(&'static str, std::borrow::Cow<'_, str>)],
    overridden: Option<&str>,
) -> HeaderMap {
    let old: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with(header::PREFIX)).cloned().collect();
    for name in old {
        headers.remove(name);
    }
    let overridden = overridden.map(|code| (header::OVERRIDE, code.into()));
    for (name, value) in set.iter().cloned().chain(overridden) {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    // The id of a signature is the event's idempotency key.
    if let Some(key) = headers.get(header::IDEMPOTENCY_KEY).cloned()
        && headers.contains_key(header::WEBHOOK_ID)
    {
        headers.insert(header::WEBHOOK_ID, key);
    }
    headers
}

#[cfg(test)]
mod tests;
