//! What a person reads after a setup folder is made.

use super::answers::{InitAnswers, SetupCertificate};
use super::url_length::UrlLength;
use crate::mint::SetupTokenKey;
use crate::output::print_lines;
use crate::setup::{SECRETS_ENV, ServiceUrl, Setup};
use crate::shell;
use anyhow::Result;
use std::path::Path;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::net::TcpStream;
use tokio::time::timeout;

pub(super) async fn report(
    setup: &Setup,
    folder: &Path,
    answers: &InitAnswers,
    expires: Option<OffsetDateTime>,
) -> Result<()> {
    let mut notes = vec![("host", format!("{}, with callback URLs {}/TOKEN", setup.host, setup.hook_url()))];
    notes.extend(certificate(setup, answers, expires));
    notes.push(("api key", api_key(answers).to_owned()));
    if let Some(minter) = SetupTokenKey::newest(setup)?.minter(setup)? {
        notes.push(("tokens", UrlLength::of(&setup.hook_url(), &minter)?.text()));
    }
    notes.extend(silent_services(setup).await.into_iter().map(|note| ("service", note)));
    let notes: String = notes.iter().map(|(name, text)| format!("  {name:<12} {text}\n")).collect();
    let (tool, file) = (shell::program(), shell::path(&setup.file));
    let env = shell::path(&setup.resolve(SECRETS_ENV.as_ref()));
    print_lines(&format!(
        "\
Made the setup in {folder}: blobgate.yaml, secrets/, certs/.

{notes}
1. Start the gate and the inbox:
   {tool} up --setup {file}
2. Give your app the functions for callback URLs and events, in python or javascript:
   {tool} init --print python --setup {file} > gate.py
3. Start your app with its keys:
   set -a; . {env}; set +a
4. Send it a first event, in place of RunBlob:
   {tool} init --print curl --setup {file} | sh",
        folder = folder.display(),
    ));
    Ok(())
}

fn certificate(
    setup: &Setup,
    answers: &InitAnswers,
    expires: Option<OffsetDateTime>,
) -> Vec<(&'static str, String)> {
    let texts = match (&answers.certificate, expires) {
        (SetupCertificate::Copied(copy), _) => {
            let copied =
                "copied to certs/. A renewal has to replace it there: docs/howto/rotate-keys.md".to_owned();
            [Some(copied), copy.warning.clone()].into_iter().flatten().collect()
        }
        (SetupCertificate::Trial, Some(expires)) => vec![format!(
            "self-signed for {} until {}, for a trial: clients refuse it unless told. \
             For RunBlob, take one of a certificate authority",
            setup.host,
            expires.date()
        )],
        (SetupCertificate::Trial, None) => Vec::new(),
    };
    texts.into_iter().map(|text| ("certificate", text)).collect()
}

fn api_key(answers: &InitAnswers) -> &'static str {
    match answers.api_key {
        Some(_) => "in secrets/runblob-key: the gate confirms events, and the inbox fetches missing results",
        None => {
            "none: only tokens prove events, and the inbox cannot fetch missing results. \
             To add one, write secrets/runblob-key, api_key_file, and `confirmed` in trust"
        }
    }
}

/// Longer than any connection in a data centre takes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// A note for each service that no connection reaches. The app needs the keys first, so it may well come later.
async fn silent_services(setup: &Setup) -> Vec<String> {
    let services = &setup.services;
    let mut notes = Vec::new();
    for (name, service) in
        [("the app", Some(&services.completed)), ("the service of failures", failures(setup))]
    {
        let Some(service) = service else { continue };
        let connection = timeout(CONNECT_TIMEOUT, TcpStream::connect(service.authority())).await;
        let why = match connection {
            Ok(Ok(_)) => continue,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        notes.push(format!("{service} does not answer yet ({why}): start {name} when it has its keys"));
    }
    notes
}

fn failures(setup: &Setup) -> Option<&ServiceUrl> {
    let services = &setup.services;
    Some(&services.failed).filter(|failed| **failed != services.completed)
}
