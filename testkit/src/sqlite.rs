//! A store in an SQLite file, and statements beside the inbox that serves from a store of either kind.

use super::{Cluster, inbox};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// An SQLite file with the inbox's tables, alone in a folder. Removed on drop.
pub struct SqliteFile {
    pub path: PathBuf,
    /// As `--store` takes it.
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

    /// The folder that has the file's folder: a test may move or remove that one.
    pub fn above(&self) -> &Path {
        self.above.path()
    }
}

/// Runs statements on a store's tables and returns what they print. With an SQLite file the test has `#[needs(Sqlite3)]`.
#[track_caller]
pub fn sql(store: &str, statements: &str) -> String {
    let Some(path) = store.strip_prefix("sqlite:") else {
        let database = store.split("localhost/").nth(1).and_then(|rest| rest.split('?').next()).unwrap();
        let statements = format!("SET search_path = blobgate_inbox; {statements}");
        return Cluster::shared().sql(database, &statements);
    };
    let done = Command::new("sqlite3").args(["-cmd", ".timeout 10000", path, statements]).output();
    let done = done.expect("There is no sqlite3: install the package sqlite3.");
    assert!(done.status.success(), "{statements}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim_end().to_owned()
}
