//! Compares the files at the store's path with the open files, and with the contents that SQLite wrote.
//!
//! SQLite writes through its descriptors even after their files have moved. A removed log accepts commits, and they are lost
//! when the process ends.

use super::beside;
use super::lock::{FileId, FileLock};
use std::fmt;
use std::fs::{File, OpenOptions, metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A difference between the files at the store's path and the open files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) kind: DifferenceKind,
    path: PathBuf,
    change: FileChange,
}

/// The kind of a difference. It decides on the rescue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DifferenceKind {
    /// The path of the database leads to another file, or to none.
    Database,
    /// The path of the log or its index leads to another file, or to none.
    Log,
    /// Another program wrote into a file.
    Contents,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FileChange {
    Removed,
    Replaced,
    Overwritten,
}

impl Difference {
    fn overwritten(path: &Path) -> Self {
        Self { kind: DifferenceKind::Contents, path: path.to_owned(), change: FileChange::Overwritten }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let change = match self.change {
            FileChange::Removed => "was removed",
            FileChange::Replaced => "is not the file that is open",
            FileChange::Overwritten => "was overwritten or cut off by another program",
        };
        write!(f, "{} {change}", self.path.display())
    }
}

/// The result of a comparison that finds no difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileCheck {
    Same,
    /// The log is shorter than before. Either a checkpoint emptied it, or another program cut it off: SQLite must tell.
    ShorterLog,
}

#[derive(Debug)]
pub(super) struct StoreFiles {
    /// The path as configured. A symbolic link in it may change.
    given: PathBuf,
    /// The path without symbolic links. SQLite's log is beside it.
    pub(super) path: PathBuf,
    wal: PathBuf,
    shm: PathBuf,
    /// The open folder: it leads to the files after a move of their folder.
    pub(super) folder: File,
    database: FileLock,
    index: &'static File,
    /// The log, locked. The lock shows a command that it uses the same log.
    log: File,
    log_id: FileId,
    shm_id: FileId,
    state: Mutex<FileState>,
}

/// The files at the last comparison.
#[derive(Debug)]
struct FileState {
    header: DatabaseHeader,
    /// The mark of this start, and the previous one: the file has that until the first checkpoint.
    marks: [u32; 2],
    size: u64,
    log_size: u64,
}

/// The start of a database file: sqlite.org/fileformat.html, section 1.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct DatabaseHeader {
    /// Magic, page size and versions.
    fixed: [u8; 24],
    /// A counter that rises with each change of the first page.
    changes: u32,
    pages: u32,
    /// `PRAGMA user_version`.
    mark: u32,
}

const DATABASE_HEADER_SIZE: usize = 100;
/// The headers of a log and of each frame in it: sqlite.org/fileformat.html, section 4.1.
const LOG_HEADER_SIZE: u64 = 32;
const FRAME_HEADER_SIZE: u64 = 24;
/// The magic of a log. Its last bit is the byte order of the checksums.
const LOG_MAGIC: u32 = 0x377f_0682;
/// A header that SQLite is writing differs between two reads. This many further reads find a whole one.
const MAX_REREADS: u32 = 4;

