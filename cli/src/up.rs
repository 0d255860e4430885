//! `blobgate up --dev`: a gate, an inbox, three services and a sandbox on this machine, as one program.

mod addresses;
mod banner;
pub(crate) mod end_with;
mod next;
mod part;
mod plan;
mod ports;
mod ready;
mod signals;

use crate::output::{say, tell, tell_lines};
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

/// Run the gate, its inbox, three demo services and a sandbox together, in a clone of the repository
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The development setup, which is the only one so far
    #[arg(long, required = true)]
    dev: bool,
    /// No inbox: the gate sends straight to the services
    #[arg(long)]
    no_inbox: bool,
    /// Envoy's program; a name without a slash is looked up in PATH
    #[arg(long, value_name = "FILE", env = "ENVOY", default_value = "envoy")]
    envoy: PathBuf,
    /// The inbox's listener for operators
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9085")]
    admin: SocketAddr,
}

const EXAMPLES: &str = "\
It reads ./envoy.yaml and starts each part at the address that stands there:
  video, failure, quarantine   three `blobgate receiver`s
  sandbox                      `blobgate sandbox` as RunBlob's API: a generation takes two seconds
  inbox                        `blobgate inbox serve`, with the store target/run/inbox.db
  gate                         Envoy with ./envoy.yaml
It prints what the parts print, and writes all of it to target/run/NAME.log. `make run` builds the module and makes the
development certificate and secrets, then runs this command.

When a part ends:
  A service ends                    The other parts go on. Its events wait in the inbox.
  The inbox ends by SIGTERM         The other parts go on. Providers get 503 and retry. Restore or move the store now.
  The inbox crashes                 It starts again at once. Four crashes in a row, each within 5 s, end everything.
  Envoy or the sandbox ends         Everything ends. The last lines of that part are shown.
  Any part ends, with --no-inbox    The same.
`kill -USR1 PID`, with the id of this program, starts again each part that has ended. Both are printed.

Ctrl-C, SIGTERM and SIGHUP end everything, and so does the end of the program that started this one. On Linux the kernel
ends the parts after a `kill -9` too.

Exit code: 0 when it was asked to end, 1 when it cannot start or a part has ended it, 2 for wrong usage.

Examples:
  make run                                    # with all that it needs
  blobgate up --dev --envoy \"$(dev/envoy 1.40.0)\"
  blobgate up --dev --no-inbox                # with the envoy in PATH";

