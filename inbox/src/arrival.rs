//! Reads a delivery that the gate forwards, with its gate headers.

use crate::entry::{Fingerprint, Origin, QuarantineReason};
use crate::request_ids::RequestIds;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use blobgate::contract::token::is_like_digest;
use blobgate::contract::{header, is_detail, is_key_of, is_understood};
use blobgate::dialect::Dialect;
use blobgate::event::{GenerationId, Kind};
use blobgate::json;
use blobgate::policy::Verdict;
use bytes::Bytes;
use fluent_uri::Uri;
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use thiserror::Error;

/// A delivery that the gate forwarded.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) verdict: Verdict,
    pub(crate) hook: String,
    /// A UUID in canonical form.
    pub(crate) generation: Option<String>,
    /// The reported event. In quarantine it is only claimed.
    pub(crate) fingerprint: Option<Fingerprint>,
    pub(crate) origin: Origin,
    /// The reason of a quarantined delivery.
    pub(crate) reason: Option<QuarantineReason>,
    /// The gate's detail of the reason.
    pub(crate) detail: Option<String>,
    /// The client's address of a quarantined delivery, as the gate saw it.
    pub(crate) client: Option<IpAddr>,
    pub(crate) token: Option<ArrivalToken>,
    pub(crate) job: Option<String>,
    pub(crate) ids: RequestIds,
    /// Whether the sender is authenticated.
    pub(crate) authenticated: bool,
    /// SHA-256 of the body.
    pub(crate) digest: [u8; 32],
    /// The path of the request, without the token.
    pub(crate) path: String,
    /// The headers for the service, as lines `name: value`.
    pub(crate) headers: Vec<u8>,
    pub(crate) body: Bytes,
}

/// The callback token of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ArrivalToken {
    pub(crate) id: String,
    /// Whether it belongs to one generation. A token without `jti` and `job` is part of a callback URL that serves many.
    pub(crate) binds: bool,
}

/// Why the inbox refuses a request. Each is answered with 503: the sender is not the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum ArrivalError {
    #[error(
        "the request has no gate headers ({}, {}). Send it through the gate",
        header::VERDICT,
        header::HOOK
    )]
    NotMarked,
    #[error(
        "the gate writes another version of the gate headers ({}). Upgrade the older of both",
        header::CONTRACT
    )]
    Contract,
    #[error(
        "the request is one of the inbox's own deliveries. Correct the service routes, which lead back to the inbox"
    )]
    Loop,
    #[error("a gate header is repeated or invalid. Send the request through the gate")]
    Header,
}

/// A depth above the limit of any hook.
pub(crate) const MAX_DEPTH: usize = 128;

impl Arrival {
    /// Reads a request from the gate.
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
        let reason = one(headers, header::REASON)?;
        if !reason.is_none_or(is_code) {
            return Err(ArrivalError::Header);
        }
        let reason = reason.map(QuarantineReason::parse);
        // An unsafe detail fails no delivery: the reason stands without it.
        let detail = one(headers, header::DETAIL).ok().flatten();
        let detail = detail.filter(|detail| reason.is_some() && is_detail(detail)).map(str::to_owned);
        let client = match verdict {
            Verdict::Quarantined => one(headers, header::CLIENT)?.and_then(|client| client.parse().ok()),
            Verdict::Accepted | Verdict::Observed => None,
        };
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
        let ids = RequestIds::read(headers);
        let code = one(headers, header::ERROR_CODE)?;
        Ok(Self {
            verdict,
            hook,
            generation,
            fingerprint: event.map(|event| fingerprint(dialect, event, code, &body)),
            origin: Origin::Webhook,
            reason,
            detail,
            client,
            token,
            job,
            ids,
            authenticated: headers.contains_key(header::PROOFS),
            digest,
            path: path.to_owned(),
            headers: service_headers(headers),
            body,
        })
    }

    /// The reported event. In quarantine it is only claimed.
    pub(crate) fn event(&self) -> Option<Kind> {
        self.fingerprint.as_ref().map(Fingerprint::kind)
    }

    /// Marks the arrival as fetched by the reconciler.
    pub(crate) fn reconciled(self) -> Self {
        Self { origin: Origin::Reconcile, ..self }
    }

    /// Whether `webhook-id` names this event. True for an arrival that is not accepted.
    pub(crate) fn fits(&self, id: Option<&HeaderValue>) -> bool {
        let (Verdict::Accepted, Some(generation), Some(event)) =
            (self.verdict, &self.generation, self.event())
        else {
            return true;
        };
        id.and_then(|id| id.to_str().ok()).is_some_and(|id| is_key_of(id, generation, event))
    }

    /// Its size in the store, in bytes.
    pub(crate) fn size(&self) -> i64 {
        let bytes = self.path.len().saturating_add(self.headers.len()).saturating_add(self.body.len());
        i64::try_from(bytes).unwrap_or(i64::MAX)
    }
}

/// The only value of a gate header, in visible ASCII.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, ArrivalError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match (values.next(), value.to_str()) {
        (None, Ok(value)) => Ok(Some(value)),
        _ => Err(ArrivalError::Header),
    }
}

/// Whether a text has the form of a reason's code. It stands in lines and tables.
fn is_code(text: &str) -> bool {
    const MAX_CODE: usize = 64;
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=MAX_CODE).contains(&text.len()) && text.bytes().all(is_part)
}

