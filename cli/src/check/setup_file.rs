//! Checks a setup file, the files that it names, and what `render` makes of it.

use super::configuration::UnsetVariables;
use super::cursor::Spot;
use super::finding::{Finding, Level};
use super::rules::catalog::LOOPBACK_LISTENER;
use super::{check_rendered_text, frame, manifest};
use crate::render::{edited_envoy_yaml, envoy_yaml};
use crate::setup::{ProviderEndpoint, SETUP_FILE, Setup, SetupError};
use blobgate_inbox::yaml::{YamlNode, YamlValue};
use std::path::Path;

/// Keys that no other file has together.
const KEYS: [&str; 8] = ["host", "listen", "tls", "hook", "api_key_file", "token_keys", "services", "inbox"];

/// Whether a file is a setup file: by its name, or by two of its keys.
pub(super) fn is_setup(path: &Path, documents: &[YamlNode]) -> bool {
    let Some(root) = documents.first().filter(|root| root.value != YamlValue::Null) else { return false };
    let is_other = root.get("static_resources").is_some() || manifest::kind(root).is_some();
    let is_named = path.file_name().is_some_and(|name| name == SETUP_FILE);
    !is_other && (is_named || KEYS.iter().filter(|key| root.key(key).is_some()).count() > 1)
}

pub(super) fn check(path: &Path, text: &str, unset: UnsetVariables) -> Vec<Finding> {
    let setup = match Setup::parse(path, text) {
        Ok(setup) => setup,
        Err(faults) => {
            let finding = |fault: crate::setup::SetupFault| {
                let at = Spot { line: fault.line, column: fault.column, field: fault.field };
                Finding::new(Level::Error, &frame::SETUP, at, fault.wrong, fault.remedy)
            };
            return faults.into_iter().map(finding).collect();
        }
    };
    let mut findings = check_files(&setup, unset);
    findings.extend(check_rendered(&setup));
    findings
}

/// Where the setup is checked, its secrets may be absent.
fn check_files(setup: &Setup, unset: UnsetVariables) -> Vec<Finding> {
    let level = match unset {
        UnsetVariables::Warn => Level::Warning,
        UnsetVariables::Refuse => Level::Error,
    };
    let finding = |level, what: String, wrong: String, remedy: String| {
        Finding::new(level, &frame::SETUP_FILES, Spot { line: 0, column: 0, field: what }, wrong, remedy)
    };
    match setup.preflight() {
        Ok(warnings) => warnings
            .into_iter()
            .map(|text| finding(Level::Warning, String::new(), text, String::new()))
            .collect(),
        Err(SetupError::Unusable { what, why, remedy }) => {
            vec![finding(level, what, format!("cannot be used: {why}"), lower(&remedy))]
        }
        Err(other) => vec![finding(level, String::new(), other.to_string(), String::new())],
    }
}

fn check_rendered(setup: &Setup) -> Vec<Finding> {
    let module = setup.module_path().unwrap_or_else(|_| setup.module.file_name().into());
    let text = match envoy_yaml(setup, &ProviderEndpoint::RunBlob, &module) {
        Ok(text) => text,
        Err(why) => return vec![Finding::of_file(&frame::RENDERED, why.to_string(), "")],
    };
    // The check of the files reads secrets/env and the module.
    // A host of this machine alone is a trial.
    let is_meant = |finding: &Finding| setup.host.is_loopback() && finding.rule == LOOPBACK_LISTENER.name;
    // `up` uses an edited file as it is.
    let (text, file) = match edited_envoy_yaml(setup, &text) {
        Some(edited) => (edited, "the edited envoy.yaml"),
        None => (text, "the rendered envoy.yaml"),
    };
    let place = |field: String| match field.as_str() {
        "" | "the file" => file.to_owned(),
        field => format!("{field} of {file}"),
    };
    check_rendered_text(&text)
        .into_iter()
        .filter(|finding| !is_meant(finding))
        .map(|finding| Finding {
            line: 0,
            column: 0,
            field: place(finding.field),
            rule: frame::RENDERED.name,
            ..finding
        })
        .collect()
}

/// A sentence in the place of a remedy.
fn lower(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}
