//! Whether the files at the store's path are still the ones that are open, and still have what SQLite wrote.
//!
//! SQLite writes through its descriptors, wherever their files have gone meanwhile: a removed log takes commits for ever, and
//! loses them with the process.

use super::beside;
use super::lock::{Held, Id};
use std::fs::{File, OpenOptions, metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// What has become of the files. Its text ends a sentence that begins with the file's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Difference {
    /// The database is gone from its path.
    Database(String),
    /// The log, or its index, is gone from its path; the database is there.
    Log(String),
    /// Something else than SQLite wrote into them.
    Contents(String),
}

impl Difference {
    pub(super) fn text(&self) -> &str {
        match self {
            Difference::Database(text) | Difference::Log(text) | Difference::Contents(text) => text,
        }
    }
}

/// The files are those that are open, as far as can be told without SQLite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Same,
    /// The log is shorter than it was: after a checkpoint that empties it, or by another hand.
    ShorterLog,
}

#[derive(Debug)]
pub(super) struct Files {
    /// As it was given: a symbolic link on the way may change.
    given: PathBuf,
    /// Beside it SQLite has its log.
    pub(super) path: PathBuf,
    wal: PathBuf,
    shm: PathBuf,
    /// Where the files went, if their folder was moved.
    pub(super) folder: File,
    database: Held,
    index: &'static File,
    /// Locked: a command of the same name sees by it that it has the same log.
    log: File,
    log_id: Id,
    shm_id: Id,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    head: Head,
    /// The inbox marks the file at each start: this mark, or the one before until the first checkpoint.
    marks: [u32; 2],
    size: u64,
    log_size: u64,
}

/// The database's first bytes, by SQLite's file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    /// Magic, page size, versions.
    fixed: [u8; 24],
    /// Rises with each change of the first page.
    changes: u32,
    pages: u32,
    /// `PRAGMA user_version`.
    mark: u32,
}

const HEAD: usize = 100;
/// Of a log and of each frame in it.
const LOG_HEAD: u64 = 32;
const FRAME_HEAD: u64 = 24;
/// Of a log, but for its last bit: that is the order of the checksums' bytes.
const LOG_MAGIC: u32 = 0x377f_0682;
/// A read that meets a write of SQLite's is read again.
const READS: u32 = 4;

impl Files {
    /// After SQLite has opened them: as long as its connection lives, it keeps them.
    pub(super) fn open(
        given: &Path,
        path: PathBuf,
        database: Held,
        index: &'static File,
        mark: Option<u32>,
    ) -> io::Result<Self> {
        let [wal, shm] = ["-wal", "-shm"].map(|suffix| beside(&path, suffix));
        let log = File::open(&wal)?;
        log.try_lock().map_err(|_| io::Error::other("another inbox has its log"))?;
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?,
            _ => File::open(".")?,
        };
        let head = read_head(database.file)?;
        let known = Known {
            head,
            marks: [head.mark, mark.unwrap_or(head.mark)],
            size: database.file.metadata()?.len(),
            log_size: log.metadata()?.len(),
        };
        let (log_id, shm_id) = (Id::of(&log.metadata()?), Id::of(&metadata(&shm)?));
        let known = Mutex::new(known);
        let given = given.to_owned();
        Ok(Self { given, path, wal, shm, folder, database, index, log, log_id, shm_id, known })
    }

    /// A few system calls: cheap enough before each answer.
    pub(super) fn look(&self) -> Result<Look, Difference> {
        let at = |path: &Path, id| match metadata(path) {
            Ok(now) if Id::of(&now) == id => Ok(()),
            Ok(_) => Err(format!("{} is not the file that is open", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(format!("{} was removed", path.display()))
            }
            // That may pass: a difference stands until a restart.
            Err(_) => Ok(()),
        };
        at(&self.path, self.database.id).map_err(Difference::Database)?;
        at(&self.given, self.database.id).map_err(Difference::Database)?;
        at(&self.wal, self.log_id).map_err(Difference::Log)?;
        at(&self.shm, self.shm_id).map_err(Difference::Log)?;
        let written = |path: &Path| {
            let text = format!("{} was overwritten or cut off by another program", path.display());
            Difference::Contents(text)
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.database_is_ours(&mut known) {
            return Err(written(&self.path));
        }
        let log_size = self.log.metadata().map_or(0, |metadata| metadata.len());
        if log_size >= LOG_HEAD && !self.log_has_magic() {
            return Err(written(&self.wal));
        }
        if log_size < known.log_size {
            return Ok(Look::ShorterLog);
        }
        known.log_size = log_size;
        Ok(Look::Same)
    }

    /// Decides on a shorter log, with the number of frames that SQLite has in it.
    pub(super) fn check_log(&self, frames: u64) -> Result<(), Difference> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let size = self.log.metadata().map_or(0, |metadata| metadata.len());
        let frame = known.head.page_size().saturating_add(FRAME_HEAD);
        let wanted = if frames == 0 { 0 } else { LOG_HEAD.saturating_add(frames.saturating_mul(frame)) };
        if size < wanted {
            let text = format!("{} was overwritten or cut off by another program", self.wal.display());
            return Err(Difference::Contents(text));
        }
        known.log_size = size;
        Ok(())
    }

    /// Allocates the index ahead of the log.
    pub(super) fn allocate_index(&self) -> io::Result<()> {
        allocate_index(self.index, &self.path)
    }

    /// A log at the path that is not this store's, and has something in it: SQLite would read it into the database.
    pub(super) fn foreign_log(&self) -> Option<&Path> {
        let there = metadata(&self.wal).ok()?;
        (Id::of(&there) != self.log_id && there.len() > 0).then_some(&self.wal)
    }

    fn database_is_ours(&self, known: &mut Known) -> bool {
        let (Ok(head), Ok(now)) = (read_head(self.database.file), self.database.file.metadata()) else {
            return false;
        };
        let is_ours = head.fixed == known.head.fixed
            && head.changes >= known.head.changes
            && known.marks.contains(&head.mark);
        // A person's VACUUM makes it smaller, and changes its first page.
        let is_whole = now.len() >= known.size
            || head.changes > known.head.changes
                && now.len() >= head.page_size().saturating_mul(head.pages.into());
        if is_ours && is_whole {
            known.head = head;
            known.size = now.len();
        }
        is_ours && is_whole
    }

    fn log_has_magic(&self) -> bool {
        let mut head = [0; 4];
        self.log.read_exact_at(&mut head, 0).is_ok() && u32::from_be_bytes(head) | 1 == LOG_MAGIC | 1
    }
}

