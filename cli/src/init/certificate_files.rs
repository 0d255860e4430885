//! A certificate and its key, from files that a person names.

use crate::setup::Setup;
use crate::setup::certificate::{CertificateFiles, CertificateNaming, check_certificate};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use time::OffsetDateTime;

/// What the setup folder gets of the files.
pub(super) struct CertificateCopy {
    pub(super) certificate: String,
    pub(super) key: String,
    /// No reason to refuse it, such as an expiry in the past.
    pub(super) warning: Option<String>,
}

impl CertificateCopy {
    pub(super) fn read(certificate: &Path, key: &Path, setup: &Setup) -> Result<Self> {
        let files = CertificateFiles {
            certificate,
            certificate_shown: certificate,
            key,
            key_shown: key,
            named_by: CertificateNaming::OPTIONS,
        };
        let warning = check_certificate(&files, &setup.host, OffsetDateTime::now_utc())?;
        let read =
            |path: &Path| fs::read_to_string(path).with_context(|| format!("cannot use {}", path.display()));
        Ok(Self {
            // One file may have both: the key must not get into a file that others can read.
            certificate: blocks(&read(certificate)?, |label| label == "CERTIFICATE"),
            key: blocks(&read(key)?, |label| label.ends_with("PRIVATE KEY")),
            warning,
        })
    }
}

/// The blocks of a PEM text (RFC 7468) with these labels.
fn blocks(text: &str, wanted: impl Fn(&str) -> bool) -> String {
    let mut found = String::new();
    let mut is_wanted = false;
    for line in text.lines().map(str::trim) {
        if let Some(label) = line.strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----")) {
            is_wanted = wanted(label);
        }
        if is_wanted {
            found.push_str(line);
            found.push('\n');
        }
        is_wanted = is_wanted && !line.starts_with("-----END ");
    }
    found
}

#[cfg(test)]
mod tests {
    use super::blocks;

    #[test]
    fn takes_the_wanted_blocks() {
        let both = "Bag Attributes\r\n-----BEGIN CERTIFICATE-----\r\nAA==\r\n-----END CERTIFICATE-----\r\n\
            -----BEGIN EC PRIVATE KEY-----\nBB==\n-----END EC PRIVATE KEY-----\ntrailing\n\
            -----BEGIN CERTIFICATE-----\nCC==\n-----END CERTIFICATE-----";
        assert_eq!(
            blocks(both, |label| label == "CERTIFICATE"),
            "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n\
             -----BEGIN CERTIFICATE-----\nCC==\n-----END CERTIFICATE-----\n"
        );
        assert_eq!(
            blocks(both, |label| label.ends_with("PRIVATE KEY")),
            "-----BEGIN EC PRIVATE KEY-----\nBB==\n-----END EC PRIVATE KEY-----\n"
        );
    }
}
