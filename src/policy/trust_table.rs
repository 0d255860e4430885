//! The trust table: a trust rule, a token and a payload become a decision.

use super::Decision;
use super::delivery::{Content, Delivery, Disposition, Refusal};
use super::evaluation::{ConfirmationRequest, Confirmed, Evaluation, Payload};
use crate::Reason;
use crate::confirm::JudgedOutcome;
use crate::enforcement::Quarantine;
use crate::token::Token;
use crate::trust::{Answer, Trust};

/// Decides without a call to the status API.
pub(super) fn decide(evaluation: Evaluation) -> Decision {
    use Payload::{Invalid, Unreadable, Valid};
    use Token::{Absent, Good, OutOfScope};
    let Evaluation { admitted, body } = evaluation;
    let head = admitted.violation;
    match (admitted.hook.trust, &admitted.token, body.after(head)) {
        (Trust::Open, _, Valid(event)) => admitted.accept(event),
        (Trust::Open, _, Invalid(violation, event)) => admitted.reject(violation, Some(event.generation_id)),
        (Trust::Open, _, Unreadable(violation, id)) => admitted.reject(violation, id),

        (Trust::Confirmed, _, Valid(event)) => admitted.confirm(event, None),
        (Trust::Confirmed, _, Invalid(violation, event)) => admitted.confirm(event, Some(violation)),
        (Trust::Confirmed, _, Unreadable(violation, id)) => admitted.reject(violation, id),

        (Trust::Token | Trust::TokenOrConfirmed, Good(_), Valid(event)) => admitted.accept(event),
        (Trust::TokenAndConfirmed, Good(_), Valid(event)) => admitted.confirm(event, None),
        (
            Trust::Token | Trust::TokenOrConfirmed | Trust::TokenAndConfirmed,
            Good(_),
            Invalid(violation, event),
        ) => admitted.quarantine(violation, Content::Event(event)),
        (
            Trust::Token | Trust::TokenOrConfirmed | Trust::TokenAndConfirmed,
            Good(_),
            Unreadable(violation, id),
        ) => admitted.quarantine(violation, id.into()),

        (Trust::TokenOrConfirmed, OutOfScope { .. }, Valid(event)) => admitted.confirm(event, None),
        (
            Trust::Token | Trust::TokenOrConfirmed | Trust::TokenAndConfirmed,
            OutOfScope { violation, .. },
            payload,
        ) => {
            let violation = head.unwrap_or(*violation);
            admitted.quarantine(violation, payload.into())
        }

        (Trust::TokenOrConfirmed, Absent | Token::Invalid(_), Valid(event)) => admitted.confirm(event, None),
        (Trust::TokenOrConfirmed, Absent | Token::Invalid(_), Invalid(violation, event)) => {
            admitted.confirm(event, Some(violation))
        }
        (Trust::TokenOrConfirmed, Absent | Token::Invalid(_), Unreadable(violation, id)) => {
            admitted.reject(violation, id)
        }

        // `admit` has already refused these.
        (Trust::Token | Trust::TokenAndConfirmed, Absent | Token::Invalid(_), payload) => {
            let rejection = admitted.token.rejection().unwrap_or(Reason::TokenMissing.into());
            admitted.reject(rejection, Content::from(payload).generation_id())
        }
    }
}

