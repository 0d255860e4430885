//! `blobgate check`: finds mistakes in configurations before Envoy or a sender does.

mod configuration;
pub(crate) mod cursor;
mod document;
mod embedded;
pub(crate) mod finding;
mod frame;
mod gate;
pub(crate) mod input;
pub(crate) mod key_text;
mod manifest;
#[cfg(test)]
mod reference;
mod report;
mod rules;
mod setup_file;

use anyhow::Result;
use blobgate_inbox::yaml::{YamlError, YamlNode, YamlReader, parse_yaml};
use configuration::UnsetVariables;
use cursor::Spot;
use document::Checker;
use finding::{Finding, Level};
use gate::HostEnvironment;
use report::{CheckReport, CheckedFile};
use serde::de::IgnoredAny;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Check setup files, configurations of Envoy and the gate, and manifests of Kubernetes
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A blobgate.yaml, an envoy.yaml, a configuration of the gate, or manifests; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Errors, not warnings, for keys and files that are not here
    #[arg(long)]
    require_env: bool,
    /// JSON output
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Each line has the file, line and column, the field, what is wrong, what to write, and the rule's name.
An error loses deliveries, lets forged ones in, or stops Envoy. A warning may be intended. \"Not
checked\" names what the file does not show.

The command reads files only: it starts no Envoy, and opens no connection. The gate's own loader checks
the gate's configuration. Keys come from the environment, as for Envoy. Not every field of Envoy is
checked: `envoy --mode validate -c envoy.yaml` does that.

Of a setup file, `check` also checks the files that it names, and the envoy.yaml that `render` makes.

Exit code: 0 without errors, 1 for an error or an unreadable file, 2 for wrong usage.

