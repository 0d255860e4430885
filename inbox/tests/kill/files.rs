//! Removes, moves or replaces the files of a running inbox's store under load. Every acknowledged event must then be in
//! the file, in a moved file, or in the inbox's rescue copy.

use crate::chance::Chance;
use crate::check::{CheckList, unless};
use crate::log::now;
use crate::program::KillableInbox;
use crate::sender::{Senders, Targets};
use crate::site::{KillSite, drain};
use crate::store::{StoreUnderTest, beside};
use crate::tool::{self, within};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

type NamedFileChange = (&'static str, fn(&Path, &Path));

const CHANGES: [NamedFileChange; 8] = [
    ("the log is removed", |db, _| fs::remove_file(beside(db, "-wal")).unwrap()),
    ("the log is moved", |db, _| fs::rename(beside(db, "-wal"), beside(db, "-wal.away")).unwrap()),
    ("the log is replaced by a copy", |db, _| {
        tool::copy(&beside(db, "-wal"), &beside(db, ".copy"));
        fs::rename(beside(db, ".copy"), beside(db, "-wal")).unwrap();
    }),
    ("the file is removed", |db, _| fs::remove_file(db).unwrap()),
    ("the file is moved", |db, _| fs::rename(db, beside(db, MOVED)).unwrap()),
    ("all files are removed", |db, _| {
        ["", "-wal", "-shm"].iter().for_each(|part| fs::remove_file(beside(db, part)).unwrap());
    }),
    ("the file is replaced by another store's", |db, program| {
        let other = StoreUnderTest::sqlite_at(beside(db, ".other"), program);
        let StoreUnderTest::Sqlite { file, .. } = other else { return };
        fs::rename(file, db).unwrap();
    }),
    ("the folder is moved", |db, _| {
        let folder = db.parent().unwrap();
        fs::rename(folder, folder.with_extension("moved")).unwrap();
    }),
];

const MOVED: &str = ".moved";
const SENDERS: u64 = 8;
/// Within this time a sender logs an answer that the inbox sent before it noticed the change.
const MAX_ANSWER_DELAY: u64 = 300_000;
/// The senders send for this long after the change.
const AFTER_CHANGE: Duration = Duration::from_millis(600);
const MIN_ACKNOWLEDGED: usize = 40;
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Makes each change once, and again for each further 80 rounds.
pub(crate) fn run(program: &Path, rounds: usize, seed: u64, checks: &mut CheckList) {
    let mut chance = Chance::new(seed);
    for round in 0..CHANGES.len().max(rounds / 10) {
        let (name, change) = CHANGES[round % CHANGES.len()];
        let (acknowledged, problem) = lose(program, change, &mut chance);
        checks.row(&format!("files: {name}: none of {acknowledged} acknowledged events is missing"), problem);
    }
}

fn lose(program: &Path, change: fn(&Path, &Path), chance: &mut Chance) -> (usize, Option<String>) {
    let site = KillSite::new(program);
    let above = tool::folder("files");
    let folder = above.path().join("store");
    fs::create_dir(&folder).unwrap();
    let db = folder.join("inbox.db");
    let store = StoreUnderTest::sqlite_at(db.clone(), program);
    let (starter, mut judge) = (site.starter(), site.judge());
    let mut inbox = starter.start(&store).ready();
    let targets = Targets::default();
    targets.set(&[inbox.receive]);
    let senders = Senders::start(SENDERS, &site.sent, &targets, chance.next());
    // Wait until there is enough to lose, and then for a random time.
    let enough = within(MAX_WAIT, || judge.last_acknowledged() > 0 && judge.counts().0 > MIN_ACKNOWLEDGED);
    sleep(Duration::from_millis(chance.between(0, 300)));
    change(&db, program);
    let saved = within(MAX_WAIT, || inbox.log().contains(" saved in "));
    let seen = now();
    sleep(AFTER_CHANGE);
    senders.leave();
    inbox.kill();
    let (said, last) = (store_lines(&inbox), judge.last_acknowledged());
    if !saved {
        return (0, Some(format!("the inbox made no rescue copy: {said}")));
    }

    let mut rescued = None;
    for file in databases(above.path()) {
        let copies = StoreUnderTest::Sqlite { folder: tool::folder("copies"), file: file.clone() };
        judge.check_part(copies.rows(0));
        if file.to_string_lossy().contains(".rescued-") {
            rescued = Some(file);
        }
    }
    judge.check(Vec::new(), now());
    if let Some(copy) = rescued {
        fs::create_dir_all(&folder).unwrap();
        let mut restore = Command::new(program);
        restore.args(["inbox", "restore", "--yes", "--store", &store.url(), "--from"]).arg(copy);
        tool::run(&mut restore);
        tool::run(Command::new("sqlite3").arg(&db).arg("DELETE FROM pause"));
    }
    let inbox = starter.start(&store).ready();
    let rows = drain(&store, &starter, &mut judge, vec![inbox]);
    judge.check(rows, now());
    judge.conclude();
    // The senders left before their events were acknowledged.
    judge.figures.unacknowledged.clear();
    let late =
        unless(last <= seen + MAX_ANSWER_DELAY, || format!("200 after the inbox noticed the change: {said}"));
    let few = unless(enough, || "too few events were acknowledged".to_owned());
    (judge.counts().0, judge.figures.problem().or(late).or(few))
}

fn store_lines(inbox: &KillableInbox<'_>) -> String {
    inbox.log().lines().filter(|line| line.contains("store")).take(3).collect::<Vec<_>>().join("\n")
}

/// All databases in a folder and below, rescue copies last.
fn databases(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.to_string_lossy();
        if path.is_dir() {
            found.extend(databases(&path));
        } else if name.ends_with(".db") || name.ends_with(MOVED) || name.contains(".rescued-") {
            found.push(path);
        }
    }
    found.sort_by_key(|path| path.to_string_lossy().contains(".rescued-"));
    found
}
