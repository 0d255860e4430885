//! What a trust rule, a token and a payload come to, as one table.

use super::Decision;
use super::delivery::{Content, Delivery, Disposition, Refusal};
use super::evaluation::{Confirmed, Evaluation, Payload, Question};
use crate::Reason;
use crate::confirm::Outcome;
use crate::hook::Quarantine;
use crate::token::Token;
use crate::trust::{Answer, Trust};

/// Decides before any call to the status API.
pub(super) fn decide(evaluation: Evaluation) -> Decision {
    use Payload::{Invalid, Unreadable, Valid};
    use Token::{Absent, Bad, Good, Late};
    let Evaluation { admitted, body } = evaluation;
    let head = admitted.violation;
    match (admitted.hook.trust, &admitted.token, body.after(head)) {
        (Trust::Open, _, Valid(event)) => admitted.accept(event),
        (Trust::Open, _, Invalid(reason, event)) => admitted.reject(reason, Some(event.generation_id)),
        (Trust::Open, _, Unreadable(reason, id)) => admitted.reject(reason, id),

        (Trust::Confirmed, _, Valid(event)) => admitted.confirm(event, None),
        (Trust::Confirmed, _, Invalid(reason, event)) => admitted.confirm(event, Some(reason)),
        (Trust::Confirmed, _, Unreadable(reason, id)) => admitted.reject(reason, id),

        (Trust::Token | Trust::TokenOrConfirmed, Good(_), Valid(event)) => admitted.accept(event),
        (Trust::TokenAndConfirmed, Good(_), Valid(event)) => admitted.confirm(event, None),
        (_, Good(_), Invalid(reason, event)) => admitted.quarantine(reason, Content::Event(event)),
        (_, Good(_), Unreadable(reason, id)) => admitted.quarantine(reason, id.into()),

        (Trust::TokenOrConfirmed, Late(..), Valid(event)) => admitted.confirm(event, None),
        (_, Late(reason, _), payload) => {
            let reason = head.unwrap_or(*reason);
            admitted.quarantine(reason, payload.into())
        }

        (Trust::TokenOrConfirmed, Absent | Bad(_), Valid(event)) => admitted.confirm(event, None),
        (Trust::TokenOrConfirmed, Absent | Bad(_), Invalid(reason, event)) => {
            admitted.confirm(event, Some(reason))
        }
        (Trust::TokenOrConfirmed, Absent | Bad(_), Unreadable(reason, id)) => admitted.reject(reason, id),

        // `admit` refuses these at the head.
        (Trust::Token | Trust::TokenAndConfirmed, Absent, payload) => {
            admitted.reject(Reason::TokenMissing, Content::from(payload).generation_id())
        }
        (Trust::Token | Trust::TokenAndConfirmed, Bad(_), payload) => {
            admitted.reject(Reason::TokenInvalid, Content::from(payload).generation_id())
        }
    }
}

/// Decides by the status API. Where the hook has no quarantine, an authenticated sender fares as an unauthenticated one.
pub(super) fn conclude(question: Question, outcome: Outcome) -> Result<Delivery, Refusal> {
    let Question { admitted, event, violation } = question;
    let (reason, refused_for) = match (outcome.answer(), violation) {
        (Answer::Confirmed, None) => {
            return Ok(admitted.deliver(Disposition::Accepted(event), Confirmed::Yes));
        }
        (Answer::Confirmed, Some(reason)) => {
            return admitted.quarantine_as(reason, Content::Event(event), Confirmed::Yes);
        }
        (Answer::Contradicted, violation) => {
            (Reason::NotConfirmed, violation.unwrap_or(Reason::NotConfirmed))
        }
        (Answer::Unavailable, _) => (Reason::ConfirmUnavailable, Reason::ConfirmUnavailable),
    };
    let by_token = match &admitted.token {
        _ if !admitted.hook.trust.names_token() => None,
        Token::Good(_) => Some(violation.unwrap_or(reason)),
        Token::Late(late, _) => Some(admitted.violation.unwrap_or(*late)),
        Token::Absent | Token::Bad(_) => None,
    };
    match (admitted.hook.quarantine, by_token) {
        (Quarantine::Route, Some(reason)) => {
            let content = Content::Event(event);
            Ok(admitted.deliver(Disposition::Quarantined { reason, content }, Confirmed::No))
        }
        _ => Err(admitted.refuse(refused_for, Some(event.generation_id))),
    }
}