/// Why it does not start, or ends.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot read {file}: {why}. {remedy}")]
    Unreadable { file: &'static str, why: io::Error, remedy: &'static str },
    #[error("cannot read ./envoy.yaml as YAML: {0}")]
    NotYaml(String),
    #[error(
        "./envoy.yaml has no {0} with an IP address and a port. Give it one, as in the repository's file"
    )]
    NoAddress(String),
    #[error(
        "cannot run Envoy as {program}: {why}. `dev/envoy 1.40.0` installs one and prints its path for --envoy"
    )]
    NoEnvoy { program: String, why: String },
    #[error("port {} of {} is taken{owner}. End that program, or the `make run` in another terminal, and try again",
        address.port(), address.ip())]
    PortTaken { address: SocketAddr, owner: String },
    #[error("cannot listen on {address}: {why}. Change the address in ./envoy.yaml or --admin")]
    NoPort { address: SocketAddr, why: io::Error },
    #[error("cannot prepare {place}: {why}")]
    Unprepared { place: String, why: anyhow::Error },
    #[error("cannot start {role}: {why}")]
    NotStarted { role: Role, why: io::Error },
    #[error("{what} does not answer at {url} after {} s. See target/run/*.log", ready::TIMEOUT.as_secs())]
    NotReady { what: String, url: String },
    #[error("cannot watch for signals: {0}")]
    Signals(io::Error),
    #[error("{role} has ended by itself ({status}), and the other parts with it")]
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
        Err(error) => {
            say(format_args!("blobgate: {error}"));
            if let Error::Ended { role, .. } = error {
                show_last_lines(role);
            }
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Makes the folders for logs and for the socket of Envoy's admin page, and the inbox's tables.
async fn prepare(plan: &StartPlan) -> Result<(), Error> {
    let unprepared = |place: &str, why| Error::Unprepared { place: place.to_owned(), why };
    for folder in [part::LOGS, "run"] {
        std::fs::create_dir_all(folder).map_err(|why| unprepared(folder, why.into()))?;
    }
    // Those of the run before, with or without an inbox.
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

/// In a process of its own, so that this one never has the store open.
async fn migrate(plan: &StartPlan) -> Result<()> {
    let migrated =
        Command::new(plan.tool()).args(["inbox", "migrate", "--store", plan::STORE]).output().await?;
    if !migrated.status.success() {
        bail!("{}", String::from_utf8_lossy(&migrated.stderr).trim().trim_start_matches("blobgate: "));
    }
    Ok(())
}

/// Returns when somebody has asked for the end.
async fn supervise(plan: &StartPlan, parts: &mut Parts, signals: &mut Signals) -> Result<(), Error> {
    for role in plan.layout.roles() {
        parts.add(Part::start(*role, plan)?);
    }
    let ready = ready::wait(plan);
    tokio::pin!(ready);
    loop {
        tokio::select! {
            ready = &mut ready => break ready?,
            asked = signals.next() => match asked {
                SignalRequest::End(why) => return told(why),
                SignalRequest::StartAgain => (),
            },
            (role, status) = parts.first_to_end() => return Err(Error::Ended { role, status }),
        }
    }
    banner::show(plan, parts);

    let mut quick_ends = QuickEnds::default();
    loop {
        tokio::select! {
            asked = signals.next() => match asked {
                SignalRequest::End(why) => return told(why),
                SignalRequest::StartAgain => start_ended(plan, parts)?,
            },
            (role, status) = parts.first_to_end() => {
                let ran = parts.remove(role).await;
                // A demo service that ends says nothing about the inbox.
                let quick_ends = if role == Role::Inbox { quick_ends.count(ran) } else { 0 };
                match next::next(plan.layout, role, End::of(status), quick_ends) {
                    NextStep::EndAll => return Err(Error::Ended { role, status }),
                    NextStep::Continue => tell_of_end(role, status),
                    NextStep::StartAgain => {
                        tell(format_args!("blobgate: {role} has ended ({status}). Its store has every event."));
                        start_again(role, plan, parts)?;
                    }
                }
            }
        }
    }
}

fn told(why: &str) -> Result<(), Error> {
    tell_lines(&format!("\nblobgate: {why}. Every part ends."));
    Ok(())
}

fn tell_of_end(role: Role, status: ExitStatus) {
    let meanwhile = match role {
        Role::Inbox => "Providers get 503 and retry until it runs again.",
        _ => "Its events wait in the inbox.",
    };
    let pid = std::process::id();
    tell(format_args!(
        "blobgate: {role} has ended ({status}). {meanwhile} `kill -USR1 {pid}` starts it again."
    ));
}

/// Each part that has ended.
fn start_ended(plan: &StartPlan, parts: &mut Parts) -> Result<(), Error> {
    let ended: Vec<Role> = plan.layout.roles().iter().copied().filter(|role| !parts.has(*role)).collect();
    if ended.is_empty() {
        tell(format_args!("blobgate: every part runs."));
    }
    for role in ended {
        start_again(role, plan, parts)?;
    }
    Ok(())
}

fn start_again(role: Role, plan: &StartPlan, parts: &mut Parts) -> Result<(), Error> {
    parts.add(Part::start(role, plan)?);
    let pid = parts.pid(role).unwrap_or_default();
    tell(format_args!("blobgate: {role} starts again, pid {pid}."));
    Ok(())
}

fn show_last_lines(role: Role) {
    let log = part::log(role);
    let lines = part::last_lines(role, Path::new(&log));
    say(format_args!("The last lines of {log}:"));
    for line in lines {
        say(format_args!("  {line}"));
    }
}
