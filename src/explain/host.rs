//! A host of one request without a network.

use super::{ExplainedAnswer, ExplainedCall, ExplainedRequest, HeaderList};
use crate::exchange::{CallError, Counter, Host, LogHost, Property, SharedCell, VersionConflict};
use crate::head::Hop;
use crate::headers::Headers;
use std::time::Duration;

/// The host of an explained request.
pub(super) struct ExplainHost {
    /// The request headers, with the changes so far.
    pub(super) request: HeaderList,
    /// The request headers when the service got them.
    pub(super) forwarded: Option<HeaderList>,
    /// The call that waits for an outcome.
    pub(super) call: Option<ExplainedCall>,
    pub(super) access_log: Vec<(String, String)>,
    pub(super) log: Vec<String>,
    body: Vec<u8>,
    hop: Hop,
    source: Option<String>,
    peer: Option<String>,
    now: Duration,
    /// The service's response, with the changes so far.
    response: HeaderList,
    responded: Option<ExplainedAnswer>,
}

impl ExplainHost {
    pub(super) fn new(request: &ExplainedRequest) -> Self {
        let pseudo = [(":path", request.path.as_slice()), (":method", request.method.as_bytes())];
        let pseudo = pseudo.map(|(name, value)| (name.to_owned(), value.to_vec()));
        Self {
            request: pseudo.into_iter().chain(request.headers.iter().cloned()).collect(),
            forwarded: None,
            call: None,
            access_log: Vec::new(),
            log: Vec::new(),
            body: request.body.clone().unwrap_or_default(),
            hop: request.hop,
            source: request.source.clone(),
            peer: request.peer.clone(),
            now: request.now,
            response: Vec::new(),
            responded: None,
        }
    }

    pub(super) fn has_responded(&self) -> bool {
        self.responded.is_some()
    }

    /// The service responds with this status.
    pub(super) fn receive(&mut self, status: &str) {
        self.forwarded = Some(self.request.clone());
        self.response = vec![(":status".to_owned(), status.as_bytes().to_vec())];
    }

    /// The sender's response.
    pub(super) fn take_answer(&mut self) -> ExplainedAnswer {
        if let Some(answer) = self.responded.take() {
            return answer;
        }
        let status = self.response_header(":status").unwrap_or_default();
        let status = String::from_utf8_lossy(&status).parse().unwrap_or_default();
        self.response.retain(|(name, _)| name != ":status");
        ExplainedAnswer { status, headers: std::mem::take(&mut self.response), body: None }
    }
}

impl Host for ExplainHost {
    fn request_headers(&mut self) -> Headers {
        Headers::new(self.request.clone())
    }

    fn request_header(&mut self, name: &str) -> Option<Vec<u8>> {
        self.request.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone())
    }

    fn set_request_header(&mut self, name: &str, value: &str) {
        set(&mut self.request, name, value);
    }

    fn remove_request_header(&mut self, name: &str) {
        self.request.retain(|(other, _)| other != name);
    }

    fn remove_request_trailers(&mut self) {}

    fn set_access_log_value(&mut self, key: &str, value: &str) {
        self.access_log.push((key.to_owned(), value.to_owned()));
    }

    fn await_body(&mut self, _max_bytes: usize) {}

    fn request_body(&mut self, size: usize) -> Vec<u8> {
        self.body.iter().copied().take(size).collect()
    }

    fn property(&mut self, property: Property) -> Option<Vec<u8>> {
        let text = match property {
            Property::Source => self.source.as_deref(),
            Property::Peer => self.peer.as_deref(),
            Property::TlsVersion => (self.hop == Hop::Tls).then_some("TLSv1.3"),
            Property::ResponseCodeDetails => None,
        };
        text.map(|text| text.as_bytes().to_vec())
    }

    fn response_header(&mut self, name: &str) -> Option<Vec<u8>> {
        self.response.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone())
    }

    fn response_header_names(&mut self) -> Vec<String> {
        self.response.iter().map(|(name, _)| name.clone()).collect()
    }

    fn set_response_header(&mut self, name: &str, value: &str) {
        set(&mut self.response, name, value);
    }

    fn remove_response_header(&mut self, name: &str) {
        self.response.retain(|(other, _)| other != name);
    }

    fn remove_response_trailers(&mut self) {}

    fn replace_response_body(&mut self, _size: usize, _body: &[u8]) {}

    fn respond(&mut self, status: u16, headers: &[(&str, &str)], body: &[u8]) {
        let headers =
            headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
        let body = Some(String::from_utf8_lossy(body).into_owned());
        self.responded = Some(ExplainedAnswer { status, headers, body });
    }

    fn call_provider(
        &mut self,
        cluster: &str,
        headers: &[(&str, &str)],
        _timeout: Duration,
    ) -> Result<(), CallError> {
        let value = |name: &str| {
            let found = headers.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| (*value).to_owned()).unwrap_or_default()
        };
        let (authority, path) = (value(":authority"), value(":path"));
        self.call = Some(ExplainedCall { cluster: cluster.to_owned(), authority, path });
        Ok(())
    }

    fn shared(&mut self, _key: &str) -> SharedCell {
        SharedCell::default()
    }

    fn replace_shared(&mut self, _key: &str, _value: &[u8], _version: u32) -> Result<(), VersionConflict> {
        Ok(())
    }

    fn count(&mut self, _counter: Counter) {}

    fn now(&mut self) -> Duration {
        self.now
    }
}

impl LogHost for ExplainHost {
    fn log(&mut self, line: &str) {
        self.log.push(line.to_owned());
    }

    fn set_tick_period(&mut self, _period: Duration) {}

    fn uptime(&mut self) -> Duration {
        Duration::ZERO
    }
}

/// Sets a header to one value, in the place of the first one as Envoy does.
fn set(list: &mut HeaderList, name: &str, value: &str) {
    let at = list.iter().position(|(other, _)| other == name).unwrap_or(list.len());
    list.retain(|(other, _)| other != name);
    list.insert(at.min(list.len()), (name.to_owned(), value.as_bytes().to_vec()));
}
