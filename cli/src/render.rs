//! `blobgate render`: writes the configurations that a setup file stands for.

mod context;
mod diff;
mod digests;
mod files;
pub(crate) mod scalar;
mod swap;
mod template;

pub(crate) use files::{RenderedChange, RenderedFile, make_run_folder, write};
pub(crate) use swap::{SwapError, with_native_module};

use crate::check::input;
use crate::output::{eprint_line, print_line, print_lines};
use crate::setup::{ProviderEndpoint, SETUP_FILE, Setup, SetupError, env_file};
use anyhow::{Result, anyhow};
use context::{EnvoyContext, envoy_path};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Write Envoy's and the inbox's configurations from a setup file
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The setup file
    #[arg(long, value_name = "FILE", default_value = SETUP_FILE)]
    setup: PathBuf,
    /// A comparison of the files with what `render` would write, which writes nothing
    #[arg(long)]
    diff: bool,
    /// An envoy.yaml of your own, to print with the native module in place of the Wasm module
    #[arg(long, value_name = "FILE", conflicts_with_all = ["setup", "diff"])]
    native: Option<PathBuf>,
    /// The path of the native module, as Envoy opens it
    #[arg(long, value_name = "FILE", default_value = NATIVE_MODULE, requires = "native")]
    module_file: PathBuf,
}

const EXAMPLES: &str = "\
The files stand in the setup folder, that of the setup file: envoy.yaml and certs/sds.yaml for Envoy,
inbox.env for `blobgate inbox serve`, secrets/runblob-key.yaml with RunBlob's API key, and
rendered.sha256 with their digests. Each file is replaced whole, or not at all. A running Envoy takes
a new API key without a restart; it takes a new envoy.yaml at its next start.

`render` never overwrites a file that you have edited: its digest is another one. It says `edited`,
and leaves it. To get the new one, remove the file and render again. --diff shows no secret: of
inbox.env the names of variables that differ, and of secrets/runblob-key.yaml only that it differs.

With --native, it writes no file, and prints JSON: the given configuration of Envoy, whose gate is the
native module. Only the gate's filter changes, and a runtime key that gives its counters their names.

`render` first checks the certificate, the API key, secrets/env and the module, and writes nothing
if one is wrong.

Exit code: 0 when the files are written, unchanged or edited; with --diff when nothing differs.
1 for an error, or with --diff for a difference. 2 for wrong usage.

Examples:
  blobgate render
  blobgate render --setup /etc/blobgate/blobgate.yaml
  blobgate render --diff                 # what would change
  blobgate render --native envoy.yaml > envoy.native.json
  cd my-gate && sha256sum -c rendered.sha256   # which files are edited";

/// Where `make native` builds it in a clone.
const NATIVE_MODULE: &str = "./target/native/libblobgate.so";

/// In the setup folder.
const ENVOY_FILE: &str = "envoy.yaml";

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if let Some(file) = &args.native {
        return print_with_native_module(file, &args.module_file);
    }
    let setup = Setup::load(&args.setup)?;
    for warning in setup.preflight()? {
        eprint_line(format_args!("warning: {warning}"));
    }
    let files = render(&setup, &ProviderEndpoint::RunBlob)?;
    if args.diff {
        let differs = diff::print(&setup.folder, &files)?;
        return Ok(if differs { ExitCode::FAILURE } else { ExitCode::SUCCESS });
    }
    let outcomes = write(&setup.folder, &files)?;
    make_run_folder(&setup)?;
    for outcome in outcomes {
        let path = outcome.path.display();
        match outcome.change {
            RenderedChange::Written => print_line(format_args!("written    {path}")),
            RenderedChange::Unchanged => print_line(format_args!("unchanged  {path}")),
            RenderedChange::Edited => print_line(format_args!(
                "edited     {path}, and left as it is: `blobgate render --diff` shows the difference"
            )),
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print_with_native_module(file: &Path, module: &Path) -> Result<ExitCode> {
    let name = file.display();
    let text = input::read(file)
        .map_err(|(wrong, remedy)| anyhow!("cannot use {name}: it {wrong}. For --native, {remedy}"))?;
    let tree =
        with_native_module(&text, &envoy_path(module)).map_err(|why| anyhow!("cannot use {name}: {why}"))?;
    print_lines(&serde_json::to_string_pretty(&tree)?);
    Ok(ExitCode::SUCCESS)
}

/// Every file of a setup, relative to the setup folder.
pub(crate) fn render(setup: &Setup, provider: &ProviderEndpoint) -> Result<Vec<RenderedFile>, SetupError> {
    let file = |path: &str, text, mode| RenderedFile { path: path.into(), text, mode };
    let mut files = vec![
        file(ENVOY_FILE, envoy_yaml(setup, provider, &setup.module_path()?)?, 0o644),
        file("inbox.env", inbox_env(setup), 0o600),
        file("certs/sds.yaml", certificate_resource(setup), 0o644),
    ];
    if let Some(key) = setup.api_key()? {
        files.push(file("secrets/runblob-key.yaml", key_resource(key.text()), 0o600));
    }
    Ok(files)
}

/// Envoy's configuration alone, which has no secret.
pub(crate) fn envoy_yaml(
    setup: &Setup,
    provider: &ProviderEndpoint,
    module: &Path,
) -> Result<String, SetupError> {
    template::envoy_yaml(&EnvoyContext::new(setup, provider, module)).map_err(|why| {
        SetupError::unusable("the template of envoy.yaml", why, "Report this: no setup file should cause it")
    })
}

/// The envoy.yaml of the setup folder, if a person has edited it. `rendered` is what `render` would write.
pub(crate) fn edited_envoy_yaml(setup: &Setup, rendered: &str) -> Option<String> {
    let file = RenderedFile { path: ENVOY_FILE.into(), text: rendered.to_owned(), mode: 0o644 };
    files::edited_text(&setup.folder, &file)
}

fn inbox_env(setup: &Setup) -> String {
    let head = "# Written by `blobgate render`: the options of `blobgate inbox serve`, which also needs secrets/env.\n";
    let lines = setup.inbox_variables().into_iter().map(|(name, value)| env_file::line(name, &value));
    head.to_owned() + &lines.collect::<String>()
}

fn certificate_resource(setup: &Setup) -> String {
    let folder = setup.certificate.parent().unwrap_or(Path::new("."));
    let path = |path: &Path| scalar::text(&envoy_path(path));
    format!(
        "# Written by `blobgate render`: the certificate of the edge listener. To renew it, copy the new files into its folder
# and `mv` the key and the certificate over the old ones. Envoy reloads at each move, and keeps the old pair until key
# and certificate match.
resources:
- \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
  name: edge
  tls_certificate:
    certificate_chain: {{filename: {}}}
    private_key: {{filename: {}}}
    watched_directory: {{path: {}}}
",
        path(&setup.certificate),
        path(&setup.certificate_key),
        path(folder),
    )
}

/// The API key as Envoy injects it.
fn key_resource(key: &str) -> String {
    format!(
        "# Written by `blobgate render` from the file in `api_key_file`. Envoy takes a new one without a restart.
resources:
- \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
  name: runblob_key
  generic_secret: {{secret: {{inline_string: {}}}}}
",
        scalar::text(&format!("Bearer {key}"))
    )
}

#[cfg(test)]
mod tests;
