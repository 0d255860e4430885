//! What the gate hands over: one delivery, with what it marked it with.

use crate::entry::{Fingerprint, Origin, QuarantineReason};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use blobgate::contract::token::is_like_digest;
use blobgate::contract::{header, is_key_of, is_understood};
use blobgate::dialect::Dialect;
use blobgate::event::{GenerationId, Kind};
use blobgate::json;
use blobgate::policy::Verdict;
use bytes::Bytes;
use fluent_uri::Uri;
use sha2::{Digest, Sha256};
use thiserror::Error;

/// A delivery that the gate let through.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) verdict: Verdict,
    pub(crate) hook: String,
    /// In its canonical form.
    pub(crate) generation: Option<String>,
    /// What happened; of what is quarantined, what it claims.
    pub(crate) fingerprint: Option<Fingerprint>,
    pub(crate) origin: Origin,
    /// Why it is quarantined.
    pub(crate) reason: Option<QuarantineReason>,
    pub(crate) token: Option<ArrivalToken>,
    pub(crate) job: Option<String>,
    /// Whether its sender was authenticated.
    pub(crate) authenticated: bool,
    /// SHA-256 of the body.
    pub(crate) digest: [u8; 32],
    /// The path that it came to, without its token.
    pub(crate) path: String,
    /// Those that go on, as lines `name: value`.
    pub(crate) headers: Vec<u8>,
    pub(crate) body: Bytes,
}

/// A callback token, by its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ArrivalToken {
    pub(crate) id: String,
    /// Whether it is one generation's alone. One without `jti` and `job` is a static callback URL.
    pub(crate) binds: bool,
}

/// Why a request is not stored. All of them are 503: the sender has done nothing wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum ArrivalError {
    #[error("it was not marked by a gate (blobgate-verdict, blobgate-hook)")]
    NotMarked,
    #[error("its gate speaks another version of the headers (blobgate-contract)")]
    Contract,
    #[error("it is one of the inbox's own deliveries: its service routes lead back here")]
    Loop,
    #[error("a header that decides something is repeated or not as the gate writes it")]
    Header,
}

/// Deeper than any hook may allow.
pub(crate) const MAX_DEPTH: usize = 128;

impl Arrival {
    /// Reads what the gate sent.
    pub(crate) fn read(path: &str, headers: &HeaderMap, body: Bytes) -> Result<Self, ArrivalError> {
        if headers.contains_key(header::ATTEMPT) {
            return Err(ArrivalError::Loop);
        }
        let verdict = one(headers, header::VERDICT)?.ok_or(ArrivalError::NotMarked)?;
        let verdict = Verdict::parse(verdict).ok_or(ArrivalError::Header)?;
        if !one(headers, header::CONTRACT)?.is_some_and(is_understood) {
            return Err(ArrivalError::Contract);
        }
        let text = |name| one(headers, name).map(|value| value.map(str::to_owned));
        let hook = text(header::HOOK)?.ok_or(ArrivalError::NotMarked)?;
        let dialect =
            one(headers, header::DIALECT)?.and_then(Dialect::by_name).ok_or(ArrivalError::Header)?;
        let generation = match one(headers, header::GENERATION_ID)? {
            Some(id) => Some(GenerationId::parse(id).ok_or(ArrivalError::Header)?.to_string()),
            None => None,
        };
        let event = one(
            headers,
            match verdict {
                Verdict::Quarantined => header::CLAIMED_EVENT,
                Verdict::Accepted | Verdict::Observed => header::EVENT,
            },
        )?;
        let event = event.map(|event| Kind::parse(event).ok_or(ArrivalError::Header)).transpose()?;
        let reason = one(headers, header::REASON)?.map(QuarantineReason::parse);
        let job = text(header::JOB)?;
        let complete = match verdict {
            Verdict::Accepted => event.is_some() && generation.is_some(),
            Verdict::Quarantined => reason.is_some(),
            Verdict::Observed => true,
        };
        if !complete {
            return Err(ArrivalError::NotMarked);
        }
        let token = text(header::TOKEN_ID)?
            .map(|id| ArrivalToken { binds: job.is_some() || !is_like_digest(&id), id });
        let digest = Sha256::digest(&body).into();
        let code = one(headers, header::ERROR_CODE)?;
        Ok(Self {
            verdict,
            hook,
            generation,
            fingerprint: event.map(|event| fingerprint(dialect, event, code, &body)),
            origin: Origin::Webhook,
            reason,
            token,
            job,
            authenticated: headers.contains_key(header::PROOFS),
            digest,
            path: path.to_owned(),
            headers: kept_headers(headers),
            body,
        })
    }

