//! Admits the visitors of the page.

use super::render::PageError;
use crate::access::{AccessRole, Caller};
use crate::admin::{Admin, Problem, check_host};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::sync::Arc;

/// The visitor of a request.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Visitor {
    /// The name of its token.
    name: Option<String>,
    /// Whether it may change entries. The views show no buttons without it.
    pub(super) operates: bool,
    /// Whether the listener has tokens.
    sign_in: bool,
    /// The value that a form has to contain.
    csrf: String,
    #[serde(skip)]
    caller: Option<Caller>,
}

impl Visitor {
    /// A visitor without rights, for a problem before any check.
    pub(super) const fn nobody() -> Self {
        Self { name: None, operates: false, sign_in: true, csrf: String::new(), caller: None }
    }

    /// Who it is for `service`.
    pub(super) const fn caller(&self) -> Option<&Caller> {
        self.caller.as_ref()
    }

    fn new(caller: Caller, csrf: String) -> Self {
        Self {
            name: caller.name().map(ToOwned::to_owned),
            operates: caller.may(AccessRole::Operate),
            sign_in: caller.name().is_some(),
            csrf,
            caller: Some(caller),
        }
    }
}

/// Admits a visitor to the views.
pub(super) async fn admit(State(admin): State<Arc<Admin>>, mut request: Request, next: Next) -> Response {
    if !admin.tokens.is_empty() {
        return PageError::from(Problem::NoToken).into_response();
    }
    if let Err(problem) = check_host(&request) {
        return PageError::from(problem).into_response();
    }
    request.extensions_mut().insert(Visitor::new(Caller::unnamed(), String::new()));
    next.run(request).await
}

impl<S: Sync> FromRequestParts<S> for Visitor {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, PageError> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| Problem::NoToken.into())
    }
}
