//! A store on an ext4 in a file, which the inbox and then another program fill up.

mod postgres;
mod sqlite;

use crate::chance::Chance;
use crate::check::CheckList;
use crate::load::{CustomerOrder, Message};
use crate::program::KillableInbox;
use crate::sender::{HangUp, SendResult, attempt};
use crate::site::KillSite;
use crate::store::SQLITE;
use crate::tool;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const SIZE: u64 = 224 << 20;
const PADDING: usize = 200_000;

pub(crate) fn run(program: &Path, kind: &str, seed: u64, checks: &mut CheckList) {
    match FullDisk::mount() {
        Ok(disk) if kind == SQLITE => sqlite::run(&disk, program, seed, checks),
        Ok(disk) => postgres::run(&disk, program, seed, checks),
        Err(why) => checks.left_out(&format!("disk, {kind}"), &why),
    }
}

fn padded(chance: &mut Chance) -> Message {
    CustomerOrder::new(chance).completed("a", "").padded(PADDING)
}

fn send(site: &KillSite, inbox: &KillableInbox<'_>, message: &Message) -> SendResult {
    attempt(&site.sent, inbox.receive, message, HangUp::Never)
}

struct FullDisk {
    folder: TempDir,
    mounted: PathBuf,
}

impl FullDisk {
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
                "cannot mount a file system: {}",
                String::from_utf8_lossy(&mount.stderr).trim()
            ));
        }
        Ok(Self { folder, mounted })
    }

    fn mounted(&self) -> &Path {
        &self.mounted
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

    /// Fills the disk until this much is left.
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

impl Drop for FullDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.mounted).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} is still mounted", self.folder.path().display());
        }
    }
}
