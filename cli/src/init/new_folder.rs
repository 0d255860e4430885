//! Writes a setup folder: all of its files, or none. It replaces no file.

use anyhow::{Result, anyhow, bail, ensure};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use tempfile::{Builder, TempDir};

/// A file of a setup folder.
pub(super) struct NewPart {
    /// Relative to the folder.
    pub(super) path: &'static str,
    pub(super) text: String,
    pub(super) mode: u32,
}

/// A folder that has none of the files yet.
pub(super) struct NewFolder {
    path: PathBuf,
    /// `None`: the folder does not exist.
    existing: Option<Metadata>,
}

/// Files and folders of a setup, and of what other commands write into it. `certs` may exist.
const TAKEN: [&str; 7] = [
    "blobgate.yaml",
    "envoy.yaml",
    "inbox.env",
    "rendered.sha256",
    "secrets",
    "certs/edge.pem",
    "certs/edge-key.pem",
];

impl NewFolder {
    pub(super) fn find(path: &Path) -> Result<Self> {
        let shown = path.display();
        let text = path.to_str().ok_or_else(|| {
            anyhow!("cannot make a setup in {shown}: its name is not UTF-8. Name another folder")
        })?;
        ensure!(
            !text.chars().any(char::is_control),
            "cannot make a setup in {shown}: its name has a control character. Name another folder"
        );
        let existing = match fs::metadata(path) {
            Ok(found) if found.is_dir() => Some(found),
            Ok(_) => bail!("cannot make a setup in {shown}: it is no folder. Name another one"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => bail!("cannot make a setup in {shown}: {error}. Name another folder"),
        };
        if existing.is_none() {
            ensure!(
                fs::symlink_metadata(path).is_err(),
                "cannot make a setup in {shown}: it is a link to nothing. Name another folder"
            );
            let parent = parent(path);
            ensure!(
                parent.is_dir(),
                "cannot make a setup in {shown}: there is no folder {}. Make it first",
                parent.display()
            );
        }
        let folder = Self { path: path.to_owned(), existing };
        if let Some(name) = TAKEN.into_iter().find(|name| fs::symlink_metadata(path.join(name)).is_ok()) {
            bail!(
                "cannot make a setup in {shown}: {name} exists there, and nothing is replaced. \
                 Name a new folder, as in `blobgate init my-gate`"
            );
        }
        Ok(folder)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        fs::symlink_metadata(self.path.join(name)).is_ok()
    }

    /// Writes all parts in a hidden folder, and moves them to their names. `kill -9` may leave that folder.
    pub(super) fn write(&self, parts: &[NewPart]) -> Result<()> {
        self.try_write(parts).map_err(|error| {
            anyhow!(
                "cannot write the setup in {}: {error}. Nothing is left of it: name another folder, or mend this one",
                self.path.display()
            )
        })
    }

    fn try_write(&self, parts: &[NewPart]) -> io::Result<()> {
        let beside = if self.existing.is_some() { &self.path } else { parent(&self.path) };
        let work: TempDir = Builder::new()
            .prefix(".blobgate-init.")
            .tempdir_in(beside)
            .map_err(|why| io::Error::from(why.kind()))?;
        let built = work.path().join("setup");
        // With the modes that the user's umask gives.
        fs::create_dir(&built)?;
        for part in parts {
            self.build(&built, part)?;
        }
        if self.existing.is_none() {
            return move_new(&built, &self.path);
        }
        let mut moved = Vec::new();
        self.publish(&built, &mut moved).inspect_err(|_| {
            for path in moved.iter().rev() {
                let _gone = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
            }
        })
    }

    fn build(&self, built: &Path, part: &NewPart) -> io::Result<()> {
        let path = built.join(part.path);
        if let Some(folder) = path.parent().filter(|folder| !folder.is_dir()) {
            let mode = if folder.ends_with("secrets") { 0o700 } else { 0o777 };
            DirBuilder::new().mode(mode).create(folder)?;
            self.give(folder)?;
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(part.mode).open(&path)?;
        file.write_all(part.text.as_bytes())?;
        file.sync_all()?;
        self.give(&path)
    }

    /// Root gives its files to the owner of the folder: the programs that read them run as that user.
    fn give(&self, path: &Path) -> io::Result<()> {
        match &self.existing {
            Some(folder) if rustix::process::geteuid().is_root() => {
                let own = fs::metadata(path)?;
                if (own.uid(), own.gid()) == (folder.uid(), folder.gid()) {
                    return Ok(());
                }
                chown(path, Some(folder.uid()), Some(folder.gid()))
            }
            _ => Ok(()),
        }
    }

    /// Moves what was built. The setup file comes last: with it, the folder is a setup.
    fn publish(&self, built: &Path, moved: &mut Vec<PathBuf>) -> io::Result<()> {
        let mut names = names_in(built, Path::new(""))?;
        names.sort_by_key(|name| name == Path::new("blobgate.yaml"));
        for name in names {
            let inner = built.join(&name).is_dir() && self.path.join(&name).is_dir();
            for name in if inner { names_in(built, &name)? } else { vec![name] } {
                let to = self.path.join(&name);
                move_new(&built.join(&name), &to)?;
                moved.push(to);
            }
        }
        File::open(&self.path)?.sync_all()
    }
}

fn names_in(built: &Path, folder: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(built.join(folder))?.map(|entry| Ok(folder.join(entry?.file_name()))).collect()
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Renames a file or a folder to a name that is not taken.
fn move_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some network file systems have only the call that replaces.
        Err(Errno::INVAL | Errno::NOSYS) if fs::symlink_metadata(to).is_err() => fs::rename(from, to),
        done => Ok(done?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn part(path: &'static str, mode: u32) -> NewPart {
        NewPart { path, text: path.to_owned(), mode }
    }

    fn parts() -> [NewPart; 4] {
        [
            part("blobgate.yaml", 0o644),
            part("secrets/env", 0o600),
            part("certs/edge.pem", 0o644),
            part("certs/edge-key.pem", 0o600),
        ]
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn writes_into_new_and_existing_folders() {
        let work = tempfile::tempdir().unwrap();
        let (new, old) = (work.path().join("new"), work.path().join("old"));
        fs::create_dir_all(old.join("certs")).unwrap();
        fs::write(old.join("certs/other.pem"), "other").unwrap();
        fs::write(old.join("app.py"), "app").unwrap();
        for folder in [&new, &old] {
            NewFolder::find(folder).unwrap().write(&parts()).unwrap();
            let mode = |name: &str| folder.join(name).metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(
                (mode("secrets"), mode("secrets/env"), mode("certs/edge-key.pem")),
                (0o700, 0o600, 0o600)
            );
            assert_eq!(fs::read_to_string(folder.join("blobgate.yaml")).unwrap(), "blobgate.yaml");
        }
        assert_eq!(names(&new), ["blobgate.yaml", "certs", "secrets"]);
        assert_eq!(names(&old), ["app.py", "blobgate.yaml", "certs", "secrets"]);
        assert_eq!(names(&old.join("certs")), ["edge-key.pem", "edge.pem", "other.pem"]);
        assert_eq!(names(work.path()), ["new", "old"]);
    }

    #[test]
    fn leaves_nothing_when_a_name_is_taken_meanwhile() {
        let work = tempfile::tempdir().unwrap();
        let (existing, new) = (work.path().join("existing"), work.path().join("new"));
        fs::create_dir(&existing).unwrap();
        let (first, second) = (NewFolder::find(&existing).unwrap(), NewFolder::find(&new).unwrap());
        fs::write(existing.join("blobgate.yaml"), "of another run").unwrap();
        fs::create_dir(&new).unwrap();
        fs::write(new.join("app.py"), "app").unwrap();
        assert!(first.write(&parts()).unwrap_err().to_string().ends_with("or mend this one"));
        assert!(second.write(&parts()).unwrap_err().to_string().contains("File exists"));
        assert_eq!((names(&existing), names(&new)), (vec!["blobgate.yaml".into()], vec!["app.py".into()]));
        assert_eq!(fs::read_to_string(existing.join("blobgate.yaml")).unwrap(), "of another run");
        assert_eq!(names(work.path()), ["existing", "new"]);
    }

    #[test]
    fn refuses_each_taken_name_also_of_a_link() {
        for name in TAKEN {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join("certs")).unwrap();
            std::os::unix::fs::symlink("/nowhere", folder.path().join(name)).unwrap();
            let error = NewFolder::find(folder.path()).err().unwrap().to_string();
            assert!(error.contains(&format!("{name} exists there")), "{error}");
        }
    }
}
