//! Checks a document by its kind: a bootstrap of Envoy, a part of one, a configuration of the gate, or a manifest.

use super::configuration::{UnsetVariables, check_configuration};
use super::finding::{Finding, Level};
use super::gate::{GateSource, HostEnvironment, bare, find_plugins, is_configuration};
use super::manifest;
use super::yaml::{YamlNode, YamlPath, YamlReader, YamlValue};
use std::collections::{HashMap, HashSet};

/// What the checks of a file have in common.
pub(super) struct Checker<'t> {
    pub(super) lines: Vec<&'t str>,
    pub(super) unset: UnsetVariables,
    pub(super) findings: Vec<Finding>,
    /// Whether a document has a configuration of the gate, or may get one from elsewhere.
    pub(super) has_gate: bool,
}

impl Checker<'_> {
    /// Checks the documents of a file, or of a text in a ConfigMap.
    pub(super) fn check_documents(
        &mut self,
        documents: &[YamlNode],
        reader: YamlReader,
        host: HostEnvironment,
    ) {
        let documents: Vec<&YamlNode> =
            documents.iter().filter(|root| root.value != YamlValue::Null).collect();
        for (index, root) in documents.iter().enumerate() {
            self.report_repeated_keys(root);
            if manifest::kind(root).is_some() {
                manifest::check(self, root);
                continue;
            }
            if reader == YamlReader::Envoy {
                self.report_merge_keys(root);
            }
            if index > 0 {
                self.report_second_document(root);
            } else {
                self.check_envoy(root, host);
            }
        }
    }

    fn check_envoy(&mut self, root: &YamlNode, host: HostEnvironment) {
        if is_configuration(root) {
            return self.check_gate(&bare(root));
        }
        let gates = self.find_gates(root, host);
        let is_bootstrap = ["static_resources", "staticResources"].iter().any(|key| root.get(key).is_some());
        if is_bootstrap {
            let is_dynamic =
                ["dynamic_resources", "dynamicResources"].iter().any(|key| root.get(key).is_some());
            self.has_gate |= is_dynamic;
        } else if gates > 0 {
            self.note(
                root,
                Level::NotChecked,
                "part",
                "the file is a part of a bootstrap: what stands around this part is not checked",
                "check the whole file too",
            );
        }
    }

    /// Checks each configuration of the gate in a tree of Envoy, and counts them.
    pub(super) fn find_gates(&mut self, root: &YamlNode, host: HostEnvironment) -> usize {
        let before = self.findings.len();
        let gates = find_plugins(root, host, &self.lines, &mut self.findings);
        self.has_gate |= self.findings.len() > before;
        gates.iter().for_each(|gate| self.check_gate(gate));
        gates.len()
    }

    pub(super) fn check_gate(&mut self, gate: &GateSource<'_>) {
        self.has_gate = true;
        check_configuration(gate, self.unset, &mut self.findings);
        if let super::gate::SourceForm::Json { tree: Some(tree), .. } = &gate.form {
            self.report_repeated_keys(tree);
        }
    }

    /// A finding about a whole document or file.
    pub(super) fn note(
        &mut self,
        place: &YamlNode,
        level: Level,
        rule: &'static str,
        wrong: &str,
        remedy: &str,
    ) {
        self.findings.push(Finding {
            line: place.line,
            column: place.column,
            field: String::new(),
            level,
            rule,
            wrong: wrong.to_owned(),
            remedy: remedy.to_owned(),
        });
    }

    fn report_second_document(&mut self, root: &YamlNode) {
        self.note(
            root,
            Level::Error,
            "second-document",
            "this document comes after another one, and Envoy reads only the first",
            "write one document",
        );
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
                if reported.insert((key.line, key.column)) {
                    self.findings.push(Finding {
                        line: key.line,
                        column: key.column,
                        field: YamlPath::Key(path, &key.text).to_string(),
                        level: Level::Error,
                        rule: "repeated-key",
                        wrong: format!("is there twice, also in line {line}, and only one of them counts"),
                        remedy: "write it once".to_owned(),
                    });
                }
            }
        });
    }

    /// Envoy has no merge keys: it refuses the file, or the gate gets a key `<<`.
    fn report_merge_keys(&mut self, root: &YamlNode) {
        root.walk(&YamlPath::Root(""), &mut |path, node| {
            if let Some(key) = node.key("<<") {
                self.findings.push(Finding {
                    line: key.line,
                    column: key.column,
                    field: YamlPath::Key(path, &key.text).to_string(),
                    level: Level::Error,
                    rule: "merge-key",
                    wrong: "is a merge key, which Envoy reads as an unknown field".to_owned(),
                    remedy: "write the fields themselves".to_owned(),
                });
            }
        });
    }
}
