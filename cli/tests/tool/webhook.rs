//! A scripted webhook over TLS, which records its calls.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::IntoResponse;
use axum::serve::Listener;
use rcgen::{CertifiedKey, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tempfile::NamedTempFile;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub(crate) struct Webhook {
    pub(crate) url: String,
    /// Its certificate, in PEM.
    pub(crate) certificate: NamedTempFile,
    service: Arc<WebhookState>,
}

struct WebhookState {
    /// The statuses of the first answers; then 200.
    answers: Vec<u16>,
    calls: Mutex<Vec<WebhookCall>>,
}

#[derive(Clone)]
pub(crate) struct WebhookCall {
    pub(crate) path: String,
    pub(crate) content_type: String,
    pub(crate) body: String,
}

impl Webhook {
    pub(crate) async fn start(answers: &[u16]) -> Self {
        let (certificate, made) = certificate();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/webhook?token=1", listener.local_addr().unwrap());
        let service = Arc::new(WebhookState { answers: answers.to_vec(), calls: Mutex::default() });
        let routes = Router::new().fallback(take).with_state(Arc::clone(&service));
        let door = TlsListener { listener, acceptor: TlsAcceptor::from(Arc::new(config)) };
        tokio::spawn(async { axum::serve(door, routes).await });
        Self { url, certificate, service }
    }

    pub(crate) fn calls(&self) -> Vec<WebhookCall> {
        self.service.calls.lock().unwrap().clone()
    }

    pub(crate) fn bodies(&self) -> Vec<String> {
        self.calls().into_iter().map(|call| call.body).collect()
    }
}

/// A certificate for 127.0.0.1, and its file.
pub(crate) fn certificate() -> (NamedTempFile, CertifiedKey<KeyPair>) {
    let file = NamedTempFile::new().unwrap();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(file.path(), made.cert.pem()).unwrap();
    (file, made)
}

async fn take(
    State(service): State<Arc<WebhookState>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> impl IntoResponse {
    let mut calls = service.calls.lock().unwrap();
    let status = service.answers.get(calls.len()).copied().unwrap_or(200);
    calls.push(WebhookCall {
        path: uri.to_string(),
        content_type: headers["content-type"].to_str().unwrap().to_owned(),
        body: String::from_utf8(body.to_vec()).unwrap(),
    });
    (StatusCode::from_u16(status).unwrap(), [("location", "/elsewhere")])
}

struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (connection, peer) = self.listener.accept().await.unwrap();
            if let Ok(connection) = self.acceptor.accept(connection).await {
                return (connection, peer);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
