//! `blobgate up --dev`: runs a gate, an inbox, three services and a sandbox on this machine.

mod addresses;
mod banner;
pub(crate) mod end_with;
mod next;
mod part;
mod plan;
mod ports;
mod ready;
mod signals;

use crate::check::yaml::YamlError;
use crate::option::parse_address;
use crate::output::{self, StdoutError, eprint_line, print_line, print_lines};
use addresses::Addresses;
use anyhow::{Result, bail};
use next::{End, NextStep, QuickEnds};
use part::{Part, Parts};
use plan::{Layout, Role, StartPlan};
use signals::{SignalRequest, Signals};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};
use tokio::process::Command;

/// Run a gate, an inbox, three demo services and a sandbox, in a clone of the repository
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The development setup, the only one so far
    #[arg(long, required = true)]
    dev: bool,
    /// No inbox: the gate delivers to the services
    #[arg(long)]
    no_inbox: bool,
    /// The program of Envoy, by path or by its name in PATH
    #[arg(long, value_name = "FILE", env = "ENVOY", default_value = "envoy")]
    envoy: PathBuf,
    /// The address of the inbox's admin listener
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9085", value_parser = parse_address)]
    admin: SocketAddr,
}

const EXAMPLES: &str = "\
It reads ./envoy.yaml, and starts each part at its address there:
  video, failure, quarantine   `blobgate receiver`, once each
  sandbox                      `blobgate sandbox` as RunBlob's API; a generation takes two seconds
  inbox                        `blobgate inbox serve`, with the store target/run/inbox.db
  gate                         Envoy with ./envoy.yaml
It prints the output of all parts, and writes it to target/run/NAME.log. `make run` also builds the
module and makes the development certificate and secrets.

When a part ends:
  a service                     the others continue; its events wait in the inbox
  the inbox, by SIGTERM         the others continue; providers get 503 and retry
  the inbox, by a crash         it starts again; after four crashes, each within 5 s, all parts end
  Envoy or the sandbox          all parts end, and its last log lines are shown
  any part, with --no-inbox     all parts end, and its last log lines are shown
`kill -USR1 PID` starts ended parts again. PID is the process id of this program; it prints the id.

Ctrl-C, SIGTERM, SIGHUP and the end of the parent process end all parts. On Linux, `kill -9` does
too.

Exit code: 0 when a signal ended it, 1 when it cannot start or a part ended it, 2 for wrong usage.

Examples:
  make run                                      # builds everything first
  blobgate up --dev --envoy \"$(dev/envoy 1.40.0)\"
  blobgate up --dev --no-inbox                  # uses the Envoy in PATH";

