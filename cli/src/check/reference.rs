//! The book's page of checks. A stale page fails; `make reference` writes it.

use super::frame;
use super::rules::catalog::{self, Rule};
use blobgate_testkit_book::{check_page, table};

#[test]
fn the_reference_has_each_check() {
    let page = format!(
        "# Checks\n\n\
         What [`blobgate check`](command-line.md#blobgate-check) finds. Each line of its output ends with the rule's name, and\n\
         says what to write instead. An error loses deliveries, lets forged ones in, or stops Envoy. A warning may be intended.\n\n\
         ## Files and the gate's configuration\n\n{}\n## Envoy's configuration around the gate\n\n\
         A rule about a hook looks at its own routes: `check` sends sample requests through the routes of each listener, as Envoy\n\
         matches them. Of a manifest, the rules check what it has, and not what it leaves to the control plane.\n\n{}",
        rows(frame::ALL),
        rows(catalog::ALL),
    );
    check_page("checks", &page);
}

fn rows(rules: &[&Rule]) -> String {
    let row = |rule: &&Rule| {
        let Rule { name, level, finds, effect } = rule;
        [format!("`{name}`"), (*level).to_owned(), (*finds).to_owned(), (*effect).to_owned()]
    };
    table(["rule", "level", "finds", "effect"], rules.iter().map(row))
}

#[test]
fn names_each_rule_once() {
    let mut names: Vec<&str> = frame::ALL.iter().chain(catalog::ALL).map(|rule| rule.name).collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all);
}
