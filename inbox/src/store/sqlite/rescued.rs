//! Rescue copies beside a store.

use super::beside;
use std::path::{Path, PathBuf};

/// Stands between the store's name and a time in the name of a rescue copy.
pub(super) const RESCUED: &str = ".rescued-";

/// The rescue copies beside a store. They may contain events that the store lacks.
pub(super) fn rescued_beside(path: &Path) -> Vec<PathBuf> {
    let Some(name) = path.file_name() else { return Vec::new() };
    let start = beside(name.as_ref(), RESCUED);
    let start = start.as_os_str().as_encoded_bytes();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        // Leaves out an unfinished copy (`.part`), and SQLite's files beside a copy.
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
