//! The certificate of the public listener and its key.

use super::error::SetupError;
use super::host::SetupHost;
use super::regular_file;
use rustls::client::verify_server_name;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, IpAddr, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use std::io::Read;
use std::path::Path;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use x509_parser::der_parser::parse_der;
use x509_parser::oid_registry::OID_PKCS1_RSAENCRYPTION;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A warning comes this long before the end.
const SOON: time::Duration = time::Duration::days(7);
/// Larger files are none.
const MAX_PEM: u64 = 1 << 20;
/// BoringSSL, in Envoy, refuses shorter keys.
const MIN_RSA_BITS: usize = 2048;

/// A certificate with its key: the files, and the names in the setup file.
pub(crate) struct CertificateFiles<'f> {
    pub(crate) certificate: &'f Path,
    pub(crate) certificate_shown: &'f Path,
    pub(crate) key: &'f Path,
    pub(crate) key_shown: &'f Path,
    pub(crate) named_by: CertificateNaming,
}

/// The words for what a person corrects.
#[derive(Clone, Copy)]
pub(crate) struct CertificateNaming {
    certificate: &'static str,
    key: &'static str,
    pair: &'static str,
    host: &'static str,
}

impl CertificateNaming {
    /// The keys of the setup file.
    pub(crate) const SETUP: Self =
        Self { certificate: "`tls.certificate`", key: "`tls.key`", pair: "in `tls`", host: "`host`" };
    /// The options of `init`.
    pub(crate) const OPTIONS: Self = Self {
        certificate: "--certificate",
        key: "--key",
        pair: "with --certificate and --key",
        host: "--host",
    };
}

/// Checks that the certificate names the host and has the key. Returns a warning about its time.
pub(crate) fn check_certificate(
    files: &CertificateFiles<'_>,
    host: &SetupHost,
    now: OffsetDateTime,
) -> Result<Option<String>, SetupError> {
    files.check(host, now)
}

impl CertificateFiles<'_> {
    fn check(&self, host: &SetupHost, now: OffsetDateTime) -> Result<Option<String>, SetupError> {
        let chain = self.read_chain()?;
        let of_certificate =
            |why: String, remedy: &str| SetupError::unusable(self.certificate_shown.display(), why, remedy);
        let no_certificate = |why: &dyn std::fmt::Display| {
            of_certificate(
                format!("it has no certificate that can be read: {why}"),
                "Name a PEM file with one",
            )
        };
        let Some(first) = chain.first() else { return Err(no_certificate(&"it is empty")) };
        let parsed = ParsedCertificate::try_from(first).map_err(|why| no_certificate(&why))?;
        let (_, certificate) = X509Certificate::from_der(first).map_err(|why| no_certificate(&why))?;
        self.check_key(&chain)?;
        let name = match host {
            SetupHost::Name(name) => {
                ServerName::try_from(name.as_str()).map_err(|why| no_certificate(&why))?
            }
            SetupHost::Ip(ip) => ServerName::IpAddress(IpAddr::from(*ip)),
        };
        verify_server_name(&parsed, &name).map_err(|_| {
            let names = names(&certificate);
            of_certificate(
                format!("it is for {names}, and not for {host}"),
                &format!("Get a certificate for that host, or correct {}", self.named_by.host),
            )
        })?;
        Ok(self.time_warning(&certificate, now))
    }

    /// Checks that the key is of the first certificate.
    fn check_key(&self, chain: &[CertificateDer<'static>]) -> Result<(), SetupError> {
        let key = self.read_key()?;
        let bits = rsa_bits(&key);
        let key = default_provider().key_provider.load_private_key(key).map_err(|_| {
            let why = match bits {
                Some(bits) if bits < MIN_RSA_BITS => {
                    format!(
                        "its RSA key of {bits} bits is too short: at least {MIN_RSA_BITS} bits are needed"
                    )
                }
                Some(bits) => format!("its RSA key of {bits} bits cannot be used"),
                None => "its kind of key is unknown here".to_owned(),
            };
            let remedy = "Use an ECDSA P-256 key, or an RSA key of 2048 to 4096 bits";
            SetupError::unusable(self.key_shown.display(), why, remedy)
        })?;
        let is_its = |certificate: &CertificateDer<'static>| {
            CertifiedKey::new(vec![certificate.clone()], key.clone()).keys_match().is_ok()
        };
        let certificate = self.certificate_shown.display();
        match chain.iter().position(is_its) {
            Some(0) => Ok(()),
            Some(_) => {
                let why = "the certificate of its key is not the first one";
                let remedy = "Write it before those of its issuers";
                Err(SetupError::unusable(certificate, why, remedy))
            }
            None => {
                let why = format!("it is the key of another certificate than {certificate}");
                let remedy = format!("Name the pair {}", self.named_by.pair);
                Err(SetupError::unusable(self.key_shown.display(), why, &remedy))
            }
        }
    }

    /// Envoy notices a new file in the certificate's folder, and not that a link points elsewhere.
    pub(crate) fn link_warning(&self) -> Option<String> {
        let is_link = |path: &Path| std::fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
        let all = [(self.certificate, self.certificate_shown), (self.key, self.key_shown)];
        let (_, shown) = all.into_iter().find(|(path, _)| is_link(path))?;
        Some(format!(
            "{} is a symbolic link, and Envoy does not notice when it points elsewhere: move renewed files over it, as in \
             docs/howto/rotate-keys.md",
            shown.display()
        ))
    }

    fn read_chain(&self) -> Result<Vec<CertificateDer<'static>>, SetupError> {
        let bytes = self.read_pem(self.certificate, self.certificate_shown)?;
        let unusable =
            |why: &str, remedy: &str| SetupError::unusable(self.certificate_shown.display(), why, remedy);
        let chain = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
        match chain {
            Ok(chain) if !chain.is_empty() => Ok(chain),
            Ok(_) if has(&bytes, "PRIVATE KEY-----") => {
                let remedy = format!("Name the certificate in {}", self.named_by.certificate);
                Err(unusable("it is a key, not a certificate", &remedy))
            }
            Ok(_) => Err(unusable(
                "it has no certificate in PEM form",
                "Name a file with -----BEGIN CERTIFICATE-----",
            )),
            Err(_) => Err(unusable("its PEM text is damaged", "Copy the file again")),
        }
    }

    fn read_key(&self) -> Result<PrivateKeyDer<'static>, SetupError> {
        let bytes = self.read_pem(self.key, self.key_shown)?;
        let unusable = |why: &str, remedy: &str| SetupError::unusable(self.key_shown.display(), why, remedy);
        if has(&bytes, "ENCRYPTED") {
            return Err(unusable(
                "it is encrypted, and Envoy asks for no passphrase",
                "Decrypt it: `openssl pkey -in KEY -out NEW_KEY`",
            ));
        }
        PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
            if has(&bytes, "BEGIN CERTIFICATE-----") {
                let remedy = format!("Name the key in {}", self.named_by.key);
                unusable("it is a certificate, not a key", &remedy)
            } else {
                unusable("it has no key in PEM form", "Name a file with -----BEGIN PRIVATE KEY-----")
            }
        })
    }

    fn read_pem(&self, file: &Path, shown: &Path) -> Result<Vec<u8>, SetupError> {
        let unusable = |why: String| {
            let remedy = format!("Name a PEM file that you may read {}", self.named_by.pair);
            SetupError::unusable(shown.display(), why, &remedy)
        };
        let mut bytes = Vec::new();
        let read = regular_file::open(file)
            .and_then(|file| file.take(MAX_PEM.saturating_add(1)).read_to_end(&mut bytes))
            .map_err(|why| unusable(why.to_string()))?;
        match u64::try_from(read) {
            Ok(size) if size <= MAX_PEM => Ok(bytes),
            _ => Err(unusable("it has over 1 MiB".to_owned())),
        }
    }

    /// An expired certificate is a warning: a renewal may be on its way, and Envoy serves it as it is.
    fn time_warning(&self, certificate: &X509Certificate<'_>, now: OffsetDateTime) -> Option<String> {
        let validity = certificate.validity();
        let (start, end) = (validity.not_before.to_datetime(), validity.not_after.to_datetime());
        let date = |time: OffsetDateTime| time.format(&Rfc3339).unwrap_or_default();
        let what = if now > end {
            format!("expired at {}. RunBlob refuses it: renew it", date(end))
        } else if now < start {
            format!("is valid from {} on. RunBlob refuses it until then: check the clock", date(start))
        } else if now.checked_add(SOON).is_some_and(|soon| end < soon) {
            format!("expires at {}: renew it", date(end))
        } else {
            return None;
        };
        Some(format!("{} {what}", self.certificate_shown.display()))
    }
}

