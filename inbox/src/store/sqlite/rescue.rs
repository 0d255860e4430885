//! Saves the events of the open handles once the files at the store's path differ from the open ones. The inbox then refuses
//! every event.

use super::super::{CopyError, IntegrityError};
use super::copy::{rescue_into, stamp};
use super::files::{Difference, DifferenceKind, FileCheck, folder_now};
use super::rescued::RESCUED;
use super::{BUSY_TIMEOUT, Sqlite, beside};
use crate::health::{Fault, Faults};
use crate::store::StoreError;
use sqlx::query_as;
use sqlx::sqlite::SqliteConnection;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// The time between two comparisons of the files. A `kill -9` between them loses the events in removed files.
const COMPARE_INTERVAL: Duration = Duration::from_millis(100);
/// In this time the log grows by less than the index is ahead of it.
const ALLOCATE_INTERVAL: Duration = Duration::from_secs(1);
/// The time between two rescues: a full disk may have room by then.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// The state of the rescue of a store.
#[derive(Debug, Default)]
pub(super) struct RescueState {
    faults: OnceLock<Arc<Faults>>,
    difference: OnceLock<Difference>,
    found: Notify,
    /// Whether all events are saved.
    is_over: AtomicBool,
    /// Whether the log has the error of a rescue.
    is_logged: AtomicBool,
}

/// A task that compares a store's files.
#[derive(Debug)]
pub(crate) struct FileWatch {
    ending: CancellationToken,
    task: JoinHandle<()>,
}

impl FileWatch {
    /// Compares once more, runs the rescue if the files differ, and ends the task.
    pub(crate) async fn end(self) {
        self.ending.cancel();
        let _ended = self.task.await;
    }
}

/// The result of a rescue.
enum RescueOutcome {
    /// The events are in the database itself. `aside` is the new path of a foreign log.
    InPlace { aside: Option<PathBuf> },
    /// The events are in a copy.
    Copy { path: PathBuf, entries: i64, integrity: Result<(), IntegrityError> },
}

/// Why a rescue saved nothing.
#[derive(Debug, thiserror::Error)]
enum RescueError {
    #[error("no connection is open")]
    NoConnection,
    #[error("no folder takes a copy")]
    NoFolder,
    #[error(transparent)]
    Copy(#[from] CopyError),
    #[error("cannot rename {path}: {error}")]
    Rename { path: PathBuf, error: std::io::Error },
}

async fn watch(store: Weak<Sqlite>, state: Arc<RescueState>, ending: CancellationToken) {
    let mut allocated = Instant::now();
    loop {
        let pause = if state.difference.get().is_none() { COMPARE_INTERVAL } else { RETRY_INTERVAL };
        tokio::select! {
            () = ending.cancelled() => break,
            () = tokio::time::sleep(pause) => (),
            () = state.found.notified() => (),
        }
        let Some(sqlite) = store.upgrade() else { return };
        sqlite.compare_between_transactions().await;
        if allocated.elapsed() >= ALLOCATE_INTERVAL {
            allocated = Instant::now();
            // On a full disk the log does not grow either.
            let _no_room = sqlite.files.allocate_index();
        }
    }
    if let Some(sqlite) = store.upgrade() {
        sqlite.compare_at_end().await;
    }
}

impl Sqlite {
    /// Starts the task. From now on a difference is a fault.
    pub(super) fn watch(self: &Arc<Self>, faults: Arc<Faults>) -> FileWatch {
        let _once = self.rescue.faults.set(faults);
        let ending = CancellationToken::new();
        // A weak reference: a dropped store must release its lock.
        let task = tokio::spawn(watch(Arc::downgrade(self), Arc::clone(&self.rescue), ending.clone()));
        FileWatch { ending, task }
    }

    async fn compare_between_transactions(&self) {
        if self.compare_files().is_err() {
            let _difference = self.check(&mut *self.writer.lock().await).await;
        } else if let Ok(mut writer) = self.writer.try_lock() {
            // A running transaction has the writer, and compares the files itself.
            let _difference = self.check(&mut writer).await;
        }
    }

