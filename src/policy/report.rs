//! The reports of the stages. They run only for an observer that reads them.

use super::{AdmittedHead, Decision};
use crate::confirm::JudgedOutcome;
use crate::contract::Verdict;
use crate::enforcement::{Check, Mode};
use crate::event::{Claim, Event, InvalidPayload};
use crate::head::{Head, Hop};
use crate::hook::Hook;
use crate::json::Value;
use crate::reason::Stage;
use crate::source::Source;
use crate::token::Token;
use crate::trace::{Observer, StageReport, StageVerdict};
use crate::transport::Transport;
use crate::trust::Answer;
use crate::{Reason, Violation, mask, result_url as url};
use std::sync::Arc;

type Judged = Result<(), Violation>;

pub(super) fn hook(found: Result<&Arc<Hook>, Violation>, head: &Head<'_>) -> StageReport {
    match found {
        Ok(hook) => {
            let token = if hook.token.is_some() { "/{token}" } else { "" };
            let saw = format!("hook {} at {}{token}", hook.name, hook.path);
            StageReport::new(Stage::Hook, &saw, StageVerdict::Passed)
        }
        Err(violation) => {
            let path = mask::path(head.headers.first(":path"), None);
            StageReport::new(Stage::Hook, &format!("path {path}"), StageVerdict::Violated(violation))
        }
    }
}

pub(super) fn transport(hook: &Hook, head: &Head<'_>, judged: Judged) -> StageReport {
    let report = |saw: &str| StageReport::new(Stage::Transport, saw, verdict(hook, Check::Enforce, judged));
    match &hook.transport {
        Transport::Any => skipped(Stage::Transport, "transport is any"),
        Transport::TlsHere => report(if head.hop == Hop::Tls { "TLS" } else { "plaintext" }),
        Transport::BehindProxy(_) => {
            let peer = head.peer.map_or("unknown".into(), String::from_utf8_lossy);
            report(&format!("peer {peer}{}", shown(head, "x-forwarded-proto")))
        }
    }
}

pub(super) fn source(hook: &Hook, head: &Head<'_>, judged: Judged) -> StageReport {
    if matches!(hook.source, Source::Any) {
        return skipped(Stage::Source, "source is any");
    }
    let address = head.source.map_or("unknown".into(), String::from_utf8_lossy);
    StageReport::new(Stage::Source, &format!("address {address}"), verdict(hook, hook.checks.source, judged))
}

pub(super) fn request(hook: &Hook, head: &Head<'_>, judged: Judged) -> StageReport {
    let method = String::from_utf8_lossy(head.method);
    let headers = ["content-length", "content-encoding", "content-type"].map(|name| shown(head, name));
    let saw = format!("{method}{}", headers.concat());
    StageReport::new(Stage::Request, &saw, verdict(hook, Check::Enforce, judged))
}

pub(super) fn token(hook: &Hook, token: &Token) -> StageReport {
    if hook.token.is_none() {
        return skipped(Stage::Token, "the path takes no token");
    }
    // The store has the token's id, not its kid.
    let kid = token.kid().filter(|kid| !kid.is_empty()).map(|kid| format!(", kid {kid}"));
    let saw = format!("token is {}{}", token.outcome(), kid.unwrap_or_default());
    let checked = match token.rejection() {
        Some(violation) if hook.trust.names_token() => verdict(hook, hook.checks.trust, Err(violation)),
        Some(_) => StageVerdict::Skipped("the trust rule does not name the token"),
        None => StageVerdict::Passed,
    };
    match (token, hook.trust.needs_token()) {
        (Token::Absent, false) => skipped(Stage::Token, "the path has no token, and needs none"),
        _ => StageReport::new(Stage::Token, &saw, checked),
    }
}

/// The stages of the head of a reevaluated delivery.
pub(super) fn stored_head(admitted: &AdmittedHead, observer: &mut impl Observer) {
    for stage in [Stage::Transport, Stage::Source, Stage::Request] {
        observer.stage(|| match admitted.violation {
            Some(violation) if violation.reason.stage() == stage => {
                StageReport::new(stage, "the finding at arrival", StageVerdict::Violated(violation))
            }
            _ => skipped(stage, "judged at arrival"),
        });
    }
    observer.stage(|| token(&admitted.hook, &admitted.token));
}

pub(super) fn size(admitted: &AdmittedHead, size: usize) -> StageReport {
    let judged = verdict(&admitted.hook, Check::Enforce, admitted.check_size(size));
    StageReport::new(Stage::Size, &format!("{size} bytes"), judged)
}

