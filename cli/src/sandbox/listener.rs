//! The listener of the API, with or without TLS.

use super::detail;
use anyhow::{Result, anyhow};
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use axum::serve::{IncomingStream, Listener};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_rustls::TlsAcceptor;

/// A handshake takes a few round trips.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after an accept that failed without free descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections. A slow handshake does not delay others.
pub(super) struct ApiListener {
    pub(super) address: SocketAddr,
    ready: Receiver<(Connection, SocketAddr)>,
}

type Connection = Box<dyn ConnectionStream>;

pub(super) trait ConnectionStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ConnectionStream for S {}

/// The address of a client.
#[derive(Clone, Copy)]
pub(super) struct Peer(SocketAddr);

impl ApiListener {
    pub(super) fn open(listener: TcpListener, tls: Option<TlsAcceptor>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (sender, ready) = channel(1);
        tokio::spawn(accept(listener, tls, sender));
        Ok(Self { address, ready })
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, ready: Sender<(Connection, SocketAddr)>) {
    loop {
        let Ok((connection, peer)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (tls, ready) = (tls.clone(), ready.clone());
        tokio::spawn(async move {
            if let Some(connection) = handshake(connection, tls).await {
                let _ended = ready.send((connection, peer)).await;
            }
        });
    }
}

async fn handshake(connection: TcpStream, tls: Option<TlsAcceptor>) -> Option<Connection> {
    let _as_it_is = connection.set_nodelay(true);
    let Some(tls) = tls else { return Some(Box::new(connection)) };
    let connection = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(connection)).await.ok()?.ok()?;
    Some(Box::new(connection))
}

pub(super) fn tls(certificate: &Path, key: &Path) -> Result<TlsAcceptor> {
    let (certificate_name, key_name) = (certificate.display(), key.display());
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|why| {
        anyhow!(
            "cannot read a certificate in PEM from {certificate_name}: {why}. Name another with --tls-cert"
        )
    })?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|why| {
        anyhow!("cannot read a private key in PEM from {key_name}: {why}. Name another with --tls-key")
    })?;
    let mut config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, private).map_err(|why| {
        anyhow!("the key in {key_name} does not fit the certificate in {certificate_name}: {why}. Name a matching pair")
    })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Other machines get 404.
pub(super) async fn check_loopback(
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    if peer.ip().to_canonical().is_loopback() {
        return next.run(request).await;
    }
    detail(StatusCode::NOT_FOUND, "Not Found")
}

impl Listener for ApiListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        match self.ready.recv().await {
            Some(accepted) => accepted,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

impl Connected<IncomingStream<'_, ApiListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, ApiListener>) -> Self {
        Self(*stream.remote_addr())
    }
}