impl Head {
    fn page_size(&self) -> u64 {
        match self.fixed {
            [.., 0, 1, _, _, _, _, _, _] => 65_536,
            [.., high, low, _, _, _, _, _, _] => u64::from(u16::from_be_bytes([high, low])),
        }
    }
}

/// SQLite may be writing it: two reads that are the same are whole.
fn read_head(database: &File) -> io::Result<Head> {
    let read = || {
        let mut head = [0; HEAD];
        database.read_exact_at(&mut head, 0).map(|()| head)
    };
    let mut head = read()?;
    for _ in 0..READS {
        let again = read()?;
        if again == head {
            break;
        }
        head = again;
    }
    let number = |at: usize| {
        let bytes = head.get(at..).and_then(|rest| rest.first_chunk::<4>());
        u32::from_be_bytes(bytes.copied().unwrap_or_default())
    };
    let fixed = head.first_chunk::<24>().copied().unwrap_or_default();
    Ok(Head { fixed, changes: number(24), pages: number(28), mark: number(60) })
}

/// Where an open folder is now.
pub(super) fn folder_now(folder: &File) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", folder.as_raw_fd())).ok()
}

/// An index covers 4,096 frames of the log in each 32 KiB.
const SHM_PART: u64 = 32 << 10;
const FRAMES_IN_PART: u64 = 4_096;
/// So many parts are allocated ahead of the log: 8 of them cover 134 MB more of a log with pages of 4 KiB.
const PARTS_AHEAD: u64 = 8;
/// SQLite's default, and the inbox's.
const PAGE: u64 = 4_096;

fn index_size(log_size: u64, ahead: u64) -> u64 {
    let frames = log_size.checked_div(PAGE.saturating_add(FRAME_HEAD)).unwrap_or_default();
    let parts = frames.checked_div(FRAMES_IN_PART).unwrap_or_default().saturating_add(ahead);
    parts.saturating_mul(SHM_PART)
}

/// Fails where the disk has no room for the log's index. SQLite maps that file, and allocates no more than a byte in each 4 KiB
/// of it: with blocks of 1 KiB, a full disk would end the process by SIGBUS.
pub(super) fn check_room(path: &Path) -> io::Result<()> {
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let log_size = metadata(beside(&path, "-wal")).map_or(0, |metadata| metadata.len());
    // SQLite empties an index that nobody uses, and fills it again.
    let there = metadata(beside(&path, "-shm")).map_or(0, |metadata| metadata.blocks().saturating_mul(512));
    let lack = index_size(log_size, 1).saturating_sub(there);
    if lack == 0 {
        return Ok(());
    }
    let trial = beside(&path, ".room");
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(&trial);
    // In a folder that only reads nothing is written.
    let Ok(file) = file else { return Ok(()) };
    let allocated = allocate(&file, lack);
    let _gone = std::fs::remove_file(&trial);
    allocated
}

/// Opens the index, for good: SQLite has POSIX locks on it.
pub(super) fn open_index(path: &Path) -> io::Result<&'static File> {
    let index = OpenOptions::new().write(true).open(beside(path, "-shm"))?;
    Ok(Box::leak(Box::new(index)))
}

/// Allocates the index ahead of the log; a part of that where the disk has no room for more.
pub(super) fn allocate_index(index: &File, path: &Path) -> io::Result<()> {
    let log_size = metadata(beside(path, "-wal")).map_or(0, |metadata| metadata.len());
    allocate(index, index_size(log_size, PARTS_AHEAD)).or_else(|_| allocate(index, index_size(log_size, 1)))
}

fn allocate(file: &File, size: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, size) {
        Err(error @ (rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT)) => Err(error.into()),
        // A file system that does not know the call is not asked.
        _ => Ok(()),
    }
}
