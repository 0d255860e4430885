//! The lock that reserves a database file for one inbox, under any of its names.
//!
//! It is a `flock` on the inode of the file. SQLite locks the same inode with POSIX locks, and a process loses those when it
//! closes any descriptor of the inode (fcntl(2)). So a descriptor that this module opens stays open until the process ends.

use super::super::SettingsError;
use super::super::{OpenError, VersionError};
use super::beside;
use std::collections::BTreeMap;
use std::fs::{File, Metadata, TryLockError, metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The device and inode of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileId(u64, u64);

impl FileId {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }
}

struct LockDescriptor {
    file: &'static File,
    /// Whether this process has the lock: a second `flock` through the same descriptor would succeed.
    is_locked: bool,
}

static DESCRIPTORS: Mutex<BTreeMap<FileId, LockDescriptor>> = Mutex::new(BTreeMap::new());

/// A lock of this process.
#[derive(Debug)]
pub(super) struct FileLock {
    pub(super) file: &'static File,
    pub(super) id: FileId,
}

impl Drop for FileLock {
    fn drop(&mut self) {
        let mut descriptors = DESCRIPTORS.lock().unwrap_or_else(PoisonError::into_inner);
        // A child process inherits the lock with the descriptor until its `exec`. Closing would release it too late.
        let _released = self.file.unlock();
        if let Some(descriptor) = descriptors.get_mut(&self.id) {
            descriptor.is_locked = false;
        }
    }
}

/// A command that checks the lock has it for an instant, so the inbox tries this many times.
const TRIES: u32 = 5;
const RETRY_DELAY: Duration = Duration::from_millis(20);
/// An inbox that starts locks its log within this many retry delays.
const START_TRIES: u32 = 50;

/// Takes the lock of an existing file.
pub(super) fn lock(path: &Path) -> Result<FileLock, OpenError> {
    let name = || path.display().to_string();
    let mut tries = TRIES;
    loop {
        let failed = |error: io::Error| match error.kind() {
            ErrorKind::NotFound => no_file(path),
            _ => OpenError::File(name(), error),
        };
        match try_lock(path).map_err(failed)? {
            Some(lock) => {
                check_names(path)?;
                return Ok(lock);
            }
            None if tries == 0 => return Err(OpenError::Taken(name())),
            None => {
                tries = tries.saturating_sub(1);
                std::thread::sleep(RETRY_DELAY);
            }
        }
    }
}

/// `None` if another inbox has the lock.
fn try_lock(path: &Path) -> io::Result<Option<FileLock>> {
    let mut descriptors = DESCRIPTORS.lock().unwrap_or_else(PoisonError::into_inner);
    let id = open(path, &mut descriptors)?;
    let Some(descriptor) = descriptors.get_mut(&id).filter(|descriptor| !descriptor.is_locked) else {
        return Ok(None);
    };
    match descriptor.file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // Between `open` and `try_lock`, a restore may have put another file at the path.
    if metadata(path).is_ok_and(|now| FileId::of(&now) == id) {
        descriptor.is_locked = true;
        return Ok(Some(FileLock { file: descriptor.file, id }));
    }
    let _released = descriptor.file.unlock();
    Ok(None)
}

/// Opens a file unless this process has it open.
fn open(path: &Path, descriptors: &mut BTreeMap<FileId, LockDescriptor>) -> io::Result<FileId> {
    let id = FileId::of(&metadata(path)?);
    if descriptors.contains_key(&id) {
        return Ok(id);
    }
    let file: &'static File = Box::leak(Box::new(File::open(path)?));
    let id = FileId::of(&file.metadata()?);
    descriptors.entry(id).or_insert(LockDescriptor { file, is_locked: false });
    Ok(id)
}

/// Allows a command beside the inbox that serves the file, unless that inbox uses another name of it. SQLite's log is beside the
/// name, so one file would have two logs.
pub(super) fn check_beside(path: &Path) -> Result<(), OpenError> {
    let failed = |error| OpenError::File(path.display().to_string(), error);
    check_names(path)?;
    for _ in 0..START_TRIES {
        if is_free(path).map_err(failed)? || is_locked(&log_of(path)) {
            return Ok(());
        }
        // An inbox that starts locks the file before its log.
        std::thread::sleep(RETRY_DELAY);
    }
    Err(OpenError::OtherName(path.display().to_string()))
}

/// Whether no other process has the lock.
fn is_free(path: &Path) -> io::Result<bool> {
    let mut descriptors = DESCRIPTORS.lock().unwrap_or_else(PoisonError::into_inner);
    let id = open(path, &mut descriptors)?;
    let Some(descriptor) = descriptors.get(&id).filter(|descriptor| !descriptor.is_locked) else {
        return Ok(true);
    };
    match descriptor.file.try_lock_shared() {
        Ok(()) => descriptor.file.unlock().map(|()| true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The path of the log. It is beside the file's real name, not beside a symbolic link.
pub(super) fn log_of(path: &Path) -> PathBuf {
    beside(&std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()), "-wal")
}

/// Whether an inbox has locked this log. SQLite does not lock the log, so closing its descriptor is safe.
pub(super) fn is_locked(log: &Path) -> bool {
    File::open(log).is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

/// Refuses a directory and hard links. SQLite's log is beside one name, so the file under another name lacks its newest events.
fn check_names(path: &Path) -> Result<(), OpenError> {
    match metadata(path) {
        Ok(metadata) if metadata.is_dir() => Err(OpenError::Directory(path.display().to_string())),
        Ok(metadata) if metadata.nlink() > 1 => {
            Err(SettingsError::HardLinks { path: path.to_owned(), names: metadata.nlink() }.into())
        }
        _ => Ok(()),
    }
}

/// Fails if the user cannot write the file, or beside it: SQLite would only say that it cannot open the file.
pub(super) fn check_writable(path: &Path) -> Result<(), OpenError> {
    use rustix::fs::{Access, access};
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = real.parent().unwrap_or(Path::new("/"));
    let rows = [(path, Access::READ_OK | Access::WRITE_OK), (folder, Access::WRITE_OK | Access::EXEC_OK)];
    for (place, wanted) in rows {
        access(place, wanted).map_err(|error| OpenError::File(place.display().to_string(), error.into()))?;
    }
    Ok(())
}

pub(super) fn no_file(path: &Path) -> OpenError {
    if path.parent().is_some_and(|folder| !folder.as_os_str().is_empty() && !folder.exists()) {
        return OpenError::NoDirectory(path.display().to_string());
    }
    VersionError::NoFile(path.to_owned()).into()
}
