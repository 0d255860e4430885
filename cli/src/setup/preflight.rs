//! Checks the files that a setup names, before anything starts.

use super::certificate::{CertificateFiles, CertificateNaming, check_certificate};
use super::error::SetupError;
use super::module::ModulePlace;
use super::{CertificateAuthorities, SECRETS_ENV, ServiceScheme, Setup, admin_tokens, gate, key_file};
use crate::check::cursor::Spot;
use blobgate::Config;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use time::OffsetDateTime;

/// The permissions of others than the owner.
const OTHERS: u32 = 0o077;

pub(super) fn check(setup: &Setup) -> Result<Vec<String>, SetupError> {
    let mut warnings = Vec::new();
    let (certificate, key) = (setup.resolve(&setup.certificate), setup.resolve(&setup.certificate_key));
    let files = CertificateFiles {
        certificate: &certificate,
        certificate_shown: &setup.certificate,
        key: &key,
        key_shown: &setup.certificate_key,
        named_by: CertificateNaming::SETUP,
    };
    warnings.extend(check_certificate(&files, &setup.host, OffsetDateTime::now_utc())?);
    warnings.extend(files.link_warning());
    warnings.extend(readable_by_others(&key, &setup.certificate_key));
    if let Some(file) = &setup.api_key_file {
        let path = setup.resolve(file);
        key_file::read_key(&path, file)?;
        warnings.extend(readable_by_others(&path, file));
    }
    let module = setup.module_path()?;
    setup.module.check(&setup.resolve(&module), &module, ModulePlace::Setup)?;
    if needs_authorities(setup) {
        CertificateAuthorities::find()?;
    }
    check_keys(setup)?;
    warnings.extend(readable_by_others(&setup.resolve(Path::new(SECRETS_ENV)), Path::new(SECRETS_ENV)));
    Ok(warnings)
}

fn needs_authorities(setup: &Setup) -> bool {
    let services = &setup.services;
    let all = [Some(&services.completed), Some(&services.failed), services.quarantined.as_ref()];
    setup.api_key_file.is_some() || all.into_iter().flatten().any(|url| url.scheme == ServiceScheme::Https)
}

/// The gate's own loader reads the keys, from secrets/env or the environment.
fn check_keys(setup: &Setup) -> Result<(), SetupError> {
    let secrets = setup.secrets()?;
    let read = |name: &str| {
        let of_file = secrets.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        of_file.or_else(|| std::env::var(name).ok())
    };
    let Err(error) = Config::load(setup.gate.to_string().as_bytes(), &read) else {
        return admin_tokens::check_values(setup, &read);
    };
    let (wrong, remedy) = error.fault().rsplit_once("; ").unwrap_or((error.fault(), ""));
    let at = Spot { line: 0, column: 0, field: error.field().unwrap_or_default().to_owned() };
    let fault = gate::translate(at, wrong, remedy);
    let name = variable(setup, &fault.field);
    let what = name.as_deref().unwrap_or(&fault.field);
    // The gate names the variable as the value of its field.
    let wrong = fault.wrong.split_once(", which ").map_or(fault.wrong.as_str(), |(_, wrong)| wrong);
    if !setup.resolve(Path::new(SECRETS_ENV)).exists() {
        let why = format!("it does not exist, and {what} is not set elsewhere");
        return Err(SetupError::unusable(
            SECRETS_ENV,
            why,
            "Restore it, or write the variable into a new one",
        ));
    }
    let why = format!("{what} {wrong}");
    let remedy = match fault.remedy.strip_prefix("write ") {
        Some(remedy) => format!("Write {remedy}"),
        None => "Write a valid key".to_owned(),
    };
    Err(SetupError::unusable(SECRETS_ENV, why, remedy))
}

/// The variable that a field names.
fn variable(setup: &Setup, field: &str) -> Option<String> {
    if let Some(index) = field.strip_prefix("signing_keys[").and_then(|rest| rest.strip_suffix(']')) {
        return setup.signing_keys.get(index.parse::<usize>().ok()?).cloned();
    }
    let kid = field.strip_prefix("token_keys.")?.strip_suffix(".env")?;
    Some(setup.token_keys.as_ref()?.get(kid)?.get("env")?.as_str()?.to_owned())
}

fn readable_by_others(file: &Path, shown: &Path) -> Option<String> {
    let mode = std::fs::metadata(file).ok()?.permissions().mode();
    let shown = shown.display();
    (mode & OTHERS != 0).then(|| {
        format!("other users of this machine can open {shown} (mode {:o}): `chmod 600 {shown}`", mode & 0o777)
    })
}
