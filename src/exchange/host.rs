//! The interface between the exchange and its host. The Envoy adapter and the tests' recording host implement it.

use super::metrics::Counter;
use crate::headers::Headers;
use std::time::Duration;

/// The host of one request and its response. Each call takes effect at once.
pub trait Host: LogHost {
    /// Every request header: names in lower case, values as raw bytes, one item for each repeat.
    fn request_headers(&mut self) -> Headers;
    /// The first value of a request header.
    fn request_header(&mut self, name: &str) -> Option<Vec<u8>>;
    /// Sets a request header to this one value. The host then selects the route again.
    fn set_request_header(&mut self, name: &str, value: &str);
    /// Removes every value of a request header.
    fn remove_request_header(&mut self, name: &str);
    /// Removes all request trailers.
    fn remove_request_trailers(&mut self);
    /// Sets a value that only the host's access log reads.
    fn set_access_log_value(&mut self, key: &str, value: &str);
    /// The request waits for its body. The host must buffer as many bytes as the hook allows.
    fn await_body(&mut self, max_bytes: usize);
    /// The first `size` bytes of the buffered request body.
    fn request_body(&mut self, size: usize) -> Vec<u8>;
    /// A property of the request or its response; `None` where the host does not have it.
    fn property(&mut self, property: Property) -> Option<Vec<u8>>;

    /// The first value of a response header.
    fn response_header(&mut self, name: &str) -> Option<Vec<u8>>;
    /// The names of all response headers.
    fn response_header_names(&mut self) -> Vec<String>;
    /// Sets a response header to this one value.
    fn set_response_header(&mut self, name: &str, value: &str);
    /// Removes every value of a response header.
    fn remove_response_header(&mut self, name: &str);
    /// Removes all response trailers.
    fn remove_response_trailers(&mut self);
    /// Replaces the `size` buffered bytes of the response body with `body`.
    fn replace_response_body(&mut self, size: usize, body: &[u8]);
    /// Responds to the request. This replaces the service's response, if there is one.
    fn respond(&mut self, status: u16, headers: &[(&str, &str)], body: &[u8]);

    /// Starts a call without a body. Its result goes to [`super::Exchange::on_provider_response`].
    ///
    /// # Errors
    /// [`CallError`]. No result follows.
    fn call_provider(
        &mut self,
        cluster: &str,
        headers: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<(), CallError>;
    /// Reads a cell that all workers share.
    fn shared(&mut self, key: &str) -> SharedCell;
    /// Writes a shared cell, if it still has this version.
    ///
    /// # Errors
    /// [`VersionConflict`]
    fn replace_shared(&mut self, key: &str, value: &[u8], version: u32) -> Result<(), VersionConflict>;

    /// Adds one to a counter.
    fn count(&mut self, counter: Counter);
    /// The time since the epoch.
    fn now(&mut self) -> Duration;
}

/// The log of a host. It exists also outside of a request.
pub trait LogHost {
    /// Writes a line to the host's log.
    fn log(&mut self, line: &str);
    /// Sets the period of calls to [`super::Gate::on_tick`]. Zero ends them.
    fn set_tick_period(&mut self, period: Duration);
    /// The time by a monotonic clock.
    fn uptime(&mut self) -> Duration;
}

/// A property that a host has. Each is an expensive host call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Property {
    /// The client's address with its port.
    Source,
    /// The direct peer's address without a port. In Envoy, another filter sets it as filter state.
    Peer,
    /// The TLS version of this hop; absent in plaintext.
    TlsVersion,
    /// Envoy's reason for a response of its own.
    ResponseCodeDetails,
}

/// A cell that all workers share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SharedCell {
    /// Empty for an absent cell.
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

/// Another worker has written the cell since it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionConflict;

/// The host's next step with the request or the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// The host continues.
    Continue,
    /// The host waits.
    Pause,
}