    async fn compare_at_end(&self) {
        let mut writer = self.writer.lock().await;
        if self.check(&mut writer).await.is_err() {
            leave_open([writer.take(), self.anchor.lock().await.take()]);
        }
    }

    /// Compares the files without a wait for the running transaction.
    pub(super) fn compare_files(&self) -> Result<(), StoreError> {
        if let Some(difference) = self.rescue.difference.get() {
            return Err(replaced(difference));
        }
        self.files.compare().map(|_| ()).map_err(|difference| self.note(difference))
    }

    /// Compares the files with SQLite's help, before a commit counts. Runs the rescue if they differ.
    pub(super) async fn check(&self, writer: &mut Option<SqliteConnection>) -> Result<(), StoreError> {
        if let Some(difference) = self.rescue.difference.get() {
            let error = replaced(difference);
            self.run_rescue(writer).await;
            return Err(error);
        }
        let compared = match self.files.compare() {
            Ok(FileCheck::Same) => return Ok(()),
            Ok(FileCheck::ShorterLog) => {
                let mut anchor = self.anchor.lock().await;
                let Some(connection) = writer.as_mut().or(anchor.as_mut()) else { return Ok(()) };
                self.files.check_log(frames(connection).await?)
            }
            Err(difference) => Err(difference),
        };
        let Err(difference) = compared else { return Ok(()) };
        let error = self.note(difference);
        self.run_rescue(writer).await;
        Err(error)
    }

    /// Notes the first difference until the process ends: the files may have changed in other ways too.
    fn note(&self, difference: Difference) -> StoreError {
        let error = replaced(&difference);
        let detail = format!(
            "{difference} while the inbox used it. The inbox stores and delivers nothing more. It saves its events, and logs where they are and what to do"
        );
        if self.rescue.difference.set(difference).is_ok() {
            self.raise(&detail);
            self.rescue.found.notify_one();
        }
        error
    }

    fn raise(&self, detail: &str) {
        match self.rescue.faults.get() {
            Some(faults) => faults.raise(Fault::StoreReplaced, detail),
            None => tracing::error!("{}: {detail}", Fault::StoreReplaced.code()),
        }
    }

    /// Saves the events of the open handles, once. The caller has the writer, so no commit is running.
    async fn run_rescue(&self, writer: &mut Option<SqliteConnection>) {
        let Some(difference) = self.rescue.difference.get() else { return };
        if self.rescue.is_over.load(Ordering::Relaxed) {
            return;
        }
        // A new connection would open other files.
        for pool in [self.reads.clone(), self.delivery_reads.clone()] {
            tokio::spawn(async move { pool.close().await });
        }
        let mut anchor = self.anchor.lock().await;
        // The writer comes first: its cache has pages that an overwritten file lacks.
        let mut saved = Err(RescueError::NoConnection);
        for connection in [writer.as_mut(), anchor.as_mut()].into_iter().flatten() {
            saved = self.save(connection, difference).await;
            if saved.is_ok() {
                break;
            }
        }
        match saved {
            Err(_) if self.rescue.is_logged.swap(true, Ordering::Relaxed) => {}
            Err(error) => {
                let text =
                    RescueReport { store: &self.files.path, difference, result: Err(&error) }.to_string();
                tracing::error!("{text}");
                self.raise(&format!("{difference} while the inbox used it: {text}"));
            }
            Ok(outcome) => {
                self.rescue.is_over.store(true, Ordering::Relaxed);
                let text =
                    RescueReport { store: &self.files.path, difference, result: Ok(&outcome) }.to_string();
                tracing::warn!("{text}");
                self.raise(&format!("{difference} while the inbox used it: {text}"));
                leave_open([writer.take(), anchor.take()]);
            }
        }
    }

