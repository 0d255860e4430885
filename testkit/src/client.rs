//! A connection to the gate, over TLS or in plaintext, HTTP/1.1 or HTTP/2.

use super::{ClientResponse, TestDelivery, block, eventually, h1, h2, tls, within};
use rustls::{ClientConfig, SupportedProtocolVersion};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;

/// A client's version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    H1,
    H2,
}

impl Protocol {
    pub const BOTH: [Protocol; 2] = [Protocol::H1, Protocol::H2];

    pub fn alpn(self) -> &'static str {
        match self {
            Protocol::H1 => "http/1.1",
            Protocol::H2 => "h2",
        }
    }
}

/// The address, protocol and trust for connections to a listener.
#[derive(Clone)]
pub struct Connector {
    port: u16,
    protocol: Protocol,
    from: Ipv4Addr,
    head: Vec<u8>,
    /// The name in the TLS handshake.
    name: &'static str,
    tls: Option<Arc<ClientConfig>>,
}

impl Connector {
    pub fn plaintext(port: u16, protocol: Protocol) -> Self {
        Self { port, protocol, from: Ipv4Addr::LOCALHOST, head: Vec::new(), name: tls::NAME, tls: None }
    }

    /// Trusts the certificate that every Envoy starts with.
    pub fn tls(port: u16, protocol: Protocol) -> Self {
        Self::tls_of(port, protocol, &tls::FIRST, rustls::ALL_VERSIONS)
    }

    pub fn tls_of(
        port: u16,
        protocol: Protocol,
        trusted: &tls::Certificate,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let tls = Some(trusted.client(protocol.alpn(), versions));
        Self { tls, ..Self::plaintext(port, protocol) }
    }

    /// Trusts each of these certificates.
    pub fn tls_of_any(port: u16, protocol: Protocol, trusted: &[&tls::Certificate]) -> Self {
        let tls = tls::Certificate::client_of_any(trusted, protocol.alpn(), rustls::ALL_VERSIONS);
        Self { tls: Some(tls), ..Self::plaintext(port, protocol) }
    }

    /// Sets the client's address. Loopback is all of 127.0.0.0/8.
    pub fn from(self, address: Ipv4Addr) -> Self {
        Self { from: address, ..self }
    }

    /// Sets the name in the TLS handshake.
    pub fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    /// Writes these bytes before everything else, such as a head of the PROXY protocol.
    pub fn head(self, bytes: Vec<u8>) -> Self {
        Self { head: bytes, ..self }
    }

    #[track_caller]
    pub fn open(&self) -> Client {
        self.try_open().unwrap_or_else(|error| panic!("no connection to port {}: {error}", self.port))
    }

    /// # Errors
    /// TCP or TLS failed.
    #[track_caller]
    pub fn try_open(&self) -> Result<Client, String> {
        within("connection", self.connect()).map_err(|error| error.to_string())
    }

    async fn connect(&self) -> Result<Client, Box<dyn std::error::Error + Send + Sync>> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((self.from, 0)))?;
        let mut tcp = socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))).await?;
        tcp.set_nodelay(true)?;
        tcp.write_all(&self.head).await?;
        let Some(config) = &self.tls else {
            return Client::over(tcp, self.protocol).await;
        };
        let stream = TlsConnector::from(Arc::clone(config)).connect(tls::server_name(self.name), tcp).await?;
        let spoken = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        assert_eq!(spoken.as_deref(), Some(self.protocol.alpn().as_bytes()), "ALPN");
        Client::over(stream, self.protocol).await
    }
}

/// An open connection.
pub enum Client {
    H1(h1::H1Connection),
    H2(h2::H2Connection),
}

impl Client {
    async fn over<S>(stream: S, protocol: Protocol) -> Result<Self, Box<dyn std::error::Error + Send + Sync>>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Ok(match protocol {
            Protocol::H1 => Client::H1(h1::H1Connection::over(stream)),
            Protocol::H2 => Client::H2(h2::H2Connection::over(stream).await?),
        })
    }

    /// Sends, and waits for the response. It may come before the request ends.
    #[track_caller]
    pub fn send(&mut self, delivery: &TestDelivery) -> ClientResponse {
        self.try_send(delivery).unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    /// # Errors
    /// The connection or the stream ended before the response did.
    #[track_caller]
    pub fn try_send(&mut self, delivery: &TestDelivery) -> Result<ClientResponse, String> {
        within("answer", async {
            match self {
                Client::H1(connection) => connection.send(delivery).await,
                Client::H2(connection) => connection.send(delivery).await,
            }
        })
    }

    /// Writes a request, waits for `is_time`, and closes without a response. HTTP/2 resets the stream first.
    #[track_caller]
    pub fn leave(mut self, delivery: &TestDelivery, what: &str, mut is_time: impl FnMut() -> bool) {
        let begun = within("end of writing", async {
            match &mut self {
                Client::H1(connection) => connection.write(delivery).await.map(|()| None),
                Client::H2(connection) => connection.write(delivery).await.map(Some),
            }
        });
        let begun = begun.unwrap_or_else(|error| panic!("not written: {error}"));
        eventually(what, || is_time().then_some(()));
        block(async { drop((begun, self)) });
    }

    /// HTTP/1.1: writes these bytes unchanged and reads one response.
    #[track_caller]
    pub fn raw(&mut self, bytes: &[u8]) -> Result<ClientResponse, String> {
        let Client::H1(connection) = self else { panic!("raw bytes need HTTP/1.1") };
        within("answer", connection.raw(bytes))
    }
}
