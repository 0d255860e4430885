//! The commands that a person runs after a line of a log.

use super::config_name::config_name;
use super::log_line::{LogOrigin, LoggedLine};
use blobgate::Reason;
use blobgate::confirm::Outcome;
use blobgate::contract::is_request_id;
use blobgate::contract::token::is_name;
use blobgate::event::GenerationId;
use blobgate::reason::Stage;
use blobgate_inbox::service::split_detail;
use std::net::IpAddr;

/// The next commands. A value of the line is in one only if it has the form of its kind: a person may paste the command.
pub(super) fn next(line: &LoggedLine) -> Vec<String> {
    if line.field(&["not_loaded"]).is_some() {
        return vec![format!("blobgate check {}", config_name())];
    }
    let reason = line.field(&["reason", "request_reason"]).and_then(Reason::parse);
    let entry = line.field(&["entry"]).and_then(|entry| entry.parse::<u32>().ok());
    let mut next = Vec::new();
    if let Some(entry) = entry {
        next.push(format!("blobgate inbox show {entry}"));
        if line.field(&["reason"]).is_some() {
            next.push(format!("blobgate explain --config {} --entry {entry}", config_name()));
        }
    }
    let again = reason.filter(|_| entry.is_none()).and_then(|reason| request(line, reason));
    match (line.verdict(), reason) {
        // The inbox has nothing of a refused delivery. After a 503 the sender retries.
        (Some("refused"), reason) => {
            next.extend(again);
            let is_retried = line.origin != LogOrigin::Inbox && reason.is_some_and(|it| it.status() == 503);
            next.extend(why(line).filter(|_| is_retried));
        }
        _ => {
            next.extend(why(line));
            next.extend(again);
        }
    }
    next
}

/// The command that finds the delivery in the inbox.
fn why(line: &LoggedLine) -> Option<String> {
    let id = line.field(&["id", "generation_id", "generation"]).and_then(GenerationId::parse);
    let request_id = line.field(&["request_id"]).filter(|id| is_request_id(id));
    match (id, request_id) {
        (Some(id), _) => Some(format!("blobgate why {}", id.text())),
        (None, Some(request_id)) => Some(format!("blobgate why --request-id {request_id}")),
        (None, None) => None,
    }
}

/// The command that judges the same request again, if a rule of the gate's configuration is violated.
fn request(line: &LoggedLine, reason: Reason) -> Option<String> {
    if line.verdict() == Some("accepted") || reason.stage() == Stage::Forward {
        return None;
    }
    let hook = line.field(&["hook"]).filter(|hook| is_name(hook));
    let path = match (reason, hook) {
        (Reason::UnknownHook, _) => "--path /PATH".to_owned(),
        // Its token has a claim that the command's own tokens lack.
        (Reason::TokenMismatch, Some(_)) => "--path /PATH/TOKEN".to_owned(),
        (_, hook) => format!("--hook {}", hook?),
    };
    let source = line.field(&["source", "client"]).and_then(|source| source.parse::<IpAddr>().ok());
    let from = source.map(|source| format!(" --from {source}")).unwrap_or_default();
    let options = [head(line, reason), token(line, reason), confirm(line)].concat();
    let body = if reason == Reason::BodyMissing { "" } else { " --body BODY.json" };
    let config = config_name();
    Some(format!("blobgate explain --config {config} {path}{from}{options}{body}"))
}

/// The options for the head of the request.
fn head(line: &LoggedLine, reason: Reason) -> String {
    match reason {
        Reason::HttpsRequired => " --plaintext".to_owned(),
        Reason::MethodNotAllowed => {
            let is_method = |method: &str| {
                method.len() <= 16 && method.bytes().all(|byte| byte.is_ascii_uppercase()) && method != "POST"
            };
            let method = line.field(&["method"]).filter(|method| is_method(method));
            format!(" --method {}", method.unwrap_or("GET"))
        }
        Reason::UnsupportedEncoding => " --header 'content-encoding: gzip'".to_owned(),
        Reason::HeaderInvalid => {
            let field = line.field(&["detail"]).and_then(split_detail).map(|(field, ..)| field);
            let field = if field == Some("content-encoding") { "content-encoding" } else { "content-length" };
            format!(" --header '{field}: 1' --header '{field}: 2'")
        }
        _ => String::new(),
    }
}

/// The option for a token that the command makes in the place of the request's.
fn token(line: &LoggedLine, reason: Reason) -> String {
    let kind = match (reason, line.field(&["token"])) {
        (Reason::TokenExpired, _) | (_, Some("expired")) => "expired",
        (Reason::TokenAudience, _) | (_, Some("audience")) => "other-hook",
        (Reason::TokenInvalid, _) => "invalid",
        (_, Some("too-long" | "form" | "header" | "kid" | "algorithm" | "signature" | "claims")) => "invalid",
        _ => return String::new(),
    };
    if reason == Reason::TokenMismatch { String::new() } else { format!(" --token {kind}") }
}

fn confirm(line: &LoggedLine) -> String {
    let outcome = line.field(&["confirm"]);
    let outcome = Outcome::ALL.iter().find(|known| Some(known.name()) == outcome);
    outcome.map(|outcome| format!(" --confirm {}", outcome.name())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn explained(text: &str, expected: &[&str]) {
        assert_eq!(next(&LoggedLine::parse(text).unwrap()), expected, "{text}");
    }

    const ID: &str = "ffd473d5-5bef-4e14-bf22-8d559be3c19f";

    #[test]
    fn names_the_next_commands() {
        let line = |hook: &str, source: &str, id: &str| {
            format!(
                "blobgate verdict=refused reason=source-denied hook={hook} source={source} id={id} request_id=a"
            )
        };
        let again = "blobgate explain --config envoy.yaml --hook veo3";
        explained(
            &line("veo3", "203.0.113.9", "-"),
            &[&format!("{again} --from 203.0.113.9 --body BODY.json")],
        );
        // The inbox has nothing of a refused delivery.
        explained(&line("veo3", "-", ID), &[&format!("{again} --body BODY.json")]);
        let why = format!("blobgate why {ID}");
        explained(
            &line("veo3", "-", ID).replace("refused", "quarantined"),
            &[&why, &format!("{again} --body BODY.json")],
        );
        explained(&line("veo3", "-", ID).replace("refused", "accepted"), &[&why]);
        let retried =
            line("veo3", "-", ID).replace("source-denied", "confirm-unavailable") + " confirm=limited";
        explained(&retried, &[&format!("{again} --confirm limited --body BODY.json"), &why]);
        // A line is untrusted: no value without its form is in a command.
        explained(&line("$(id)", "`id`", ";id"), &[]);
        let inbox = r#"{"target":"blobgate_inbox::decide","reason":"token-reused","entry":17}"#;
        explained(inbox, &["blobgate inbox show 17", "blobgate explain --config envoy.yaml --entry 17"]);
        // There was no request.
        let text = format!(
            "[t INFO  blobgate_inbox::reconcile] reconciled hook=veo3 generation={ID}: no webhook came"
        );
        explained(&text, &[&why]);
    }

    #[test]
    fn takes_no_method_of_a_client_that_is_no_word() {
        for (method, expected) in [("PUT", "PUT"), ("$(ID)", "GET"), ("P UT", "GET"), ("post", "GET")] {
            let line = serde_json::json!({"reason": "method-not-allowed", "status": 405, "details": "d", "hook": "h", "method": method});
            let command =
                format!("blobgate explain --config envoy.yaml --hook h --method {expected} --body BODY.json");
            explained(&line.to_string(), &[&command]);
        }
    }
}