    async fn save(
        &self,
        connection: &mut SqliteConnection,
        difference: &Difference,
    ) -> Result<RescueOutcome, RescueError> {
        if difference.kind == DifferenceKind::Log && empty_log(connection).await {
            let aside = self.rename_foreign_log()?;
            return Ok(RescueOutcome::InPlace { aside });
        }
        let mut last = RescueError::NoFolder;
        for path in self.copy_paths() {
            match rescue_into(connection, &path).await {
                Ok((entries, integrity)) => {
                    // A moved database then has all events, and the log beside it has none that another file could get.
                    if integrity.is_ok() && difference.kind != DifferenceKind::Contents {
                        let _emptied = timeout(BUSY_TIMEOUT, empty_log(connection)).await;
                    }
                    return Ok(RescueOutcome::Copy { path, entries, integrity });
                }
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    /// Possible paths of a copy: beside the store, in the folder's new place, in the folders above, and in the temporary folder.
    fn copy_paths(&self) -> Vec<PathBuf> {
        let name = self.files.path.file_name().unwrap_or_default();
        let name = beside(name.as_ref(), &format!("{RESCUED}{}", stamp()));
        let above = self.files.path.ancestors().skip(1);
        let (first, rest) = (above.clone().take(1), above.skip(1));
        let moved = folder_now(&self.files.folder);
        let folders = first.map(PathBuf::from).chain(moved).chain(rest.map(PathBuf::from));
        folders
            .chain([std::env::temp_dir()])
            .filter(|folder| folder.is_dir())
            .map(|folder| folder.join(&name))
            .collect()
    }

    /// Renames another store's log: at the next start SQLite would read it into the database.
    fn rename_foreign_log(&self) -> Result<Option<PathBuf>, RescueError> {
        let Some(log) = self.files.foreign_log() else { return Ok(None) };
        let aside = beside(log, &format!(".replaced-{}", stamp()));
        match std::fs::rename(log, &aside) {
            Ok(()) => Ok(Some(aside)),
            Err(error) => Err(RescueError::Rename { path: log.to_owned(), error }),
        }
    }
}

/// The sentence about a rescue, for the log and the fault.
struct RescueReport<'a> {
    store: &'a Path,
    difference: &'a Difference,
    result: Result<&'a RescueOutcome, &'a RescueError>,
}

impl fmt::Display for RescueReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let store = self.store.display();
        match self.result {
            Err(error) if self.difference.kind == DifferenceKind::Contents => write!(
                f,
                "cannot save the overwritten contents: {error}. End the inbox, and restore a backup (`blobgate inbox restore --help`)"
            ),
            Err(error) => write!(
                f,
                "no event is saved yet: {error}. Do not end the inbox, because its open files have the events. It tries again every {} s",
                RETRY_INTERVAL.as_secs()
            ),
            Ok(RescueOutcome::InPlace { aside }) => {
                write!(f, "every event is saved in {store}")?;
                if let Some(aside) = aside {
                    write!(f, ", and the foreign log is now {}", aside.display())?;
                }
                f.write_str(". End the inbox, and start it again")
            }
            Ok(RescueOutcome::Copy { path, entries, integrity }) => {
                let path = path.display();
                write!(f, "{entries} entries are saved in {path}, ")?;
                match integrity {
                    Ok(()) => f.write_str("checked")?,
                    Err(error) => write!(f, "but not all of them ({error})")?,
                }
                write!(
                    f,
                    ". End the inbox, run `blobgate inbox restore --from {path} --store sqlite:{store}`, and start it again"
                )
            }
        }
    }
}

/// A second connection to the store. It keeps the files open if the writer closes or their names change.
pub(super) type Anchor = Mutex<Option<SqliteConnection>>;

fn replaced(difference: &Difference) -> StoreError {
    StoreError::Replaced(difference.to_string())
}

/// Keeps connections open until the process ends. SQLite's last connection writes the log into the file and removes the log by
/// its name, and by now both may belong to another store.
fn leave_open(connections: [Option<SqliteConnection>; 2]) {
    connections.into_iter().flatten().for_each(std::mem::forget);
}

/// Writes the log into the database. Returns whether SQLite wrote all of it.
async fn empty_log(connection: &mut SqliteConnection) -> bool {
    let done = query_as::<_, (i64, i64, i64)>("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(connection).await;
    matches!(done, Ok((0, _, _)))
}

/// The number of valid frames in the log.
async fn frames(connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
    let (_, frames, _): (i64, i64, i64) =
        query_as("PRAGMA wal_checkpoint(NOOP)").fetch_one(connection).await?;
    Ok(u64::try_from(frames).unwrap_or_default())
}
