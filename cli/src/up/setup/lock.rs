//! One `blobgate up` at a time runs a setup.

use super::unprepared;
use crate::up::Error;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

/// Locked until the end of this process, also by `kill -9`.
pub(super) struct SetupLock {
    _file: File,
}

impl SetupLock {
    pub(super) fn take(run: &Path, setup: &Path) -> Result<Self, Error> {
        let path = run.join("up.lock");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|why| unprepared(&path, why))?;
        match file.try_lock() {
            Ok(()) => (),
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                let _unknown = file.read_to_string(&mut owner);
                let owner = owner.trim().parse::<u32>().map(|pid| format!(" with pid {pid}"));
                return Err(Error::Running {
                    setup: setup.display().to_string(),
                    owner: owner.unwrap_or_default(),
                });
            }
            Err(TryLockError::Error(why)) => return Err(unprepared(&path, why)),
        }
        let pid = format!("{}\n", std::process::id());
        let written = file.set_len(0).and_then(|()| file.write_all(pid.as_bytes()));
        written.map_err(|why| unprepared(&path, why))?;
        Ok(Self { _file: file })
    }
}
