//! `blobgate init`: makes a setup folder, and prints the lines for the application.

mod answers;
mod app_lines;
mod certificate_files;
mod new_folder;
mod print;
mod setup_text;
mod terminal;
mod trial_certificate;
mod url_length;

use crate::end_signals::until_signal;
use crate::mint::{base64_key, this_month};
use crate::output::{eprint_line, print_lines};
use crate::setup::{ModuleKind, SECRETS_ENV, SETUP_FILE, Setup};
use answers::{InitAnswers, SetupCertificate};
use anyhow::{Result, anyhow};
use app_lines::{AppLines, Language};
use new_folder::{NewFolder, NewPart};
use std::path::PathBuf;
use std::process::ExitCode;
use terminal::TerminalModes;
use time::OffsetDateTime;
use tokio::sync::oneshot;
use trial_certificate::TrialCertificate;

/// Make a setup folder: the setup file, keys and a certificate
#[derive(Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The new folder, or one that has none of the files yet
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// The public host name in callback URLs, perhaps with :PORT; localhost for a trial here
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    host: Option<String>,
    /// The address of your app [default: http://127.0.0.1:5000]
    #[arg(long, value_name = "URL")]
    service: Option<String>,
    /// The path of your app that gets webhooks [default: /webhook]
    #[arg(long)]
    path: Option<String>,
    /// The certificate of the host, in PEM [default: a self-signed one, for a trial]
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// The certificate's key, in PEM
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    // A key passed by mistake must not be shown, also if it begins with a hyphen.
    /// A file with RunBlob's API key, - for standard input, or none
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    api_key_file: Option<PathBuf>,
    /// The gate's public address [default: 0.0.0.0:443; 127.0.0.1:8443 for localhost]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// The environment in logs and tokens [default: production; development for localhost]
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
    /// The name of the hook
    #[arg(long, value_name = "NAME", default_value = "veo3")]
    hook: String,
    /// The service that gets failures and timeouts [default: the same app]
    #[arg(long, value_name = "URL")]
    failed_service: Option<String>,
    // A URL with a password must not be shown.
    /// The inbox's store; a relative path counts from the folder
    #[arg(long, value_name = "URL", default_value = "sqlite:inbox.db", allow_hyphen_values = true)]
    store: String,
    /// The folder of Envoy's admin socket; a relative path counts from the folder
    #[arg(long, value_name = "FOLDER", default_value = setup_text::RUN)]
    run: String,
    /// The build of the gate
    #[arg(long, value_enum, default_value_t = ModuleKind::Wasm)]
    module: ModuleKind,
    /// The lines for the application of an existing setup, instead of a new one
    #[arg(long, value_enum, value_name = "LANGUAGE", conflicts_with_all = OF_A_NEW_SETUP)]
    print: Option<Language>,
    /// The setup file for --print [default: blobgate.yaml]
    #[arg(long, value_name = "FILE", requires = "print")]
    setup: Option<PathBuf>,
}

/// The options of a new setup, which --print excludes.
const OF_A_NEW_SETUP: [&str; 14] = [
    "folder",
    "host",
    "service",
    "path",
    "certificate",
    "key",
    "api_key_file",
    "listen",
    "environment",
    "hook",
    "failed_service",
    "store",
    "run",
    "module",
];

const EXAMPLES: &str = "\
The command asks for the host, your app's address and path, a certificate, and RunBlob's API key.
An option answers its question. Without a terminal, --host and --api-key-file are required.
It replaces no file, and writes all files or none:
  blobgate.yaml         the setup file: edit it, then run `blobgate up` again
  secrets/env           the keys for tokens and signatures; your app needs them too
  secrets/runblob-key   RunBlob's API key, if you passed one
  certs/                the certificate and its key: copies, or made for a trial

Try it here, with an app on port 5000:
  blobgate init my-gate
  blobgate up --setup my-gate/blobgate.yaml
For a public host, without questions:
  blobgate init my-gate --host hooks.example.com --api-key-file runblob.key \\
    --certificate fullchain.pem --key privkey.pem
The lines for your app, as a module:
  blobgate init --print python --setup my-gate/blobgate.yaml > gate.py
  blobgate init --print javascript --setup my-gate/blobgate.yaml > gate.mjs

Exit code: 0 when it made the folder or printed the lines, 1 when it cannot, 2 for wrong usage.";

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    if let Some(language) = args.print {
        let file = args.setup.unwrap_or_else(|| PathBuf::from(SETUP_FILE));
        print_lines(AppLines::of(&Setup::load(&file)?)?.text(language)?.trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let folder = NewFolder::find(&args.folder)?;
    let kid = this_month(OffsetDateTime::now_utc());
    let answers = until_signal(answers(args.clone(), kid.clone())).await?;
    let expires = write(&folder, &answers)?;
    let setup = Setup::load(&args.folder.join(SETUP_FILE))?;
    print::report(&setup, &args.folder, &answers, expires).await?;
    Ok(ExitCode::SUCCESS)
}

/// A thread reads the answers: no signal could end a task that waits for a line.
async fn answers(args: Args, kid: String) -> Result<InitAnswers> {
    let asks = terminal::has_person() && InitAnswers::needs_person(&args);
    let _restored = asks.then(TerminalModes::save);
    let (sender, answers) = oneshot::channel();
    std::thread::spawn(move || drop(sender.send(InitAnswers::find(&args, kid))));
    answers.await.map_err(|_| anyhow!("the questions ended early, and nothing was written. Run it again"))?
}

/// Returns the end of the certificate that it made.
fn write(folder: &NewFolder, answers: &InitAnswers) -> Result<Option<OffsetDateTime>> {
    let (certificate, key, expires) = match &answers.certificate {
        SetupCertificate::Copied(copy) => (copy.certificate.clone(), copy.key.clone(), None),
        SetupCertificate::Trial => {
            let trial = TrialCertificate::new(answers.draft.certificate_names(), OffsetDateTime::now_utc())?;
            (trial.certificate, trial.key, Some(trial.expires))
        }
    };
    let (token_key, signing_key) = (base64_key("base64:")?, base64_key("whsec_")?);
    let env = format!("BLOBGATE_TOKEN_KEY={token_key}\nBLOBGATE_SIGNING_KEY={signing_key}\n");
    let mut parts = vec![
        NewPart { path: SETUP_FILE, text: answers.draft.text(), mode: 0o644 },
        NewPart { path: SECRETS_ENV, text: env, mode: 0o600 },
        NewPart { path: CERTIFICATE, text: certificate, mode: 0o644 },
        NewPart { path: CERTIFICATE_KEY, text: key, mode: 0o600 },
    ];
    if let Some(key) = &answers.api_key {
        parts.push(NewPart { path: "secrets/runblob-key", text: format!("{}\n", key.text()), mode: 0o600 });
    }
    let ignored = answers.draft.ignored();
    if folder.has(".gitignore") {
        eprint_line(format_args!("blobgate: warning: .gitignore exists. Add to it: {}", ignored.join(" ")));
    } else {
        parts.push(NewPart { path: ".gitignore", text: format!("{}\n", ignored.join("\n")), mode: 0o644 });
    }
    folder.write(&parts)?;
    Ok(expires)
}

/// In the setup folder.
const CERTIFICATE: &str = "certs/edge.pem";
const CERTIFICATE_KEY: &str = "certs/edge-key.pem";
