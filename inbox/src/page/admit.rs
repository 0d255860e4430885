//! Admits the visitors of the page: each request passes here before a view.

use super::cookie::session_cookie;
use super::form::CheckedForm;
use super::next::{elsewhere, sign_in_at};
use super::refusal::VisitRefusal;
use super::render::PageError;
use super::site::{self, RequestSite, WrongHost};
use super::visitor::Visitor;
use crate::access::unix_now;
use crate::admin::{Admin, Problem};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

/// Admits a visitor, and reads the form of a request that may change something.
pub(super) async fn admit(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    let request = match admitted(&admin, request).await {
        Ok(request) => request,
        Err(answer) => return *answer,
    };
    let visitor = request.extensions().get::<Visitor>().cloned().unwrap_or(Visitor::nobody());
    PageError::shown_to(&visitor, next.run(request).await)
}

/// Refuses changes by visitors who only read. Each view's change needs it.
pub(super) async fn require_operator(visitor: Visitor, request: Request, next: Next) -> Response {
    if request.method().is_safe() || visitor.operates {
        return next.run(request).await;
    }
    PageError::from(VisitRefusal::NoRight).into_response()
}

async fn admitted(admin: &Admin, request: Request) -> Result<Request, Box<Response>> {
    let (mut parts, body) = request.into_parts();
    let site = check_site(admin, &parts)?;
    let visitor = if admin.access.has_tokens() {
        let cookie = session_cookie(&parts.headers, site::has_tls(&parts.headers));
        match cookie.and_then(|cookie| admin.access.session(cookie, unix_now())) {
            Some(session) => Visitor::signed_in(session),
            None => return Err(Box::new(ask_to_sign_in(&parts, site))),
        }
    } else {
        Visitor::local(&admin.access)
    };
    if parts.method.is_safe() {
        parts.extensions.insert(visitor);
        return Ok(Request::from_parts(parts, body));
    }
    let form = CheckedForm::read(&parts, body, &visitor).await.map_err(refuse)?;
    parts.extensions.insert(visitor);
    parts.extensions.insert(form);
    Ok(Request::from_parts(parts, axum::body::Body::empty()))
}

/// Refuses requests of other sites. Without tokens, a name in Host is one.
pub(super) fn check_site(admin: &Admin, parts: &Parts) -> Result<RequestSite, Box<Response>> {
    let host = if admin.access.has_tokens() { site::host(parts) } else { site::local_host(parts) };
    let host = host.map_err(|wrong| match wrong {
        WrongHost::None => refuse(VisitRefusal::NoHost),
        WrongHost::Name => Box::new(PageError::from(Problem::HostName).into_response()),
    })?;
    match site::site_of(parts, host) {
        RequestSite::Other => Err(refuse(VisitRefusal::OtherSite)),
        site => Ok(site),
    }
}

/// A form and a stream get 401, and a person the sign-in.
fn ask_to_sign_in(parts: &Parts, site: RequestSite) -> Response {
    let accepts = parts.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let is_stream = accepts.is_some_and(|accepts| accepts.contains("text/event-stream"));
    if !parts.method.is_safe() || is_stream {
        return PageError::from(VisitRefusal::NotSignedIn).into_response();
    }
    let path = parts.uri.path_and_query().map_or(super::HOME, |path| path.as_str());
    match site {
        RequestSite::Link => elsewhere(path).into_response(),
        _ => sign_in_at(path).into_response(),
    }
}

pub(super) fn refuse(refusal: VisitRefusal) -> Box<Response> {
    Box::new(PageError::from(refusal).into_response())
}

impl<S: Sync> FromRequestParts<S> for Visitor {
    type Rejection = PageError;

    /// A request without a visitor has passed no check, so it gets 401.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, PageError> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| VisitRefusal::NotSignedIn.into())
    }
}
