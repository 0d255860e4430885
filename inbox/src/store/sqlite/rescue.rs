//! What the inbox does once the store's files are not the ones that are open: it refuses, and saves what its open handles have.

use super::copy::{rescue_into, stamp};
use super::files::{Difference, Look, folder_now};
use super::rescued::RESCUED;
use super::{BUSY, Sqlite, beside};
use crate::health::{Fault, Faults};
use crate::store::StoreError;
use sqlx::query_as;
use sqlx::sqlite::SqliteConnection;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// Between two looks at the files nothing saves what a `kill -9` finds in removed ones: this is ten looks a second.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// In that time the log grows by less than the index is ahead of it.
const ALLOCATE_EVERY: Duration = Duration::from_secs(1);
/// What could not be saved is tried again: a full disk may have room by then.
const AGAIN: Duration = Duration::from_secs(10);

/// What has become of a store's files.
#[derive(Debug, Default)]
pub(super) struct Fate {
    faults: OnceLock<Arc<Faults>>,
    difference: OnceLock<Difference>,
    found: Notify,
    /// Everything is saved.
    is_over: AtomicBool,
    /// The log says why nothing is saved.
    is_told: AtomicBool,
}

/// Looks at a store's files until it is ended.
#[derive(Debug)]
pub(crate) struct FileWatch {
    ending: CancellationToken,
    task: JoinHandle<()>,
}

impl FileWatch {
    /// Looks once more, and saves what is to be saved.
    pub(crate) async fn end(self) {
        self.ending.cancel();
        let _ended = self.task.await;
    }
}

/// What was saved, and where.
enum Saved {
    /// In the database itself.
    InPlace { aside: Option<PathBuf> },
    /// In a copy.
    Copy { path: PathBuf, entries: i64, is_whole: Result<(), String> },
}

async fn look_on(store: Weak<Sqlite>, fate: Arc<Fate>, ending: CancellationToken) {
    let mut allocated = Instant::now();
    loop {
        let pause = if fate.difference.get().is_none() { LOOK_EVERY } else { AGAIN };
        tokio::select! {
            () = ending.cancelled() => break,
            () = tokio::time::sleep(pause) => (),
            () = fate.found.notified() => (),
        }
        let Some(sqlite) = store.upgrade() else { return };
        sqlite.look_at_files().await;
        if allocated.elapsed() >= ALLOCATE_EVERY {
            allocated = Instant::now();
            // On a full disk the log does not grow either.
            let _no_room = sqlite.files.allocate_index();
        }
    }
    if let Some(sqlite) = store.upgrade() {
        sqlite.look_for_the_last_time().await;
    }
}

impl Sqlite {
    /// Raises a difference as a fault from now on, and looks for one without being asked.
    pub(super) fn watch(self: &Arc<Self>, faults: Arc<Faults>) -> FileWatch {
        let _once = self.fate.faults.set(faults);
        let ending = CancellationToken::new();
        // Whoever drops the inbox without its end has its lock released.
        let task = tokio::spawn(look_on(Arc::downgrade(self), Arc::clone(&self.fate), ending.clone()));
        FileWatch { ending, task }
    }

    async fn look_at_files(&self) {
        if self.compare_files().is_err() {
            let _found = self.check(&mut *self.writer.lock().await).await;
        } else if let Ok(mut writer) = self.writer.try_lock() {
            let _found = self.check(&mut writer).await;
        }
        // Else a transaction is under way, which looks by itself.
    }

    async fn look_for_the_last_time(&self) {
        let mut writer = self.writer.lock().await;
        if self.check(&mut writer).await.is_err() {
            leave_open([writer.take(), self.anchor.lock().await.take()]);
        }
    }

    /// Whether the files are still those that are open, without a wait for a transaction that is under way.
    pub(super) fn compare_files(&self) -> Result<(), StoreError> {
        if let Some(difference) = self.fate.difference.get() {
            return Err(replaced(difference));
        }
        self.files.look().map(|_| ()).map_err(|difference| self.note(difference))
    }

    /// The same with a connection at hand, before what was committed counts: a difference is followed by the rescue.
    pub(super) async fn check(&self, writer: &mut Option<SqliteConnection>) -> Result<(), StoreError> {
        if let Some(difference) = self.fate.difference.get() {
            let error = replaced(difference);
            self.rescue(writer).await;
            return Err(error);
        }
        let looked = match self.files.look() {
            Ok(Look::Same) => return Ok(()),
            Ok(Look::ShorterLog) => {
                let mut anchor = self.anchor.lock().await;
                let Some(connection) = writer.as_mut().or(anchor.as_mut()) else { return Ok(()) };
                self.files.check_log(frames(connection).await?)
            }
            Err(difference) => Err(difference),
        };
        let Err(difference) = looked else { return Ok(()) };
        let error = self.note(difference);
        self.rescue(writer).await;
        Err(error)
    }

    /// A difference stands until the process ends: what else was done to files that it did not have nobody knows.
    fn note(&self, difference: Difference) -> StoreError {
        let error = replaced(&difference);
        let detail = format!(
            "{} while the inbox used it. It stores and delivers nothing from now on: the log says where everything is saved, and how to go on",
            difference.text()
        );
        if self.fate.difference.set(difference).is_ok() {
            self.raise(&detail);
            self.fate.found.notify_one();
        }
        error
    }

    fn raise(&self, detail: &str) {
        match self.fate.faults.get() {
            Some(faults) => faults.raise(Fault::StoreReplaced, detail),
            None => tracing::error!("{}: {detail}", Fault::StoreReplaced.code()),
        }
    }

