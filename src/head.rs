//! What the gate knows of a request before its body: facts of the host, and the head as it came.

use crate::headers::Headers;

/// What the gate knows of a request before its body.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// `:method`.
    pub method: &'a [u8],
    /// Every header, cleaned.
    pub headers: &'a Headers,
    /// Whether this hop is encrypted, where the hook needs it ([`crate::hook::RequiredProperties`]).
    pub hop: Hop,
    /// Envoy's `source.address`, with its port, where the hook needs it.
    pub source: Option<&'a [u8]>,
    /// The direct peer's address, without a port, where the hook needs it.
    pub peer: Option<&'a [u8]>,
    /// Whether a body follows.
    pub ending: Ending,
    /// Seconds since the epoch, by the host's clock, where the hook needs them.
    pub now: u64,
}

/// How the request reached this Envoy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// Over TLS.
    Tls,
    /// In plaintext.
    Plaintext,
}

/// Where the request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With its head.
    Here,
    /// After a body or trailers.
    Later,
}

#[cfg(test)]
impl<'a> Head<'a> {
    /// A head without a flaw, for tests to spoil.
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
