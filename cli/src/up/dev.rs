//! `blobgate up --dev`: a gate, an inbox, three demo services and a sandbox, in a clone of the repository.

mod banner;

use super::Error;
use super::addresses::{Addresses, CONFIG};
use super::envoy::{EnvoyProgram, runs_on};
use super::log::{PartLog, last_readable};
use super::part::Parts;
use super::plan::{Layout, PartCommand, PlannedListener, Probe, ReadyWhen, Role, StartPlan, words};
use super::signals::{ParentWatch, Signals};
use super::supervise::{self, Started};
use super::{drain, ports};
use crate::output::{eprint_line, print_lines};
use crate::render::with_native_module;
use crate::setup::{ModuleKind, ModulePlace, env_file};
use anyhow::{Result, bail};
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::process::Command;

/// The folder of the logs.
const LOGS: &str = "target/run";
const CERTIFICATE: &str = "certs/edge.pem";
const STORE: &str = "sqlite:target/run/inbox.db";
const CERTIFICATE_KEY: &str = "certs/edge-key.pem";
const API_KEY: &str = "secrets/runblob-key";
const SECRETS: &str = "secrets/env";
/// ./envoy.yaml with the native module. Envoy takes the form from the name.
const NATIVE_CONFIG: &str = "target/run/envoy.json";

const MADE_BY_CERTIFICATE: &str = "Make it with `dev/certificate`";
const MADE_BY_SECRETS: &str = "Make it with `dev/secrets`";

/// The files that the parts read, with the command that makes each.
const FILES: [(&str, &str); 5] = [
    (CERTIFICATE, MADE_BY_CERTIFICATE),
    (CERTIFICATE_KEY, MADE_BY_CERTIFICATE),
    (API_KEY, MADE_BY_SECRETS),
    ("secrets/runblob-key.yaml", MADE_BY_SECRETS),
    (SECRETS, MADE_BY_SECRETS),
];

const PORT_TAKEN: &str = "End that program, or the `make run` in another terminal, and try again";
const PORT_UNUSABLE: &str = "Change the address in ./envoy.yaml or --admin";

/// The inbox of a demo has few attempts.
const INBOX_END: Duration = Duration::from_secs(5);

/// What the command line says about `--dev`.
pub(super) struct DevOptions {
    pub(super) layout: Layout,
    pub(super) module: ModuleKind,
    pub(super) envoy: Option<PathBuf>,
    pub(super) admin: SocketAddr,
}

