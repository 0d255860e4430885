//! Where callers come in: plain or over TLS.

use super::detail;
use anyhow::{Context, Result};
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
const HANDSHAKE: Duration = Duration::from_secs(10);
/// After an accept that failed for want of descriptors, until the next.
const RECOVERY: Duration = Duration::from_millis(100);

/// Connections that are ready to be served. A handshake does not hold up those that come after it.
pub(super) struct ApiListener {
    pub(super) address: SocketAddr,
    ready: Receiver<(Connection, SocketAddr)>,
}

type Connection = Box<dyn ConnectionStream>;

pub(super) trait ConnectionStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ConnectionStream for S {}

/// Whom a request came from.
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
            tokio::time::sleep(RECOVERY).await;
            continue;
        };
        let (tls, ready) = (tls.clone(), ready.clone());
        tokio::spawn(async move {
            if let Some(connection) = shaken(connection, tls).await {
                let _ended = ready.send((connection, peer)).await;
            }
        });
    }
}

async fn shaken(connection: TcpStream, tls: Option<TlsAcceptor>) -> Option<Connection> {
    let _as_it_is = connection.set_nodelay(true);
    let Some(tls) = tls else { return Some(Box::new(connection)) };
    let connection = tokio::time::timeout(HANDSHAKE, tls.accept(connection)).await.ok()?.ok()?;
    Some(Box::new(connection))
}

pub(super) fn tls(certificate: &Path, key: &Path) -> Result<TlsAcceptor> {
    let (certificate_name, key_name) = (certificate.display(), key.display());
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("no certificate in PEM can be read from {certificate_name}"))?;
    let private = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("no private key in PEM can be read from {key_name}"))?;
    let mut config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(chain, private).with_context(
            || format!("{certificate_name} and {key_name} do not make a certificate with its key"),
        )?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// To other machines, what this guards does not exist.
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
