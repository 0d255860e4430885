//! Judges a quarantined delivery again: its body by today's configuration, its head by the findings at its arrival.

use super::{AdmittedHead, Decision, conclude, decide, report};
use crate::confirm::Outcome;
use crate::hook::Hook;
use crate::request::ContentType;
use crate::token::{Claims, Token};
use crate::trace::Observer;
use crate::{Reason, Violation};
use std::sync::Arc;

/// The gate's findings when the delivery arrived.
#[derive(Clone, Debug)]
pub struct OriginalFindings {
    /// The first violation of its head, without the token's.
    pub violation: Option<Reason>,
    /// Its token.
    pub token: OriginalToken,
    /// Whether the status API confirmed the event.
    pub confirmed: bool,
    /// The declared content type.
    pub content_type: ContentType,
}

/// The judged token of a delivery when it arrived.
#[derive(Clone, Debug)]
pub enum OriginalToken {
    /// The delivery had no token, or an invalid one.
    Absent,
    /// The token was authentic, but out of time or for another hook: the reason, its id, its job.
    OutOfScope(Reason, String, Option<String>),
    /// The token was valid: its id, its job.
    Good(String, Option<String>),
}

/// Judges the body again. [`Decision::Confirm`] means that the delivery still needs a confirmation.
pub fn reevaluate(
    hook: &Arc<Hook>,
    findings: OriginalFindings,
    body: &[u8],
    observer: &mut impl Observer,
) -> Decision {
    let admitted = AdmittedHead {
        hook: Arc::clone(hook),
        violation: findings.violation.map(Violation::from),
        token: findings.token.into(),
        observed: Vec::new(),
        content_type: findings.content_type,
    };
    report::stored_head(&admitted, observer);
    match decide(admitted, body, observer) {
        Decision::Confirm(request) if findings.confirmed => {
            conclude(request, Outcome::Confirmed, observer).into()
        }
        decision => decision,
    }
}

impl From<OriginalToken> for Token {
    fn from(original: OriginalToken) -> Self {
        // The store has neither the token's `kid` nor its prompt hash.
        let claims = |id, job| Box::new(Claims { kid: "".into(), id, job, prompt_hash: None });
        match original {
            OriginalToken::Absent => Token::Absent,
            OriginalToken::OutOfScope(reason, id, job) => {
                Token::OutOfScope { violation: reason.into(), claims: claims(id, job) }
            }
            OriginalToken::Good(id, job) => Token::Good(claims(id, job)),
        }
    }
}
