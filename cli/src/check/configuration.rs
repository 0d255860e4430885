//! Checks the gate's configuration with the gate's own loader, which stops at its first error: each found field is then
//! replaced by a valid one, until the rest loads.

mod draft;
mod variables;

use super::cursor::Spot;
use super::finding::{Finding, Level};
use super::frame;
use super::gate::{GateSource, SourceForm};
use blobgate::Config;
use blobgate::settings::{ConfigError, show_key};
use blobgate_inbox::yaml::{YamlNode, YamlValue};
use draft::Draft;
use variables::KeyVariables;

/// The most errors of one configuration.
const MAX_ERRORS: usize = 100;
/// The most bytes to read for the errors of one configuration: a second of work.
const MAX_READ: usize = 20_000_000;

/// What to do about environment variables that this process does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnsetVariables {
    Warn,
    Refuse,
}

/// Checks a configuration of the gate.
pub(crate) fn check_configuration(
    source: &GateSource<'_>,
    unset: UnsetVariables,
    findings: &mut Vec<Finding>,
) {
    let variables = KeyVariables::new(&source.variables);
    let read = |name: &str| variables.read(name);
    let (bytes, tree) = match &source.form {
        SourceForm::Tree(tree) => (tree.to_json().to_string(), *tree),
        SourceForm::Json { text, tree: Ok(tree) } => (text.clone(), tree),
        SourceForm::Json { text, tree: Err((line, column)) } => {
            let error = Config::load(text.as_bytes(), &read).err();
            let of_place = |finding| Finding { line: *line, column: *column, ..finding };
            findings.extend(error.map(|error| of_place(of_whole(source, &error))));
            return;
        }
    };
    let mut draft = Draft::new(tree.to_json());
    let mut next = Config::load(bytes.as_bytes(), &read).err();
    // Each error reads the whole configuration again.
    let most = MAX_READ.checked_div(bytes.len()).unwrap_or(MAX_ERRORS).clamp(1, MAX_ERRORS);
    for _ in 0..most {
        let Some(error) = next else { break };
        let Some(field) = error.field() else {
            // Such as a key twice in JSON text, which `repeated-key` reports with both places.
            if !error.fault().starts_with("has a key twice") {
                findings.push(of_whole(source, &error));
            }
            next = draft.load(&read).filter(|again| again.field().is_some());
            continue;
        };
        findings.push(of_field(tree, &draft.original(field), &error));
        next = if draft.replace(field, &error) { draft.load(&read) } else { None };
    }
    if next.is_some() {
        let wrong = format!("has more errors than the {most} here");
        let at = Spot { field: "the configuration".to_owned(), ..source.spot.clone() };
        let more = Finding::new(Level::NotChecked, &frame::MORE_ERRORS, at, wrong, "correct these first");
        findings.push(more);
    }
    variables.report(tree, unset, findings);
}

fn of_whole(source: &GateSource<'_>, error: &ConfigError) -> Finding {
    let (wrong, remedy) = split(error.fault());
    let at = Spot { field: "the configuration".to_owned(), ..source.spot.clone() };
    Finding::new(Level::Error, &frame::CONFIGURATION, at, wrong, remedy)
}

fn of_field(tree: &YamlNode, field: &str, error: &ConfigError) -> Finding {
    let (wrong, remedy) = split(error.fault());
    Finding::new(Level::Error, &frame::CONFIGURATION, find_spot(tree, field), wrong, remedy)
}

/// A sentence of the loader as fault and remedy.
fn split(fault: &str) -> (String, String) {
    match fault.rsplit_once("; ") {
        Some((wrong, remedy)) => (wrong.to_owned(), remedy.to_owned()),
        None => (fault.to_owned(), String::new()),
    }
}

/// The place of a field of the configuration.
fn find_spot(tree: &YamlNode, field: &str) -> Spot {
    let (line, column) = find_place(tree, field);
    Spot { line, column, field: field.to_owned() }
}

/// The place of a field's key, or of an item of a list. Of a missing key, the place of its object.
fn find_place(tree: &YamlNode, field: &str) -> (usize, usize) {
    let mut place = (tree.line, tree.column);
    let (mut node, mut rest) = (tree, field);
    while let Some(((line, column), below, after)) = step(node, rest) {
        place = (line, column);
        (node, rest) = (below, after);
        if rest.is_empty() {
            return place;
        }
    }
    // The first key of the object that lacks it.
    match &node.value {
        YamlValue::Map(pairs) => pairs.first().map_or(place, |(key, _)| (key.line, key.column)),
        _ => place,
    }
}

type Step<'n, 'f> = ((usize, usize), &'n YamlNode, &'f str);

/// The node at the first part of a path, and the rest of the path. A key may contain dots, so the longest one counts.
fn step<'n, 'f>(node: &'n YamlNode, path: &'f str) -> Option<Step<'n, 'f>> {
    if let Some(index) = path.strip_prefix('[') {
        let (index, rest) = index.split_once(']')?;
        let item = node.list().get(index.parse::<usize>().ok()?)?;
        return Some(((item.line, item.column), item, rest.strip_prefix('.').unwrap_or(rest)));
    }
    let matching = node.map().iter().rev().filter_map(|(key, below)| {
        let rest = path.strip_prefix(&show_key(&key.text))?;
        let rest = match rest.strip_prefix('.') {
            Some(rest) => rest,
            None if rest.is_empty() || rest.starts_with('[') => rest,
            None => return None,
        };
        Some(((key.line, key.column), below, rest))
    });
    matching.min_by_key(|(_, _, rest)| rest.len())
}

#[cfg(test)]
mod tests;
