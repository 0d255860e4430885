//! `blobgate check`: the program on files of each kind.

use crate::running::{blobgate, text};
use blobgate_testkit_book::block;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use tempfile::TempDir;

const GATE: &str = "version: 1
environment: test
hooks:
- {name: a, path: /a, dialect: veo3, source: any, trust: open, result_url: any, quarantine: none}
";

/// Files in a folder of their own.
struct Files(TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        Self(folder)
    }

    fn check(&self, args: &[&str]) -> Output {
        let mut command = blobgate(&[&["check"], args].concat());
        command.env_remove("BLOBGATE_TOKEN_KEY").env_remove("BLOBGATE_SIGNING_KEY");
        command.current_dir(self.0.path()).output().unwrap()
    }
}

fn shipped() -> String {
    std::fs::read_to_string(root().join("envoy.yaml")).unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The lines of a run on one file with this exit code: each as `LINE LEVEL RULE`.
#[track_caller]
fn found(end: &Output, code: i32) -> Vec<String> {
    let (out, err) = (text(&end.stdout), text(&end.stderr));
    assert_eq!((end.status.code(), err.as_str()), (Some(code), ""), "{out}");
    let lines = out.lines().filter(|line| line.ends_with(']'));
    let short = |line: &str| {
        let (place, rest) = line.split_once(": ").unwrap();
        let number = place.split(':').nth(1).unwrap_or("-");
        let rule = rest.rsplit_once('[').unwrap().1.trim_end_matches(']');
        format!("{number} {} {rule}", rest.split(": ").next().unwrap())
    };
    lines.map(short).collect()
}

/// Checks one file.
#[track_caller]
fn finds(name: &str, file: &str, code: i32, expected: &[&str]) {
    assert_eq!(found(&Files::new(&[(name, file)]).check(&[name]), code), expected, "{file}");
}

#[test]
fn shows_file_line_column_field_and_remedy() {
    let files = Files::new(&[("gate.yaml", &GATE.replace("version: 1", "version: 2"))]);
    let end = files.check(&["gate.yaml"]);
    let expected =
        "gate.yaml:1:1: error: version is 2; write 1 [configuration]\n1 error, 0 warnings, 0 not checked\n";
    assert_eq!((text(&end.stdout).as_str(), end.status.code()), (expected, Some(1)));
}

#[test]
fn finds_nothing_in_a_valid_configuration() {
    let files = Files::new(&[("gate.yaml", GATE)]);
    assert_eq!(text(&files.check(&["gate.yaml"]).stdout), "0 errors, 0 warnings, 0 not checked\n");
}

#[test]
fn checks_each_form_of_a_configuration() {
    let broken = GATE.replace("path: /a,", "path: a,");
    finds("gate.yaml", &broken, 1, &["4 error configuration"]);
    let json = serde_json::json!({"version": 1, "environment": "test", "hooks": [], "extra": 1.5});
    let pretty = serde_json::to_string_pretty(&json).unwrap();
    finds("gate.json", &pretty, 1, &["3 error configuration", "4 error configuration"]);
    finds("gate.json", "{\"version\": 1,\n}", 1, &["2 error syntax"]);
    let filter = |configuration: &str| {
        format!(
            "vm_config: {{vm_id: blobgate, environment_variables: {{host_env_keys: []}}}}\nname: x\n{configuration}"
        )
    };
    let json = r#"'{"version": 2, "environment": "test", "hooks": []}'"#;
    let typed = |kind: &str, value: &str| {
        filter(&format!(
            "configuration:\n  \"@type\": type.googleapis.com/google.protobuf.{kind}\n  value: {value}\n"
        ))
    };
    let part = "1 not checked part";
    let two = [part, "5 error configuration", "5 error configuration"];
    finds("part.yaml", &typed("StringValue", json), 1, &two);
    let block = json.trim_matches('\'').replace(", ", ",\n    ");
    let lines = [part, "6 error configuration", "8 error configuration"];
    finds("part.yaml", &typed("StringValue", &format!("|\n    {block}")), 1, &lines);
    let encoded = "eyJ2ZXJzaW9uIjogMiwgImVudmlyb25tZW50IjogInRlc3QiLCAiaG9va3MiOiBbXX0=";
    finds("part.yaml", &typed("BytesValue", encoded), 1, &two);
    finds("part.yaml", &typed("StringValue", "'version: 1'"), 1, &[part, "5 error configuration"]);
    let comma = "|\n    {\"version\": 1,\n    }";
    finds("part.yaml", &typed("StringValue", comma), 1, &[part, "7 error configuration"]);
    // What Envoy itself refuses.
    finds("part.yaml", &filter(""), 1, &["1 error configuration-form"]);
    finds("part.yaml", &typed("Struct", json), 1, &["5 error configuration-form"]);
    finds("part.yaml", &typed("BoolValue", json), 1, &["4 error configuration-form"]);
    finds("part.yaml", &filter("configuration: {value: {hooks: []}}"), 1, &["3 error configuration-form"]);
}

#[test]
fn finds_mistakes_of_yaml() {
    finds("gate.yaml", "version: [1\n", 1, &["1 error syntax"]);
    finds("gate.yaml", &format!("{GATE}version: 1\n"), 1, &["5 error repeated-key"]);
    let json = "{\"version\": 1, \"environment\": \"a\",\n\"hooks\": [{\"name\": \"a\",\n\"name\": \"a\"}]}";
    finds("gate.json", json, 1, &["2 error configuration", "3 error repeated-key"]);
    finds("gate.yaml", &format!("{GATE}---\nversion: 2\n"), 1, &["6 error second-document"]);
    let merged = format!("{GATE}<<: {{confirm: {{cluster: a, authority: b}}}}\n");
    finds("gate.yaml", &merged, 1, &["5 error configuration", "5 error merge-key"]);
    finds("gate.yaml", "", 1, &["- error no-configuration"]);
    finds("gate.yaml", "services: {a: {image: b}}\n", 1, &["- error no-configuration"]);
}

/// A YAML 1.1 word: `off` is false for Envoy.
#[test]
fn reads_values_as_envoy_does() {
    let hook = |more: &str| GATE.replace("quarantine: none", &format!("quarantine: none, {more}"));
    finds("gate.yaml", &hook("max_body_bytes: 0200000"), 0, &[]);
    finds("gate.yaml", &hook("max_body_bytes: 65_536"), 1, &["4 error configuration"]);
    finds("gate.yaml", &hook("checks: {prompt: off}"), 0, &[]);
    finds("gate.yaml", &hook("mode: off"), 1, &["4 error configuration"]);
}

#[test]
fn warns_of_unset_variables_and_judges_set_ones() {
    const KEYS: &str = "token: {keys: {a: {alg: HS256, env: BLOBGATE_TOKEN_KEY}}}\n";
    let files = Files::new(&[("gate.yaml", &format!("{GATE}{KEYS}"))]);
    assert_eq!(found(&files.check(&["gate.yaml"]), 0), ["5 warning variable-unset"]);
    assert_eq!(found(&files.check(&["--require-env", "gate.yaml"]), 1), ["5 error variable-unset"]);
    let with = |value: &str| {
        let mut command = blobgate(&["check", "--require-env", "gate.yaml"]);
        command.env("BLOBGATE_TOKEN_KEY", value).current_dir(files.0.path()).output().unwrap()
    };
    assert_eq!(found(&with(&"k".repeat(32)), 0), [""; 0]);
    let short = with("a short secret");
    assert_eq!(found(&short, 1), ["5 error configuration"]);
    assert!(!text(&short.stdout).contains("short secret"), "{}", text(&short.stdout));
}

#[test]
fn finds_variables_that_the_module_does_not_get() {
    let whole = shipped();
    let keys = "host_env_keys: [BLOBGATE_TOKEN_KEY, BLOBGATE_SIGNING_KEY]";
    let line = whole.lines().position(|line| line.contains(keys)).unwrap() + 1;
    let errors = |file: &str| -> Vec<String> {
        let end = Files::new(&[("envoy.yaml", file)]).check(&["envoy.yaml"]);
        let lines = found(&end, 1);
        lines.into_iter().filter(|line| line.contains("error")).collect()
    };
    let expected = format!("{line} error variable-not-passed");
    assert_eq!(errors(&whole.replace(keys, "host_env_keys: [BLOBGATE_TOKEN_KEY]")), [expected.as_str()]);
    assert_eq!(errors(&whole.replace(keys, "")), [expected.as_str(), expected.as_str()]);
    let inline =
        whole.replace(keys, "key_values: {BLOBGATE_TOKEN_KEY: short}, host_env_keys: [BLOBGATE_SIGNING_KEY]");
    let key = whole.lines().position(|line| line.contains("env: BLOBGATE_TOKEN_KEY")).unwrap() + 1;
    assert_eq!(errors(&inline), [format!("{key} error configuration")]);
}

#[test]
fn checks_the_shipped_files() {
    let mut command = blobgate(&["check", "envoy.yaml", "deploy/istio/envoyfilter.yaml"]);
    let end = command.current_dir(root()).output().unwrap();
    assert_eq!(end.status.code(), Some(0), "{}", text(&end.stdout));
    assert!(
        text(&end.stdout).contains("deploy/istio/envoyfilter.yaml:4:1: not checked: kind is EnvoyFilter")
    );
}

/// The examples of `--help`, with the files of the repository.
#[test]
fn takes_other_files_beside_a_configuration() {
    let mut command = blobgate(&["check"]);
    let folder = std::fs::read_dir(root().join("deploy/istio")).unwrap();
    let files = folder.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some());
    let end = command.args(files.filter(|path| path.extension().unwrap() == "yaml")).output().unwrap();
    let out = text(&end.stdout);
    assert_eq!(end.status.code(), Some(0), "{out}");
    assert!(out.contains("gateway-volume.yaml: not checked: the file has no configuration"), "{out}");
    let files = Files::new(&[("other.yaml", "a: 1\n"), ("broken.yaml", "a: [\n")]);
    assert_eq!(found(&files.check(&["other.yaml", "none.yaml"]), 1).len(), 2);
    assert_eq!(found(&files.check(&["other.yaml"]), 1), ["- error no-configuration"]);
}