pub(super) fn json(hook: &Hook, body: &[u8], parsed: Result<&Value<'_>, &Violation>) -> StageReport {
    let saw = match parsed {
        Ok(Value::Object(fields)) => format!("an object with {} keys", fields.len()),
        Ok(_) => "a value that is no object".to_owned(),
        Err(_) => format!("{} bytes", body.len()),
    };
    let judged = parsed.map(|_| ()).map_err(|violation| *violation);
    StageReport::new(Stage::Json, &saw, verdict(hook, Check::Enforce, judged))
}

pub(super) fn dialect(
    hook: &Hook,
    payload: &Value<'_>,
    read: Result<&Claim<'_>, &InvalidPayload>,
    drifted: Judged,
) -> StageReport {
    let (saw, judged) = match read {
        Ok(claim) if claim.drift.is_empty() => (format!("{}, no drift", claim.kind.name()), drifted),
        Ok(claim) => (format!("{}, drift {}", claim.kind.name(), claim.drift.names().join(",")), drifted),
        Err(unfit) => (format!("documented keys {}", documented(hook, payload)), Err(unfit.violation)),
    };
    StageReport::new(Stage::Dialect, &saw, verdict(hook, Check::Enforce, judged))
}

pub(super) fn generation_id(hook: &Hook, checked: Result<&Event, &InvalidPayload>) -> StageReport {
    let saw = checked.map_or_else(|_| "no id".to_owned(), |event| format!("id {}", event.generation_id));
    let judged = checked.map(|_| ()).map_err(|unfit| unfit.violation);
    StageReport::new(Stage::Event, &saw, verdict(hook, Check::Enforce, judged))
}

pub(super) fn result_url(hook: &Hook, text: &str, judged: Judged) -> StageReport {
    if matches!(hook.result_url, url::ResultUrl::Any) {
        return skipped(Stage::Event, "result_url is any");
    }
    let saw = match url::host(text) {
        Some(host) => format!("result host {host}"),
        None => "a result URL without a certain host".to_owned(),
    };
    StageReport::new(Stage::Event, &saw, verdict(hook, hook.checks.result_url, judged))
}

pub(super) fn prompt(hook: &Hook, token: &Token, judged: Judged) -> StageReport {
    let is_bound = token.claims().is_some_and(|claims| claims.prompt_hash.is_some());
    if !is_bound {
        return skipped(Stage::Event, "the token is bound to no prompt");
    }
    StageReport::new(Stage::Event, "the prompt", verdict(hook, hook.checks.prompt, judged))
}

/// The stage `confirm` of a delivery without a confirmation.
pub(super) fn unconfirmed(decision: &Decision) -> StageReport {
    let (hook, is_accepted) = match decision {
        Decision::Forward(delivery) => (Some(delivery.hook()), delivery.verdict() == Verdict::Accepted),
        Decision::Refuse(refusal) => (refusal.hook.as_ref(), false),
        Decision::Confirm(request) => (Some(request.hook()), false),
    };
    let why = match hook {
        Some(hook) if !hook.trust.names_confirmed() => "the trust rule does not name it",
        Some(hook) if hook.mode == Mode::Observe => "the hook only observes",
        Some(hook) if hook.checks.trust != Check::Enforce => "the check of the trust rule only observes",
        _ if is_accepted => "the token authenticates the sender",
        _ => "it cannot change the decision",
    };
    skipped(Stage::Confirm, why)
}

pub(super) fn confirmed(judged: JudgedOutcome) -> StageReport {
    let verdict = match judged.outcome.answer() {
        Answer::Confirmed => StageVerdict::Passed,
        Answer::Contradicted => StageVerdict::Violated(judged.violation(Reason::NotConfirmed)),
        Answer::Unavailable => StageVerdict::Violated(judged.violation(Reason::ConfirmUnavailable)),
    };
    StageReport::new(Stage::Confirm, &format!("outcome {}", judged.outcome.name()), verdict)
}

fn skipped(stage: Stage, why: &'static str) -> StageReport {
    StageReport::new(stage, "", StageVerdict::Skipped(why))
}

/// The verdict of a check with this setting, at a hook that may only observe.
fn verdict(hook: &Hook, check: Check, judged: Judged) -> StageVerdict {
    match judged {
        Err(violation) if hook.mode == Mode::Observe || check != Check::Enforce => {
            StageVerdict::Observed(violation)
        }
        judged => StageVerdict::of(judged),
    }
}

/// A header with its value, after a comma.
fn shown(head: &Head<'_>, name: &str) -> String {
    match head.headers.one(name) {
        Ok(Some(value)) => format!(", {name} {value}"),
        Ok(None) => format!(", no {name}"),
        Err(invalid) => format!(", {name} {}", invalid.found()),
    }
}

fn documented(hook: &Hook, payload: &Value<'_>) -> String {
    let known = hook.dialect.known().iter().map(|(key, _)| *key);
    known.filter(|key| payload.field(key).is_some()).collect::<Vec<_>>().join(",")
}
