//! `blobgate check` finds each mistake of the tables, with its line, and nothing in what is shipped.

use crate::running::{blobgate, text};
use blobgate_testkit::envoy::{SIGNING_KEY, TOKEN_KEY};
use blobgate_testkit::{Bootstrap, GateModule, ProductionFolder, module, repository, versions};
use blobgate_testkit_book::block;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// One edit of a shipped file, and what the program says about it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mistake {
    name: String,
    #[serde(default)]
    base: ShippedFile,
    find: String,
    replace: String,
    error: Option<String>,
    warning: Option<String>,
    not_checked: Option<String>,
    at: Option<String>,
    /// A part of the sentence.
    says: String,
    /// What a real Envoy makes of the file.
    envoy: Option<EnvoyStart>,
    /// What else the program finds.
    #[serde(default)]
    also: Vec<ExpectedFinding>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum EnvoyStart {
    /// It loads: only `check` says that something is wrong.
    Loads,
    Refuses,
}

/// A finding: its rule under its level.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedFinding {
    error: Option<String>,
    warning: Option<String>,
    not_checked: Option<String>,
    /// The finding's line is the first that has this text. Without it, the line of the edit.
    at: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
enum ShippedFile {
    /// envoy.yaml.
    #[default]
    Shipped,
    /// A rendered file, with RunBlob's status API.
    Runblob,
    /// The same with the native module, at /opt/libblobgate.so.
    Native,
    /// envoy.yaml behind a load balancer, as docs/howto/load-balancers.md has it.
    BehindProxy,
    /// deploy/istio/envoyfilter.yaml.
    Istio,
}

/// A finding of the program: level, rule, line.
type FoundRule = (String, String, usize);

#[derive(Deserialize)]
struct MistakeTable {
    mistake: Vec<Mistake>,
}

impl ShippedFile {
    fn text(self) -> String {
        let read = |path: &str| std::fs::read_to_string(repository(path)).unwrap();
        let shipped = read("envoy.yaml");
        match self {
            ShippedFile::Shipped => shipped,
            ShippedFile::Istio => read("deploy/istio/envoyfilter.yaml"),
            ShippedFile::Runblob => ProductionFolder::new().render(env!("CARGO_BIN_EXE_blobgate")),
            ShippedFile::Native => {
                let wasm = format!("module_file: {}", module().canonicalize().unwrap().display());
                let file = GateModule::Native.file().canonicalize().unwrap().display().to_string();
                let native = format!("module: native\nmodule_file: {file}");
                let folder = ProductionFolder::edited(&[(&wasm, &native)]);
                let text = folder.render(env!("CARGO_BIN_EXE_blobgate"));
                replaced(&text, &format!("filename: {file}"), "filename: /opt/libblobgate.so")
            }
            ShippedFile::BehindProxy => {
                let filter = block("peer-filter");
                let filter: String = filter.lines().map(|line| format!("          {line}\n")).collect();
                let hook = block("hook/behind-proxy");
                let transport = hook.lines().find(|line| line.starts_with("transport:")).unwrap();
                let shipped = replaced(
                    &shipped,
                    "          - name: blobgate\n",
                    &format!("{filter}          - name: blobgate\n"),
                );
                let hops = "use_remote_address: true\n          xff_num_trusted_hops: 1\n";
                replaced(&shipped, "use_remote_address: true\n", hops)
                    .replace("transport: tls_here", transport)
            }
        }
    }
}

#[track_caller]
fn replaced(text: &str, find: &str, replace: &str) -> String {
    assert!(text.contains(find), "the file has no {find:?}");
    text.replacen(find, replace, 1)
}

fn mistakes() -> Vec<Mistake> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tool/mistakes");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|name| name == "toml"));
    files.sort();
    let read = |file: &std::path::PathBuf| -> MistakeTable {
        toml::from_str(&std::fs::read_to_string(file).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    };
    files.iter().flat_map(|file| read(file).mistake).collect()
}

/// The program's findings in each file.
fn check(files: &[std::path::PathBuf]) -> Vec<Vec<Value>> {
    let mut command = blobgate(&["check", "--json"]);
    let output =
        command.args(files).envs([TOKEN_KEY, SIGNING_KEY]).current_dir(repository(".")).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)));
    let files = report["files"].as_array().unwrap();
    files.iter().map(|file| file["findings"].as_array().unwrap().clone()).collect()
}

fn found(finding: &Value) -> FoundRule {
    let text = |key: &str| finding[key].as_str().unwrap().to_owned();
    (text("level"), text("rule"), usize::try_from(finding["line"].as_u64().unwrap()).unwrap())
}

