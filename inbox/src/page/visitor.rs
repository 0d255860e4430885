//! The visitor of a request.

use crate::access::{Access, AccessRole, Caller, Session};
use serde::Serialize;

/// The visitor of a request. Templates get the fields that are not skipped.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Visitor {
    /// The name of its token.
    name: Option<String>,
    /// Whether it may see the views. A view of the sign-in has no navigation.
    admitted: bool,
    /// Whether it may change entries. The views show no buttons without it.
    pub(super) operates: bool,
    /// Whether the listener has tokens.
    sign_in: bool,
    /// The value that a form has to contain.
    csrf: String,
    #[serde(skip)]
    caller: Option<Caller>,
    #[serde(skip)]
    session: Option<Session>,
}

impl Visitor {
    /// A visitor without rights: before the sign-in, and of a problem before any check.
    pub(super) const fn nobody() -> Self {
        Self {
            name: None,
            admitted: false,
            operates: false,
            sign_in: true,
            csrf: String::new(),
            caller: None,
            session: None,
        }
    }

    /// A visitor on this machine, where the listener has no tokens.
    pub(super) fn local(access: &Access) -> Self {
        let caller = Caller::unnamed();
        Self {
            admitted: true,
            operates: true,
            sign_in: false,
            csrf: access.form_proof(),
            caller: Some(caller),
            ..Self::nobody()
        }
    }

    pub(super) fn signed_in(session: Session) -> Self {
        let caller = session.caller();
        Self {
            name: caller.name().map(ToOwned::to_owned),
            admitted: true,
            operates: caller.may(AccessRole::Operate),
            csrf: session.form_proof().to_owned(),
            caller: Some(caller.clone()),
            session: Some(session),
            ..Self::nobody()
        }
    }

    /// Who it is for `service`.
    pub(super) const fn caller(&self) -> Option<&Caller> {
        self.caller.as_ref()
    }

    pub(super) const fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    pub(super) fn form_proof(&self) -> &str {
        &self.csrf
    }

    /// Returns once the visitor may see no more: its session has expired, or it has signed out. A live view then ends.
    pub(super) async fn until_over(&self, access: &Access) {
        match &self.session {
            Some(session) => access.until_over(session).await,
            None => std::future::pending().await,
        }
    }
}