pub(super) async fn run(options: DevOptions) -> Result<ExitCode> {
    let at = Addresses::read(options.admin)?;
    let module = Path::new("target").join(options.module.clone_folder()).join(options.module.file_name());
    options.module.check(&module, &module, ModulePlace::Clone)?;
    for (file, remedy) in FILES {
        std::fs::File::open(file).map_err(|why| Error::Unreadable { file, why, remedy })?;
    }
    let envoy = EnvoyProgram::find(options.envoy.as_deref(), options.module).await?;
    let plan = plan(&options, &at, &envoy)?;
    ports::check(&plan.listeners).await?;
    prepare(&plan).await?;
    if options.module == ModuleKind::Native {
        write_native_config(&module)?;
    }
    let mut signals = Signals::new(ParentWatch::EndWithParent).map_err(Error::Signals)?;
    let mut parts = Parts::default();
    let ended = supervise(&plan, &at, &runs_on(&envoy, options.module), &mut parts, &mut signals).await;
    if let Ok(why) = &ended {
        print_lines(&format!("\nblobgate: {why}. All parts end."));
    }
    drain::end(&mut parts, &plan, &mut signals).await;
    match ended {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(Error::Stdout(failure)) => Err(failure.into()),
        Err(error) => {
            eprint_line(format_args!("blobgate: {error}"));
            if let Error::Ended { role, lines, .. } = error {
                eprint_line(format_args!("The last lines of {LOGS}/{role}.log:"));
                for line in last_readable(role, &lines) {
                    eprint_line(format_args!("  {line}"));
                }
            }
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn supervise(
    plan: &StartPlan,
    at: &Addresses,
    envoy: &str,
    parts: &mut Parts,
    signals: &mut Signals,
) -> Result<&'static str, Error> {
    match supervise::start(plan, parts, signals).await? {
        Started::Ended(why) => Ok(why),
        Started::Ready => {
            print_lines(&banner::text(plan.layout, at, envoy, parts));
            supervise::run(plan, parts, signals).await
        }
    }
}

fn plan(options: &DevOptions, at: &Addresses, envoy: &EnvoyProgram) -> Result<StartPlan, Error> {
    let DevOptions { layout, module, .. } = *options;
    let tool = super::tool()?;
    let secrets = env_file::read(Path::new(SECRETS))
        .map_err(|why| Error::Unprepared { place: SECRETS.to_owned(), why: why.into() })?;
    let folder = std::env::current_dir()
        .map_err(|why| Error::Unprepared { place: "the working folder".to_owned(), why: why.into() })?;
    let roles = roles(layout);
    Ok(StartPlan {
        layout,
        parts: roles
            .iter()
            .map(|role| command(*role, (layout, module), at, &tool, envoy, &secrets))
            .collect(),
        tool,
        folder,
        admin_socket: PathBuf::from("run/admin.sock"),
        listeners: listeners(layout, at),
        probes: probes(layout, at),
        inbox_end: INBOX_END,
        log: PartLog::Files(LOGS.into()),
    })
}

/// The roles in the order of their start.
fn roles(layout: Layout) -> &'static [Role] {
    use Role::{Failure, Gate, Inbox, Quarantine, Sandbox, Video};
    match layout {
        Layout::GateAlone => &[Video, Failure, Quarantine, Sandbox, Gate],
        Layout::WithInbox | Layout::Setup => &[Video, Failure, Quarantine, Sandbox, Inbox, Gate],
    }
}

fn listeners(layout: Layout, at: &Addresses) -> Vec<PlannedListener> {
    let mut all =
        vec![at.edge, at.plaintext, at.services, at.metrics, at.video, at.failure, at.quarantine, at.sandbox];
    if layout == Layout::WithInbox {
        all.extend([at.inbox, at.admin, at.access_log]);
    }
    let planned = |address| PlannedListener {
        address,
        taken: PORT_TAKEN.to_owned(),
        unusable: PORT_UNUSABLE.to_owned(),
    };
    all.into_iter().map(planned).collect()
}

fn probes(layout: Layout, at: &Addresses) -> Vec<Probe> {
    let probe = |what, scheme: &str, address, path| Probe {
        what,
        ready: ReadyWhen::InitAnswers(format!("{scheme}://{address}{path}")),
    };
    let mut probes = vec![
        probe("the service video", "http", at.video, "/healthz"),
        probe("the service failure", "http", at.failure, "/healthz"),
        probe("the service quarantine", "http", at.quarantine, "/healthz"),
        probe("the sandbox", "https", at.sandbox, "/sandbox/calls"),
    ];
    if layout == Layout::WithInbox {
        probes.push(probe("the inbox", "http", at.admin, "/readyz"));
    }
    // This listener leads to the socket of the admin page.
    probes.push(probe("Envoy", "http", at.metrics, "/ready"));
    probes.push(probe("the gate", "https", at.edge, "/healthz"));
    probes
}

fn command(
    role: Role,
    (layout, module): (Layout, ModuleKind),
    at: &Addresses,
    tool: &Path,
    envoy: &EnvoyProgram,
    secrets: &[(String, String)],
) -> PartCommand {
    let receiver = |address| words(&format!("receiver --name {role} --listen {address}"));
    let (program, arguments, variables) = match role {
        Role::Video => (tool, receiver(at.video), &[][..]),
        Role::Failure => (tool, receiver(at.failure), &[][..]),
        Role::Quarantine => {
            let folder = words("--keep target/run/quarantine");
            (tool, [receiver(at.quarantine), folder].concat(), &[][..])
        }
        // At this speed, a generation of two minutes takes two seconds.
        Role::Sandbox => (
            tool,
            words(&format!(
                "sandbox --listen {} --tls-cert {CERTIFICATE} --tls-key {CERTIFICATE_KEY} --api-key-file {API_KEY} \
                 --callback-ca {CERTIFICATE} --speed 60",
                at.sandbox
            )),
            &[][..],
        ),
        // The default of 13 minutes, at the sandbox's speed.
        Role::Inbox => (
            tool,
            words(&format!(
                "inbox serve --store {STORE} --listen {} --admin {} --access-log {} --deliver-to http://{} \
                 --signing-key-env BLOBGATE_SIGNING_KEY --provider http://{} --reconcile-after 13s --log-format text",
                at.inbox, at.admin, at.access_log, at.services, at.services
            )),
            secrets,
        ),
        Role::Gate => (&*envoy.path, envoy_arguments(layout, module), secrets),
    };
    PartCommand { role, program: program.to_owned(), arguments, variables: variables.to_vec() }
}

fn envoy_arguments(layout: Layout, module: ModuleKind) -> Vec<OsString> {
    let config = match module {
        ModuleKind::Wasm => CONFIG,
        ModuleKind::Native => NATIVE_CONFIG,
    };
    // Hot restart would conflict with a second Envoy on the machine.
    let mut arguments = words(&format!("-c {config} --disable-hot-restart --log-level warn --log-format"));
    arguments.push("%T  gate     %l: %v".into());
    if layout == Layout::GateAlone {
        let alone = "layered_runtime: {layers: [{name: alone, static_layer: {blobgate.inbox: 0}}]}";
        arguments.extend(["--config-yaml".into(), alone.into()]);
    }
    arguments
}

fn write_native_config(module: &Path) -> Result<(), Error> {
    let unprepared =
        |place: &str, why: io::Error| Error::Unprepared { place: place.to_owned(), why: why.into() };
    let text = std::fs::read_to_string(CONFIG).map_err(|why| unprepared(CONFIG, why))?;
    let module = format!("./{}", module.display());
    let tree = with_native_module(&text, &module).map_err(Error::NotNative)?;
    std::fs::write(NATIVE_CONFIG, tree.to_string()).map_err(|why| unprepared(NATIVE_CONFIG, why))
}

/// Creates the folders for logs and for the socket of Envoy's admin page, and the inbox's tables.
async fn prepare(plan: &StartPlan) -> Result<(), Error> {
    let unprepared = |place: &str, why| Error::Unprepared { place: place.to_owned(), why };
    for folder in [LOGS, "run"] {
        std::fs::create_dir_all(folder).map_err(|why| unprepared(folder, why.into()))?;
    }
    // Removes the logs of the run before, with or without an inbox.
    for role in roles(Layout::WithInbox) {
        let log = format!("{LOGS}/{role}.log");
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
    let migrated = Command::new(&plan.tool).args(["inbox", "migrate", "--store", STORE]).output().await?;
    if !migrated.status.success() {
        bail!("{}", super::migration_error(&migrated.stderr));
    }
    Ok(())
}
