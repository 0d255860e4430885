//! `--keep`: writes a file for each request before the answer.

use super::ReceivedRequest;
use anyhow::{Result, anyhow};
use blobgate::contract::header;
use std::fmt::Write as _;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// A directory with a file for each request.
pub(super) struct RequestFolder(PathBuf);

/// The digits of the body's SHA-256 in the name of a file without a generation.
const DIGITS: usize = 16;

impl RequestFolder {
    /// Creates a missing directory, for its owner only: files have prompts and links to videos.
    pub(super) fn open(directory: &Path) -> Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|why| {
            anyhow!("cannot create {}: {why}. Name another directory with --keep", directory.display())
        })?;
        Ok(Self(directory.to_owned()))
    }

    /// Returns once the file and its name are on the disk. A file with this name is complete.
    pub(super) fn write(&self, request: &ReceivedRequest, body: &[u8]) -> io::Result<()> {
        let name = name(request);
        let unfinished = self.0.join(format!(".{name}"));
        let written =
            write(&unfinished, request, body).and_then(|()| std::fs::rename(&unfinished, self.0.join(name)));
        if written.is_err() {
            let _left_behind = std::fs::remove_file(&unfinished);
        }
        written.and_then(|()| File::open(&self.0)?.sync_all())
    }
}

/// Unique names that sort by time. A client sets the id: only a UUID becomes part of a name.
fn name(request: &ReceivedRequest) -> String {
    let id = request.header(header::GENERATION_ID).and_then(|id| id.parse::<Uuid>().ok());
    let what = id.map_or_else(|| request.sha256.chars().take(DIGITS).collect(), |id| id.to_string());
    let time = request.time.replace([':', '-'], "");
    let unique: String = Uuid::new_v4().simple().to_string().chars().take(8).collect();
    format!("{time}-{what}-{unique}")
}

/// Writes the time and the headers, an empty line, and the body unchanged.
fn write(path: &Path, request: &ReceivedRequest, body: &[u8]) -> io::Result<()> {
    let mut head = format!("time: {}\n", request.time);
    for (name, value) in &request.headers {
        let _to_a_string = writeln!(head, "{name}: {value}");
    }
    head.push('\n');
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(head.as_bytes())?;
    file.write_all(body)?;
    file.sync_all()
}
