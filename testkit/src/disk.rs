//! An ext4 file system in a file, with a chosen size and block size.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A mounted ext4. Unmounted on drop. Only root can mount one.
pub struct Ext4Disk {
    folder: TempDir,
    mounted: PathBuf,
}

impl Ext4Disk {
    /// Mounts one of this size and block size, in bytes.
    #[track_caller]
    pub fn ext4(size: u64, block: u32) -> Self {
        // Where /tmp is memory, it may be small.
        let folder = tempfile::Builder::new().prefix("blobgate-disk-").tempdir_in("/var/tmp").unwrap();
        let (image, mounted) = (folder.path().join("image"), folder.path().join("mounted"));
        File::create(&image).and_then(|file| file.set_len(size)).unwrap();
        fs::create_dir(&mounted).unwrap();
        run(Command::new("mkfs.ext4").args(["-q", "-m", "0", "-b", &block.to_string()]).arg(&image));
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&mounted));
        Self { folder, mounted }
    }

    /// A path on the disk.
    pub fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.mounted.join(name)
    }

    /// Writes files until no byte is left.
    pub fn fill(&self) {
        let number = fs::read_dir(&self.mounted).unwrap().count();
        let mut ballast = File::create(self.at(format!("ballast-{number}"))).unwrap();
        let mut part = vec![1; 1 << 20];
        while !part.is_empty() {
            if ballast.write_all(&part).and_then(|()| ballast.sync_data()).is_err() {
                part.truncate(part.len() / 2);
            }
        }
    }

    /// Fills the disk, and then frees this many bytes.
    pub fn fill_to(&self, left: u64) {
        let spare = self.at("spare");
        let _none = fs::remove_file(&spare);
        let made = File::create(&spare).unwrap();
        made.sync_all().unwrap();
        if left > 0 {
            run(Command::new("fallocate").args(["-l", &left.to_string()]).arg(&spare));
        }
        self.fill();
        fs::remove_file(&spare).unwrap();
        run(&mut Command::new("sync"));
    }

    /// Removes the files of [`Self::fill`].
    pub fn empty(&self) {
        for entry in fs::read_dir(&self.mounted).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name().to_string_lossy().starts_with("ballast-") {
                fs::remove_file(entry.path()).unwrap();
            }
        }
    }
}

impl Drop for Ext4Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.mounted).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} is still mounted", self.folder.path().display());
        }
    }
}

#[track_caller]
fn run(command: &mut Command) {
    let done = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}
