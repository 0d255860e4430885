//! A disk that fills up, by what is stored and by another program: an ext4 in a file, with the store on it.

use crate::chance::Chance;
use crate::check::{Checks, unless};
use crate::load::{Message, Order};
use crate::log::now;
use crate::program::Inbox;
use crate::sender::{Got, HangUp, attempt};
use crate::site::{Site, drain};
use crate::store::Store;
use crate::tool::{self, eventually, within};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::thread::{scope, sleep};
use std::time::Duration;
use tempfile::TempDir;

const SIZE: u64 = 224 << 20;
/// Of which the inbox keeps so much free: its least.
const RESERVE: u64 = 64 << 20;
/// What is left above it for this test to fill.
const HEADROOM: u64 = 12 << 20;
const PADDING: usize = 200_000;
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn run(program: &Path, seed: u64, checks: &mut Checks) {
    let disk = match Disk::mount() {
        Ok(disk) => disk,
        Err(why) => return checks.left_out("disk, sqlite", &why),
    };
    let site = Site::new(program);
    let store = Store::sqlite_at(disk.at("inbox.db"), program);
    let mut chance = Chance::new(seed);
    site.receiver.behaviour.fails.store(0, Ordering::Relaxed);
    let mut judge = site.judge();
    let starter = site.starter();

    // What is stored reaches the reserve, while deliveries are under way.
    disk.fill_to(RESERVE + HEADROOM);
    let inbox = starter.start(&store).ready();
    site.receiver.behaviour.waits.store(true, Ordering::Relaxed);
    let refused = (0..2_000).any(|_| {
        sleep(Duration::from_millis(20));
        send(&site, &inbox, &padded(&mut chance)) == Got::Status(503)
    });
    let free = disk.free();
    let said = inbox.said();
    let in_time = refused && free > RESERVE / 2 && said.contains("the disk has too little free space");
    checks.row(
        &format!("disk: 503 before it is full ({} MiB are left)", free >> 20),
        unless(in_time, || format!("{} MiB are left; the inbox says {said}", free >> 20)),
    );
    site.receiver.behaviour.waits.store(false, Ordering::Relaxed);
    eventually("what was under way arrives", PATIENCE, || judge.outstanding() == 0);
    inbox.end();
    judge.check(store.rows(0), now());
    let rows = store.query("SELECT count(*) FROM entry WHERE state <> 'delivered'");
    checks.row(
        "disk: in the reserve, what was under way is marked",
        unless(rows[0][0] == "0", || format!("{} are not", rows[0][0])),
    );

    // What is delivered gives its place to what comes: the file has room in itself, and does not grow.
    let size = fs::metadata(disk.at("inbox.db")).unwrap().len();
    let inbox = starter.start(&store);
    let taken =
        (0..20).all(|_| within(PATIENCE, || send(&site, &inbox, &padded(&mut chance)) == Got::Status(200)));
    eventually("they arrive", PATIENCE, || judge.outstanding() == 0);
    inbox.end();
    let grown = fs::metadata(disk.at("inbox.db")).unwrap().len().saturating_sub(size);
    let purged = store.query("SELECT count(*) FROM entry WHERE size = 0");
    checks.row(
        &format!("disk: in the reserve, {} bodies are purged for what comes", purged[0][0]),
        unless(taken && purged[0][0] != "0" && grown == 0, || {
            format!("taken: {taken}, purged: {}, and the file has grown by {grown} bytes", purged[0][0])
        }),
    );

    // With space again, everything goes on.
    disk.fill_to(SIZE);
    let inbox = starter.start(&store).ready();
    let taken = send(&site, &inbox, &padded(&mut chance));
    checks.row(
        "disk: with space again, events are taken",
        unless(taken == Got::Status(200), || format!("{taken:?}")),
    );
    by_another_program(&disk, &site, &inbox, &mut chance, checks);
    let back = within(PATIENCE, || {
        send(&site, &inbox, &Order::new(&mut chance).completed("a", "")) == Got::Status(200)
    });
    checks.row("disk: with space again, after none at all, events are taken", unless(back, || inbox.said()));
    let rows = drain(&store, &starter, &mut judge, vec![inbox]);
    judge.check(rows, now());
    judge.conclude();
    checks.row("disk: no 200 without storing, nothing is lost or comes twice", judge.figures.problem());
}