#[test]
fn says_that_a_template_is_none() {
    let files = Files::new(&[("a.yaml", &format!("{{{{- if .Values.a }}}}\n{GATE}{{{{- end }}}}\n"))]);
    let end = files.check(&["a.yaml"]);
    let out = text(&end.stdout);
    assert!(out.contains("the file is a template, and the parser stopped here: "), "{out}");
    assert!(out.contains("; render it first: `helm template CHART | blobgate check -` [syntax]"), "{out}");
}

#[test]
fn names_a_tab() {
    let files = Files::new(&[("a.yaml", "version: 1\nhooks:\n\t- {name: a}\n")]);
    let out = text(&files.check(&["a.yaml"]).stdout);
    assert!(out.starts_with("a.yaml:3:1: error: the line starts with a tab"), "{out}");
    assert!(out.contains("; write spaces [syntax]"), "{out}");
}

#[test]
fn reads_standard_input_once() {
    let mut command = blobgate(&["check", "-"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(GATE.replace("/a", "a").as_bytes()).unwrap();
    let end = child.wait_with_output().unwrap();
    assert!(text(&end.stdout).starts_with("standard input:4:"), "{}", text(&end.stdout));
    assert_eq!(end.status.code(), Some(1));
}

#[test]
fn reports_unreadable_files_with_the_others() {
    let files = Files::new(&[("gate.yaml", GATE), ("other.yaml", "a: 1\n")]);
    std::fs::write(files.0.path().join("bytes.yaml"), b"a: 1\nb: \xff\n").unwrap();
    let end = files.check(&["none.yaml", ".", "bytes.yaml", "other.yaml", "gate.yaml"]);
    let out = text(&end.stdout);
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("none.yaml: error: the file cannot be read: No such file"), "{out}");
    assert!(lines[1].starts_with(".: error: the file cannot be read: Is a directory"), "{out}");
    assert!(lines[1].contains("name its files"), "{out}");
    assert!(lines[2].starts_with("bytes.yaml: error: the file is not UTF-8 in line 2"), "{out}");
    assert!(lines[3].starts_with("other.yaml: not checked: the file has no configuration"), "{out}");
    assert_eq!((lines[4], lines.len()), ("3 errors, 0 warnings, 1 not checked", 5));
    assert_eq!(end.status.code(), Some(1));
}

#[test]
fn prints_json() {
    let files = Files::new(&[("a.yaml", &format!("{GATE}\"\\e\": 1\n")), ("b.yaml", GATE)]);
    let end = files.check(&["--json", "a.yaml", "b.yaml"]);
    let found: Value = serde_json::from_slice(&end.stdout).unwrap();
    let expected = serde_json::json!({
        "errors": 1, "warnings": 0, "not_checked": 0,
        "files": [
            {"file": "a.yaml", "errors": 1, "warnings": 0, "not_checked": 0, "findings": [{
                "line": 5, "column": 1, "level": "error", "rule": "configuration", "field": "\\u{1b}",
                "wrong": "is not a known key",
                "remedy": "write one of version, environment, docs, hooks, token, confirm, sign",
            }]},
            {"file": "b.yaml", "errors": 0, "warnings": 0, "not_checked": 0, "findings": []},
        ],
    });
    assert_eq!((found, end.status.code()), (expected, Some(1)));
}

#[test]
fn runs_the_examples_of_the_book() {
    let files = Files::new(&[("gate.yaml", &block("check-broken"))]);
    let end = files.check(&["gate.yaml"]);
    assert_eq!((text(&end.stdout), end.status.code()), (block("check-output"), Some(1)));
    let run = |command_of_page: &str, envoy: &str| {
        let files = Files::new(&[("envoy.yaml", envoy)]);
        let mut command = std::process::Command::new("bash");
        let folder = Path::new(env!("CARGO_BIN_EXE_blobgate")).parent().unwrap().to_owned();
        let path = std::env::var_os("PATH").unwrap();
        let paths = std::iter::once(folder).chain(std::env::split_paths(&path));
        command.args(["-euc", command_of_page]).env("PATH", std::env::join_paths(paths).unwrap());
        command.current_dir(files.0.path()).output().unwrap()
    };
    let broken = shipped().replace("version: 1\n", "version: 9\n");
    assert_eq!(run(&block("check-ci"), &shipped()).status.code(), Some(0));
    assert_eq!(run(&block("check-ci"), &broken).status.code(), Some(1));
}

#[test]
fn refuses_wrong_usage() {
    for args in [&[][..], &["--strict", "a.yaml"]] {
        assert_eq!(Files::new(&[]).check(args).status.code(), Some(2), "{args:?}");
    }
}

/// Envoy loads such a file: see `loads_150_000_ranges` in tests/host.
#[test]
fn reads_150_000_ranges() {
    let mut ranges = String::new();
    for number in 0..150_000_u32 {
        let [_, a, b, c] = (number * 2).to_be_bytes();
        let _ = write!(ranges, "10.{a}.{b}.{c}/32, ");
    }
    let broken = GATE.replace("source: any", &format!("source: [{ranges}\n 10.0.0.1/8]"));
    finds("gate.yaml", &broken, 1, &["5 error configuration"]);
}

mod manifests;
mod mutations;