/// The fingerprint of an event. It is stored as long as repeats must be recognised, so it contains only a digest of the video's URL,
/// which is personal data.
fn fingerprint(dialect: Dialect, event: Kind, code: Option<&str>, body: &[u8]) -> Fingerprint {
    let code = || code.unwrap_or_default().to_owned();
    match event {
        // A body without a URL was released as completed. Its digest distinguishes it from another.
        Kind::Completed => Fingerprint::Completed(match result_url_key(dialect, body) {
            Some(key) => hex::encode(Sha256::digest(key)),
            None => hex::encode(Sha256::digest(body)),
        }),
        Kind::Failed => Fingerprint::Failed(code()),
        Kind::Timeout => Fingerprint::Timeout(code()),
    }
}

/// The URL of the video without its query, which differs in each signed URL.
fn result_url_key(dialect: Dialect, body: &[u8]) -> Option<String> {
    let payload = json::parse(body, MAX_DEPTH, dialect.known()).ok()?;
    let url = dialect.result_url(&payload)?.to_owned();
    let Ok(parsed) = Uri::parse(url.as_str()) else { return Some(url) };
    let authority = parsed.authority().map(|authority| authority.as_str().to_ascii_lowercase());
    let (scheme, path) = (parsed.scheme().as_str().to_ascii_lowercase(), parsed.path());
    Some(format!("{scheme}://{}{path}", authority.unwrap_or_default()))
}

/// Whether a service gets this stored header. Each attempt creates the signature's time and value anew, and sets the ids of the
/// request. The client's address and the detail are for the person who decides on the entry.
fn is_for_service(name: &HeaderName) -> bool {
    let known = ["content-type", header::IDEMPOTENCY_KEY, header::WEBHOOK_ID];
    let is_of_gate = name.as_str().starts_with(header::PREFIX);
    (is_of_gate && name != header::CLIENT && name != header::DETAIL) || known.contains(&name.as_str())
}

fn service_headers(headers: &HeaderMap) -> Vec<u8> {
    let mut lines = Vec::new();
    for (name, value) in headers.iter().filter(|(name, _)| is_for_service(name)) {
        lines.extend_from_slice(name.as_str().as_bytes());
        lines.extend_from_slice(b": ");
        lines.extend_from_slice(value.as_bytes());
        lines.extend_from_slice(b"\r\n");
    }
    lines
}

/// Reads the stored headers of an entry.
pub(crate) fn read_headers(lines: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    // An HTTP header value contains no line break (RFC 9110, section 5.5).
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

    /// Reads a delivery with this verdict and these values of `blobgate-client`.
    #[track_caller]
    fn client(verdict: Verdict, values: &[&str], expected: Result<Option<&str>, ArrivalError>) {
        let mut headers = HeaderMap::new();
        let set = [
            (header::VERDICT, verdict.name()),
            (header::CONTRACT, blobgate::contract::VERSION),
            (header::HOOK, "veo3"),
            (header::DIALECT, "veo3"),
            (header::GENERATION_ID, "ffd473d5-5bef-4e14-bf22-8d559be3c19f"),
            (header::EVENT, "completed"),
            (header::REASON, "source-denied"),
        ];
        for (name, value) in set.into_iter().chain(values.iter().map(|value| (header::CLIENT, *value))) {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let read = Arrival::read("/hooks/veo3", &headers, Bytes::new());
        if let Ok(read) = &read {
            let stored = String::from_utf8_lossy(&read.headers).into_owned();
            assert!(stored.contains(header::HOOK) && !stored.contains(header::CLIENT), "{stored}");
        }
        let read = read.map(|read| read.client.map(|client| client.to_string()));
        assert_eq!(read, expected.map(|client| client.map(str::to_owned)), "{values:?}");
    }

    #[test]
    fn reads_the_client_of_a_quarantined_delivery_as_an_address() {
        client(Verdict::Quarantined, &["203.0.113.9"], Ok(Some("203.0.113.9")));
        client(Verdict::Quarantined, &["2001:DB8:0::1"], Ok(Some("2001:db8::1")));
        client(Verdict::Quarantined, &[], Ok(None));
        for unreadable in ["", "203.0.113.9:4711", "203.0.113.009", "203.0.113.9, 203.0.113.8", "order-17"] {
            client(Verdict::Quarantined, &[unreadable], Ok(None));
        }
        client(Verdict::Quarantined, &[&"1".repeat(70_000)], Ok(None));
        client(Verdict::Quarantined, &["203.0.113.9", "203.0.113.8"], Err(ArrivalError::Header));
        client(Verdict::Accepted, &["203.0.113.9"], Ok(None));
        client(Verdict::Observed, &["203.0.113.9"], Ok(None));
    }

    #[test]
    fn takes_only_reasons_in_the_form_of_a_code() {
        for reason in blobgate::Reason::ALL {
            assert!(is_code(reason.code()), "{reason:?}");
        }
        assert!(is_code(&"a".repeat(64)));
        for other in ["", "Token-Expired", "x hook=evil entry=9 is dead", "token_expired", &"a".repeat(65)] {
            assert!(!is_code(other), "{other}");
        }
    }

    #[test]
    fn identifies_a_completion_by_its_url_without_query() {
        let one = of("https://cdn.runblob.io/a.mp4?signed=1");
        assert_eq!(one, of("HTTPS://CDN.runblob.io/a.mp4?signed=2"));
        for other in
            ["https://cdn.runblob.io/A.mp4", "https://cdn.runblob.io:444/a.mp4", "https://a.runblob.io/a.mp4"]
        {
            assert_ne!(one, of(other), "{other}");
        }
        // A digest, which does not reveal the URL.
        assert!(one.len() == 64 && one.bytes().all(|byte| byte.is_ascii_hexdigit()), "{one}");
    }
}
