//! The forms of the page: a handler gets a form only after its checks.

use super::refusal::VisitRefusal;
use super::render::PageError;
use super::visitor::Visitor;
use crate::access::Caller;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use hmac::digest::CtOutput;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use url::form_urlencoded;

/// The name of the hidden field of each form.
const PROOF: &str = "csrf";
/// A form with 500 ids has 10 kB, and one with a gate's configuration some more.
const MAX_FORM: usize = 2 << 20;

/// The fields of a form.
pub(super) type FormPairs = Vec<(String, String)>;

/// A form that its visitor sent from the page. As an extractor it needs a route behind [`super::admit::admit`].
#[derive(Clone, Debug)]
#[allow(dead_code, reason = "for the actions")]
pub(super) struct CheckedForm {
    caller: Caller,
    pairs: Arc<FormPairs>,
}

#[allow(dead_code, reason = "for the actions")]
impl CheckedForm {
    /// Reads the form of a visitor, and checks that the page gave it to this visitor.
    pub(super) async fn read(
        headers: &HeaderMap,
        body: Body,
        visitor: &Visitor,
    ) -> Result<Self, VisitRefusal> {
        let caller = visitor.caller().ok_or(VisitRefusal::NotSignedIn)?.clone();
        let mut pairs = read_pairs(headers, body, MAX_FORM).await?;
        let proofs: Vec<_> = pairs.extract_if(.., |(name, _)| name == PROOF).collect();
        match &*proofs {
            [(_, proof)] if is_equal(proof, visitor.form_proof()) => {
                Ok(Self { caller, pairs: Arc::new(pairs) })
            }
            _ => Err(VisitRefusal::OldForm),
        }
    }

    /// Who sent it.
    pub(super) const fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The fields without the proof.
    pub(super) fn pairs(&self) -> &[(String, String)] {
        &self.pairs
    }
}

impl<S: Sync> FromRequestParts<S> for CheckedForm {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, PageError> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| VisitRefusal::OldForm.into())
    }
}

/// Reads the fields of a form.
pub(super) async fn read_pairs(
    headers: &HeaderMap,
    body: Body,
    max: usize,
) -> Result<FormPairs, VisitRefusal> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(VisitRefusal::NoForm);
    }
    let body = Limited::new(body, max).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() { VisitRefusal::LargeForm } else { VisitRefusal::NoForm }
    })?;
    Ok(form_urlencoded::parse(&body.to_bytes()).into_owned().collect())
}

/// Compares in constant time.
fn is_equal(sent: &str, proof: &str) -> bool {
    let digest = |text: &str| CtOutput::<Sha256>::new(Sha256::digest(text));
    digest(sent) == digest(proof)
}
