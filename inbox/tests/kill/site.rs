//! The logs and services of a part, and its store, starter and judge.

use crate::judge::LogJudge;
use crate::log::{Log, now};
use crate::program::{KillableInbox, LEASE, Starter};
use crate::receiver::LoggingReceiver;
use crate::store::{CopyRow, StoreUnderTest};
use crate::tool;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;
use tempfile::TempDir;

pub(crate) struct KillSite {
    pub(crate) program: PathBuf,
    pub(crate) folder: TempDir,
    pub(crate) sent: Arc<Log>,
    arrived: Arc<Log>,
    pub(crate) faults: Log,
    pub(crate) receiver: LoggingReceiver,
}

impl KillSite {
    pub(crate) fn new(program: &Path) -> Self {
        let folder = tool::folder("logs");
        let [sent, arrived] = ["sent", "arrived"].map(|name| Arc::new(Log::new(folder.path(), name)));
        let (faults, receiver) =
            (Log::new(folder.path(), "faults"), LoggingReceiver::new(Arc::clone(&arrived)));
        Self { program: program.to_owned(), folder, sent, arrived, faults, receiver }
    }

    pub(crate) fn store(&self, kind: &str) -> StoreUnderTest {
        StoreUnderTest::new(kind, &self.program)
    }

    pub(crate) fn judge(&self) -> LogJudge {
        LogJudge::new(&self.sent, &self.arrived, &self.faults)
    }

    /// Keeps the logs. Returns their folder.
    pub(crate) fn keep(&self) -> PathBuf {
        let kept = self.folder.path().with_extension("kept");
        std::fs::rename(self.folder.path(), &kept).unwrap();
        kept
    }

    pub(crate) fn starter(&self) -> Starter<'_> {
        Starter {
            program: &self.program,
            folder: self.folder.path(),
            receiver: &self.receiver,
            faults: &self.faults,
            broken: None,
            options: Vec::new(),
            env: Vec::new(),
        }
    }
}

/// Waits until every acknowledged event is delivered and stored as delivered, and ends the inboxes. Gives up after 15 s
/// without progress. Returns the rows of the store.
pub(crate) fn drain<'a>(
    store: &StoreUnderTest,
    starter: &Starter<'a>,
    judge: &mut LogJudge,
    mut inboxes: Vec<KillableInbox<'a>>,
) -> Vec<CopyRow> {
    const MAX_STANDSTILL: u64 = 15_000_000;
    let (mut left, mut since) = (usize::MAX, now());
    while now() - since < MAX_STANDSTILL {
        let outstanding = judge.outstanding();
        if outstanding == 0 {
            break;
        }
        if outstanding < left {
            (left, since) = (outstanding, now());
        }
        sleep(Duration::from_millis(50));
    }
    // An answered entry that is not stored as delivered arrives again after its lease or its back-off, which is a minute
    // after five failed attempts. An inbox ends a lease after it has watched it for a whole lease, so each one runs longer.
    const MAX_TRIES: usize = 15;
    let mut tries = 0;
    loop {
        inboxes.drain(..).for_each(KillableInbox::end);
        let rows = store.rows(0);
        tries += 1;
        if tries == MAX_TRIES || rows.iter().all(|row| !matches!(row.state.as_str(), "waiting" | "in_flight"))
        {
            judge.check_sums(store.wrong_sums());
            judge.check_attempts(store.wrong_attempts());
            return rows;
        }
        inboxes.push(starter.start(store).ready());
        sleep(LEASE * 2);
    }
}
