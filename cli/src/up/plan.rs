//! The plan of a run: the parts in the order of their start, their ports, and their probes.

use super::log::PartLog;
use std::ffi::OsString;
use std::fmt::{self, Display};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// `--dev`.
    WithInbox,
    /// `--dev --no-inbox`.
    GateAlone,
    /// A setup file's gate and inbox.
    Setup,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Video,
    Failure,
    Quarantine,
    Sandbox,
    Inbox,
    Gate,
}

pub(super) struct StartPlan {
    pub(super) layout: Layout,
    /// This program.
    pub(super) tool: PathBuf,
    /// The folder in which the parts start.
    pub(super) folder: PathBuf,
    /// The socket of Envoy's admin page.
    pub(super) admin_socket: PathBuf,
    /// In the order of their start.
    pub(super) parts: Vec<PartCommand>,
    /// The addresses that must be free.
    pub(super) listeners: Vec<PlannedListener>,
    /// In the order of waiting.
    pub(super) probes: Vec<Probe>,
    /// The time for the inbox's attempts at the end.
    pub(super) inbox_end: Duration,
    pub(super) log: PartLog,
}

/// An address, and what to do if it cannot be used.
pub(super) struct PlannedListener {
    pub(super) address: SocketAddr,
    pub(super) taken: String,
    pub(super) unusable: String,
}

/// The program, arguments and variables of a part.
pub(super) struct PartCommand {
    pub(super) role: Role,
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    pub(super) variables: Vec<(String, String)>,
}

/// A part, and what it does once it is ready.
pub(super) struct Probe {
    pub(super) what: &'static str,
    pub(super) ready: ReadyWhen,
}

pub(super) enum ReadyWhen {
    /// The URL answers 2xx.
    InitAnswers(String),
    /// The address takes a connection.
    Accepts(SocketAddr),
}

impl StartPlan {
    pub(super) fn part(&self, role: Role) -> Option<&PartCommand> {
        self.parts.iter().find(|part| part.role == role)
    }
}

impl Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Video => "video",
            Self::Failure => "failure",
            Self::Quarantine => "quarantine",
            Self::Sandbox => "sandbox",
            Self::Inbox => "inbox",
            Self::Gate => "gate",
        })
    }
}

impl Display for ReadyWhen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InitAnswers(url) => f.write_str(url),
            Self::Accepts(address) => address.fmt(f),
        }
    }
}

pub(super) fn words(text: &str) -> Vec<OsString> {
    text.split(' ').map(OsString::from).collect()
}

/// The address at which this machine reaches a listener on all its addresses.
pub(crate) fn reachable(listener: SocketAddr) -> SocketAddr {
    match listener {
        SocketAddr::V4(at) if at.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, at.port()).into(),
        SocketAddr::V6(at) if at.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, at.port()).into(),
        other => other,
    }
}
