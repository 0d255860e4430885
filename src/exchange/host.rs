//! What a host does for the exchange: an adapter implements this, and so does the tests' recording host.

use super::metrics::Counter;
use crate::headers::Headers;
use std::time::Duration;

/// What a host does for one request and its response. Dispatched statically; each call acts at once.
pub trait Host {
    /// Every request header: names in lower case, values as raw bytes, repeats apart.
    fn request_headers(&mut self) -> Headers;
    /// Sets a request header to this one value. The host chooses the route again by it.
    fn set_request_header(&mut self, name: &str, value: &str);
    /// Removes every value of a request header.
    fn remove_request_header(&mut self, name: &str);
    /// Removes all request trailers.
    fn remove_request_trailers(&mut self);
    /// The first `size` bytes of the request body that the host holds.
    fn request_body(&mut self, size: usize) -> Vec<u8>;
    /// A fact about the request or its response; `None` where the host does not know it.
    fn property(&mut self, property: Property) -> Option<Vec<u8>>;

    /// The first value of a response header.
    fn response_header(&mut self, name: &str) -> Option<Vec<u8>>;
    /// The name of every response header.
    fn response_header_names(&mut self) -> Vec<String>;
    /// Sets a response header to this one value.
    fn set_response_header(&mut self, name: &str, value: &str);
    /// Removes every value of a response header.
    fn remove_response_header(&mut self, name: &str);
    /// Removes all response trailers.
    fn remove_response_trailers(&mut self);
    /// Puts `body` in the place of a part of the response body, which has `size` bytes.
    fn replace_response_body(&mut self, size: usize, body: &[u8]);
    /// Answers the request, in the place of an upstream's response where there is one.
    fn respond(&mut self, status: u16, headers: &[(&str, &str)], body: &[u8]);

    /// Starts a call without a body. [`super::Exchange::on_provider_response`] takes its result.
    ///
    /// # Errors
    /// [`CallError`], and then no result follows.
    fn call_provider(
        &mut self,
        cluster: &str,
        headers: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<(), CallError>;
    /// Reads a cell that all workers share.
    fn shared(&mut self, key: &str) -> SharedCell;
    /// Writes a shared cell, unless it has another version by now.
    ///
    /// # Errors
    /// [`VersionConflict`]
    fn replace_shared(&mut self, key: &str, value: &[u8], version: u32) -> Result<(), VersionConflict>;

    /// Adds one to a counter.
    fn count(&mut self, counter: Counter);
    /// Writes a line to the host's log.
    fn log(&mut self, line: &str);
    /// Has [`super::Gate::on_tick`] called after each `period`; zero ends it.
    fn set_tick_period(&mut self, period: Duration);
    /// The time since the epoch.
    fn now(&mut self) -> Duration;
    /// The time by a clock that never goes back.
    fn uptime(&mut self) -> Duration;
}

/// A fact that a host knows. Each is an expensive host call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Property {
    /// The client's address with its port.
    Source,
    /// The direct peer's address without a port. Envoy has it as filter state, which another filter sets.
    Peer,
    /// The TLS version of this hop; absent in plaintext.
    TlsVersion,
    /// Why the host itself has answered.
    ResponseCodeDetails,
}

/// A cell that all workers share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SharedCell {
    /// Empty where there is none.
    pub value: Vec<u8>,
    /// Changes with each write.
    pub version: u32,
}

/// The response to a call.
#[derive(Clone, Copy, Debug)]
pub struct ProviderResponse<'a> {
    /// Its `:status`.
    pub status: &'a [u8],
    /// Its whole body.
    pub body: &'a [u8],
}

/// The host could not start a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallError;

/// Another worker has written the cell meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionConflict;

/// What the host does next with the request or the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// It goes on.
    Continue,
    /// It waits.
    Pause,
}