/// The length of an RSA key: RFC 8017, appendix A.1.2, alone or in PKCS #8 (RFC 5958). `None` for another kind.
fn rsa_bits(key: &PrivateKeyDer<'_>) -> Option<usize> {
    let modulus = |der: &[u8]| {
        let (_, key) = parse_der(der).ok()?;
        let number = key.as_sequence().ok()?.get(1)?.as_slice().ok()?.to_vec();
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        let first = number.get(zeros)?;
        let bytes = number.len().checked_sub(zeros)?;
        bytes.checked_mul(8)?.checked_sub(usize::try_from(first.leading_zeros()).ok()?)
    };
    match key {
        PrivateKeyDer::Pkcs1(key) => modulus(key.secret_pkcs1_der()),
        PrivateKeyDer::Pkcs8(key) => {
            let (_, wrapped) = parse_der(key.secret_pkcs8_der()).ok()?;
            let [_, algorithm, inner, ..] = wrapped.as_sequence().ok()?.as_slice() else { return None };
            let oid = algorithm.as_sequence().ok()?.first()?.as_oid().ok()?;
            (*oid == OID_PKCS1_RSAENCRYPTION).then(|| modulus(inner.as_slice().ok()?)).flatten()
        }
        _ => None,
    }
}

fn has(bytes: &[u8], mark: &str) -> bool {
    String::from_utf8_lossy(bytes).contains(mark)
}

/// The names of a certificate, as far as a sentence can have them.
fn names(certificate: &X509Certificate<'_>) -> String {
    const MAX_NAMES: usize = 5;
    use x509_parser::extensions::GeneralName;
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let names = alternative.iter().flat_map(|names| &names.value.general_names);
    let mut shown: Vec<String> = names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => match bytes.len() {
                4 => <[u8; 4]>::try_from(*bytes).ok().map(|ip| std::net::IpAddr::from(ip).to_string()),
                16 => <[u8; 16]>::try_from(*bytes).ok().map(|ip| std::net::IpAddr::from(ip).to_string()),
                _ => None,
            },
            _ => None,
        })
        .collect();
    if shown.len() > MAX_NAMES {
        shown.truncate(MAX_NAMES);
        shown.push("others".to_owned());
    }
    if shown.is_empty() { "no host (it has no subjectAltName)".to_owned() } else { shown.join(", ") }
}
