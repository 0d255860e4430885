//! The host of an exchange: Envoy's callbacks during one hook.

use crate::abi::{self, Attribute, BodyPart, EnvoyStream, HeaderMap, LogLevel};
use crate::counters::GateMetrics;
use crate::ticker::{self, Ticker};
use crate::{answer::QueuedAnswer, cells};
use blobgate::exchange::{CallError, Counter, Gate, Host, LogHost, Property, SharedCell, VersionConflict};
use blobgate::headers::{Headers, PackedHeaders};
use blobgate::sanitize::is_reserved;
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// What the streams of one configuration share, on all workers.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) gate: Arc<Gate>,
    pub(crate) metrics: GateMetrics,
    pub(crate) ticker: Ticker,
}

/// Values for the access log, by their keys. Envoy accepts only the first value of a key, so they wait for the stream's end.
pub(crate) type AccessLogValues = RefCell<Vec<(String, String)>>;

/// Envoy's reason for its own response, empty without one. Envoy 1.38 has it only in a hook, and not as an attribute.
pub(crate) type LocalReplyDetails = RefCell<Vec<u8>>;

/// The host during one hook.
#[derive(Debug)]
pub(crate) struct HookHost<'hook> {
    pub(crate) envoy: EnvoyStream<'hook>,
    loaded: &'hook Loaded,
    access_log: &'hook AccessLogValues,
    local_reply: &'hook LocalReplyDetails,
    /// The exchange's response. Envoy gets it after the hook's work, because it may then run further hooks of the stream.
    pub(crate) answer: Option<QueuedAnswer>,
    /// Whether a request header has changed.
    pub(crate) has_new_head: bool,
    own_headers: &'hook Cell<OwnHeaders>,
    /// Whether the request has no reserved header before this hook.
    may_add: bool,
}

/// The reserved headers of a request. The exchange removes those of the client first, and sets each at most once in a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OwnHeaders {
    /// The request may have those of the client.
    Unknown,
    /// The exchange has removed those of the client.
    None,
    /// The request has some of the gate.
    Set,
}

impl<'hook> HookHost<'hook> {
    pub(crate) fn new(
        envoy: EnvoyStream<'hook>,
        loaded: &'hook Loaded,
        access_log: &'hook AccessLogValues,
        local_reply: &'hook LocalReplyDetails,
        own_headers: &'hook Cell<OwnHeaders>,
    ) -> Self {
        let may_add = own_headers.get() == OwnHeaders::None;
        let (answer, has_new_head) = (None, false);
        Self { envoy, loaded, access_log, local_reply, answer, has_new_head, own_headers, may_add }
    }

    /// The size of the request's body so far.
    pub(crate) fn body_size(&self) -> usize {
        let parts = self.body_parts().into_iter().flatten();
        parts.map(|part| self.envoy.body_size(part)).fold(0, usize::saturating_add)
    }

    /// The parts of the request's body, in order.
    fn body_parts(&self) -> [Option<BodyPart>; 2] {
        let is_buffered = self.envoy.body_size(BodyPart::BufferedRequest) > 0;
        let is_one = is_buffered && self.envoy.has_received_buffered_body();
        [is_buffered.then_some(BodyPart::BufferedRequest), (!is_one).then_some(BodyPart::ReceivedRequest)]
    }

    fn response_code_details(&self) -> Vec<u8> {
        // Envoy's word for a response that is not its own.
        const OF_SERVICE: &[u8] = b"via_upstream";
        let details = self.local_reply.try_borrow().map(|details| details.clone()).unwrap_or_default();
        if details.is_empty() { OF_SERVICE.to_vec() } else { details }
    }

    fn remove_all(&mut self, map: HeaderMap) {
        let mut names: Vec<Vec<u8>> = Vec::with_capacity(self.envoy.header_count(map));
        self.envoy.each_header(map, |name, _| names.push(name.to_vec()));
        for name in names {
            self.envoy.remove_header(map, &name);
        }
    }
}