impl StoreFiles {
    /// Opens the files. Call it after SQLite has opened them: SQLite keeps them while its connection lives.
    pub(super) fn open(
        given: &Path,
        path: PathBuf,
        database: FileLock,
        index: &'static File,
        mark: Option<u32>,
    ) -> io::Result<Self> {
        let [wal, shm] = ["-wal", "-shm"].map(|suffix| beside(&path, suffix));
        let log = File::open(&wal)?;
        log.try_lock().map_err(|_| io::Error::other("another inbox uses its log"))?;
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?,
            _ => File::open(".")?,
        };
        let header = read_header(database.file)?;
        let state = FileState {
            header,
            marks: [header.mark, mark.unwrap_or(header.mark)],
            size: database.file.metadata()?.len(),
            log_size: log.metadata()?.len(),
        };
        let (log_id, shm_id) = (FileId::of(&log.metadata()?), FileId::of(&metadata(&shm)?));
        let state = Mutex::new(state);
        let given = given.to_owned();
        Ok(Self { given, path, wal, shm, folder, database, index, log, log_id, shm_id, state })
    }

    /// Compares the files. It takes a few system calls, so the inbox can do it before each answer.
    pub(super) fn compare(&self) -> Result<FileCheck, Difference> {
        let check = |kind, path: &Path, id| {
            let change = match metadata(path) {
                Ok(now) if FileId::of(&now) == id => return Ok(()),
                Ok(_) => FileChange::Replaced,
                Err(error) if error.kind() == io::ErrorKind::NotFound => FileChange::Removed,
                // Another error may pass, and a difference stands until a restart.
                Err(_) => return Ok(()),
            };
            Err(Difference { kind, path: path.to_owned(), change })
        };
        check(DifferenceKind::Database, &self.path, self.database.id)?;
        check(DifferenceKind::Database, &self.given, self.database.id)?;
        check(DifferenceKind::Log, &self.wal, self.log_id)?;
        check(DifferenceKind::Log, &self.shm, self.shm_id)?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_database_unchanged(&mut state) {
            return Err(Difference::overwritten(&self.path));
        }
        // A checkpoint may truncate the log between the two reads. The second time its size is 0.
        if (0..2).all(|_| self.log_size() >= LOG_HEADER_SIZE && !self.log_has_magic()) {
            return Err(Difference::overwritten(&self.wal));
        }
        let log_size = self.log_size();
        if log_size < state.log_size {
            return Ok(FileCheck::ShorterLog);
        }
        state.log_size = log_size;
        Ok(FileCheck::Same)
    }

    /// Compares a shorter log with the number of frames that SQLite counts in it.
    pub(super) fn check_log(&self, frames: u64) -> Result<(), Difference> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let size = self.log_size();
        let frame = state.header.page_size().saturating_add(FRAME_HEADER_SIZE);
        let wanted =
            if frames == 0 { 0 } else { LOG_HEADER_SIZE.saturating_add(frames.saturating_mul(frame)) };
        if size < wanted {
            return Err(Difference::overwritten(&self.wal));
        }
        state.log_size = size;
        Ok(())
    }

    /// The bytes of the log.
    pub(super) fn log_size(&self) -> u64 {
        self.log.metadata().map_or(0, |metadata| metadata.len())
    }

    /// Allocates the index ahead of the log.
    pub(super) fn allocate_index(&self) -> io::Result<()> {
        allocate_index(self.index, &self.path)
    }

    /// A log of another store at the path, unless it is empty. SQLite would read it into the database.
    pub(super) fn foreign_log(&self) -> Option<&Path> {
        let there = metadata(&self.wal).ok()?;
        (FileId::of(&there) != self.log_id && there.len() > 0).then_some(&self.wal)
    }

    fn is_database_unchanged(&self, state: &mut FileState) -> bool {
        let (Ok(header), Ok(now)) = (read_header(self.database.file), self.database.file.metadata()) else {
            return false;
        };
        let is_marked = header.fixed == state.header.fixed
            && header.changes >= state.header.changes
            && state.marks.contains(&header.mark);
        // An operator's VACUUM makes the file smaller, and changes its first page.
        let is_whole = now.len() >= state.size
            || header.changes > state.header.changes
                && now.len() >= header.page_size().saturating_mul(header.pages.into());
        if is_marked && is_whole {
            state.header = header;
            state.size = now.len();
        }
        is_marked && is_whole
    }

    fn log_has_magic(&self) -> bool {
        let mut magic = [0; 4];
        self.log.read_exact_at(&mut magic, 0).is_ok() && u32::from_be_bytes(magic) | 1 == LOG_MAGIC | 1
    }
}

