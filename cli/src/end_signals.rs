//! The signals that end a command: SIGINT, SIGTERM, and SIGHUP when its terminal or its session ends.

use anyhow::{Result, anyhow};
use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

pub(crate) struct EndSignals {
    interrupt: Signal,
    terminate: Signal,
    /// `None` under `nohup`, which ignores SIGHUP for the program that it starts.
    hangup: Option<Signal>,
}

impl EndSignals {
    /// From now on these signals do not end the process by themselves.
    pub(crate) fn watch() -> io::Result<Self> {
        let hangup = if ignores_hangup() { None } else { Some(signal(SignalKind::hangup())?) };
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(Self { interrupt, terminate, hangup })
    }

    /// Returns the name of the next signal. A dropped call loses none.
    pub(crate) async fn next(&mut self) -> &'static str {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => "Ctrl-C",
            _ = self.terminate.recv() => "SIGTERM",
            _ = hangup => "SIGHUP",
        }
    }
}

/// Runs a command that removes its unfinished file when it is dropped: also when a signal ends it.
pub(crate) async fn until_signal<T>(command: impl Future<Output = Result<T>>) -> Result<T> {
    let mut signals = EndSignals::watch()?;
    tokio::select! {
        done = command => done,
        signal = signals.next() => Err(anyhow!("{signal} ended the command. Run it again")),
    }
}

/// Linux shows the ignored signals as a mask (proc(5), `SigIgn`): bit 0 is SIGHUP. Elsewhere SIGHUP ends the command.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 == 1)
}
