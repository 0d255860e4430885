//! `blobgate up`: the gate and the inbox of a setup file.

mod banner;
mod lock;
mod sandbox;
mod services;
mod start_plan;

use super::envoy::EnvoyProgram;
use super::log::{PartLog, last_readable};
use super::part::{self, Parts};
use super::plan::{PartCommand, Role, StartPlan, words};
use super::signals::{ParentWatch, Signals};
use super::supervise::{self, Started};
use super::{Error, drain, ports};
use crate::log::Format;
use crate::output::eprint_line;
use crate::render::{self, RenderedChange};
use crate::setup::{ProviderEndpoint, Setup, env_file};
use anyhow::Result;
use lock::SetupLock;
use sandbox::PlannedSandbox;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const ENVOY_FILE: &str = "envoy.yaml";
const INBOX_ENV: &str = "inbox.env";

/// `inbox serve` ends within 25 s. With the gate's drain, all parts end within 30 s.
const INBOX_END: Duration = Duration::from_secs(25);

/// What the command line says.
pub(super) struct SetupOptions {
    pub(super) file: PathBuf,
    pub(super) envoy: Option<PathBuf>,
    pub(super) provider: ProviderChoice,
    pub(super) log_format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProviderChoice {
    RunBlob,
    Sandbox,
}

/// A setup that can start.
struct PreparedSetup {
    setup: Setup,
    /// The setup folder as the person wrote it, for commands to copy.
    shown_folder: PathBuf,
    envoy: EnvoyProgram,
    sandbox: Option<PlannedSandbox>,
    /// The configuration of Envoy, from the setup folder.
    envoy_file: PathBuf,
    /// Whether a person has edited it.
    is_edited: bool,
    secrets: Vec<(String, String)>,
    inbox: Vec<(String, String)>,
    /// One run at a time has the setup.
    _lock: SetupLock,
}

pub(super) async fn run(options: SetupOptions) -> Result<ExitCode> {
    let start = Instant::now();
    let mut signals = Signals::new(ParentWatch::OutliveParent).map_err(Error::Signals)?;
    let (log, _guard) = PartLog::stdout(options.log_format);
    let (prepared, plan) = tokio::select! {
        prepared = prepare(&options, &log) => prepared?,
        why = signals.next_end() => {
            log.report(format_args!("{why}. No part has started."));
            return Ok(ExitCode::SUCCESS);
        }
    };
    let mut parts = Parts::default();
    let ended = supervise(&prepared, &plan, &mut parts, &mut signals, start).await;
    if let Ok(why) = &ended {
        plan.log.report(format_args!("{why}. All parts end within 30 s. A second signal ends them at once."));
    }
    drain::end(&mut parts, &plan, &mut signals).await;
    match ended {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            eprint_line(format_args!("blobgate: {error}"));
            if let Error::Ended { role, lines, .. } = &error {
                for line in last_readable(*role, lines) {
                    eprint_line(format_args!("  {line}"));
                }
            }
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Does all that comes before the start of the parts.
async fn prepare(options: &SetupOptions, log: &PartLog) -> Result<(PreparedSetup, StartPlan), Error> {
    let prepared = PreparedSetup::new(options, log).await?;
    let plan = prepared.plan(log.clone())?;
    ports::check(&plan.listeners).await?;
    prepared.migrate(&plan).await?;
    Ok((prepared, plan))
}

async fn supervise(
    prepared: &PreparedSetup,
    plan: &StartPlan,
    parts: &mut Parts,
    signals: &mut Signals,
    start: Instant,
) -> Result<&'static str, Error> {
    match supervise::start(plan, parts, signals).await? {
        Started::Ended(why) => Ok(why),
        Started::Ready => {
            let text = banner::text(prepared, start.elapsed());
            plan.log.show(&text, banner::facts(prepared, start.elapsed()));
            let _watch = services::watch(&prepared.setup.services, &plan.log);
            supervise::run(plan, parts, signals).await
        }
    }
}

impl PreparedSetup {
    /// Checks the files, and writes the rendered ones.
    async fn new(options: &SetupOptions, log: &PartLog) -> Result<Self, Error> {
        let mut setup = Setup::load(&options.file)?;
        let shown_folder = setup.folder.clone();
        let folder = if setup.folder.as_os_str().is_empty() { Path::new(".") } else { &setup.folder };
        setup.folder = std::path::absolute(folder).map_err(|why| unprepared(folder, why))?;
        let envoy = EnvoyProgram::find(options.envoy.as_deref(), setup.module).await?;
        let run = setup.resolve(&setup.run);
        std::fs::create_dir_all(&run).map_err(|why| unprepared(&run, why))?;
        let lock = SetupLock::take(&run, &options.file)?;
        let sandbox = match options.provider {
            ProviderChoice::RunBlob => None,
            ProviderChoice::Sandbox => Some(PlannedSandbox::new(&mut setup)?),
        };
        for warning in setup.preflight()? {
            log.report(format_args!("warning: {warning}"));
        }
        let is_edited = write_files(&setup, log, sandbox.is_some())?;
        let envoy_file = match &sandbox {
            Some(sandbox) => sandbox.write_envoy_file(&setup)?,
            None => ENVOY_FILE.into(),
        };
        let secrets = setup.secrets()?;
        let inbox_env = setup.resolve(Path::new(INBOX_ENV));
        let inbox = env_file::read(&inbox_env)
            .map_err(|why| Error::Unprepared { place: INBOX_ENV.to_owned(), why: why.into() })?;
        Ok(Self {
            is_edited: is_edited && sandbox.is_none(),
            setup,
            shown_folder,
            envoy,
            sandbox,
            envoy_file,
            secrets,
            inbox,
            _lock: lock,
        })
    }

    /// Runs in another process, so that this one never opens the store.
    async fn migrate(&self, plan: &StartPlan) -> Result<(), Error> {
        let command = PartCommand {
            role: Role::Inbox,
            program: plan.tool.clone(),
            arguments: words("inbox migrate"),
            variables: self.inbox_variables(),
        };
        let migrated = part::process(&command, plan)
            .output()
            .await
            .map_err(|why| Error::Unprepared { place: "the inbox's store".to_owned(), why: why.into() })?;
        if migrated.status.success() {
            return Ok(());
        }
        let why = super::migration_error(&migrated.stderr).replace("--store", "`inbox.store`");
        Err(Error::StoreRefused { why })
    }
}

/// Whether a person has edited envoy.yaml.
fn write_files(setup: &Setup, log: &PartLog, has_sandbox: bool) -> Result<bool, Error> {
    let files = render::render(setup, &ProviderEndpoint::RunBlob)?;
    let mut is_edited = false;
    for outcome in render::write(&setup.folder, &files)? {
        if outcome.change != RenderedChange::Edited {
            continue;
        }
        let is_envoy_file = outcome.path == Path::new(ENVOY_FILE);
        is_edited |= is_envoy_file;
        let file = outcome.path.display();
        if is_envoy_file && has_sandbox {
            log.report(format_args!("{file} is edited. --sandbox does not use it."));
        } else {
            log.report(format_args!(
                "{file} is edited and used as it is. `blobgate render --diff` shows the difference."
            ));
        }
    }
    Ok(is_edited)
}

fn unprepared(place: &Path, why: std::io::Error) -> Error {
    let place = place.display().to_string();
    let why = match why.kind() {
        ErrorKind::PermissionDenied => anyhow::anyhow!("this user has no right to write there"),
        _ => why.into(),
    };
    Error::Unprepared { place, why }
}