    /// What happened; of what is quarantined, what it claims.
    pub(crate) fn event(&self) -> Option<Kind> {
        self.fingerprint.as_ref().map(Fingerprint::kind)
    }

    /// The same, not sent but fetched.
    pub(crate) fn reconciled(self) -> Self {
        Self { origin: Origin::Reconcile, ..self }
    }

    /// Whether it is what this `webhook-id` names. Of what is not accepted it decides nothing.
    pub(crate) fn fits(&self, id: Option<&HeaderValue>) -> bool {
        let (Verdict::Accepted, Some(generation), Some(event)) =
            (self.verdict, &self.generation, self.event())
        else {
            return true;
        };
        id.and_then(|id| id.to_str().ok()).is_some_and(|id| is_key_of(id, generation, event))
    }

    /// What it takes in the store, in bytes.
    pub(crate) fn size(&self) -> i64 {
        let bytes = self.path.len().saturating_add(self.headers.len()).saturating_add(self.body.len());
        i64::try_from(bytes).unwrap_or(i64::MAX)
    }
}

/// The one value of a header that decides something, in visible ASCII.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, ArrivalError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match (values.next(), value.to_str()) {
        (None, Ok(value)) => Ok(Some(value)),
        _ => Err(ArrivalError::Header),
    }
}

/// Where a video is stays for as long as a repeat is to be recognised, and so only as a digest: it is somebody's.
fn fingerprint(dialect: Dialect, event: Kind, code: Option<&str>, body: &[u8]) -> Fingerprint {
    let code = || code.unwrap_or_default().to_owned();
    match event {
        // Without a place it is what was released as completed: then the body tells it from another.
        Kind::Completed => Fingerprint::Completed(match result_place(dialect, body) {
            Some(place) => hex::encode(Sha256::digest(place)),
            None => hex::encode(Sha256::digest(body)),
        }),
        Kind::Failed => Fingerprint::Failed(code()),
        Kind::Timeout => Fingerprint::Timeout(code()),
    }
}

/// Queries are left out: a signed URL has another one each time.
fn result_place(dialect: Dialect, body: &[u8]) -> Option<String> {
    let payload = json::parse(body, MAX_DEPTH, dialect.known()).ok()?;
    let url = dialect.result_url(&payload)?.to_owned();
    let Ok(parsed) = Uri::parse(url.as_str()) else { return Some(url) };
    let authority = parsed.authority().map(|authority| authority.as_str().to_ascii_lowercase());
    let (scheme, path) = (parsed.scheme().as_str().to_ascii_lowercase(), parsed.path());
    Some(format!("{scheme}://{}{path}", authority.unwrap_or_default()))
}

/// What goes on to a service. The signature's time and value are made anew for each attempt.
fn goes_on(name: &HeaderName) -> bool {
    let known = ["content-type", header::IDEMPOTENCY_KEY, header::WEBHOOK_ID];
    name.as_str().starts_with(header::PREFIX) || known.contains(&name.as_str())
}

fn kept_headers(headers: &HeaderMap) -> Vec<u8> {
    let mut lines = Vec::new();
    for (name, value) in headers.iter().filter(|(name, _)| goes_on(name)) {
        lines.extend_from_slice(name.as_str().as_bytes());
        lines.extend_from_slice(b": ");
        lines.extend_from_slice(value.as_bytes());
        lines.extend_from_slice(b"\r\n");
    }
    lines
}

/// The headers of an entry, as they came.
pub(crate) fn read_headers(lines: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    // A value of HTTP has no line break in it.
    for line in lines.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b": ").unwrap_or_default();
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str) -> String {
        let body = format!(
            r#"{{"generation_id":"ffd473d5-5bef-4e14-bf22-8d559be3c19f","status":"completed","video_url":"{url}"}}"#
        );
        let Fingerprint::Completed(digest) =
            fingerprint(Dialect::Veo3, Kind::Completed, None, body.as_bytes())
        else {
            panic!("{body}")
        };
        digest
    }

    #[test]
    fn a_completion_is_told_by_where_its_video_is() {
        let one = of("https://cdn.runblob.io/a.mp4?signed=1");
        assert_eq!(one, of("HTTPS://CDN.runblob.io/a.mp4?signed=2"));
        for other in
            ["https://cdn.runblob.io/A.mp4", "https://cdn.runblob.io:444/a.mp4", "https://a.runblob.io/a.mp4"]
        {
            assert_ne!(one, of(other), "{other}");
        }
        // Of which nothing can be read.
        assert!(one.len() == 64 && one.bytes().all(|byte| byte.is_ascii_hexdigit()), "{one}");
    }
}
