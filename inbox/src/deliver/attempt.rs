//! One attempt: a POST to the service routes, which ends before its lease does.

use super::answer;
use super::reuse::ReconnectingClient;
use crate::arrival::read_headers;
use crate::attempt_headers::AttemptHeaders;
use crate::client::{self, root_cause};
use crate::deadline;
use crate::failpoint::die_at;
use crate::key::WebhookKeys;
use crate::store::ClaimedEntry;
use axum::http::header::{HeaderMap, HeaderValue};
use axum::http::{Method, Request, StatusCode, Uri};
use blobgate::contract::header::WEBHOOK_ID;
use bytes::Bytes;
use http_body_util::Full;
use std::fmt;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The target of all attempts.
#[derive(Debug)]
pub(crate) struct Target {
    /// The listener with the service routes.
    pub(crate) base: Uri,
    /// The time limit for the answer of a service.
    pub(crate) timeout: Duration,
    /// The keys that sign each attempt.
    pub(crate) keys: Option<WebhookKeys>,
}

/// Sends attempts to services.
pub(super) struct ServiceClient {
    target: Target,
    client: ReconnectingClient,
}

/// The report of an attempt that has ended.
#[derive(Debug)]
pub(super) struct AttemptReport {
    pub(super) id: i64,
    pub(super) lease: i64,
    pub(super) attempt: i64,
    pub(super) outcome: AttemptOutcome,
    pub(super) took: Duration,
}

/// The outcome of an attempt.
#[derive(Clone, Debug)]
pub(crate) enum AttemptOutcome {
    /// The status and the beginning of an answer.
    Answered(StatusCode, String),
    /// No answer, and why.
    Unanswered(String),
    /// The inbox could not renew the lease in time.
    LeaseLost,
}

impl AttemptOutcome {
    pub(super) fn is_done(&self) -> bool {
        matches!(self, AttemptOutcome::Answered(status, _) if status.is_success())
    }

    /// Whether the service seems to be down. A lost lease does not tell.
    pub(super) fn is_down(&self) -> bool {
        match self {
            AttemptOutcome::Answered(status, _) => matches!(status.as_u16(), 502..=504),
            AttemptOutcome::Unanswered(_) => true,
            AttemptOutcome::LeaseLost => false,
        }
    }

    pub(crate) fn status(&self) -> Option<i64> {
        match self {
            AttemptOutcome::Answered(status, _) => Some(i64::from(status.as_u16())),
            AttemptOutcome::Unanswered(_) | AttemptOutcome::LeaseLost => None,
        }
    }

    /// The value of the counter's label.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            AttemptOutcome::Answered(status, _) if status.is_success() => "delivered",
            AttemptOutcome::Answered(status, _) if status.is_client_error() => "4xx",
            AttemptOutcome::Answered(status, _) if status.is_server_error() => "5xx",
            AttemptOutcome::Answered(..) => "other",
            AttemptOutcome::Unanswered(_) => "unanswered",
            AttemptOutcome::LeaseLost => "lease-lost",
        }
    }
}

/// The beginning of the answer, or why there is no answer.
impl fmt::Display for AttemptOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttemptOutcome::Answered(_, body) => f.write_str(body),
            AttemptOutcome::Unanswered(why) => f.write_str(why),
            AttemptOutcome::LeaseLost => f.write_str("the store failed, and the lease ended"),
        }
    }
}

impl ServiceClient {
    pub(super) fn new(target: Target) -> Self {
        // hyper-util retries only when a pooled connection closed before a byte of the request was sent: the service gets
        // it once. As a failure it would count against the route, and delay the event.
        let client = client::builder().retry_canceled_requests(true).build_http();
        Self { target, client: ReconnectingClient::new(client) }
    }

    pub(super) async fn attempt(
        &self,
        entry: ClaimedEntry,
        lease: watch::Receiver<Instant>,
    ) -> AttemptReport {
        let (id, number, attempt, started) = (entry.id, entry.lease, entry.attempts, Instant::now());
        die_at!("after-claim");
        let outcome = if *lease.borrow() <= started {
            // The process was suspended for longer than its lease.
            AttemptOutcome::LeaseLost
        } else {
            let mut posted = pin!(self.post(entry));
            let in_time = tokio::select! {
                biased;
                outcome = &mut posted => Some(outcome),
                () = ended(lease) => None,
            };
            match in_time {
                Some(outcome) => outcome,
                None => deadline::soon(posted).await.unwrap_or(AttemptOutcome::LeaseLost),
            }
        };
        AttemptReport { id, lease: number, attempt, outcome, took: started.elapsed() }
    }

    async fn post(&self, entry: ClaimedEntry) -> AttemptOutcome {
        let request = match self.request(entry) {
            Ok(request) => request,
            Err(error) => return AttemptOutcome::Unanswered(format!("cannot send it: {error}")),
        };
        match deadline::within(self.target.timeout, self.client.request(request)).await {
            Some(Ok(response)) => {
                die_at!("after-service-answer");
                let status = response.status();
                AttemptOutcome::Answered(status, answer::read(response, self.target.timeout).await)
            }
            Some(Err(error)) => AttemptOutcome::Unanswered(root_cause(&error)),
            None => {
                AttemptOutcome::Unanswered(format!("no answer within {} s", self.target.timeout.as_secs()))
            }
        }
    }

