//! The sign-in with a token, and the sign-out.

use super::admit::{check_site, refuse};
use super::form::read_pairs;
use super::next::safe_next;
use super::render::{NavPlace, render};
use super::visitor::Visitor;
use super::{HOME, PageState, SIGN_IN, cookie, site};
use crate::access::{SignInRefusal, unix_now};
use crate::line_limit::permits;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Serialize;
use std::time::Duration;
use tokio::sync::Semaphore;

/// A token and a path.
const MAX_FORM: usize = 8 << 10;
/// The time until the answer to a wrong token.
const WRONG_PAUSE: Duration = Duration::from_secs(1);
/// The wrong tokens that wait at once. Others get 429. A right token never waits: nobody can lock the operators out.
static WRONG: Semaphore = Semaphore::const_new(16);

#[derive(Serialize)]
struct SignInView {
    next: String,
    wrong: Option<&'static str>,
}

/// Asks for the token. A visitor with a session, and one where no sign-in is configured, goes on.
pub(super) async fn ask(
    State(admin): PageState,
    Query(pairs): Query<Vec<(String, String)>>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    if let Err(refused) = check_site(&admin, &parts) {
        return *refused;
    }
    let next = next_of(&pairs);
    let cookie = cookie::session_cookie(&parts.headers, site::has_tls(&parts.headers));
    let has_session = cookie.is_some_and(|cookie| admin.access.session(cookie, unix_now()).is_some());
    if has_session || !admin.access.has_tokens() {
        return Redirect::to(&next).into_response();
    }
    show(StatusCode::OK, next, None)
}

/// Begins a session. An Origin of another site is refused, so that it cannot sign a visitor in.
pub(super) async fn sign_in(State(admin): PageState, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if let Err(refused) = check_site(&admin, &parts) {
        return *refused;
    }
    if !admin.access.has_tokens() {
        return Redirect::to(HOME).into_response();
    }
    let pairs = match read_pairs(&parts.headers, body, MAX_FORM).await {
        Ok(pairs) => pairs,
        Err(refusal) => return *refuse(refusal),
    };
    let next = next_of(&pairs);
    let mut tokens = pairs.iter().filter(|(name, _)| name == "token").map(|(_, value)| value.trim_ascii());
    let token = tokens.next().filter(|_| tokens.next().is_none()).unwrap_or_default();
    match admin.access.sign_in(token.as_bytes(), unix_now()) {
        Ok(signed_in) => {
            let name = signed_in.session.caller().name().unwrap_or_default();
            tracing::info!(token = name, "signed in token={name}");
            let set = cookie::set(&signed_in.cookie, site::has_tls(&parts.headers));
            let mut response = Redirect::to(&next).into_response();
            response.headers_mut().extend(set.map(|set| (header::SET_COOKIE, set)));
            response
        }
        Err(refusal) => wrong(refusal, next).await,
    }
}

/// Ends the session. Its form has the proof of the session, as every form.
pub(super) async fn sign_out(State(admin): PageState, visitor: Visitor) -> Response {
    if let Some(session) = visitor.session() {
        admin.access.sign_out(session, unix_now());
    }
    let mut response = Redirect::to(SIGN_IN).into_response();
    response.headers_mut().extend(cookie::remove().map(|removed| (header::SET_COOKIE, removed)));
    response
}

async fn wrong(refusal: SignInRefusal, next: String) -> Response {
    let (code, status, sentence) = match refusal {
        SignInRefusal::WrongToken => {
            ("wrong-token", StatusCode::FORBIDDEN, "No admin token is equal to this one. Try again.")
        }
        SignInRefusal::NoVisitor => (
            "no-visitor",
            StatusCode::FORBIDDEN,
            "This token announces generations, and nothing else. Use one with the role read or operate.",
        ),
    };
    if permits(("sign-in", code)) {
        tracing::warn!(reason = code, "refused a sign-in reason={code}");
    }
    let Ok(_waits) = WRONG.try_acquire() else {
        const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");
        let sentence = "Many wrong tokens come now. Try again in a second.";
        let mut response = show(StatusCode::TOO_MANY_REQUESTS, next, Some(sentence));
        response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        return response;
    };
    tokio::time::sleep(WRONG_PAUSE).await;
    show(status, next, Some(sentence))
}

fn show(status: StatusCode, next: String, wrong: Option<&'static str>) -> Response {
    let page = render("sign_in.html", &Visitor::nobody(), NavPlace::Nowhere, &SignInView { next, wrong });
    (status, page).into_response()
}

fn next_of(pairs: &[(String, String)]) -> String {
    let next = pairs.iter().find(|(name, _)| name == "next").map(|(_, value)| value.as_str());
    safe_next(next.unwrap_or(HOME))
}