/// How often each level and rule occurs.
fn counts(findings: &[Value]) -> BTreeMap<(String, String), usize> {
    findings.iter().map(found).fold(BTreeMap::new(), |mut counts, (level, rule, _)| {
        *counts.entry((level, rule)).or_default() += 1;
        counts
    })
}

impl ExpectedFinding {
    fn level_and_rule(&self) -> (String, String) {
        let levels = [("error", &self.error), ("warning", &self.warning), ("not checked", &self.not_checked)];
        let mut named =
            levels.into_iter().filter_map(|(level, rule)| Some((level.to_owned(), rule.clone()?)));
        let one = named.next().expect("a row names a rule");
        assert_eq!(named.next(), None, "a row names one rule");
        one
    }

    fn found(&self, text: &str, edit: usize) -> FoundRule {
        let place = match &self.at {
            Some(at) => text.find(at).unwrap_or_else(|| panic!("the edited file has no {at:?}")),
            None => edit,
        };
        let (level, rule) = self.level_and_rule();
        (level, rule, text.split_at(place).0.matches('\n').count() + 1)
    }
}

impl Mistake {
    fn expected(&self) -> ExpectedFinding {
        let Self { error, warning, not_checked, at, .. } = self;
        let [error, warning, not_checked, at] = [error, warning, not_checked, at].map(Clone::clone);
        ExpectedFinding { error, warning, not_checked, at }
    }

    /// The text of the edited file, and the place of the edit.
    fn edited(&self) -> (String, usize) {
        let base = self.base.text();
        let place = base.find(&self.find);
        let place = place.unwrap_or_else(|| panic!("{}: the file has no {:?}", self.name, self.find));
        (base.replacen(&self.find, &self.replace, 1), place)
    }

    /// Compares all errors, and the warnings that the file without the mistake does not have.
    fn compare(&self, findings: &[Value], base: &[Value]) -> Result<(), String> {
        let (text, edit) = self.edited();
        let main = self.expected().found(&text, edit);
        let others = self.also.iter().map(|other| other.found(&text, edit));
        let expected: Vec<FoundRule> = [main.clone()].into_iter().chain(others).collect();
        let shown = || findings.iter().map(|finding| format!("  {finding}\n")).collect::<String>();
        let actual: Vec<FoundRule> = findings.iter().map(found).collect();
        let sorted = |rules: &[FoundRule], level: &str| {
            let mut of_level: Vec<_> = rules.iter().filter(|(found, ..)| found == level).cloned().collect();
            of_level.sort();
            of_level
        };
        if sorted(&actual, "error") != sorted(&expected, "error") {
            return Err(format!("expected the errors {:?} of\n{}", sorted(&expected, "error"), shown()));
        }
        let mut allowed = counts(base);
        expected
            .iter()
            .for_each(|(level, rule, _)| *allowed.entry((level.clone(), rule.clone())).or_default() += 1);
        let mut found = counts(findings);
        // A mistake may end a warning of the file, but causes no others.
        for (rule, count) in &mut found {
            let is_expected = expected.iter().any(|(level, name, _)| (level, name) == (&rule.0, &rule.1));
            if *count > allowed.get(rule).copied().unwrap_or_default()
                || (is_expected && *count != allowed[rule])
            {
                return Err(format!(
                    "{rule:?} is there {count} times, not {:?}:\n{}",
                    allowed.get(rule),
                    shown()
                ));
            }
        }
        if let Some(missing) = expected.iter().find(|expected| !actual.contains(expected)) {
            return Err(format!("expected {missing:?} among\n{}", shown()));
        }
        let says = |finding: &Value| {
            let part = |key: &str| finding[key].as_str().unwrap().to_owned();
            format!("{} {}", part("field"), part("wrong")).contains(&self.says)
        };
        let is_main = |finding: &&Value| self::found(finding) == main;
        match findings.iter().filter(is_main).any(says) {
            true => Ok(()),
            false => Err(format!("no sentence of {main:?} has {:?}:\n{}", self.says, shown())),
        }
    }
}

#[test]
fn finds_each_mistake_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let mistakes = mistakes();
    assert!(mistakes.len() >= 60, "{} mistakes", mistakes.len());
    let bases: BTreeSet<ShippedFile> = mistakes.iter().map(|mistake| mistake.base).collect();
    let texts = bases.iter().map(|base| base.text()).chain(mistakes.iter().map(|mistake| mistake.edited().0));
    let write = |(number, text): (usize, String)| {
        let file = folder.path().join(format!("{number}.yaml"));
        std::fs::write(&file, text).unwrap();
        file
    };
    let mut findings = check(&texts.enumerate().map(write).collect::<Vec<_>>());
    let rows = findings.split_off(bases.len());
    let failures: Vec<String> = mistakes
        .iter()
        .zip(&rows)
        .filter_map(|(mistake, found)| {
            let base = bases.iter().position(|base| *base == mistake.base).unwrap();
            let why = mistake.compare(found, &findings[base]).err()?;
            Some(format!("{}: {why}", mistake.name))
        })
        .collect();
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), mistakes.len(), failures.join("\n"));
}

