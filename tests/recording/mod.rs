//! A host with one request and its response. It records the calls of an exchange.

#![allow(
    dead_code, // each driver uses its part
    missing_docs,
    unreachable_pub
)]

use blobgate::contract::header;
use blobgate::exchange::{CallError, Counter, Host, LogHost, Property, SharedCell, VersionConflict};
use blobgate::headers::Headers;
use blobgate::sanitize::is_reserved;
use std::collections::BTreeMap;
use std::time::Duration;

pub type List = Vec<(String, Vec<u8>)>;

/// A recording host.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// The request, with the changes so far.
    pub request: List,
    pub body: Vec<u8>,
    /// The bytes that the exchange lets the host buffer.
    pub awaits_body: Option<usize>,
    /// Whether the exchange removed the trailers.
    pub has_no_trailers: bool,
    pub source: Option<String>,
    pub peer: Option<String>,
    pub is_tls: bool,
    pub response_code_details: Option<&'static str>,
    /// The response of the service or of Envoy, with the changes so far.
    pub response: List,
    pub response_body: Vec<u8>,
    /// The exchange's response.
    pub responded: Option<Response>,
    pub calls: Vec<Call>,
    /// Whether the host refuses to start calls.
    pub starts_no_call: bool,
    pub shared: BTreeMap<String, SharedCell>,
    /// The number of writes to a shared cell that come after another worker's write.
    pub races: usize,
    /// By name with labels.
    pub counters: BTreeMap<String, u64>,
    pub log: Vec<String>,
    /// The values that only the access log reads.
    pub access_log: BTreeMap<String, String>,
    pub tick_period: Duration,
    pub now: Duration,
    pub uptime: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub headers: List,
    pub body: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub cluster: String,
    pub headers: Vec<(String, String)>,
    pub timeout: Duration,
}

impl Recording {
    /// The only value of a request header.
    #[track_caller]
    pub fn sent(&self, name: &str) -> Option<String> {
        one(&self.request, name)
    }

    /// The client's response: its status, and a header.
    #[track_caller]
    pub fn answer(&self, name: &str) -> (u16, Option<String>) {
        match &self.responded {
            Some(response) => (response.status, one(&response.headers, name)),
            None => (one(&self.response, ":status").unwrap().parse().unwrap(), one(&self.response, name)),
        }
    }

    /// The sum of the counters with this text in their names.
    pub fn counted(&self, part: &str) -> u64 {
        self.counters.iter().filter(|(name, _)| name.contains(part)).map(|(_, count)| count).sum()
    }
}

#[track_caller]
fn one(list: &List, name: &str) -> Option<String> {
    let mut values = list.iter().filter(|(other, _)| other == name).map(|(_, value)| value);
    let value = values.next().map(|value| String::from_utf8(value.clone()).unwrap());
    assert_eq!(values.next(), None, "{name} stands twice");
    value
}

fn set(list: &mut List, name: &str, value: &str) {
    // Envoy replaces the first value and removes the others.
    let at = list.iter().position(|(other, _)| other == name);
    list.retain(|(other, _)| other != name);
    list.insert(at.unwrap_or(list.len()).min(list.len()), (name.to_owned(), value.as_bytes().to_vec()));
}

impl Host for Recording {
    fn request_headers(&mut self) -> Headers {
        Headers::new(self.request.clone())
    }

    fn request_header(&mut self, name: &str) -> Option<Vec<u8>> {
        self.request.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone())
    }

    fn set_request_header(&mut self, name: &str, value: &str) {
        // The native module adds these headers instead of setting them, which would make a second value.
        let is_second = self.request.iter().any(|(other, _)| other == name && is_reserved(other));
        assert!(!is_second, "{name} is set twice");
        set(&mut self.request, name, value);
    }

    fn remove_request_header(&mut self, name: &str) {
        self.request.retain(|(other, _)| other != name);
    }

    fn remove_request_trailers(&mut self) {
        self.has_no_trailers = true;
    }

    fn set_access_log_value(&mut self, key: &str, value: &str) {
        self.access_log.insert(key.to_owned(), value.to_owned());
    }

    fn await_body(&mut self, max_bytes: usize) {
        self.awaits_body = Some(max_bytes);
    }

    fn request_body(&mut self, size: usize) -> Vec<u8> {
        self.body[..size].to_vec()
    }

    fn property(&mut self, property: Property) -> Option<Vec<u8>> {
        let text = match property {
            Property::Source => self.source.clone(),
            Property::Peer => self.peer.clone(),
            Property::TlsVersion => self.is_tls.then(|| "TLSv1.3".to_owned()),
            Property::ResponseCodeDetails => self.response_code_details.map(str::to_owned),
        };
        text.map(String::into_bytes)
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

    fn replace_response_body(&mut self, size: usize, body: &[u8]) {
        let rest = self.response_body.split_off(size);
        self.response_body = [body, &rest].concat();
    }

    fn respond(&mut self, status: u16, headers: &[(&str, &str)], body: &[u8]) {
        assert_eq!(self.responded, None, "two responses");
        let headers =
            headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
        let body = String::from_utf8(body.to_vec()).unwrap();
        self.responded = Some(Response { status, headers, body });
    }

    fn call_provider(
        &mut self,
        cluster: &str,
        headers: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<(), CallError> {
        if self.starts_no_call {
            return Err(CallError);
        }
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.calls.push(Call { cluster: cluster.to_owned(), headers, timeout });
        Ok(())
    }

    fn shared(&mut self, key: &str) -> SharedCell {
        self.shared.get(key).cloned().unwrap_or_default()
    }

    fn replace_shared(&mut self, key: &str, value: &[u8], version: u32) -> Result<(), VersionConflict> {
        let cell = self.shared.entry(key.to_owned()).or_default();
        if self.races > 0 {
            self.races -= 1;
            cell.version += 1;
        }
        if cell.version != version {
            return Err(VersionConflict);
        }
        *cell = SharedCell { value: value.to_vec(), version: version + 1 };
        Ok(())
    }

    fn count(&mut self, counter: Counter) {
        *self.counters.entry(counter.name("test")).or_default() += 1;
    }

    fn now(&mut self) -> Duration {
        self.now
    }
}

impl LogHost for Recording {
    fn log(&mut self, line: &str) {
        self.log.push(line.to_owned());
    }

    fn set_tick_period(&mut self, period: Duration) {
        self.tick_period = period;
    }

    fn uptime(&mut self) -> Duration {
        self.uptime
    }
}
