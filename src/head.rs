//! The head of a request: its method and headers, and the host's properties.

use crate::headers::Headers;

/// The head of a request.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// `:method`.
    pub method: &'a [u8],
    /// Every header, after [`crate::sanitize`].
    pub headers: &'a Headers,
    /// Whether this hop is encrypted, if the hook needs it ([`crate::hook::RequiredProperties`]).
    pub hop: Hop,
    /// Envoy's `source.address`, with its port, if the hook needs it.
    pub source: Option<&'a [u8]>,
    /// The direct peer's address, without a port, if the hook needs it.
    pub peer: Option<&'a [u8]>,
    /// Whether a body follows.
    pub ending: Ending,
    /// Seconds since the epoch by the host's clock, if the hook needs them.
    pub now: u64,
}

/// The encryption of the last hop to this Envoy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// TLS.
    Tls,
    /// None.
    Plaintext,
}

/// Whether a part is the last one of its request or response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It is the last part.
    Here,
    /// More parts follow.
    Later,
}

#[cfg(test)]
impl<'a> Head<'a> {
    /// A valid head, which a test changes.
    pub(crate) fn of(headers: &'a Headers) -> Self {
        Head {
            method: b"POST",
            headers,
            hop: Hop::Tls,
            source: Some(b"127.0.0.1:4000"),
            peer: None,
            ending: Ending::Later,
            now: 0,
        }
    }
}