impl DatabaseHeader {
    fn page_size(&self) -> u64 {
        match self.fixed {
            [.., 0, 1, _, _, _, _, _, _] => 65_536,
            [.., high, low, _, _, _, _, _, _] => u64::from(u16::from_be_bytes([high, low])),
        }
    }
}

/// Reads the header until two reads are equal: SQLite may be writing it.
fn read_header(database: &File) -> io::Result<DatabaseHeader> {
    let read = || {
        let mut bytes = [0; DATABASE_HEADER_SIZE];
        database.read_exact_at(&mut bytes, 0).map(|()| bytes)
    };
    let mut bytes = read()?;
    for _ in 0..MAX_REREADS {
        let again = read()?;
        if again == bytes {
            break;
        }
        bytes = again;
    }
    let number = |offset: usize| {
        let bytes = bytes.get(offset..).and_then(|rest| rest.first_chunk::<4>());
        u32::from_be_bytes(bytes.copied().unwrap_or_default())
    };
    let fixed = bytes.first_chunk::<24>().copied().unwrap_or_default();
    Ok(DatabaseHeader { fixed, changes: number(24), pages: number(28), mark: number(60) })
}

/// The present path of an open folder.
pub(super) fn folder_now(folder: &File) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", folder.as_raw_fd())).ok()
}

/// Each 32 KiB of the index cover 4,096 frames of the log.
const SHM_PART: u64 = 32 << 10;
const FRAMES_IN_PART: u64 = 4_096;
/// Parts of the index that the inbox allocates ahead of the log: 8 cover 134 MB more of a log with pages of 4 KiB.
const PARTS_AHEAD: u64 = 8;
/// SQLite's default page size, which the inbox uses.
const PAGE_SIZE: u64 = 4_096;

fn index_size(log_size: u64, ahead: u64) -> u64 {
    let frames = log_size.checked_div(PAGE_SIZE.saturating_add(FRAME_HEADER_SIZE)).unwrap_or_default();
    let parts = frames.checked_div(FRAMES_IN_PART).unwrap_or_default().saturating_add(ahead);
    parts.saturating_mul(SHM_PART)
}

/// Fails if the disk has no room for the log's index. SQLite maps the index, and allocates one byte in each 4 KiB of it: with
/// blocks of 1 KiB, a full disk would end the process by SIGBUS.
pub(super) fn check_room(path: &Path) -> io::Result<()> {
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let log_size = metadata(beside(&path, "-wal")).map_or(0, |metadata| metadata.len());
    // The first connection to a file empties its index, and fills it again.
    let allocated =
        metadata(beside(&path, "-shm")).map_or(0, |metadata| metadata.blocks().saturating_mul(512));
    let lack = index_size(log_size, 1).saturating_sub(allocated);
    if lack == 0 {
        return Ok(());
    }
    let trial = beside(&path, ".room");
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(&trial);
    // SQLite writes nothing in a read-only folder.
    let Ok(file) = file else { return Ok(()) };
    let result = allocate(&file, lack);
    let _removed = std::fs::remove_file(&trial);
    result
}

/// Opens the index until the process ends: closing it would release SQLite's POSIX locks.
pub(super) fn open_index(path: &Path) -> io::Result<&'static File> {
    let index = OpenOptions::new().write(true).open(beside(path, "-shm"))?;
    Ok(Box::leak(Box::new(index)))
}

/// Allocates the index ahead of the log by [`PARTS_AHEAD`], or by one part if the disk has no room for more.
pub(super) fn allocate_index(index: &File, path: &Path) -> io::Result<()> {
    let log_size = metadata(beside(path, "-wal")).map_or(0, |metadata| metadata.len());
    allocate(index, index_size(log_size, PARTS_AHEAD)).or_else(|_| allocate(index, index_size(log_size, 1)))
}

fn allocate(file: &File, size: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, size) {
        Err(error @ (rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT)) => Err(error.into()),
        // Some file systems lack the call.
        _ => Ok(()),
    }
}
