//! A store in an SQLite file, and SQL on a store of either kind beside its inbox.

use super::{Cluster, inbox};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// An SQLite file with the inbox's tables in a folder of its own. Removed on drop.
pub struct SqliteFile {
    pub path: PathBuf,
    /// The value for `--store`.
    pub url: String,
    above: TempDir,
}

impl SqliteFile {
    #[track_caller]
    pub fn migrated(program: &str) -> Self {
        let above = tempfile::tempdir().unwrap();
        let path = above.path().join("store/inbox.db");
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        let url = format!("sqlite:{}", path.display());
        inbox::migrate(program, &url);
        Self { path, url, above }
    }

    /// A path beside the file.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.path.with_file_name(name)
    }

    /// The parent of the file's folder. A test may move or remove the file's folder.
    pub fn above(&self) -> &Path {
        self.above.path()
    }
}

/// Runs statements on a store's tables and returns their output. For SQLite the test has `#[needs(Sqlite3)]`.
#[track_caller]
pub fn sql(store: &str, statements: &str) -> String {
    let Some(path) = store.strip_prefix("sqlite:") else {
        let database = store.split("localhost/").nth(1).and_then(|rest| rest.split('?').next()).unwrap();
        let statements = format!("SET search_path = blobgate_inbox; {statements}");
        return Cluster::shared().sql(database, &statements);
    };
    let done = Command::new("sqlite3").args(["-cmd", ".timeout 10000", path, statements]).output();
    let done = done.expect("cannot run sqlite3: it is not installed. Install the package sqlite3.");
    assert!(done.status.success(), "{statements}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim_end().to_owned()
}
