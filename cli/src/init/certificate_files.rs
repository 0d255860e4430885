//! Checks the files of a certificate that a person names.

use super::setup_text::SetupDraft;
use anyhow::{Result, ensure};
use std::path::Path;

/// Returns warnings.
pub(super) fn check(certificate: &Path, key: &Path, draft: &SetupDraft) -> Result<Vec<String>> {
    let _ = draft;
    for file in [certificate, key] {
        ensure!(file.is_file(), "{} is no file. Name a PEM file", file.display());
    }
    Ok(Vec::new())
}
