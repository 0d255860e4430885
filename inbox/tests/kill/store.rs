//! Reads the stores with `sqlite3`, from a copy of the files while no inbox runs, and with `psql`.

use crate::cluster::KillableCluster;
use crate::tool;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

pub(crate) enum StoreUnderTest {
    Sqlite { folder: TempDir, file: PathBuf },
    Postgres(KillableCluster),
}

/// A row of the table `entry`.
#[derive(Clone, Debug)]
pub(crate) struct CopyRow {
    pub(crate) id: i64,
    pub(crate) digest: String,
    pub(crate) lane: String,
    pub(crate) state: String,
    pub(crate) generation: String,
    pub(crate) event: String,
    pub(crate) reason: String,
    pub(crate) supersedes: String,
    pub(crate) attempts: u64,
    /// The time of its last arrival or its end, by the store's clock.
    pub(crate) touched: i64,
}

pub(crate) const SQLITE: &str = "sqlite";
pub(crate) const POSTGRES: &str = "postgres";
/// PostgreSQL behind pgbouncer.
pub(crate) const POOLED: &str = "pgbouncer";

impl StoreUnderTest {
    pub(crate) fn new(kind: &str, program: &Path) -> Self {
        let this = match kind {
            SQLITE => {
                let folder = tool::folder("sqlite");
                let file = folder.path().join("inbox.db");
                StoreUnderTest::Sqlite { folder, file }
            }
            POOLED => StoreUnderTest::Postgres(KillableCluster::start_pooled()),
            _ => StoreUnderTest::Postgres(KillableCluster::start()),
        };
        this.migrate(program);
        this
    }

    /// A store in this cluster.
    pub(crate) fn postgres(cluster: KillableCluster, program: &Path) -> Self {
        let this = StoreUnderTest::Postgres(cluster);
        this.migrate(program);
        this
    }

    /// A store in this file.
    pub(crate) fn sqlite_at(file: PathBuf, program: &Path) -> Self {
        let this = StoreUnderTest::Sqlite { folder: tool::folder("copies"), file };
        this.migrate(program);
        this
    }

    fn migrate(&self, program: &Path) {
        tool::run(Command::new(program).args(["inbox", "migrate", "--store", &self.url()]));
    }

    pub(crate) fn url(&self) -> String {
        match self {
            StoreUnderTest::Sqlite { file, .. } => format!("sqlite:{}", file.display()),
            StoreUnderTest::Postgres(cluster) => cluster.url(),
        }
    }

    pub(crate) fn cluster(&mut self) -> &mut KillableCluster {
        match self {
            StoreUnderTest::Postgres(cluster) => cluster,
            StoreUnderTest::Sqlite { .. } => panic!("SQLite has no cluster"),
        }
    }

    /// Entries that arrived or ended since this time. SQLite: only while no inbox runs.
    pub(crate) fn rows(&self, since: i64) -> Vec<CopyRow> {
        let digest = match self {
            StoreUnderTest::Sqlite { .. } => "lower(hex(digest))",
            StoreUnderTest::Postgres(_) => "encode(digest, 'hex')",
        };
        let sql = format!(
            "SELECT id, {digest}, lane, state, coalesce(generation, '-'), coalesce(event, '-'), coalesce(reason, '-'),
                coalesce(supersedes, '-'), attempts, seen_at, coalesce(ended_at, 0)
            FROM entry WHERE seen_at >= {since} OR ended_at >= {since} OR state IN ('waiting', 'in_flight')"
        );
        self.query(&sql).iter().map(|fields| CopyRow::read(fields)).collect()
    }

    /// Sums of entries that differ from a full count. SQLite: only while no inbox runs.
    pub(crate) fn wrong_sums(&self) -> Vec<String> {
        self.query(include_str!("sums.sql")).into_iter().flatten().collect()
    }

    /// Entries whose attempts are not all recorded, or recorded too often. SQLite: only while no inbox runs.
    pub(crate) fn wrong_attempts(&self) -> Vec<String> {
        self.query(include_str!("attempts.sql")).into_iter().flatten().collect()
    }

    pub(crate) fn query(&self, sql: &str) -> Vec<Vec<String>> {
        match self {
            StoreUnderTest::Postgres(cluster) => cluster.query(sql),
            StoreUnderTest::Sqlite { folder, file } => {
                let copy = folder.path().join("copy.db");
                for part in ["", "-wal", "-shm"] {
                    let (from, to) = (beside(file, part), beside(&copy, part));
                    let _none = std::fs::remove_file(&to);
                    if from.exists() {
                        tool::copy(&from, &to);
                    }
                }
                let mut sqlite3 = Command::new("sqlite3");
                tool::table(&tool::run(
                    sqlite3.args(["-bail", "-batch", "-separator", "\t"]).arg(copy).arg(sql),
                ))
            }
        }
    }
}

pub(crate) fn beside(file: &Path, part: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(part);
    name.into()
}

impl CopyRow {
    fn read(fields: &[String]) -> Self {
        let number = |field: usize| fields[field].parse::<i64>().unwrap();
        Self {
            id: number(0),
            digest: fields[1].clone(),
            lane: fields[2].clone(),
            state: fields[3].clone(),
            generation: fields[4].clone(),
            event: fields[5].clone(),
            reason: fields[6].clone(),
            supersedes: fields[7].clone(),
            attempts: u64::try_from(number(8)).unwrap(),
            touched: number(9).max(number(10)),
        }
    }
}