/// Nothing is left, not even the reserve, while events come and deliveries are under way.
fn by_another_program(disk: &Disk, site: &Site, inbox: &Inbox<'_>, chance: &mut Chance, checks: &mut Checks) {
    const EVENTS: usize = 30;
    site.receiver.behaviour.waits.store(true, Ordering::Relaxed);
    for _ in 0..10 {
        send(site, inbox, &Order::new(chance).completed("a", ""));
    }
    disk.fill_up();
    let events: Vec<_> = (0..EVENTS).map(|_| padded(chance)).collect();
    let answers = scope(|scope| {
        let sent: Vec<_> =
            events.iter().map(|message| scope.spawn(move || send(site, inbox, message))).collect();
        // Their answers come while they cannot be written down.
        sleep(Duration::from_millis(300));
        site.receiver.behaviour.waits.store(false, Ordering::Relaxed);
        sent.into_iter().map(|sent| sent.join().unwrap()).collect::<Vec<_>>()
    });
    let refused = answers.iter().filter(|answer| **answer == Got::Status(503)).count();
    let said = inbox.said();
    checks.row(
        &format!("disk: filled to the last byte, {refused} of {EVENTS} events are answered 503"),
        unless(refused > 0 && said.contains("is full"), || format!("{answers:?}; the inbox says {said}")),
    );
    let unwritten = "how attempts ended is not written yet";
    checks.row(
        "disk: filled to the last byte, what a service has answered cannot be written",
        unless(said.contains(unwritten), || format!("the inbox says {said}")),
    );
    disk.fill_to(SIZE);
    // The senders come back, as they do.
    let heard =
        events.iter().all(|message| within(PATIENCE, || send(site, inbox, message) == Got::Status(200)));
    checks.row("disk: they are taken when they come again", unless(heard, || inbox.said()));
}

fn padded(chance: &mut Chance) -> Message {
    Order::new(chance).completed("a", "").padded(PADDING)
}

fn send(site: &Site, inbox: &Inbox<'_>, message: &Message) -> Got {
    attempt(&site.sent, inbox.receive, message, HangUp::Never)
}

struct Disk {
    folder: TempDir,
    mounted: PathBuf,
}

impl Disk {
    fn mount() -> Result<Self, String> {
        if !crate::cluster::is_root() {
            return Err("only root can mount a file system".to_owned());
        }
        let folder = tool::folder("disk");
        let (image, mounted) = (folder.path().join("image"), folder.path().join("mounted"));
        File::create(&image).and_then(|file| file.set_len(SIZE)).unwrap();
        fs::create_dir(&mounted).unwrap();
        tool::run(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&image));
        let mount = Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&mounted).output().unwrap();
        if !mount.status.success() {
            return Err(format!(
                "no file system can be mounted: {}",
                String::from_utf8_lossy(&mount.stderr).trim()
            ));
        }
        Ok(Self { folder, mounted })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.mounted.join(name)
    }

    fn free(&self) -> u64 {
        let free = tool::run(Command::new("stat").args(["-f", "-c", "%a %S"]).arg(&self.mounted));
        let text = String::from_utf8(free).unwrap();
        let (blocks, size) = text.trim().split_once(' ').unwrap();
        blocks.parse::<u64>().unwrap() * size.parse::<u64>().unwrap()
    }

    /// Has a file take all but so much.
    fn fill_to(&self, left: u64) {
        let _none = fs::remove_file(self.at("ballast"));
        let ballast = self.free().saturating_sub(left);
        if ballast > 0 {
            tool::run(Command::new("fallocate").arg("-l").arg(ballast.to_string()).arg(self.at("ballast")));
        }
    }

    fn fill_up(&self) {
        let mut ballast = File::create(self.at("ballast")).unwrap();
        let mut part = vec![0; 1 << 20];
        while part.len() >= 512 {
            if ballast.write_all(&part).is_err() {
                part.truncate(part.len() / 2);
            }
        }
        let _full = ballast.sync_all();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.mounted).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} is still mounted", self.folder.path().display());
        }
    }
}
