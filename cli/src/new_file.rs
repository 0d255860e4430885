//! Writes a new file. It gets its name once it is complete and on the disk, so that no reader sees a part of it. After
//! `kill -9` a hidden file `.NAME.*.part` stays beside it.

use anyhow::{Result, anyhow, bail};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use tempfile::{Builder, NamedTempFile};

/// Dropped before [`NewFile::publish`], it leaves nothing.
pub(crate) struct NewFile {
    part: NamedTempFile,
    path: PathBuf,
}

impl NewFile {
    /// Starts a file that only its owner can read. Fails if the name is taken.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        if fs::symlink_metadata(path).is_ok() {
            return Err(exists(path));
        }
        let Some(name) = path.file_name() else {
            bail!("cannot create {}: it names no file. Name a new file with --out", path.display());
        };
        let prefix = format!(".{}.", name.display());
        let part = Builder::new().prefix(&prefix).suffix(".part").tempfile_in(folder(path));
        Ok(Self { part: part.map_err(|error| cannot_create(path, &error))?, path: path.to_owned() })
    }

    /// Writes the file to the disk, and gives it its name. It never replaces a file.
    pub(crate) fn publish(self) -> Result<()> {
        let Self { part, path } = self;
        part.as_file().sync_all().map_err(|error| cannot_create(&path, &error))?;
        part.persist_noclobber(&path).map_err(|failed| match failed.error.kind() {
            ErrorKind::AlreadyExists => exists(&path),
            _ => cannot_create(&path, &failed.error),
        })?;
        File::open(folder(&path))
            .and_then(|folder| folder.sync_all())
            .map_err(|error| cannot_create(&path, &error))
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.part.write(bytes).map_err(|error| cannot_write(&self.path, &error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.part.flush().map_err(|error| cannot_write(&self.path, &error))
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn exists(path: &Path) -> anyhow::Error {
    anyhow!("cannot create {}: it exists. Name a new file with --out", path.display())
}

fn cannot_write(path: &Path, error: &io::Error) -> io::Error {
    let text =
        format!("cannot write {}: {error}. Free space, or name another file with --out", path.display());
    io::Error::new(error.kind(), text)
}

fn cannot_create(path: &Path, error: &io::Error) -> anyhow::Error {
    anyhow!("cannot create {}: {error}. Name another file with --out", path.display())
}

#[cfg(test)]
mod tests {
    use super::NewFile;
    use std::fs;
    use std::io::Write;

    #[test]
    fn publishes_complete_files_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let names =
            || fs::read_dir(folder.path()).unwrap().map(|it| it.unwrap().file_name()).collect::<Vec<_>>();
        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"half").unwrap();
        assert!(!path.exists() && names()[0].to_str().unwrap().starts_with(".key."));
        drop(file);
        assert!(names().is_empty());

        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"whole").unwrap();
        file.publish().unwrap();
        assert_eq!((names(), fs::read(&path).unwrap()), (vec!["key".into()], b"whole".to_vec()));
    }

    #[test]
    fn replaces_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let taken = format!("cannot create {}: it exists. Name a new file with --out", path.display());
        let file = NewFile::create(&path).unwrap();
        fs::write(&path, "old").unwrap();
        assert_eq!(file.publish().unwrap_err().to_string(), taken);
        assert_eq!(NewFile::create(&path).err().unwrap().to_string(), taken);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        // A link to nothing takes the name too.
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/nowhere/key", &link).unwrap();
        assert!(NewFile::create(&link).is_err());
    }
}
