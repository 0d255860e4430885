//! Checks a document by its kind: a bootstrap of Envoy, a part of one, a configuration of the gate, or a manifest.

use super::FileContent;
use super::configuration::{UnsetVariables, check_configuration};
use super::cursor::{Spot, YamlCursor};
use super::finding::{Finding, Level};
use super::frame;
use super::gate::{GateSource, HostEnvironment, SourceForm, bare, find_plugins, is_configuration};
use super::manifest;
use super::rules::check_bootstrap;
use blobgate_inbox::yaml::{YamlNode, YamlPath, YamlReader, YamlValue};
use std::collections::{HashMap, HashSet};

/// The most findings of one rule about keys.
const MAX_REPORTED: usize = 100;

/// The keys of a whole bootstrap, besides its resources.
const BOOTSTRAP_KEYS: [&str; 4] = ["layered_runtime", "overload_manager", "admin", "node"];

/// What the checks of a file have in common.
pub(super) struct Checker<'t> {
    pub(super) lines: Vec<&'t str>,
    pub(super) unset: UnsetVariables,
    pub(super) findings: Vec<Finding>,
    pub(super) content: FileContent,
    /// How many texts contain the document: a manifest in a ConfigMap in a ConfigMap.
    pub(super) depth: usize,
}

impl Checker<'_> {
    /// Checks the documents of a file, or of a text in a ConfigMap.
    pub(super) fn check_documents(
        &mut self,
        documents: &[YamlNode],
        reader: YamlReader,
        host: HostEnvironment,
    ) {
        for (index, root) in documents.iter().enumerate() {
            if root.value == YamlValue::Null {
                continue;
            }
            self.report_repeated_keys(root);
            if manifest::kind(root).is_some() {
                manifest::check(self, root);
                continue;
            }
            if reader == YamlReader::Envoy {
                self.report_merge_keys(root);
            }
            if index > 0 {
                if index > MAX_REPORTED {
                    self.report_more(root, documents.len());
                    break;
                }
                self.report_second_document(root);
            }
            // Of an empty first document Envoy reads nothing, and the second one is meant.
            if documents.iter().take(index).all(|other| other.value == YamlValue::Null) {
                self.check_envoy(root, host);
            }
        }
    }

    fn check_envoy(&mut self, root: &YamlNode, host: HostEnvironment) {
        if is_configuration(root) {
            return self.check_gate(&bare(root));
        }
        let plugins = self.find_gates(root, host);
        let has = |key: &str| YamlCursor::new(root, "").get(key).is_some();
        let is_bootstrap =
            has("static_resources") || BOOTSTRAP_KEYS.iter().any(|key| has(key)) && !plugins.is_empty();
        if is_bootstrap || has("dynamic_resources") {
            check_bootstrap(root, &plugins, host, &mut self.findings);
            // Listeners may come from another file, which a rule reports.
            if has("dynamic_resources") {
                self.content = FileContent::Gate;
            }
        } else if !plugins.is_empty() {
            self.findings.push(Finding::new(
                Level::NotChecked,
                &frame::PART,
                YamlCursor::new(root, "").spot(),
                "the file is a part of a bootstrap: what stands around this part is not checked",
                "check the whole file too",
            ));
        }
    }

    /// Checks each configuration of the gate in a tree of Envoy. Returns the places of their plugins.
    pub(super) fn find_gates(&mut self, root: &YamlNode, host: HostEnvironment) -> Vec<Spot> {
        let before = self.findings.len();
        let gates = find_plugins(root, host, &self.lines, &mut self.findings);
        if self.findings.len() > before {
            self.content = FileContent::Gate;
        }
        gates.iter().for_each(|gate| self.check_gate(gate));
        gates.into_iter().map(|gate| gate.plugin).collect()
    }

    pub(super) fn check_gate(&mut self, gate: &GateSource<'_>) {
        self.content = FileContent::Gate;
        check_configuration(gate, self.unset, &mut self.findings);
        if let SourceForm::Json { tree: Ok(tree), .. } = &gate.form {
            self.report_repeated_keys(tree);
        }
    }

    fn report_more(&mut self, root: &YamlNode, documents: usize) {
        let wrong = format!("the file has {documents} documents, and the others are like this one");
        let at = YamlCursor::new(root, "").spot();
        self.findings.push(Finding::new(
            Level::NotChecked,
            &frame::MORE_ERRORS,
            at,
            wrong,
            "write one document",
        ));
    }

    fn report_second_document(&mut self, root: &YamlNode) {
        self.findings.push(Finding::new(
            Level::Error,
            &frame::SECOND_DOCUMENT,
            YamlCursor::new(root, "").spot(),
            "this document comes after another one, perhaps an empty one, and Envoy reads only the first",
            "write one document",
        ));
    }

    /// Envoy uses the last value, and Kubernetes refuses the file.
    fn report_repeated_keys(&mut self, root: &YamlNode) {
        let mut reported = HashSet::new();
        root.walk(&YamlPath::Root(""), &mut |path, node| {
            let pairs = node.map();
            let mut first: HashMap<&str, usize> = HashMap::with_capacity(pairs.len());
            for (key, _) in pairs {
                let Some(line) = first.get(key.text.as_str()).copied() else {
                    first.insert(&key.text, key.line);
                    continue;
                };
                if reported.len() < MAX_REPORTED && reported.insert((key.line, key.column)) {
                    let at = Spot {
                        line: key.line,
                        column: key.column,
                        field: YamlPath::Key(path, &key.text).to_string(),
                    };
                    let wrong = format!("is there twice, also in line {line}, and only one of them counts");
                    self.findings.push(Finding::new(
                        Level::Error,
                        &frame::REPEATED_KEY,
                        at,
                        wrong,
                        "write it once",
                    ));
                }
            }
        });
    }

    /// Envoy has no merge keys: it refuses the file, or the gate gets a key `<<`.
    fn report_merge_keys(&mut self, root: &YamlNode) {
        let mut reported = HashSet::new();
        root.walk(&YamlPath::Root(""), &mut |path, node| {
            if let Some(key) = node.key("<<")
                && reported.len() < MAX_REPORTED
                && reported.insert((key.line, key.column))
            {
                let at = Spot {
                    line: key.line,
                    column: key.column,
                    field: YamlPath::Key(path, &key.text).to_string(),
                };
                let wrong = "is a merge key, which Envoy reads as an unknown field";
                self.findings.push(Finding::new(
                    Level::Error,
                    &frame::MERGE_KEY,
                    at,
                    wrong,
                    "write the fields themselves",
                ));
            }
        });
    }
}
