//! What a trust rule, a token and a payload come to, as one table.

use super::Decision;
use super::delivery::{Content, Delivery, Disposition, Refusal};
use super::evaluation::{ConfirmationRequest, Confirmed, Evaluation, Payload};
use crate::Reason;
use crate::confirm::Outcome;
use crate::enforcement::Quarantine;
use crate::token::Token;
use crate::trust::{Answer, Trust};

/// Decides before any call to the status API.
pub(super) fn decide(evaluation: Evaluation) -> Decision {
    use Payload::{Invalid, Unreadable, Valid};
    use Token::{Absent, Good, OutOfScope};
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
        (
            Trust::Token | Trust::TokenOrConfirmed | Trust::TokenAndConfirmed,
            Good(_),
            Invalid(reason, event),
        ) => admitted.quarantine(reason, Content::Event(event)),
        (
            Trust::Token | Trust::TokenOrConfirmed | Trust::TokenAndConfirmed,
            Good(_),
            Unreadable(reason, id),
        ) => admitted.quarantine(reason, id.into()),

        (Trust::TokenOrConfirmed, OutOfScope { .. }, Valid(event)) => admitted.confirm(event, None),
        (
            Trust::Token | Trust::TokenOrConfirmed | Trust::TokenAndConfirmed,
            OutOfScope { reason, .. },
            payload,
        ) => {
            let reason = head.unwrap_or(*reason);
            admitted.quarantine(reason, payload.into())
        }

        (Trust::TokenOrConfirmed, Absent | Token::Invalid(_), Valid(event)) => admitted.confirm(event, None),
        (Trust::TokenOrConfirmed, Absent | Token::Invalid(_), Invalid(reason, event)) => {
            admitted.confirm(event, Some(reason))
        }
        (Trust::TokenOrConfirmed, Absent | Token::Invalid(_), Unreadable(reason, id)) => {
            admitted.reject(reason, id)
        }

        // `admit` refuses these at the head.
        (Trust::Token | Trust::TokenAndConfirmed, Absent, payload) => {
            admitted.reject(Reason::TokenMissing, Content::from(payload).generation_id())
        }
        (Trust::Token | Trust::TokenAndConfirmed, Token::Invalid(_), payload) => {
            admitted.reject(Reason::TokenInvalid, Content::from(payload).generation_id())
        }
    }
}

/// Decides by the status API. Where the hook has no quarantine, an authenticated sender fares as an unauthenticated one.
pub(super) fn conclude(request: ConfirmationRequest, outcome: Outcome) -> Result<Delivery, Refusal> {
    let ConfirmationRequest { admitted, event, violation } = request;
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
        Token::OutOfScope { reason, .. } => Some(admitted.violation.unwrap_or(*reason)),
        Token::Absent | Token::Invalid(_) => None,
    };
    match (admitted.hook.quarantine, by_token) {
        (Quarantine::Route, Some(reason)) => {
            let content = Content::Event(event);
            Ok(admitted.deliver(Disposition::Quarantined { reason, content }, Confirmed::No))
        }
        _ => Err(admitted.refuse(refused_for, Some(event.generation_id))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use crate::event::{Event, GenerationId, Kind};
    use crate::request::ContentType;
    use crate::token::TokenError;
    use std::sync::Arc;

    const ERRORS: [TokenError; 7] = [
        TokenError::TooLong,
        TokenError::Form,
        TokenError::Header,
        TokenError::Kid,
        TokenError::Algorithm,
        TokenError::Signature,
        TokenError::Claims,
    ];

    fn config(trust: &str) -> Config {
        let config = format!(
            r#"{{"version": 1, "environment": "test",
                "token": {{"keys": {{"hs": {{"alg": "HS256", "env": "KEY"}}}}}},
                "confirm": {{"cluster": "runblob_api", "authority": "platform.runblob.io"}},
                "hooks": [{{"name": "hook", "path": "/hook/{{token}}", "dialect": "veo3", "source": "any",
                    "trust": {trust}, "result_url": "any", "quarantine": "route"}}]}}"#
        );
        Config::load(config.as_bytes(), &|_| Some("a key of the tests, of 32 bytes..".to_owned())).unwrap()
    }

    fn event() -> Event {
        Event {
            generation_id: GenerationId::parse("ffd473d5-5bef-4e14-bf22-8d559be3c19f").unwrap(),
            kind: Kind::Completed,
            failure: None,
            result_url: None,
            drift: crate::event::Drift::default(),
        }
    }

    #[test]
    fn a_rule_that_needs_a_token_refuses_without() {
        const VIOLATION: Reason = Reason::ResultUrlDenied;
        let tokens = ERRORS.into_iter().map(Token::Invalid).chain([Token::Absent]);
        let tokens: Vec<Token> = tokens.collect();
        for trust in [r#"{"any_of": ["token"]}"#, r#"{"all_of": ["token", "confirmed"]}"#] {
            let config = config(trust);
            let hook = &config.hooks[0];
            assert!(hook.trust.needs_token(), "{trust}");
            for token in &tokens {
                for violation in [None, Some(VIOLATION)] {
                    for body in [
                        Payload::Valid(event()),
                        Payload::Invalid(VIOLATION, event()),
                        Payload::Unreadable(VIOLATION, None),
                    ] {
                        let admitted = crate::policy::AdmittedHead {
                            hook: Arc::clone(hook),
                            violation,
                            token: token.clone(),
                            observed: Vec::new(),
                            content_type: ContentType::Json,
                        };
                        let shown = format!("{trust}, {token:?}, {violation:?}, {body:?}");
                        let decision = decide(Evaluation { admitted, body });
                        let Decision::Refuse(refusal) = decision else { panic!("{shown}: {decision:?}") };
                        assert_eq!(Some(refusal.reason), token.rejection(), "{shown}");
                    }
                }
            }
        }
    }
}
