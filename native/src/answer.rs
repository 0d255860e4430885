//! The gate's response, until Envoy gets it.

use crate::abi::{EnvoyStream, HeaderPair};

/// A response.
#[derive(Debug)]
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// A response to HEAD has no body, but the length of one.
    is_head: bool,
}

impl Answer {
    pub(crate) fn new(status: u16, headers: &[HeaderPair<'_>], body: &[u8], is_head: bool) -> Self {
        let owned = |(name, value): &HeaderPair<'_>| ((*name).to_owned(), (*value).to_owned());
        Self { status, headers: headers.iter().map(owned).collect(), body: body.to_vec(), is_head }
    }

    /// The response to a request that a panic ended.
    pub(crate) fn of_panic() -> Self {
        Self::new(503, &[], b"", false)
    }

    /// Sends the response to a request without one. It is no local reply of Envoy: to a gRPC request Envoy would send that with
    /// the status 200, and it would not run the gate's response hooks on it.
    pub(crate) fn send(&self, envoy: EnvoyStream<'_>) {
        let (status, length) = (self.status.to_string(), self.body.len().to_string());
        let mut headers = vec![(":status", &*status), ("content-length", &*length)];
        headers.extend(self.headers.iter().map(|(name, value)| (&**name, &**value)));
        envoy.respond(&headers, if self.is_head { b"" } else { &self.body });
    }

    /// Sends the response instead of the one that has come.
    pub(crate) fn send_instead(&self, envoy: EnvoyStream<'_>) {
        let headers: Vec<HeaderPair<'_>> =
            self.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        envoy.respond_instead(self.status, &headers, &self.body);
    }
}
