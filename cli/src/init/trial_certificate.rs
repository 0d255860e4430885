//! A self-signed certificate, so that a first event needs no certificate authority.

use anyhow::{Result, anyhow};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

/// As long as a certificate of Let's Encrypt.
const LIFETIME: Duration = Duration::days(90);

/// For clients with a clock that is behind.
const BEFORE: Duration = Duration::hours(1);

pub(super) struct TrialCertificate {
    pub(super) certificate: String,
    /// Unencrypted PKCS#8 in PEM.
    pub(super) key: String,
    pub(super) expires: OffsetDateTime,
}

impl TrialCertificate {
    pub(super) fn new(names: Vec<String>, now: OffsetDateTime) -> Result<Self> {
        let expires = now.saturating_add(LIFETIME);
        let mut params = CertificateParams::new(names).map_err(cannot_make)?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Blobgate trial");
        (params.not_before, params.not_after) = (now.saturating_sub(BEFORE), expires);
        // No CA, since strict clients refuse a CA certificate of a server.
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().map_err(cannot_make)?;
        let certificate = params.self_signed(&key).map_err(cannot_make)?;
        Ok(Self { certificate: certificate.pem(), key: key.serialize_pem(), expires })
    }
}

fn cannot_make(error: rcgen::Error) -> anyhow::Error {
    anyhow!("cannot make a certificate: {error}. Name your own with --certificate and --key")
}