/// The second table of the page has the rules about what is around the gate.
#[test]
fn has_a_mistake_for_each_rule() {
    let page = std::fs::read_to_string(repository("docs/reference/checks.md")).unwrap();
    let (_, around) = page.split_once("## Envoy's configuration around the gate").unwrap();
    let rules = around.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let known: BTreeSet<String> =
        mistakes().iter().map(|mistake| mistake.expected().level_and_rule().1).collect();
    // Every listener of envoy.yaml that has the gate is on loopback.
    let missing: Vec<&str> =
        rules.filter(|rule| !known.contains(*rule) && *rule != "loopback-listener").collect();
    assert_eq!(missing, Vec::<&str>::new());
}

/// What the rules say about Envoy's start is true of real Envoys.
#[test]
fn says_what_envoy_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for folder in ["certs", "secrets", "run"] {
        std::fs::create_dir(path(folder)).unwrap();
    }
    std::os::unix::fs::symlink(repository("target"), path("target")).unwrap();
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(path("certs/edge.pem"), certificate.cert.pem()).unwrap();
    std::fs::write(path("certs/edge-key.pem"), certificate.signing_key.serialize_pem()).unwrap();
    std::fs::copy(repository("certs/sds.yaml"), path("certs/sds.yaml")).unwrap();
    std::fs::write(path("secrets/runblob-key.yaml"), "resources: []").unwrap();
    assert!(module().is_file());
    let native = GateModule::Native.file().canonicalize().unwrap().display().to_string();
    let mistakes = mistakes();
    let rows = mistakes.iter().filter(|mistake| mistake.envoy.is_some()).count();
    assert!(rows >= 30, "{rows} rows");
    for version in versions() {
        let validate = |text: &str| {
            std::fs::write(path("envoy.yaml"), text).unwrap();
            let mut envoy = Command::new(&version.binary);
            envoy
                .args(["--mode", "validate", "-c", "envoy.yaml", "--log-level", "error"])
                .envs([TOKEN_KEY, SIGNING_KEY]);
            let output = envoy.current_dir(folder.path()).output().unwrap();
            (output.status.success(), self::text(&output.stderr))
        };
        assert!(validate(&ShippedFile::Shipped.text()).0, "the shipped file does not load");
        for mistake in &mistakes {
            let Some(expected) = mistake.envoy else { continue };
            if mistake.base == ShippedFile::Native && !GateModule::Native.runs_on(&version) {
                continue;
            }
            // The file of this machine.
            let text = mistake.edited().0.replace("/opt/libblobgate.so", &native);
            let (loads, why) = validate(&text);
            assert_eq!(
                loads,
                expected == EnvoyStart::Loads,
                "{}, Envoy {}: {why}",
                mistake.name,
                version.name
            );
        }
    }
}

#[track_caller]
fn has_no_error(name: &str, findings: &[Value]) {
    let errors: Vec<&Value> = findings.iter().filter(|finding| finding["level"] == "error").collect();
    assert!(errors.is_empty(), "{name}: {errors:#?}");
}

/// Files, found by their text: each that has the gate's filter.
#[test]
fn finds_no_error_in_what_is_shipped() {
    let tracked = Command::new("git").arg("ls-files").current_dir(repository(".")).output().unwrap().stdout;
    let names = text(&tracked);
    let shipped = check(&[repository("envoy.yaml")]);
    assert_eq!(counts(&shipped[0])[&("warning".to_owned(), "loopback-listener".to_owned())], 2);
    let is_configuration = |name: &&str| {
        let extension = Path::new(name).extension();
        let is_data = extension
            .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known));
        is_data
            && std::fs::read_to_string(repository(name)).is_ok_and(|text| {
                let has = |word| text.contains(word);
                has("blobgate.wasm") && has("vm_config") || has("libblobgate.so") && has("hooks:")
            })
    };
    let files: Vec<&str> = names.lines().filter(is_configuration).collect();
    let expected = [
        "envoy.yaml",
        "deploy/istio/envoyfilter.yaml",
        "deploy/istio/envoyfilter-native.yaml",
        "deploy/envoy-gateway/gate.yaml",
    ];
    assert!(expected.iter().all(|file| files.contains(file)), "{files:?}");
    let paths: Vec<_> = files.iter().map(repository).collect();
    for (name, findings) in files.iter().zip(check(&paths)) {
        has_no_error(name, &findings);
    }
}

