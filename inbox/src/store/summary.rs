//! The results of a backup and a restore.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The contents of a checked copy.
#[derive(Debug)]
pub struct CopySummary {
    /// The number of entries in each state.
    pub states: BTreeMap<String, i64>,
    /// The size of the file.
    pub bytes: u64,
}

/// The result of a restore.
#[derive(Debug)]
pub struct RestoreSummary {
    /// The contents of the copy.
    pub copy: CopySummary,
    /// The new path of the replaced file.
    pub replaced: Option<PathBuf>,
    /// The paused hooks. The inbox may have delivered their waiting entries after the copy was made.
    pub paused: Vec<String>,
}
