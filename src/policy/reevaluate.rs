//! A quarantined delivery, judged again: its body by today's configuration, its head by the findings of its arrival.

use super::{AdmittedHead, Decision, conclude, decide};
use crate::Reason;
use crate::confirm::Outcome;
use crate::hook::Hook;
use crate::request::ContentType;
use crate::token::{Claims, Token};
use std::sync::Arc;

/// What the gate found when the delivery arrived.
#[derive(Clone, Debug)]
pub struct OriginalFindings {
    /// The first violation of its head, the token's aside.
    pub violation: Option<Reason>,
    /// Its token.
    pub token: OriginalToken,
    /// Whether the status API confirmed it.
    pub confirmed: bool,
    /// The content type that its head named.
    pub content_type: ContentType,
}

/// What the token of a delivery was worth when it arrived.
#[derive(Clone, Debug)]
pub enum OriginalToken {
    /// There was none, or an invalid one.
    Absent,
    /// It was authentic, and not valid then or for this hook: why, its id, its job.
    OutOfScope(Reason, String, Option<String>),
    /// It was valid: its id, its job.
    Good(String, Option<String>),
}

/// Judges the body again. [`Decision::Confirm`] where the status API has not confirmed the delivery yet, and must.
pub fn reevaluate(hook: &Arc<Hook>, findings: OriginalFindings, body: &[u8]) -> Decision {
    let admitted = AdmittedHead {
        hook: Arc::clone(hook),
        violation: findings.violation,
        token: findings.token.into(),
        observed: Vec::new(),
        content_type: findings.content_type,
    };
    match decide(admitted, body) {
        Decision::Confirm(request) if findings.confirmed => conclude(request, Outcome::Confirmed).into(),
        decision => decision,
    }
}

impl From<OriginalToken> for Token {
    fn from(original: OriginalToken) -> Self {
        // The store has neither the key nor the prompt that the token was bound to.
        let claims = |id, job| Box::new(Claims { kid: "".into(), id, job, prompt_hash: None });
        match original {
            OriginalToken::Absent => Token::Absent,
            OriginalToken::OutOfScope(reason, id, job) => {
                Token::OutOfScope { reason, claims: claims(id, job) }
            }
            OriginalToken::Good(id, job) => Token::Good(claims(id, job)),
        }
    }
}