/// The pages' variants of envoy.yaml, the blocks that are whole configurations, and what tests build.
#[test]
fn finds_no_error_in_variants() {
    let folder = tempfile::tempdir().unwrap();
    let mut variants: Vec<(String, String)> =
        [ShippedFile::Runblob, ShippedFile::Native, ShippedFile::BehindProxy]
            .map(|variant| (format!("{variant:?}.yaml"), variant.text()))
            .into();
    variants.extend(
        yaml_of_pages().into_iter().enumerate().map(|(number, text)| (format!("page-{number}.yaml"), text)),
    );
    let hook = |changes: Value| Bootstrap::shipped().hook(&changes);
    let certificate = folder.path().join("ca.pem");
    let built = [
        Bootstrap::shipped(),
        Bootstrap::as_shipped().inbox(9084),
        Bootstrap::as_shipped().inbox(9084).inbox_admin(9085),
        Bootstrap::shipped().provider_with_tls(9443, &certificate),
        Bootstrap::shipped().gate_text(&Bootstrap::shipped_gate()),
        hook(json!({"mode": "observe"})),
        hook(json!({"transport": "any", "source": "any"})),
        hook(json!({"max_body_bytes": 1_000_000})),
    ];
    for (number, bootstrap) in built.iter().enumerate() {
        let bootstrap = bootstrap.clone().endpoint("video_service", 9081).endpoint("failure_service", 9082);
        variants.push((format!("built-{number}.json"), bootstrap.text(folder.path())));
    }
    let paths: Vec<_> = variants
        .iter()
        .map(|(name, text)| {
            let file = folder.path().join(name);
            std::fs::write(&file, text).unwrap();
            file
        })
        .collect();
    for ((name, _), findings) in variants.iter().zip(check(&paths)) {
        has_no_error(name, &findings);
    }
}

/// Unusual files that are right: an edit of a shipped file each.
#[test]
fn finds_no_error_in_unusual_files() {
    let host = "  - applyTo: VIRTUAL_HOST\n";
    let istio = ShippedFile::Istio.text();
    let (_, patch) = istio.split_once(host).unwrap();
    let two_ports = format!("{host}{}{host}{patch}", patch.replace("portNumber: 443", "portNumber: 80"));
    let struct_of_user = "http_filters:\n          - name: other\n            typed_config:\n              \"@type\": \
                          type.googleapis.com/google.protobuf.Struct\n              value: {timeout: 20}\n          - name: blobgate";
    let edits = [
        // A proxy on the way to the provider, with the name of its own certificate.
        (
            ShippedFile::Runblob,
            "{san_type: DNS, matcher: {exact: platform.runblob.io}}",
            "{san_type: URI, matcher: {exact: spiffe://a/egress}}",
        ),
        (ShippedFile::Runblob, "matcher: {exact: platform.runblob.io}", "matcher: {suffix: .runblob.io}"),
        // An inbox for one of the hooks.
        (
            ShippedFile::Shipped,
            "match:\n                  prefix: /\n",
            "match:\n                  path_separated_prefix: /webhook\n",
        ),
        (ShippedFile::Shipped, "http_filters:\n          - name: blobgate", struct_of_user),
        (
            ShippedFile::Shipped,
            "          stream_idle_timeout: 30s\n",
            "          stream_idle_timeout: 30.500s\n",
        ),
        (ShippedFile::Istio, &format!("{host}{patch}"), &two_ports),
        (ShippedFile::Istio, "sni: hooks.example.com", "sni: \"*.example.com\""),
        (ShippedFile::Istio, "domains: [hooks.example.com]", "domains: [\"*\"]"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let files: Vec<_> = edits
        .iter()
        .enumerate()
        .map(|(number, (base, find, replace))| {
            let file = folder.path().join(format!("{number}.yaml"));
            let text = base.text();
            assert!(text.contains(find), "the file has no {find:?}");
            std::fs::write(&file, text.replace(find, replace)).unwrap();
            file
        })
        .collect();
    for ((_, _, replace), findings) in edits.iter().zip(check(&files)) {
        has_no_error(replace, &findings);
    }
}

/// Each block of a page that is a whole configuration of the gate.
fn yaml_of_pages() -> Vec<String> {
    let pages =
        Command::new("git").args(["ls-files", "*.md"]).current_dir(repository(".")).output().unwrap().stdout;
    let mut found = Vec::new();
    // The example of `check` itself.
    let broken = blobgate_testkit_book::block("check-broken");
    for page in text(&pages).lines() {
        let page = std::fs::read_to_string(repository(page)).unwrap();
        let blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
        found.extend(
            blocks
                .filter(|block| {
                    block.starts_with("version:") && block.contains("\nhooks:") && *block != broken
                })
                .map(str::to_owned),
        );
    }
    assert!(!found.is_empty(), "no page has a configuration");
    found
}
