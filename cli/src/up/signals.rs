//! Requests from outside: signals, and the end of the parent process.

use crate::end_signals::EndSignals;
use std::io;
use std::os::unix::process::parent_id;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Interval, interval};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SignalRequest {
    /// End all parts. The text is the cause.
    End(&'static str),
    /// Start all ended parts.
    StartAgain,
}

/// Whether the end of the parent process is a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ParentWatch {
    /// A killed `make` sends no signal.
    EndWithParent,
    /// A shell that started a gate may end.
    OutliveParent,
}

pub(super) struct Signals {
    end: EndSignals,
    again: Signal,
    watch: ParentWatch,
    parent: u32,
    look: Interval,
}

impl Signals {
    pub(super) fn new(watch: ParentWatch) -> io::Result<Self> {
        Ok(Self {
            end: EndSignals::watch()?,
            again: signal(SignalKind::user_defined1())?,
            watch,
            parent: parent_id(),
            look: interval(Duration::from_secs(1)),
        })
    }

    /// Returns the cause of the next requested end. A dropped call loses none.
    pub(super) async fn next_end(&mut self) -> &'static str {
        loop {
            if let SignalRequest::End(why) = self.next().await {
                return why;
            }
        }
    }

    /// Returns the next request. A dropped call loses none.
    pub(super) async fn next(&mut self) -> SignalRequest {
        loop {
            tokio::select! {
                signal = self.end.next() => return SignalRequest::End(signal),
                _ = self.again.recv() => return SignalRequest::StartAgain,
                _ = self.look.tick(), if self.watch == ParentWatch::EndWithParent => {
                    if parent_id() != self.parent {
                        return SignalRequest::End("the parent process has ended");
                    }
                }
            }
        }
    }
}
