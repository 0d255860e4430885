//! Standard output, and its first failure. `main` turns the failure into the exit code, so no command can forget it.

use crate::option::UsageError;
use crate::output::eprint_line;
use anyhow::Result;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::{Mutex, OnceLock, PoisonError};
use tokio::sync::SetOnce;

/// The first failed write. Later ones are not tried: their output would have a gap before it.
static FAILURE: SetOnce<StdoutError> = SetOnce::const_new();

/// Standard output got no more text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot write to standard output: {why}. Free space there, or redirect it to another place")]
pub(crate) struct StdoutError {
    why: String,
    /// The reader has closed the pipe, as `head` does: it wants no more, so nothing failed.
    pub(crate) is_closed: bool,
}

/// Standard output without a buffer. `std`'s own reports success for a descriptor that is not open for writing.
pub(crate) struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(known) = FAILURE.get() {
            return Err(io::Error::other(known.clone()));
        }
        write_all(bytes).map_err(|error| io::Error::other(note(&error)))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_all(bytes: &[u8]) -> io::Result<()> {
    static FILE: OnceLock<Mutex<File>> = OnceLock::new();
    let file = match FILE.get() {
        Some(file) => file,
        None => {
            let own = File::from(io::stdout().as_fd().try_clone_to_owned()?);
            FILE.get_or_init(|| Mutex::new(own))
        }
    };
    file.lock().unwrap_or_else(PoisonError::into_inner).write_all(bytes)
}

/// Remembers the first failure, and reports it once.
fn note(error: &io::Error) -> StdoutError {
    let failure = StdoutError { why: error.to_string(), is_closed: error.kind() == ErrorKind::BrokenPipe };
    if FAILURE.set(failure.clone()).is_ok() && !failure.is_closed {
        eprint_line(format_args!("blobgate: {failure}"));
    }
    failure
}

/// Fails if standard output gets no more text: a command that only prints has nothing more to do. Notices a closed pipe
/// before the next line.
pub(crate) fn check() -> Result<(), StdoutError> {
    if let Some(known) = FAILURE.get() {
        return Err(known.clone());
    }
    let stdout = io::stdout();
    let mut polled = [PollFd::new(&stdout, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let has_ended = poll(&mut polled, Some(&now)).is_ok_and(|count| count > 0)
        && polled.iter().any(|it| it.revents().intersects(PollFlags::ERR | PollFlags::HUP));
    if has_ended { Err(note(&ErrorKind::BrokenPipe.into())) } else { Ok(()) }
}

/// Returns once a write has failed. A server continues behind a closed pipe.
pub(crate) async fn until_full() -> StdoutError {
    let failure = FAILURE.wait().await;
    if failure.is_closed {
        return std::future::pending().await;
    }
    failure.clone()
}

/// The program's exit code. Reports the error of a command, unless [`note`] has.
pub(crate) fn end(ended: Result<ExitCode>) -> ExitCode {
    let failure = FAILURE.get();
    match ended {
        Ok(code) if code == ExitCode::SUCCESS && failure.is_some_and(|failure| !failure.is_closed) => {
            ExitCode::FAILURE
        }
        Ok(code) => code,
        Err(error) if is_of_stdout(&error) => match failure {
            Some(failure) if failure.is_closed => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        },
        Err(error) => {
            eprint_line(format_args!("blobgate: {error:#}"));
            if error.is::<UsageError>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

fn is_of_stdout(error: &anyhow::Error) -> bool {
    let within = |error: &io::Error| error.get_ref().is_some_and(|inner| inner.is::<StdoutError>());
    error.is::<StdoutError>() || error.downcast_ref().is_some_and(within)
}
