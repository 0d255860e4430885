//! Event logs. Each line is on the disk before the next step.

use std::fmt::Arguments;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

/// Microseconds since this program's start, by the monotonic clock.
pub(crate) fn now() -> u64 {
    static STARTED: OnceLock<Instant> = OnceLock::new();
    u64::try_from(STARTED.get_or_init(Instant::now).elapsed().as_micros()).unwrap()
}

pub(crate) struct Log {
    file: Mutex<File>,
    path: PathBuf,
}

impl Log {
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        let path = folder.join(name);
        Self { file: Mutex::new(File::create(&path).unwrap()), path }
    }

    /// Writes `TIME <tab> fields`. Returns the time.
    pub(crate) fn line(&self, fields: Arguments<'_>) -> u64 {
        let mut file = self.file.lock().unwrap();
        let now = now();
        file.write_all(format!("{now}\t{fields}\n").as_bytes()).unwrap();
        file.sync_data().unwrap();
        now
    }

    pub(crate) fn reader(&self) -> LogReader {
        LogReader { path: self.path.clone(), read: 0 }
    }
}

pub(crate) struct LogReader {
    path: PathBuf,
    read: u64,
}

pub(crate) struct LogLine {
    pub(crate) at: u64,
    pub(crate) fields: Vec<String>,
}

impl LogLine {
    pub(crate) fn number(&self, field: usize) -> u64 {
        self.fields[field].parse().unwrap()
    }
}

impl LogReader {
    /// The whole lines since the last call.
    pub(crate) fn lines(&mut self) -> Vec<LogLine> {
        let mut file = File::open(&self.path).unwrap();
        file.seek(SeekFrom::Start(self.read)).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        let end = text.rfind('\n').map_or(0, |at| at + 1);
        text.truncate(end);
        self.read += u64::try_from(end).unwrap();
        text.lines()
            .map(|line| {
                let mut fields = line.split('\t').map(str::to_owned);
                LogLine { at: fields.next().unwrap().parse().unwrap(), fields: fields.collect() }
            })
            .collect()
    }
}