    /// Saves what the open handles have, once. The caller has the writer, so that no commit is under way.
    async fn rescue(&self, writer: &mut Option<SqliteConnection>) {
        let Some(difference) = self.fate.difference.get() else { return };
        if self.fate.is_over.load(Ordering::Relaxed) {
            return;
        }
        // A connection that is opened now would read other files.
        for pool in [self.reads.clone(), self.looks.clone()] {
            tokio::spawn(async move { pool.close().await });
        }
        let mut anchor = self.anchor.lock().await;
        // The writer's cache has pages that an overwritten file has not.
        let mut saved = Err("no connection is open".to_owned());
        for connection in [writer.as_mut(), anchor.as_mut()].into_iter().flatten() {
            saved = self.save(connection, difference).await;
            if saved.is_ok() {
                break;
            }
        }
        let what = difference.text();
        match saved {
            Err(_) if self.fate.is_told.swap(true, Ordering::Relaxed) => {}
            Err(why) => {
                let next = match difference {
                    Difference::Contents(_) => format!(
                        "nothing can be saved of what was overwritten: {why}. End the inbox, and restore a backup: `blobgate inbox restore --help`"
                    ),
                    _ => format!(
                        "nothing is saved yet: {why}. Do not end the inbox, its open files have the events: it tries again every {} s",
                        AGAIN.as_secs()
                    ),
                };
                tracing::error!("{next}");
                self.raise(&format!("{what} while the inbox used it: {next}"));
            }
            Ok(saved) => {
                self.fate.is_over.store(true, Ordering::Relaxed);
                let saved = self.tell(&saved);
                tracing::warn!("{saved}");
                self.raise(&format!("{what} while the inbox used it: {saved}"));
                leave_open([writer.take(), anchor.take()]);
            }
        }
    }

    async fn save(
        &self,
        connection: &mut SqliteConnection,
        difference: &Difference,
    ) -> Result<Saved, String> {
        if let Difference::Log(_) = difference
            && empty_log(connection).await
        {
            let aside = self.put_log_aside()?;
            return Ok(Saved::InPlace { aside });
        }
        let mut why = String::new();
        for path in self.places() {
            match rescue_into(connection, &path).await {
                Ok((entries, is_whole)) => {
                    // What was moved has everything then, and a log that was left behind has nothing for another file.
                    if is_whole.is_ok() && !matches!(difference, Difference::Contents(_)) {
                        let _left = timeout(BUSY, empty_log(connection)).await;
                    }
                    return Ok(Saved::Copy { path, entries, is_whole });
                }
                Err(error) => why = error.to_string(),
            }
        }
        Err(why)
    }

    /// Where a copy may be: beside the file's path, where its folder is now, and in the folders above.
    fn places(&self) -> Vec<PathBuf> {
        let name = self.files.path.file_name().unwrap_or_default();
        let name = beside(name.as_ref(), &format!("{RESCUED}{}", stamp()));
        let above = self.files.path.ancestors().skip(1);
        let (first, rest) = (above.clone().take(1), above.skip(1));
        let moved = folder_now(&self.files.folder);
        let folders = first.map(PathBuf::from).chain(moved).chain(rest.map(PathBuf::from));
        folders
            .chain([std::env::temp_dir()])
            .filter(|folder| folder.is_dir())
            .map(|at| at.join(&name))
            .collect()
    }

    /// SQLite would read another store's log into the database at the next start.
    fn put_log_aside(&self) -> Result<Option<PathBuf>, String> {
        let Some(log) = self.files.foreign_log() else { return Ok(None) };
        let aside = beside(log, &format!(".replaced-{}", stamp()));
        match std::fs::rename(log, &aside) {
            Ok(()) => Ok(Some(aside)),
            Err(error) => Err(format!("{} cannot be put aside: {error}", log.display())),
        }
    }

    /// What was saved, and how to go on.
    fn tell(&self, saved: &Saved) -> String {
        let store = self.files.path.display();
        match saved {
            Saved::InPlace { aside } => {
                let aside = aside.as_ref().map_or_else(String::new, |aside| {
                    format!(", and the log that lay there is now {}", aside.display())
                });
                format!("every event is saved in {store}{aside}: end the inbox, and start it again")
            }
            Saved::Copy { path, entries, is_whole } => {
                let path = path.display();
                let check = match is_whole {
                    Ok(()) => "checked".to_owned(),
                    Err(why) => format!("but not whole ({why})"),
                };
                format!(
                    "{entries} entries are saved in {path}, {check}: end the inbox, run `blobgate inbox restore --from {path} --store sqlite:{store}`, and start it again"
                )
            }
        }
    }
}

pub(super) type Anchor = Mutex<Option<SqliteConnection>>;

fn replaced(difference: &Difference) -> StoreError {
    StoreError::Replaced(difference.text().to_owned())
}

/// The process is to end with them: a last connection that SQLite closes writes the log into the file, whoever's that is by now,
/// and removes the log by its name.
fn leave_open(connections: [Option<SqliteConnection>; 2]) {
    connections.into_iter().flatten().for_each(std::mem::forget);
}

/// Writes everything into the database. Whether that was done.
async fn empty_log(connection: &mut SqliteConnection) -> bool {
    let done = query_as::<_, (i64, i64, i64)>("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(connection).await;
    matches!(done, Ok((0, _, _)))
}

/// How many frames of the log count.
async fn frames(connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
    let (_, frames, _): (i64, i64, i64) =
        query_as("PRAGMA wal_checkpoint(NOOP)").fetch_one(connection).await?;
    Ok(u64::try_from(frames).unwrap_or_default())
}
