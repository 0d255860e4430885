//! Where the provider's status API is.

use std::net::SocketAddr;

/// The status API that the rendered Envoy calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProviderEndpoint {
    /// platform.runblob.io, over TLS.
    RunBlob,
    /// A `blobgate sandbox` on this machine, over TLS with the certificate of the setup.
    Sandbox(SocketAddr),
}
