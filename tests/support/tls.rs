//! Certificates made for the test, and clients that trust nothing else.

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use std::path::Path;
use std::sync::{Arc, LazyLock};

/// The name in every certificate.
pub const NAME: &str = "gate.test";

/// The certificate that an Envoy starts with.
pub static FIRST: LazyLock<Certificate> = LazyLock::new(Certificate::fresh);

/// A self-signed certificate and its key, in PEM.
pub struct Certificate {
    pub pem: String,
    pub key: String,
    pub der: CertificateDer<'static>,
}

impl Certificate {
    pub fn fresh() -> Self {
        let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).unwrap();
        let der = CertificateDer::from(made.cert.der().to_vec());
        Self { pem: made.cert.pem(), key: made.signing_key.serialize_pem(), der }
    }

    /// Writes `edge.pem` and `edge-key.pem`, each in one step: what watches the folder sees no half file.
    pub fn write_to(&self, folder: &Path) {
        for (name, text) in [("edge.pem", &self.pem), ("edge-key.pem", &self.key)] {
            super::envoy::replace(&folder.join(name), text);
        }
    }

    /// A client's side that trusts this certificate alone.
    pub fn client(&self, alpn: &str, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        Arc::new(config)
    }
}

pub fn server_name() -> ServerName<'static> {
    ServerName::try_from(NAME).unwrap()
}

/// Offers TLS 1.1 and nothing newer, and returns the alert that is answered.
pub fn hello_1_1(port: u16) -> Vec<u8> {
    use std::io::{Read, Write};
    const VERSION: [u8; 2] = [3, 2];
    // TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA and TLS_RSA_WITH_AES_128_CBC_SHA; no compression; no extensions.
    let hello = [&VERSION[..], &[7; 32], &[0, 0, 4, 0xc0, 0x09, 0, 0x2f, 1, 0]].concat();
    let length = u8::try_from(hello.len()).unwrap();
    let handshake = [&[1, 0, 0, length][..], &hello].concat();
    let record = [&[22][..], &VERSION, &[0, length + 4], &handshake].concat();
    let mut stream = std::net::TcpStream::connect((std::net::Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.write_all(&record).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}
