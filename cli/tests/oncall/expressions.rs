//! Every expression of the alert rules and of the dashboard, in a real Prometheus, after `blobgate demo` on the stack of
//! `make run`: none is an error, and none is empty but those of these lists. An entry that is no longer true fails, too.

use crate::PROGRAM;
use crate::selectors::{Selector, selectors};
use blobgate_testkit::clone::ADMIN;
use blobgate_testkit::{CloneFolder, PrometheusProcess, eventually, needs, repository, versions};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The alerts that the demo's deliveries fire. No other one fires.
const FIRING: &[(&str, &str)] = &[
    ("BlobgateQuarantined", "two deliveries are quarantined"),
    ("BlobgateRefusalsRise", "over five deliveries are refused within seconds"),
    ("BlobgateTokenInvalid", "a forged token has the gate's `kid` and another key"),
];

/// Expressions of panels and recording rules that are empty after the demo: rule, or panel and query, and why.
const EMPTY: &[(&str, &str)] = &[
    ("panel Drift: no line is well, A", NO_DRIFT),
    ("panel Lost or stuck: 0 is well, A", NONE_DEAD),
    ("rule blobgate_drift:increase5m", NO_DRIFT),
];

const NO_DRIFT: &str = "the demo has no drift; a field has a series from its first one";

const NONE_DEAD: &str =
    "a route has the series of a state from its first entry in it, and an event dies after 72 h";

/// Series that a rule or a panel selects and that do not exist after the demo, and why.
const ABSENT: &[(&str, &str)] = &[
    (
        "blobgate_confirm_total{outcome=~\"in-flight\"}",
        "appears with the first one; the gate counts at 0 what is a fault",
    ),
    ("blobgate_confirm_total{outcome=~\"not-started\"}", "the same"),
    ("blobgate_drift:increase5m", NO_DRIFT),
    ("blobgate_drift_total", NO_DRIFT),
    ("blobgate_drift_total{environment=~\".*\",hook=~\".*\"}", NO_DRIFT),
    ("blobgate_inbox_entries{state=\"dead\"}", NONE_DEAD),
    ("blobgate_inbox_entries{state=\"dead\",route=~\".*/.+\"}", NONE_DEAD),
    (
        "blobgate_inbox_quarantine_entries{reason=\"confirm-unavailable\"}",
        "no entry of the demo has this reason",
    ),
    ("blobgate_module_panics_total", "the native module alone has it"),
];

/// The panel of refused and quarantined deliveries.
const REFUSED: &str = "panel Refused or quarantined, by reason, A";

/// `blobgate up --dev` in a folder. Killed on drop, and the kernel ends its parts.
struct RunningStack {
    clone: CloneFolder,
    child: Child,
}

