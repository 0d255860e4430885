//! The lock that leaves a database file to one inbox, by any of its names.
//!
//! It is a `flock` on the file's own inode. SQLite locks the same inode with POSIX locks, and a process loses those as soon as
//! it closes any descriptor of the inode (fcntl(2)). So a descriptor that was opened here stays open until the process ends.

use super::super::CannotOpen;
use super::beside;
use std::collections::BTreeMap;
use std::fs::{File, Metadata, TryLockError, metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A file, by whatever name: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id(u64, u64);

impl Id {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }
}

struct Opened {
    file: &'static File,
    /// This process has the lock: a second `flock` through the same descriptor would succeed.
    held: bool,
}

static OPENED: Mutex<BTreeMap<Id, Opened>> = Mutex::new(BTreeMap::new());

/// A lock that this process has.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) file: &'static File,
    pub(super) id: Id,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        // With its descriptor alone it would live on for a moment in a process that is just being started.
        let _released = self.file.unlock();
        if let Some(opened) = opened.get_mut(&self.id) {
            opened.held = false;
        }
    }
}

/// A command that looks at the lock has it for an instant: so often is tried again before the file counts as taken.
const TRIES: u32 = 5;
const AGAIN: Duration = Duration::from_millis(20);
/// An inbox that starts has its log within so many of these.
const STARTS: u32 = 50;

/// Takes the lock of an existing file.
pub(super) fn lock(path: &Path) -> Result<Held, CannotOpen> {
    let name = || path.display().to_string();
    let mut tries = TRIES;
    loop {
        let failed = |error: io::Error| match error.kind() {
            ErrorKind::NotFound => no_file(path),
            _ => CannotOpen::File(name(), error),
        };
        match try_lock(path).map_err(failed)? {
            Some(held) => {
                check_names(path)?;
                return Ok(held);
            }
            None if tries == 0 => return Err(CannotOpen::Taken(name())),
            None => {
                tries = tries.saturating_sub(1);
                std::thread::sleep(AGAIN);
            }
        }
    }
}

/// Nothing where it is taken.
fn try_lock(path: &Path) -> io::Result<Option<Held>> {
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    let id = open(path, &mut opened)?;
    let Some(known) = opened.get_mut(&id).filter(|known| !known.held) else { return Ok(None) };
    match known.file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // Between opening and locking, `restore` may have put another file under the name.
    if metadata(path).is_ok_and(|now| Id::of(&now) == id) {
        known.held = true;
        return Ok(Some(Held { file: known.file, id }));
    }
    let _released = known.file.unlock();
    Ok(None)
}

/// Opens a file that is not open yet.
fn open(path: &Path, opened: &mut BTreeMap<Id, Opened>) -> io::Result<Id> {
    let id = Id::of(&metadata(path)?);
    if opened.contains_key(&id) {
        return Ok(id);
    }
    let file: &'static File = Box::leak(Box::new(File::open(path)?));
    let id = Id::of(&file.metadata()?);
    opened.entry(id).or_insert(Opened { file, held: false });
    Ok(id)
}

/// Lets a command go on beside the inbox that serves the file, unless that has it by another name: SQLite's log lies beside the
/// name, so there would be two logs of one file.
pub(super) fn check_beside(path: &Path) -> Result<(), CannotOpen> {
    let failed = |error| CannotOpen::File(path.display().to_string(), error);
    check_names(path)?;
    for _ in 0..STARTS {
        if is_free(path).map_err(failed)? || is_locked(&log_of(path)) {
            return Ok(());
        }
        // An inbox that starts locks the file first, and then its log.
        std::thread::sleep(AGAIN);
    }
    Err(CannotOpen::OtherName(path.display().to_string()))
}

/// Whether no other process has the lock.
fn is_free(path: &Path) -> io::Result<bool> {
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    let id = open(path, &mut opened)?;
    let Some(known) = opened.get(&id).filter(|known| !known.held) else { return Ok(true) };
    match known.file.try_lock_shared() {
        Ok(()) => known.file.unlock().map(|()| true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The log lies beside the file's real name, not beside a symbolic link.
pub(super) fn log_of(path: &Path) -> std::path::PathBuf {
    beside(&std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()), "-wal")
}

/// Whether an inbox has this log. SQLite sets no lock on it, so a descriptor of it may be closed.
pub(super) fn is_locked(log: &Path) -> bool {
    File::open(log).is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

/// SQLite's log lies beside one of a file's names: opened by another one, the file would lack its newest events.
fn check_names(path: &Path) -> Result<(), CannotOpen> {
    match metadata(path).map(|metadata| metadata.nlink()) {
        Ok(names) if names > 1 => Err(CannotOpen::Settings(format!(
            "{} has {names} names (hard links), and SQLite's log lies beside one of them: remove the other names. A copy by `cp` would lack the events in the log: use `blobgate inbox backup`",
            path.display()
        ))),
        _ => Ok(()),
    }
}
pub(super) fn no_file(path: &Path) -> CannotOpen {
    CannotOpen::Version(format!("there is no store {} yet: run `blobgate inbox migrate`", path.display()))
}
