//! `--keep`: one file for each arrival, on the disk before its sender hears of it.

use super::ReceivedRequest;
use anyhow::{Context, Result};
use blobgate::contract::header;
use std::fmt::Write as _;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// A directory of arrivals.
pub(super) struct RequestFolder(PathBuf);

/// So much of a body's SHA-256 names it where no generation does.
const DIGITS: usize = 16;

impl RequestFolder {
    /// Makes the directory where it is missing. What is in it is for its owner: prompts, and links to results.
    pub(super) fn open(directory: &Path) -> Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .with_context(|| format!("{} cannot be made", directory.display()))?;
        Ok(Self(directory.to_owned()))
    }

    /// Returns once the file and its name are on the disk. Under its name it is never half of one.
    pub(super) fn write(&self, arrival: &ReceivedRequest, body: &[u8]) -> io::Result<()> {
        let name = name(arrival);
        let unfinished = self.0.join(format!(".{name}"));
        let written =
            write(&unfinished, arrival, body).and_then(|()| std::fs::rename(&unfinished, self.0.join(name)));
        if written.is_err() {
            let _left_behind = std::fs::remove_file(&unfinished);
        }
        written.and_then(|()| File::open(&self.0)?.sync_all())
    }
}

/// Sorted by time, and unique. The id comes from outside: only a UUID becomes part of a name.
fn name(arrival: &ReceivedRequest) -> String {
    let id = arrival.header(header::GENERATION_ID).and_then(|id| id.parse::<Uuid>().ok());
    let what = id.map_or_else(|| arrival.sha256.chars().take(DIGITS).collect(), |id| id.to_string());
    let time = arrival.time.replace([':', '-'], "");
    let unique: String = Uuid::new_v4().simple().to_string().chars().take(8).collect();
    format!("{time}-{what}-{unique}")
}

/// The time and the headers, an empty line, and the body as it came.
fn write(path: &Path, arrival: &ReceivedRequest, body: &[u8]) -> io::Result<()> {
    let mut head = format!("time: {}\n", arrival.time);
    for (name, value) in &arrival.headers {
        let _to_a_string = writeln!(head, "{name}: {value}");
    }
    head.push('\n');
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(head.as_bytes())?;
    file.write_all(body)?;
    file.sync_all()
}
