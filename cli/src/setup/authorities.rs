//! The file of certificate authorities that this system trusts.

use super::error::SetupError;
use std::path::Path;

/// Where distributions have it: Debian and Alpine, Fedora, SUSE, OpenSSL's default.
const FILES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

pub(crate) struct CertificateAuthorities;

impl CertificateAuthorities {
    /// The file of this system.
    pub(crate) fn find() -> Result<&'static str, SetupError> {
        FILES.into_iter().find(|file| Path::new(file).is_file()).ok_or_else(|| {
            let [debian, ..] = FILES;
            SetupError::unusable(debian, "the file does not exist", "Install the package ca-certificates")
        })
    }

    /// The file of this system, or Debian's.
    pub(crate) fn file() -> &'static str {
        let [debian, ..] = FILES;
        Self::find().unwrap_or(debian)
    }
}
