//! The forms of the page: a handler gets a form only after its checks.

use super::refusal::VisitRefusal;
use super::render::PageError;
use super::visitor::Visitor;
use crate::access::Caller;
use axum::body::Body;
use axum::extract::multipart::MultipartError;
use axum::extract::{FromRequest, FromRequestParts, Multipart, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use hmac::digest::CtOutput;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use url::form_urlencoded;

/// The name of the hidden field of each form.
const PROOF: &str = "csrf";
/// A form with 500 ids has 10 kB.
const MAX_FORM: usize = 1 << 20;
/// A form with a file: a gate's configuration, as the API takes it.
const MAX_FILE_FORM: usize = 64 << 20;

/// The fields of a form.
pub(super) type FormPairs = Vec<(String, String)>;

/// A form that its visitor sent from the page. As an extractor it needs a route behind [`super::admit::admit`].
#[derive(Clone)]
pub(super) struct CheckedForm {
    caller: Caller,
    pairs: Arc<FormPairs>,
}

impl CheckedForm {
    /// Reads the form of a visitor, and checks that the page gave it to this visitor. Only operators send files.
    pub(super) async fn read(parts: &Parts, body: Body, visitor: &Visitor) -> Result<Self, VisitRefusal> {
        let caller = visitor.caller().ok_or(VisitRefusal::NotSignedIn)?.clone();
        let mut pairs = match kind(&parts.headers) {
            Some("multipart/form-data") if visitor.operates => read_files(parts, body).await?,
            Some("multipart/form-data") => return Err(VisitRefusal::NoRight),
            _ => read_pairs(&parts.headers, body, MAX_FORM).await?,
        };
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
    if kind(headers) != Some("application/x-www-form-urlencoded") {
        return Err(VisitRefusal::NoForm);
    }
    let body = Limited::new(body, max).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() { VisitRefusal::LargeForm } else { VisitRefusal::NoForm }
    })?;
    Ok(form_urlencoded::parse(&body.to_bytes()).into_owned().collect())
}

/// Reads the fields and the files of a form, each as a text under the name of its field.
async fn read_files(parts: &Parts, body: Body) -> Result<FormPairs, VisitRefusal> {
    let mut request = Request::new(Body::new(Limited::new(body, MAX_FILE_FORM)));
    *request.headers_mut() = parts.headers.clone();
    // They end axum's own limit of 2 MB.
    *request.extensions_mut() = parts.extensions.clone();
    let refusal = |error: MultipartError| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => VisitRefusal::LargeForm,
        _ => VisitRefusal::NoForm,
    };
    let mut fields = Multipart::from_request(request, &()).await.map_err(|_| VisitRefusal::NoForm)?;
    let mut pairs = FormPairs::new();
    while let Some(field) = fields.next_field().await.map_err(refusal)? {
        let name = field.name().unwrap_or_default().to_owned();
        let bytes = field.bytes().await.map_err(refusal)?;
        pairs.push((name, String::from_utf8(bytes.into()).map_err(|_| VisitRefusal::NoText)?));
    }
    Ok(pairs)
}

/// The media type of the body.
fn kind(headers: &HeaderMap) -> Option<&str> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    kind.split(';').next().map(str::trim)
}

/// Compares in constant time.
fn is_equal(sent: &str, proof: &str) -> bool {
    let digest = |text: &str| CtOutput::<Sha256>::new(Sha256::digest(text));
    digest(sent) == digest(proof)
}
