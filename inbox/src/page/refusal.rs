//! Why the page refuses a request. Nothing has changed then.

use super::render::PageError;
use axum::http::StatusCode;
use thiserror::Error;

/// Why the page refuses a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum VisitRefusal {
    #[error("the session is over or was never begun, so nothing changed: sign in, and try again")]
    NotSignedIn,
    #[error(
        "the token of this session may read and not change, so nothing changed: sign in with a token of the role operate"
    )]
    NoRight,
    #[error("the Host header is missing or repeated: call the page by the address of the inbox")]
    NoHost,
    #[error(
        "the Origin or Sec-Fetch-Site header is of another site, so nothing changed: open the page itself. A proxy in front of it has to pass the Host header on"
    )]
    OtherSite,
    #[error(
        "the form is of another session or an older start of the inbox, so nothing changed: load the page again"
    )]
    OldForm,
    #[error("the body is no form, so nothing changed: use the page's own forms")]
    NoForm,
    #[error(
        "the form is larger than the page takes, so nothing changed: send a smaller one, or use the command line"
    )]
    LargeForm,
    #[error("a file of the form is no text, so nothing changed: send one in UTF-8")]
    NoText,
}

impl From<VisitRefusal> for PageError {
    fn from(refusal: VisitRefusal) -> Self {
        let (status, title) = match refusal {
            VisitRefusal::NotSignedIn => (StatusCode::UNAUTHORIZED, "You are not signed in"),
            VisitRefusal::NoRight => (StatusCode::FORBIDDEN, "Your token may not change anything"),
            VisitRefusal::NoHost => (StatusCode::BAD_REQUEST, "The address cannot be read"),
            VisitRefusal::OtherSite => (StatusCode::FORBIDDEN, "The request comes from another site"),
            VisitRefusal::OldForm => (StatusCode::FORBIDDEN, "The form is not valid any more"),
            VisitRefusal::NoForm => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "The request is no form"),
            VisitRefusal::NoText => (StatusCode::BAD_REQUEST, "The file cannot be read"),
            VisitRefusal::LargeForm => (StatusCode::PAYLOAD_TOO_LARGE, "The form is too large"),
        };
        Self::new(status, title, refusal.to_string())
    }
}