Examples:
  blobgate check blobgate.yaml
  blobgate check envoy.yaml
  blobgate check --require-env envoy.yaml            # where the keys are set
  blobgate check --json deploy/istio/*.yaml          # for a program
  kubectl get envoyfilter -A -o yaml | blobgate check -";

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let unset = if args.require_env { UnsetVariables::Refuse } else { UnsetVariables::Warn };
    let mut files: Vec<_> = args.files.iter().map(|path| check_file(path, unset)).collect();
    // A folder also has other files. An error only if no file has a configuration.
    let has_gate = files.iter().any(|(file, content)| *content == FileContent::Gate && !file.text.is_empty());
    for (file, content) in &mut files {
        let wrong = "has no configuration of Blobgate";
        file.findings.extend(match (content, has_gate) {
            (FileContent::Gate, _) | (FileContent::Manifests, true) => None,
            (FileContent::Nothing, true) => Some(Finding {
                level: Level::NotChecked,
                ..Finding::of_file(&frame::NO_CONFIGURATION, wrong, "")
            }),
            (_, false) => {
                let remedy = "name an envoy.yaml or a manifest that has one";
                Some(Finding::of_file(&frame::NO_CONFIGURATION, wrong, remedy))
            }
        });
    }
    let report = CheckReport { files: files.into_iter().map(|(file, _)| file).collect() };
    if args.json {
        report.print_json()
    } else {
        report.print()
    }
    Ok(if report.count(Level::Error) == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What a file has for the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum FileContent {
    Nothing,
    /// Manifests of Kubernetes without the gate.
    Manifests,
    /// A configuration of the gate, or an error in its place.
    Gate,
}

fn check_file(path: &Path, unset: UnsetVariables) -> (CheckedFile, FileContent) {
    let is_stdin = path.as_os_str() == input::STDIN;
    let name = if is_stdin { "standard input".into() } else { path.to_string_lossy() }.into_owned();
    match input::read(path) {
        Ok(text) => {
            let (findings, content) = check_text(path, &text, unset);
            (CheckedFile { findings, text, name }, content)
        }
        Err((wrong, remedy)) => {
            let finding = Finding::of_file(&frame::UNREADABLE, wrong, remedy);
            (CheckedFile { findings: vec![finding], text: String::new(), name }, FileContent::Gate)
        }
    }
}

/// Checks a file's text. The findings are in the order of the file.
fn check_text(path: &Path, text: &str, unset: UnsetVariables) -> (Vec<Finding>, FileContent) {
    let (documents, reader) = match parse(path, text) {
        Ok(parsed) => parsed,
        Err(error) => return (vec![syntax_error(&error, text)], FileContent::Gate),
    };
    if setup_file::is_setup(path, &documents) {
        return (setup_file::check(path, text, unset), FileContent::Gate);
    }
    let mut checker = Checker {
        lines: text.lines().collect(),
        unset,
        findings: Vec::new(),
        content: FileContent::Nothing,
        depth: 0,
    };
    checker.check_documents(&documents, reader, HostEnvironment::Envoy);
    let Checker { mut findings, content, .. } = checker;
    findings.sort_by(|one, other| {
        let place = |finding: &Finding| (finding.line, finding.column, finding.level);
        place(one).cmp(&place(other)).then_with(|| one.rule.cmp(other.rule))
    });
    findings.dedup();
    (findings, content)
}

/// Checks a configuration of the gate whose keys are elsewhere. Returns the errors.
pub(crate) fn check_gate_tree(tree: &YamlNode) -> Vec<Finding> {
    let mut findings = Vec::new();
    configuration::check_configuration(&gate::without_keys(tree), UnsetVariables::Warn, &mut findings);
    findings.retain(|finding| finding.level == Level::Error);
    findings
}

/// Checks an envoy.yaml whose keys and module are elsewhere.
pub(crate) fn check_rendered_text(text: &str) -> Vec<Finding> {
    let (mut findings, _) = check_text(Path::new("envoy.yaml"), text, UnsetVariables::Warn);
    let elsewhere = [frame::VARIABLE_UNSET.name, rules::catalog::MISSING_FILE.name];
    findings.retain(|finding| !elsewhere.contains(&finding.rule));
    findings
}

/// Parses a file as its reader does: Envoy reads `.json` as JSON, and other names as YAML.
fn parse(path: &Path, text: &str) -> Result<(Vec<YamlNode>, YamlReader), YamlError> {
    let is_json = path.extension().is_some_and(|name| name.eq_ignore_ascii_case("json"));
    let json_error = serde_json::from_str::<IgnoredAny>(text).err();
    if is_json && let Some(error) = json_error {
        return Err(YamlError { line: error.line(), column: error.column().max(1), why: json_fault(&error) });
    }
    if is_json || (path.as_os_str() == input::STDIN && json_error.is_none()) {
        return Ok((parse_yaml(text, YamlReader::Json)?, YamlReader::Json));
    }
    let documents = parse_yaml(text, YamlReader::Envoy)?;
    if documents.iter().any(|root| manifest::kind(root).is_some()) {
        return Ok((parse_yaml(text, YamlReader::Kubernetes)?, YamlReader::Kubernetes));
    }
    Ok((documents, YamlReader::Envoy))
}

/// A sentence of serde_json without its place.
fn json_fault(error: &serde_json::Error) -> String {
    let sentence = error.to_string();
    sentence.rsplit_once(" at line ").map_or(sentence.as_str(), |(fault, _)| fault).to_owned()
}

pub(crate) fn syntax_error(error: &YamlError, text: &str) -> Finding {
    let spot = Spot { line: error.line, column: error.column, field: String::new() };
    let finding = |spot, why: String, remedy| Finding::new(Level::Error, &frame::SYNTAX, spot, why, remedy);
    if ["{{-", "{{ ", "{%"].iter().any(|mark| text.contains(mark)) {
        let why = format!("the file is a template, and the parser stopped here: {}", error.why);
        return finding(spot, why, "render it first: `helm template CHART | blobgate check -`");
    }
    match tab_after(text, error.line) {
        Some((line, column)) => finding(
            Spot { line, column, ..spot },
            "the line starts with a tab, which YAML does not take".to_owned(),
            "write spaces",
        ),
        None => finding(spot, format!("the parser stopped here: {}", error.why), ""),
    }
}

/// A tab in the indentation of a line or of the next one, before which the parser stops.
fn tab_after(text: &str, line: usize) -> Option<(usize, usize)> {
    let lines = text.lines().enumerate().skip(line.saturating_sub(1)).take(2);
    let mut tabs = lines.filter_map(|(index, text)| {
        let indent = text.chars().take_while(|letter| letter.is_whitespace());
        let column = indent.into_iter().position(|letter| letter == '\t')?;
        Some((index.saturating_add(1), column.saturating_add(1)))
    });
    tabs.next()
}