/// A failed start, or an unexpected end.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot read {file}: {why}. {remedy}")]
    Unreadable { file: &'static str, why: io::Error, remedy: &'static str },
    #[error("cannot read ./envoy.yaml as YAML: {0}. Correct it")]
    NotYaml(YamlError),
    #[error("./envoy.yaml has no {0} with an IP address and a port. Add it, as in the repository's file")]
    NoAddress(String),
    #[error(
        "cannot run Envoy as {program}: {why}. Install one with `dev/envoy 1.40.0`, which prints the path for --envoy"
    )]
    NoEnvoy { program: String, why: String },
    #[error("port {} of {} is taken{owner}. End that program, or the `make run` in another terminal, and try again",
        address.port(), address.ip())]
    PortTaken { address: SocketAddr, owner: String },
    #[error("cannot listen on {address}: {why}. Change the address in ./envoy.yaml or --admin")]
    NoPort { address: SocketAddr, why: io::Error },
    #[error("cannot prepare {place}: {why}. Correct that, and try again")]
    Unprepared { place: String, why: anyhow::Error },
    #[error("cannot start {role}: {why}. See target/run/{role}.log")]
    NotStarted { role: Role, why: io::Error },
    #[error("{what} does not answer at {url} after {} s. See target/run/*.log", ready::TIMEOUT.as_secs())]
    NotReady { what: String, url: String },
    #[error("cannot watch for signals: {0}. Start it in another shell")]
    Signals(io::Error),
    #[error(transparent)]
    Stdout(#[from] StdoutError),
    #[error("{role} has ended ({status}), so all parts end. See target/run/{role}.log")]
    Ended { role: Role, status: ExitStatus },
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let layout = if args.no_inbox { Layout::GateAlone } else { Layout::WithInbox };
    let plan = StartPlan::new(layout, args.envoy, Addresses::read(args.admin)?)?;
    ports::check(&plan.listeners())?;
    prepare(&plan).await?;
    let mut signals = Signals::new().map_err(Error::Signals)?;
    let mut parts = Parts::default();
    let ended = supervise(&plan, &mut parts, &mut signals).await;
    parts.stop().await;
    match ended {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(Error::Stdout(failure)) => Err(failure.into()),
        Err(error) => {
            eprint_line(format_args!("blobgate: {error}"));
            if let Error::Ended { role, .. } = error {
                show_last_lines(role);
            }
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Creates the folders for logs and for the socket of Envoy's admin page, and the inbox's tables.
async fn prepare(plan: &StartPlan) -> Result<(), Error> {
    let unprepared = |place: &str, why| Error::Unprepared { place: place.to_owned(), why };
    for folder in [part::LOGS, "run"] {
        std::fs::create_dir_all(folder).map_err(|why| unprepared(folder, why.into()))?;
    }
    // Removes the logs of the run before, with or without an inbox.
    for role in Layout::WithInbox.roles() {
        let log = part::log(*role);
        match std::fs::remove_file(&log) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(unprepared(&log, error.into()));
            }
            _ => (),
        }
    }
    if plan.layout == Layout::WithInbox {
        migrate(plan).await.map_err(|why| unprepared("the inbox's store", why))?;
    }
    Ok(())
}

/// Runs in another process, so that this one never opens the store.
async fn migrate(plan: &StartPlan) -> Result<()> {
    let migrated =
        Command::new(plan.tool()).args(["inbox", "migrate", "--store", plan::STORE]).output().await?;
    if !migrated.status.success() {
        bail!("{}", String::from_utf8_lossy(&migrated.stderr).trim().trim_start_matches("blobgate: "));
    }
    Ok(())
}

/// Returns after a signal for the end.
async fn supervise(plan: &StartPlan, parts: &mut Parts, signals: &mut Signals) -> Result<(), Error> {
    for role in plan.layout.roles() {
        parts.add(Part::start(*role, plan)?);
    }
    let ready = ready::wait(plan);
    tokio::pin!(ready);
    loop {
        tokio::select! {
            ready = &mut ready => break ready?,
            request = signals.next() => match request {
                SignalRequest::End(why) => return end_all(why),
                SignalRequest::StartAgain => (),
            },
            (role, status) = parts.first_to_end() => return Err(Error::Ended { role, status }),
            full = output::until_full() => return Err(full.into()),
        }
    }
    banner::show(plan, parts);

    let mut quick_ends = QuickEnds::default();
    loop {
        tokio::select! {
            request = signals.next() => match request {
                SignalRequest::End(why) => return end_all(why),
                SignalRequest::StartAgain => start_ended(plan, parts)?,
            },
            full = output::until_full() => return Err(full.into()),
            (role, status) = parts.first_to_end() => {
                let ran = parts.remove(role).await;
                // Only the inbox starts again.
                let quick_ends = if role == Role::Inbox { quick_ends.count(ran) } else { 0 };
                match next::next(plan.layout, role, End::of(status), quick_ends) {
                    NextStep::EndAll => return Err(Error::Ended { role, status }),
                    NextStep::Continue => report_end(role, status),
                    NextStep::StartAgain => {
                        print_line(format_args!("blobgate: {role} has ended ({status}). Its store has all events."));
                        start_again(role, plan, parts)?;
                    }
                }
            }
        }
    }
}

fn end_all(why: &str) -> Result<(), Error> {
    print_lines(&format!("\nblobgate: {why}. All parts end."));
    Ok(())
}

fn report_end(role: Role, status: ExitStatus) {
    let meanwhile = match role {
        Role::Inbox => "Providers get 503 and retry until it runs again.",
        _ => "Its events wait in the inbox.",
    };
    let pid = std::process::id();
    print_line(format_args!(
        "blobgate: {role} has ended ({status}). {meanwhile} `kill -USR1 {pid}` starts it again."
    ));
}

/// Starts all ended parts.
fn start_ended(plan: &StartPlan, parts: &mut Parts) -> Result<(), Error> {
    let ended: Vec<Role> = plan.layout.roles().iter().copied().filter(|role| !parts.has(*role)).collect();
    if ended.is_empty() {
        print_line(format_args!("blobgate: all parts run."));
    }
    for role in ended {
        start_again(role, plan, parts)?;
    }
    Ok(())
}

fn start_again(role: Role, plan: &StartPlan, parts: &mut Parts) -> Result<(), Error> {
    parts.add(Part::start(role, plan)?);
    let pid = parts.pid(role).unwrap_or_default();
    print_line(format_args!("blobgate: {role} starts again (pid {pid})."));
    Ok(())
}

fn show_last_lines(role: Role) {
    let log = part::log(role);
    let lines = part::last_lines(role, Path::new(&log));
    eprint_line(format_args!("The last lines of {log}:"));
    for line in lines {
        eprint_line(format_args!("  {line}"));
    }
}