impl RunningStack {
    #[track_caller]
    fn start() -> Self {
        let clone = CloneFolder::new();
        let output = File::create(clone.path().join("up.out")).unwrap();
        let envoy = fs::canonicalize(versions().pop().unwrap().binary).unwrap();
        let mut command = Command::new(PROGRAM);
        command
            .args(["up", "--dev", "--admin", &format!("127.0.0.1:{}", clone.port(ADMIN)), "--envoy"])
            .arg(envoy);
        command
            .current_dir(clone.path())
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output);
        let child = command.spawn().unwrap();
        let mut stack = Self { clone, child };
        eventually("running parts", || {
            let text = fs::read_to_string(stack.clone.path().join("up.out")).unwrap();
            assert!(stack.child.try_wait().unwrap().is_none(), "{text}");
            text.contains("Ctrl-C ends everything.").then_some(())
        });
        stack
    }

    /// The rows of `blobgate demo`. Each must be as expected.
    #[track_caller]
    fn demo(&self) -> Vec<Value> {
        let local = |scheme: &str, port: u16, path: &str| {
            format!("{scheme}://127.0.0.1:{}{path}", self.clone.port(port))
        };
        let mut command = Command::new(PROGRAM);
        command.current_dir(self.clone.path()).args(["demo", "--json"]);
        command.args([
            "--gate",
            &local("https", 8443, "/webhook"),
            "--plain",
            &local("http", 8080, "/webhook"),
        ]);
        command.args([
            "--token-gate",
            &local("https", 8443, "/hooks/veo3"),
            "--sandbox",
            &local("https", 9443, ""),
        ]);
        command.args(["--inbox", &local("http", ADMIN, "")]);
        for (name, port) in [("video", 9081), ("failure", 9082), ("quarantine", 9083)] {
            command.args(["--service", &format!("{name}={}", local("http", port, ""))]);
        }
        let done = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(done.status.success(), "{}{}", text(&done.stdout), text(&done.stderr));
        let report: Value = serde_json::from_slice(&done.stdout).unwrap();
        report["rows"].as_array().unwrap().clone()
    }

    /// A Prometheus with the shipped configuration, with the ports of this stack and an interval of one second.
    #[track_caller]
    fn prometheus(&self) -> PrometheusProcess {
        let shipped = fs::read_to_string(repository("deploy/prometheus/prometheus.yaml")).unwrap();
        let rules = repository("deploy/prometheus/rules.yaml").display().to_string();
        let config = self.clone.with_ports(&shipped).replace("rules.yaml]", &format!("'{rules}']"));
        assert_ne!(config, self.clone.with_ports(&shipped), "the rules are in rule_files");
        let fast: Vec<String> = config.lines().map(with_an_interval_of_a_second).collect();
        PrometheusProcess::start(&fast.join("\n"))
    }
}

impl Drop for RunningStack {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _status = self.child.wait();
        if std::thread::panicking() {
            println!("{}", self.clone.logs());
        }
    }
}

fn with_an_interval_of_a_second(line: &str) -> String {
    match line.split_once("_interval: ") {
        Some(_) if line.starts_with("global:") => {
            "global: {scrape_interval: 1s, evaluation_interval: 1s}".to_owned()
        }
        Some((before, _)) => format!("{before}_interval: 1s"),
        None => line.to_owned(),
    }
}

/// An expression, and its place: `rule NAME`, `alert NAME`, `panel TITLE, A` or `variable NAME`.
struct Expression {
    place: String,
    text: String,
}

#[track_caller]
fn of_rules(prometheus: &PrometheusProcess) -> Vec<Expression> {
    let expression = |rule: &Value| {
        let kind = if rule["type"] == "alerting" { "alert" } else { "rule" };
        assert_eq!((&rule["health"], &rule["lastError"]), (&"ok".into(), &Value::Null), "{rule}");
        Expression { place: format!("{kind} {}", text(&rule["name"])), text: text(&rule["query"]) }
    };
    prometheus.rules().iter().map(expression).collect()
}

#[track_caller]
fn of_dashboard() -> Vec<Expression> {
    let file = fs::read_to_string(repository("deploy/grafana/blobgate.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&file).unwrap();
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let place = format!("panel {}, {}", text(&panel["title"]), text(&target["refId"]));
            found.push(Expression { place, text: with_values(&text(&target["expr"])) });
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if variable["type"] == "query" {
            let query = text(&variable["query"]["query"]);
            let values = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
            let (selector, label) = values.unwrap().rsplit_once(", ").unwrap();
            let expression = format!("count by ({label}) ({})", with_values(selector));
            found.push(Expression {
                place: format!("variable {}", text(&variable["name"])),
                text: expression,
            });
        }
    }
    found
}

/// Replaces Grafana's variables, as it does with `All` chosen.
fn with_values(expression: &str) -> String {
    let values = [("$__rate_interval", "1m"), ("$__range", "5m"), ("$environment", ".*"), ("$hook", ".*")];
    let replaced = values.iter().fold(expression.to_owned(), |text, (name, value)| text.replace(name, value));
    assert!(!replaced.contains('$'), "no value for a variable of {expression}");
    replaced
}

#[track_caller]
fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}")).to_owned()
}

/// Compares what was found with a list, both ways.
#[track_caller]
fn assert_listed(what: &str, list: &[(&str, &str)], mut found: Vec<String>) {
    let mut listed: Vec<&str> = list.iter().map(|(name, _)| *name).collect();
    listed.sort_unstable();
    found.sort();
    found.dedup();
    assert_eq!(found, listed, "{what}: found, and listed");
}