/// Decides by the outcome of a confirmation. A hook without quarantine treats an authenticated sender as an unauthenticated one.
pub(super) fn conclude(request: ConfirmationRequest, judged: JudgedOutcome) -> Result<Delivery, Refusal> {
    let ConfirmationRequest { admitted, event, violation } = request;
    let (unconfirmed, refused_for) = match (judged.outcome.answer(), violation) {
        (Answer::Confirmed, None) => {
            return Ok(admitted.deliver(Disposition::Accepted(event), Confirmed::Yes));
        }
        (Answer::Confirmed, Some(violation)) => {
            return admitted.quarantine_as(violation, Content::Event(event), Confirmed::Yes);
        }
        (Answer::Contradicted, violation) => {
            let contradicted = judged.violation(Reason::NotConfirmed);
            (contradicted, violation.unwrap_or(contradicted))
        }
        (Answer::Unavailable, _) => {
            let unavailable = judged.violation(Reason::ConfirmUnavailable);
            (unavailable, unavailable)
        }
    };
    let by_token = match &admitted.token {
        _ if !admitted.hook.trust.names_token() => None,
        Token::Good(_) => Some(violation.unwrap_or(unconfirmed)),
        Token::OutOfScope { violation, .. } => Some(admitted.violation.unwrap_or(*violation)),
        Token::Absent | Token::Invalid(_) => None,
    };
    match (admitted.hook.quarantine, by_token) {
        (Quarantine::Route, Some(violation)) => {
            let content = Content::Event(event);
            Ok(admitted.deliver(Disposition::Quarantined { violation, content }, Confirmed::No))
        }
        _ => Err(admitted.refuse(refused_for, Some(event.generation_id))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::confirm::Outcome;
    use crate::event::{Event, GenerationId, Kind};
    use crate::request::ContentType;
    use crate::token::{Claims, TokenError};
    use crate::{Config, Violation};
    use blobgate_testkit_book::{check_page, table};
    use std::sync::Arc;

    fn config(trust: &str) -> Config {
        let token = if trust.contains("token") { "/{token}" } else { "" };
        let quarantine = if trust.contains("open") { "none" } else { "route" };
        let config = format!(
            r#"{{"version": 1, "environment": "test",
                "token": {{"keys": {{"hs": {{"alg": "HS256", "env": "KEY"}}}}}},
                "confirm": {{"cluster": "runblob_api", "authority": "platform.runblob.io"}},
                "hooks": [{{"name": "hook", "path": "/hook{token}", "dialect": "veo3", "source": "any",
                    "trust": {trust}, "result_url": "any", "quarantine": "{quarantine}"}}]}}"#
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
    fn refuses_without_a_token_where_the_rule_needs_one() {
        const VIOLATION: Violation = Violation { reason: Reason::ResultUrlDenied, detail: None };
        let tokens =
            TokenError::ALL.into_iter().map(|error| Token::Invalid(error.into())).chain([Token::Absent]);
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
                        assert_eq!(Some(refusal.violation), token.rejection(), "{shown}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_reference_has_each_cell() {
        let claims =
            || Box::new(Claims { kid: "k".into(), id: "t".to_owned(), job: None, prompt_hash: None });
        let tokens = [
            ("valid", Token::Good(claims())),
            (
                "expired, or of another hook",
                Token::OutOfScope { violation: Reason::TokenExpired.into(), claims: claims() },
            ),
            ("absent or invalid", Token::Absent),
        ];
        let rules = [
            ("`open`", r#""open""#),
            ("`{any_of: [token]}`", r#"{"any_of": ["token"]}"#),
            (
                "`{any_of: [confirmed], unprotected_budget: true}`",
                r#"{"any_of": ["confirmed"], "unprotected_budget": true}"#,
            ),
            ("`{any_of: [token, confirmed]}`", r#"{"any_of": ["token", "confirmed"]}"#),
            ("`{all_of: [token, confirmed]}`", r#"{"all_of": ["token", "confirmed"]}"#),
        ];
        let mut rows = Vec::new();
        for (shown, rule) in rules {
            let hook = Arc::clone(&config(rule).hooks[0]);
            let takes_token = hook.trust.names_token();
            for (name, token) in tokens.iter().filter(|(_, token)| takes_token || *token == Token::Absent) {
                let payloads = [
                    Payload::Valid(event()),
                    Payload::Invalid(VIOLATION, event()),
                    Payload::Unreadable(VIOLATION, None),
                ];
                let [valid, invalid, unreadable] = payloads.map(|body| cell(&hook, token, body));
                let name = if takes_token { *name } else { "any" };
                rows.push([shown.to_owned(), name.to_owned(), valid, invalid, unreadable]);
            }
        }
        let page = format!(
            "# Trust table\n\n\
             A hook's rule, the token and the body decide. A body is valid; invalid, with a readable id, status and URL; or\n\
             unreadable. A violation of the head, such as the address, counts like one of the body.\n\n\
             \"The violation\" stands for its [reason](reasons.md) and status. `token-missing` stands for `token-invalid` too, and\n\
             `token-expired` for `token-audience`. Where a cell has three ends, the gate calls the status API, and the\n\
             [answer](metrics.md#confirm-outcomes) decides. The table is for `quarantine: route`. With `quarantine: none` the gate\n\
             refuses each quarantined delivery.\n\n\
             A rule that needs a token refuses a delivery without a valid signature at the head, unless an earlier violation\n\
             comes first.\n\n{}",
            table(["`trust`", "token", "valid body", "invalid body", "unreadable body"], rows),
        );
        check_page("trust-table", &page);
    }

    /// A reason that neither a token nor a confirmation gives.
    const VIOLATION: Violation = Violation { reason: Reason::SchemaInvalid, detail: None };

    fn cell(hook: &Arc<crate::hook::Hook>, token: &Token, body: Payload) -> String {
        let admitted = || crate::policy::AdmittedHead {
            hook: Arc::clone(hook),
            violation: None,
            token: token.clone(),
            observed: Vec::new(),
            content_type: ContentType::Json,
        };
        match decide(Evaluation { admitted: admitted(), body }) {
            Decision::Forward(delivery) => shown(Ok(delivery)),
            Decision::Refuse(refusal) => shown(Err(refusal)),
            Decision::Confirm(request) => {
                let (event, violation) = (request.event, request.violation);
                let by = |outcome: Outcome| {
                    let (admitted, event) = (admitted(), event.clone());
                    shown(conclude(ConfirmationRequest { admitted, event, violation }, outcome.into()))
                };
                format!(
                    "if confirmed {}; if contradicted {}; if unavailable {}",
                    by(Outcome::Confirmed),
                    by(Outcome::Contradicted),
                    by(Outcome::Limited),
                )
            }
        }
    }

    fn shown(ended: Result<Delivery, Refusal>) -> String {
        let (verdict, reason) = match &ended {
            Ok(delivery) => (Some(delivery.verdict()), delivery.reason()),
            Err(refusal) => (None, Some(refusal.violation.reason)),
        };
        let named = match reason {
            Some(reason) if reason == VIOLATION.reason => "the violation".to_owned(),
            Some(reason) => format!("`{}`", reason.code()),
            None => String::new(),
        };
        match (verdict, reason) {
            (Some(crate::contract::Verdict::Accepted), _) => "accepted".to_owned(),
            (Some(verdict), _) => format!("{}: {named}", verdict.name()),
            (None, Some(reason)) if reason == VIOLATION.reason => "refused for the violation".to_owned(),
            (None, reason) => format!("{} {named}", reason.map_or(0, Reason::status)),
        }
    }
}