impl Host for HookHost<'_> {
    fn request_headers(&mut self) -> Headers {
        let mut packed = PackedHeaders::with_capacity(self.envoy.header_count(HeaderMap::Request));
        self.envoy.each_header(HeaderMap::Request, |name, value| packed.push(name, value));
        Headers::from_packed(packed)
    }

    fn request_header(&mut self, name: &str) -> Option<Vec<u8>> {
        self.envoy.header(HeaderMap::Request, name).map(<[u8]>::to_vec)
    }

    fn set_request_header(&mut self, name: &str, value: &str) {
        self.has_new_head = true;
        if is_reserved(name) {
            self.own_headers.set(OwnHeaders::Set);
            if self.may_add {
                return self.envoy.add_header(HeaderMap::Request, name.as_bytes(), value.as_bytes());
            }
        }
        self.envoy.set_header(HeaderMap::Request, name.as_bytes(), value.as_bytes());
    }

    fn remove_request_header(&mut self, name: &str) {
        self.has_new_head = true;
        self.envoy.remove_header(HeaderMap::Request, name.as_bytes());
    }

    fn remove_request_trailers(&mut self) {
        self.remove_all(HeaderMap::RequestTrailers);
    }

    fn set_access_log_value(&mut self, key: &str, value: &str) {
        // The name that Envoy's Wasm host gives to such a value.
        let key = format!("wasm.{key}");
        if let Ok(mut values) = self.access_log.try_borrow_mut() {
            values.retain(|(other, _)| *other != key);
            values.push((key, value.to_owned()));
        }
    }

    fn await_body(&mut self, max_bytes: usize) {
        self.envoy.raise_buffer_limit(max_bytes);
    }

    fn request_body(&mut self, size: usize) -> Vec<u8> {
        let mut body: Vec<u8> = Vec::with_capacity(size);
        for part in self.body_parts().into_iter().flatten() {
            self.envoy.each_chunk(part, |chunk| {
                let rest = size.saturating_sub(body.len());
                body.extend_from_slice(chunk.get(..rest).unwrap_or(chunk));
            });
        }
        body
    }

    fn property(&mut self, property: Property) -> Option<Vec<u8>> {
        let value = match property {
            Property::Source => self.envoy.attribute(Attribute::SourceAddress),
            // Envoy 1.38 has no callback for the direct peer. A set_filter_state filter before this one sets it.
            Property::Peer => self.envoy.filter_state("blobgate.peer"),
            // The exchange only reads whether there is one.
            Property::TlsVersion => return self.envoy.attribute(Attribute::TlsVersion).map(|_| Vec::new()),
            Property::ResponseCodeDetails => return Some(self.response_code_details()),
        };
        value.filter(|value| !value.is_empty()).map(<[u8]>::to_vec)
    }

    fn response_header(&mut self, name: &str) -> Option<Vec<u8>> {
        if let Some(answer) = &self.answer {
            return answer.header(name).map(String::into_bytes);
        }
        self.envoy.header(HeaderMap::Response, name).map(<[u8]>::to_vec)
    }

    fn response_header_names(&mut self) -> Vec<String> {
        let mut names = Vec::with_capacity(self.envoy.header_count(HeaderMap::Response));
        self.envoy.each_header(HeaderMap::Response, |name, _| {
            names.push(String::from_utf8_lossy(name).into_owned());
        });
        names
    }

    fn set_response_header(&mut self, name: &str, value: &str) {
        if let Some(answer) = &mut self.answer {
            return answer.set_header(name, value);
        }
        self.envoy.set_header(HeaderMap::Response, name.as_bytes(), value.as_bytes());
    }

    fn remove_response_header(&mut self, name: &str) {
        if let Some(answer) = &mut self.answer {
            return answer.remove_header(name);
        }
        self.envoy.remove_header(HeaderMap::Response, name.as_bytes());
    }

    fn remove_response_trailers(&mut self) {
        self.remove_all(HeaderMap::ResponseTrailers);
    }

    fn replace_response_body(&mut self, _size: usize, body: &[u8]) {
        self.envoy.replace_response_part(body);
    }

    fn respond(&mut self, status: u16, headers: &[(&str, &str)], body: &[u8]) {
        self.answer = Some(QueuedAnswer::new(status, headers, body));
    }

    fn call_provider(
        &mut self,
        cluster: &str,
        headers: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<(), CallError> {
        if self.envoy.call(cluster, headers, timeout) { Ok(()) } else { Err(CallError) }
    }

    fn shared(&mut self, key: &str) -> SharedCell {
        cells::read(key)
    }

    fn replace_shared(&mut self, key: &str, value: &[u8], version: u32) -> Result<(), VersionConflict> {
        cells::replace(key, value, version)
    }

    fn count(&mut self, counter: Counter) {
        self.loaded.metrics.count(&mut self.envoy, &counter);
    }

    fn now(&mut self) -> Duration {
        UNIX_EPOCH.elapsed().unwrap_or_default()
    }
}

impl LogHost for HookHost<'_> {
    fn log(&mut self, line: &str) {
        abi::log(LogLevel::Warning, line);
    }

    fn set_tick_period(&mut self, period: Duration) {
        self.loaded.ticker.start(&self.loaded.gate, period);
    }

    fn uptime(&mut self) -> Duration {
        ticker::uptime()
    }
}