    fn request(&self, entry: ClaimedEntry) -> Result<Request<Full<Bytes>>, axum::http::Error> {
        let mut headers = read_headers(&entry.headers);
        let body = Bytes::from(entry.body);
        let added = AttemptHeaders {
            attempt: entry.attempts,
            redelivery: entry.redelivery,
            supersedes: entry.supersedes,
            overrides: entry.overrides,
            event: entry.event,
            ids: entry.ids,
        };
        added.set(&mut headers);
        self.sign(&mut headers, &body);
        let base = self.target.base.clone().into_parts();
        let path = axum::http::uri::PathAndQuery::try_from(entry.path)?;
        let mut uri = Uri::builder().path_and_query(path);
        if let (Some(scheme), Some(authority)) = (base.scheme, base.authority) {
            uri = uri.scheme(scheme).authority(authority);
        }
        let mut request = Request::builder().method(Method::POST).uri(uri.build()?).body(Full::new(body))?;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// Replaces the gate's signature.
    fn sign(&self, headers: &mut HeaderMap, body: &Bytes) {
        let (Some(keys), Some(id)) =
            (&self.target.keys, headers.get(WEBHOOK_ID).and_then(|id| id.to_str().ok()))
        else {
            return;
        };
        for (name, value) in keys.headers(id, body) {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
    }
}

/// Returns once the lease has ended without a renewal.
async fn ended(mut lease: watch::Receiver<Instant>) {
    loop {
        let until = *lease.borrow_and_update();
        tokio::select! {
            () = tokio::time::sleep_until(until) => return,
            changed = lease.changed() => if changed.is_err() { return },
        }
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test may panic: that is how it fails")]
mod tests {
    use super::*;
    use crate::request_ids::RequestIds;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const PATIENT: Duration = Duration::from_secs(60);

    fn entry() -> ClaimedEntry {
        ClaimedEntry {
            id: 17,
            generation: None,
            ids: RequestIds::default(),
            event: None,
            supersedes: None,
            overrides: None,
            redelivery: 0,
            attempts: 1,
            lease: 1,
            beside_success: false,
            path: b"/events".to_vec(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// The recorded answer of a service that writes these bytes, and then closes the connection or leaves it open.
    async fn recorded(head: &str, body: &[u8], closes: bool, timeout: Duration) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let bytes = [format!("HTTP/1.1 500 no\r\n{head}\r\n\r\n").as_bytes(), body].concat();
        let service = tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                assert!(connection.read_buf(&mut request).await.unwrap() > 0);
            }
            // The inbox may close the connection before it has all bytes.
            let _written = connection.write_all(&bytes).await;
            (!closes).then_some(connection)
        });
        let client = ServiceClient::new(Target { base, timeout, keys: None });
        let outcome = client.post(entry()).await;
        assert_eq!(outcome.status(), Some(500), "{outcome:?}");
        service.await.unwrap();
        outcome.to_string()
    }

    #[track_caller]
    fn check(answer: &str, start: &str, note: &str) {
        assert_eq!(answer, format!("{start} [{note}]").trim_start());
    }

    #[tokio::test]
    async fn records_the_beginning_of_every_answer() {
        let all = async |body: &[u8]| {
            recorded(&format!("content-length: {}", body.len()), body, true, PATIENT).await
        };
        assert_eq!(all(b"").await, "");
        assert_eq!(all(b"busy").await, "busy");
        let (full, cut) = ("A".repeat(200), "the answer goes on");
        assert_eq!(all(full.as_bytes()).await, full);
        check(&all("A".repeat(201).as_bytes()).await, &full, cut);
        // More than the inbox reads.
        check(&all("A".repeat(1 << 20).as_bytes()).await, &full, cut);
    }

    #[tokio::test]
    async fn records_the_beginning_of_an_answer_without_its_end() {
        for body in ["Traceback", ""] {
            let answer = recorded("content-length: 9000", body.as_bytes(), true, PATIENT).await;
            let start = format!("{body} [the answer breaks off: ");
            assert!(answer.starts_with(start.trim_start()) && answer.ends_with(']'), "{answer}");
            let slow = recorded("content-length: 9000", body.as_bytes(), false, Duration::from_secs(2)).await;
            check(&slow, body, "the answer does not end within 2 s");
        }
        let chunk = recorded("transfer-encoding: chunked", b"4\r\nbusy\r\n", true, PATIENT).await;
        assert!(chunk.starts_with("busy [the answer breaks off: "), "{chunk}");
    }

    #[tokio::test]
    async fn tells_an_escape_from_the_services_own_text() {
        let body = b"a\x1b[31m\\x1b\0\n\xe9\"'";
        let answer = recorded("content-length: 15", body, true, PATIENT).await;
        assert_eq!(answer, r#"a\x1b[31m\\x1b\x00\n\xe9"'"#);
    }
}