/// The series of a selector that do not exist. Each alternative of a regular expression counts by itself.
#[track_caller]
fn absent(prometheus: &PrometheusProcess, selector: &Selector) -> Vec<String> {
    let mut absent = selector.alternatives();
    absent.retain(|one| prometheus.query(&format!("last_over_time({one}[10m])")).unwrap().is_empty());
    absent
}

/// Whether the test machine's own disk may fire `BlobgateDiskFills`, which it does at 10 % free.
#[track_caller]
fn is_almost_full(path: &Path) -> bool {
    let mut df = Command::new("df");
    let done = df.args(["--block-size=1", "--output=size,avail"]).arg(path).output().unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    let numbers: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [size, available] = numbers[..] else { panic!("df prints {text}") };
    available < size * 15 / 100
}

/// The answers with a reason, by status and reason: what the demo got.
fn answers_with_reason(rows: &[Value]) -> BTreeMap<(String, String), u64> {
    let mut answers = BTreeMap::new();
    for row in rows {
        let of_entry = &row["in_inbox"][0]["reason"];
        if let Some(reason) = row["code"].as_str().or_else(|| of_entry.as_str()) {
            *answers.entry((row["answer"].to_string(), reason.to_owned())).or_default() += 1;
        }
    }
    answers
}

/// The same, as the panel shows it.
#[track_caller]
fn shown_answers(prometheus: &PrometheusProcess) -> BTreeMap<(String, String), u64> {
    let panel = of_dashboard().into_iter().find(|expression| expression.place == REFUSED).expect(REFUSED);
    let mut answers = BTreeMap::new();
    for sample in prometheus.query(&panel.text).unwrap() {
        let label = |name| sample.labels.iter().find(|(label, _)| label == name).unwrap().1.clone();
        #[allow(clippy::as_conversions, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        // a small whole number
        let count = sample.value as u64;
        *answers.entry((label("status"), label("reason"))).or_default() += count;
    }
    answers
}

#[needs(Prometheus)]
#[test]
fn every_expression_has_a_value_after_the_demo() {
    let stack = RunningStack::start();
    let prometheus = stack.prometheus();
    prometheus.scraped();
    let up = prometheus.query("up").unwrap().iter().map(|sample| sample.value).collect::<Vec<_>>();
    assert_eq!(up, [1.0, 1.0]);
    let rows = stack.demo();
    // The inbox measures its entries every 30 s.
    prometheus.within_evaluations(90, "measured entries", |prometheus| {
        prometheus.query("sum(blobgate_inbox_quarantine_entries) == 2").unwrap().pop()
    });
    // A rate needs two scrapes, and a recording rule an evaluation after them.
    prometheus.scraped();
    prometheus.scraped();
    let evaluations = prometheus.evaluations();
    eventually("evaluation of the rules", || (prometheus.evaluations() > evaluations + 2).then_some(()));

    let (mut empty, mut firing, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    let all: Vec<Expression> = of_rules(&prometheus).into_iter().chain(of_dashboard()).collect();
    assert!(all.len() > 40, "{}", all.len());
    for expression in &all {
        let values = prometheus.query(&expression.text);
        let values =
            values.unwrap_or_else(|error| panic!("{}: {error}: {}", expression.place, expression.text));
        match expression.place.strip_prefix("alert ") {
            Some(alert) if !values.is_empty() => firing.push(alert.to_owned()),
            None if values.is_empty() => empty.push(expression.place.clone()),
            _ => {}
        }
        missing.extend(selectors(&expression.text).iter().flat_map(|selector| absent(&prometheus, selector)));
    }
    assert_listed("series that do not exist", ABSENT, missing);
    assert_listed("empty expressions", EMPTY, empty);
    if is_almost_full(&stack.clone.path()) {
        firing.retain(|alert| alert != "BlobgateDiskFills");
    }
    assert_listed("firing alerts", FIRING, firing);
    // Each refusal of the demo is the first one of its reason.
    assert_eq!(shown_answers(&prometheus), answers_with_reason(&rows));
}
