//! Writes rendered files, and leaves those that a person has edited.

use super::digests::{self, Digests, digest};
use crate::setup::{Setup, SetupError};
use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use tempfile::Builder;

/// A file as `render` makes it.
#[derive(Clone, PartialEq, Eq)]
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
    pub(crate) change: RenderedChange,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RenderedChange {
    Written,
    Unchanged,
    /// A person has edited it, so it is left as it is.
    Edited,
}

/// A file's place before it is written.
#[derive(Debug)]
pub(super) enum Present {
    Absent,
    /// The bytes of a regular file.
    File(Vec<u8>, Metadata),
    /// A link, a folder or a device. It is never followed or replaced.
    Other,
}

impl RenderedFile {
    /// Whether only its owner may read it.
    pub(super) fn is_secret(&self) -> bool {
        self.mode & 0o077 == 0
    }
}

impl std::fmt::Debug for RenderedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RenderedFile").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Writes files into the setup folder, each whole or not at all.
pub(crate) fn write(folder: &Path, files: &[RenderedFile]) -> Result<Vec<WriteOutcome>, SetupError> {
    let known = read_digests(folder)?;
    let mut outcomes = Vec::new();
    let mut changes = Vec::new();
    let mut digests = Vec::new();
    for file in files {
        let change = judge(folder, file, &known)?;
        outcomes.push(WriteOutcome { path: file.path.clone(), change });
        let of_now = (digest(file.text.as_bytes()), file.path.clone());
        match change {
            RenderedChange::Edited => digests.extend(known.of(&file.path).cloned()),
            RenderedChange::Unchanged => digests.push(of_now),
            RenderedChange::Written => {
                digests.push(of_now.clone());
                changes.push((file, of_now));
            }
        }
    }
    if !changes.is_empty() {
        let next: Vec<_> = changes.iter().map(|(_, digest)| digest.clone()).collect();
        replace(folder, Path::new(digests::FILE), &known.with_next(&next), 0o600)?;
    }
    for (file, _) in changes {
        replace(folder, &file.path, &file.text, file.mode)?;
    }
    let text = Digests::set(digests).to_text();
    if !matches!(read(folder, Path::new(digests::FILE))?, Present::File(now, _) if now == text.as_bytes()) {
        replace(folder, Path::new(digests::FILE), &text, 0o600)?;
    }
    Ok(outcomes)
}

/// The text of a file that a person has edited.
pub(super) fn edited_text(folder: &Path, file: &RenderedFile) -> Option<String> {
    let known = read_digests(folder).ok()?;
    if judge(folder, file, &known).ok()? != RenderedChange::Edited {
        return None;
    }
    match read(folder, &file.path).ok()? {
        Present::File(bytes, _) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Present::Absent | Present::Other => None,
    }
}

fn judge(folder: &Path, file: &RenderedFile, known: &Digests) -> Result<RenderedChange, SetupError> {
    Ok(match read(folder, &file.path)? {
        Present::Absent => RenderedChange::Written,
        Present::Other => RenderedChange::Edited,
        Present::File(now, metadata) if now == file.text.as_bytes() => {
            // A secret that others can read is written again with its own mode.
            let is_open = file.is_secret() && metadata.permissions().mode() & 0o077 != 0;
            if is_open { RenderedChange::Written } else { RenderedChange::Unchanged }
        }
        Present::File(now, _) if known.knows(&file.path, &now) => RenderedChange::Written,
        Present::File(..) => RenderedChange::Edited,
    })
}

/// The digests of the last run. Without the file, each file is a person's.
pub(super) fn read_digests(folder: &Path) -> Result<Digests, SetupError> {
    Ok(match read(folder, Path::new(digests::FILE))? {
        Present::File(bytes, _) => Digests::parse(&String::from_utf8_lossy(&bytes)),
        Present::Absent => Digests::default(),
        Present::Other => {
            let remedy = "Remove it, and render again";
            return Err(unwritable(&folder.join(digests::FILE), &"it is no regular file", remedy));
        }
    })
}

/// What stands at a path, without following a link there.
pub(super) fn read(folder: &Path, path: &Path) -> Result<Present, SetupError> {
    let whole = folder.join(path);
    let found = match fs::symlink_metadata(&whole) {
        Ok(found) => found,
        Err(why) if why.kind() == ErrorKind::NotFound => return Ok(Present::Absent),
        Err(why) => return Err(unwritable(&whole, &why, "Let your user open the folder")),
    };
    if !found.is_file() {
        return Ok(Present::Other);
    }
    let bytes = fs::read(&whole).map_err(|why| unwritable(&whole, &why, "Let your user read the file"))?;
    Ok(Present::File(bytes, found))
}

/// Replaces a file by a new one, which gets its name once it is complete and on the disk.
fn replace(folder: &Path, path: &Path, text: &str, mode: u32) -> Result<(), SetupError> {
    let whole = folder.join(path);
    let parent = whole.parent().unwrap_or(folder);
    let failed = |why: io::Error| {
        let remedy = match why.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "Free space, and render again",
            ErrorKind::ReadOnlyFilesystem => "Render where the folder can be written",
            ErrorKind::NotADirectory => "Remove what has the folder's name",
            _ => "Let your user write the folder",
        };
        unwritable(&whole, &why, remedy)
    };
    create_folder(folder, parent).map_err(failed)?;
    let prefix = format!(".{}.", path.file_name().unwrap_or_default().display());
    let part = Builder::new().prefix(&prefix).suffix(".part").tempfile_in(parent);
    // Its error has the path of the hidden file.
    let part = part.map_err(|why| failed(why.kind().into()))?;
    let write = || {
        part.as_file().write_all(text.as_bytes())?;
        part.as_file().set_permissions(Permissions::from_mode(mode))?;
        take_owner(part.as_file(), parent)?;
        part.as_file().sync_all()
    };
    write().map_err(failed)?;
    part.persist(&whole).map_err(|persist| failed(persist.error))?;
    File::open(parent).and_then(|folder| folder.sync_all()).map_err(failed)
}

/// Makes the folder of Envoy's admin socket.
pub(crate) fn make_run_folder(setup: &Setup) -> Result<(), SetupError> {
    let run = setup.resolve(&setup.run);
    create_folder(&setup.folder, &run)
        .map_err(|why| unwritable(&run, &why, "Make the folder, or name another in `run`"))
}

/// Makes the folder of a file. That of secrets is for its owner alone.
fn create_folder(setup: &Path, folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let mode = if folder.ends_with("secrets") { 0o700 } else { 0o755 };
    match fs::DirBuilder::new().mode(mode).create(folder) {
        Err(why) if why.kind() == ErrorKind::AlreadyExists && folder.is_dir() => return Ok(()),
        made => made?,
    }
    take_owner(&File::open(folder)?, setup)
}

/// Gives a file that root makes to the folder's owner, who runs Envoy.
pub(crate) fn take_owner(file: &File, folder: &Path) -> io::Result<()> {
    let owner = fs::metadata(folder)?;
    let now = file.metadata()?;
    let differs = (owner.uid(), owner.gid()) != (now.uid(), now.gid());
    if differs && rustix::process::geteuid().is_root() {
        fchown(file, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

fn unwritable(file: &Path, why: &dyn std::fmt::Display, remedy: &str) -> SetupError {
    SetupError::Unwritable { file: file.to_owned(), why: why.to_string(), remedy: remedy.to_owned() }
}
