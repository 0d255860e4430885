//! Fresh certificates, and clients that trust only one of them.

use super::{block, spawn};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// The name in every certificate, unless a test gives another.
pub const NAME: &str = "gate.test";

/// The names of the how-tos, which [`FIRST`] has too.
const PAGE_NAMES: [&str; 2] = ["hooks.example.com", "app.example.com"];

/// The certificate that an Envoy starts with.
pub static FIRST: LazyLock<Certificate> =
    LazyLock::new(|| Certificate::of([NAME, PAGE_NAMES[0], PAGE_NAMES[1]]));

/// A self-signed certificate and its key, in PEM.
pub struct Certificate {
    pub pem: String,
    pub key: String,
    pub der: CertificateDer<'static>,
}

impl Certificate {
    pub fn fresh() -> Self {
        Self::named(NAME)
    }

    pub fn named(name: &str) -> Self {
        Self::of([name])
    }

    pub fn of<const NAMES: usize>(names: [&str; NAMES]) -> Self {
        let made = rcgen::generate_simple_self_signed(names.map(str::to_owned)).unwrap();
        let der = CertificateDer::from(made.cert.der().to_vec());
        Self { pem: made.cert.pem(), key: made.signing_key.serialize_pem(), der }
    }

    /// Writes `edge.pem` and `edge-key.pem`, each in one step, so that Envoy never reads half a file.
    pub fn write_to(&self, folder: &Path) {
        for (name, text) in [("edge.pem", &self.pem), ("edge-key.pem", &self.key)] {
            super::envoy::replace(&folder.join(name), text);
        }
    }

    /// A client configuration that trusts only this certificate.
    pub fn client(&self, alpn: &str, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
        Self::client_of_any(&[self], alpn, versions)
    }

    /// A client configuration that trusts only these certificates.
    pub fn client_of_any(
        trusted: &[&Self],
        alpn: &str,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        for certificate in trusted {
            roots.add(certificate.der.clone()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        Arc::new(config)
    }
}

/// A proxy that terminates TLS and forwards plaintext.
pub struct TlsFront {
    pub port: u16,
    running: JoinHandle<()>,
}

impl TlsFront {
    pub fn start(certificate: &Certificate, to: u16) -> Self {
        let acceptor = acceptor(certificate, &[]);
        let listener = block(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let port = listener.local_addr().unwrap().port();
        let running = spawn(async move {
            let mut connections = JoinSet::new(); // dropping it ends every connection
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                connections.spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut behind = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await.unwrap();
                    let _broken = tokio::io::copy_bidirectional(&mut stream, &mut behind).await;
                });
            }
        });
        Self { port, running }
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// The server's side of TLS with this certificate.
pub(super) fn acceptor(certificate: &Certificate, alpn: &[&str]) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .unwrap()
        .with_no_client_auth();
    let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).unwrap();
    let mut config = builder.with_single_cert(vec![certificate.der.clone()], key).unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

pub fn server_name(name: &'static str) -> ServerName<'static> {
    ServerName::try_from(name).unwrap()
}

/// Sends a ClientHello whose newest version is this one ([3, 2] is TLS 1.1), and returns the first bytes of the response.
/// An alert is 21, version, length, level, description. A handshake begins with 22.
pub fn hello(port: u16, version: [u8; 2]) -> [u8; 7] {
    use std::io::{Read, Write};
    // ECDHE_ECDSA with AES_128_GCM_SHA256 for TLS 1.2, and with AES_128_CBC_SHA for older versions.
    const CIPHERS: [u8; 6] = [0, 4, 0xc0, 0x2b, 0xc0, 0x09];
    const NO_COMPRESSION: [u8; 2] = [1, 0];
    // supported_groups: secp256r1; signature_algorithms: ecdsa_secp256r1_sha256.
    const EXTENSIONS: [u8; 18] = [0, 16, 0, 10, 0, 4, 0, 2, 0, 23, 0, 13, 0, 4, 0, 2, 4, 3];
    let hello = [&version[..], &[7; 32], &[0], &CIPHERS, &NO_COMPRESSION, &EXTENSIONS].concat();
    let length = u8::try_from(hello.len()).unwrap();
    let record = [&[22][..], &version, &[0, length + 4], &[1, 0, 0, length], &hello].concat();
    let mut stream = std::net::TcpStream::connect((std::net::Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(super::MAX_WAIT)).unwrap();
    stream.write_all(&record).unwrap();
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).unwrap();
    answer
}
