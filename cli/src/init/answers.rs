//! The answers to the questions, from options and from the terminal. Each is checked before the next question.

use super::Args;
use super::certificate_files::CertificateCopy;
use super::setup_text::SetupDraft;
use super::terminal::{Question, ask, ask_hidden, has_person};
use crate::option::UsageError;
use crate::output::eprint_line;
use crate::setup::SetupFault;
use crate::setup::api_key::RunBlobKey;
use anyhow::{Context, Result, anyhow, bail};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

pub(super) struct InitAnswers {
    pub(super) draft: SetupDraft,
    pub(super) certificate: SetupCertificate,
    pub(super) api_key: Option<RunBlobKey>,
}

pub(super) enum SetupCertificate {
    /// A self-signed one.
    Trial,
    Copied(CertificateCopy),
}

/// In place of a file: no API key.
const NONE: &str = "none";
/// In place of a file: standard input, or the terminal without an echo.
const TYPED: &str = "-";

impl InitAnswers {
    pub(super) fn needs_person(args: &Args) -> bool {
        args.host.is_none()
            || args.service.is_none()
            || args.path.is_none()
            || args.certificate.is_none()
            || args.api_key_file.as_deref().is_none_or(|file| file == Path::new(TYPED))
    }

    pub(super) fn find(args: &Args, kid: String) -> Result<Self> {
        let person = has_person();
        if !person {
            require_options(args)?;
        }
        let draft = draft(args, kid);
        if let Err(fault) = draft.check() {
            bail!(UsageError(refusal(&fault)));
        }
        let mut answers = Self { draft, certificate: SetupCertificate::Trial, api_key: None };
        if person {
            answers.ask_of_app(args)?;
        }
        answers.find_certificate(args, person)?;
        answers.api_key = match &args.api_key_file {
            Some(file) => key_of_option(file)?,
            None => ask_api_key()?,
        };
        answers.draft.has_api_key = answers.api_key.is_some();
        Ok(answers)
    }

    /// Host, service and path.
    fn ask_of_app(&mut self, args: &Args) -> Result<()> {
        if args.host.is_none() {
            let question = Question {
                text: "Public host name",
                help: "RunBlob calls https://HOST. Take localhost to try it on this machine.",
                default: self.draft.host.clone(),
            };
            self.ask(&question, |draft, host| draft.host = host.to_owned())?;
        }
        if args.service.is_none() {
            let question = Question {
                text: "Address of your app",
                help: "The gate sends events to this address, which need not be public.",
                default: self.draft.service.clone(),
            };
            self.ask(&question, |draft, service| draft.service = service.to_owned())?;
        }
        if args.path.is_none() {
            let question = Question {
                text: "Path of your app",
                help: "Events come as POST to this path. Callback URLs have it too.",
                default: self.draft.path.clone(),
            };
            self.ask(&question, |draft, path| draft.path = without_token(path))?;
        }
        Ok(())
    }

    fn ask(&mut self, question: &Question, set: impl Fn(&mut SetupDraft, &str)) -> Result<()> {
        self.draft = ask(question, |answer| {
            let mut draft = self.draft.clone();
            set(&mut draft, if answer.is_empty() { &question.default } else { answer });
            draft.check().map(|_| draft).map_err(|fault| fault.sentence())
        })?;
        Ok(())
    }

    fn find_certificate(&mut self, args: &Args, person: bool) -> Result<()> {
        let setup = match self.draft.check() {
            Ok(setup) => setup,
            Err(fault) => bail!(UsageError(refusal(&fault))),
        };
        if let (Some(certificate), Some(key)) = (&args.certificate, &args.key) {
            self.certificate = SetupCertificate::Copied(CertificateCopy::read(certificate, key, &setup)?);
        }
        if args.certificate.is_some() || !person {
            return Ok(());
        }
        let of_certificate = Question {
            text: "Certificate of this host, a PEM file",
            help: "Without one, the command makes a self-signed one for a trial, for 90 days.",
            default: "make one".to_owned(),
        };
        let of_key = Question {
            text: "Key of the certificate, a PEM file",
            help: "Both files are copied into the folder.",
            default: "the same file".to_owned(),
        };
        while let Some(certificate) = ask(&of_certificate, optional_file)? {
            let key = ask(&of_key, optional_file)?.unwrap_or_else(|| certificate.clone());
            match CertificateCopy::read(&certificate, &key, &setup) {
                Ok(copy) => {
                    self.certificate = SetupCertificate::Copied(copy);
                    break;
                }
                Err(why) => eprint_line(format_args!("  {why:#}")),
            }
        }
        Ok(())
    }
}

