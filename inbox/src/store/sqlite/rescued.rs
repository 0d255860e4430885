//! The copies that rescues leave beside a store.

use super::beside;
use std::path::{Path, PathBuf};

/// After the store's name, and before a time.
pub(super) const RESCUED: &str = ".rescued-";

/// Copies of rescues that still lie beside a store: what it has lost may be in them.
pub(super) fn rescued_beside(path: &Path) -> Vec<PathBuf> {
    let Some(name) = path.file_name() else { return Vec::new() };
    let start = beside(name.as_ref(), RESCUED);
    let start = start.as_os_str().as_encoded_bytes();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        // Not one that is still being written, nor SQLite's files beside it.
        .filter(|entry| {
            let name = entry.file_name();
            let stamp = name.as_encoded_bytes().strip_prefix(start);
            stamp.is_some_and(|stamp| stamp.iter().all(u8::is_ascii_alphanumeric))
        })
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}
