use super::super::finding::{Finding, Level};
use super::super::yaml::{YamlReader, parse_yaml};
use super::{catalog, check_bootstrap, check_envoy_filter};

fn read(path: &str, reader: YamlReader) -> Vec<Finding> {
    let text = std::fs::read_to_string(format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let mut findings = Vec::new();
    for document in parse_yaml(&text, reader).unwrap() {
        match reader {
            YamlReader::Kubernetes => check_envoy_filter(&document, &mut findings),
            _ => check_bootstrap(&document, &mut findings),
        }
    }
    for finding in &findings {
        println!(
            "{path}:{}:{} {:?} [{}] {}",
            finding.line,
            finding.column,
            finding.level,
            finding.rule,
            finding.sentence()
        );
    }
    findings
}

#[test]
fn finds_no_error_in_shipped_files() {
    let errors =
        |findings: Vec<Finding>| findings.into_iter().filter(|finding| finding.level == Level::Error).count();
    assert_eq!(errors(read("envoy.yaml", YamlReader::Envoy)), 0);
    assert_eq!(errors(read("deploy/istio/envoyfilter.yaml", YamlReader::Kubernetes)), 0);
}

#[test]
fn names_each_rule_once() {
    let mut names: Vec<&str> = catalog::ALL.iter().map(|rule| rule.name).collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all);
}