fn require_options(args: &Args) -> Result<(), UsageError> {
    let missing = match (&args.host, &args.api_key_file) {
        (Some(_), Some(_)) => return Ok(()),
        (None, Some(_)) => "--host",
        (Some(_), None) => "--api-key-file (or `--api-key-file none`)",
        (None, None) => "--host, and --api-key-file (or `--api-key-file none`)",
    };
    Err(UsageError(format!("cannot ask for the setup: there is no terminal. Pass {missing}")))
}

fn draft(args: &Args, kid: String) -> SetupDraft {
    let text = |given: &Option<String>, default: &str| given.as_deref().unwrap_or(default).trim().to_owned();
    SetupDraft {
        host: text(&args.host, "localhost"),
        listen: args.listen.clone(),
        environment: args.environment.clone(),
        hook: args.hook.clone(),
        path: without_token(&text(&args.path, "/webhook")),
        has_api_key: false,
        kid,
        service: text(&args.service, "http://127.0.0.1:5000"),
        failed_service: args.failed_service.clone(),
        store: args.store.clone(),
        run: args.run.clone(),
        module: args.module,
    }
}

/// A person may write the path of the hook.
fn without_token(path: &str) -> String {
    path.strip_suffix("/{token}").unwrap_or(path).to_owned()
}

/// The option of a key of the setup file.
fn refusal(fault: &SetupFault) -> String {
    let option = match fault.field.as_str() {
        field if field.starts_with("services.failed") => "--failed-service",
        field if field.starts_with("services") => "--service",
        field if field.starts_with("inbox") => "--store",
        "hook.path" => "--path",
        "hook.name" => "--hook",
        "host" => "--host",
        "listen" => "--listen",
        "environment" => "--environment",
        "run" => "--run",
        _ => "the options",
    };
    format!("cannot use {option}: {}", fault.sentence())
}

/// A file that a person names. The shell is not there to expand `~`.
fn optional_file(answer: &str) -> Result<Option<PathBuf>, &'static str> {
    if answer.is_empty() {
        return Ok(None);
    }
    let path = match (answer.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(answer),
    };
    match path.metadata() {
        Ok(found) if found.is_dir() => Err("it is a folder. Write the path of a file"),
        Ok(_) => Ok(Some(path)),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            Err("this user cannot read it. Change its mode")
        }
        Err(_) => Err("there is no such file. Write the path of a file"),
    }
}

/// No error shows the option's value: it may be the key itself, by mistake.
fn key_of_option(file: &Path) -> Result<Option<RunBlobKey>> {
    if file == Path::new(NONE) {
        return Ok(None);
    }
    if file != Path::new(TYPED) {
        return read_key(File::open(file)).context("cannot use the file of --api-key-file").map(Some);
    }
    if has_person() {
        return Ok(Some(ask_hidden(
            "RunBlob's API key (the terminal does not show it)",
            str::parse::<RunBlobKey>,
        )?));
    }
    read_key(Ok(io::stdin())).context("cannot use standard input as RunBlob's API key").map(Some)
}

fn ask_api_key() -> Result<Option<RunBlobKey>> {
    let question = Question {
        text: "RunBlob's API key: a file, or - to type it",
        help: "With it the gate confirms events, and the inbox fetches missing results.",
        default: NONE.to_owned(),
    };
    let from = ask(&question, |answer| -> Result<_, String> {
        match answer {
            "" | NONE => Ok(None),
            TYPED => Ok(Some(None)),
            file => {
                let file = optional_file(file)?.ok_or("write the path of a file")?;
                let key = read_key(File::open(file)).map_err(|error| format!("{error:#}"))?;
                Ok(Some(Some(key)))
            }
        }
    })?;
    match from {
        None => Ok(None),
        Some(Some(key)) => Ok(Some(key)),
        Some(None) => key_of_option(Path::new(TYPED)),
    }
}

/// No key file is as long: another file was named.
const MAX_KEY_FILE: u64 = 65_536;

fn read_key(file: io::Result<impl Read>) -> Result<RunBlobKey> {
    let mut bytes = Vec::new();
    let read = file.and_then(|file| file.take(MAX_KEY_FILE).read_to_end(&mut bytes));
    read.map_err(|error| match error.kind() {
        ErrorKind::NotFound => anyhow!("it does not exist. Name a file, - for standard input, or none"),
        ErrorKind::IsADirectory => anyhow!("it is a folder. Name a file, - for standard input, or none"),
        _ => anyhow!("{error}. Check its permissions"),
    })?;
    let text = String::from_utf8(bytes).map_err(|_| anyhow!("it is not text. Name the file of the key"))?;
    Ok(text.parse()?)
}
