//! Output that cannot be written, by every command.

use crate::running::{blobgate, text};
use blobgate::contract::{Kind, Verdict, header};
use blobgate_testkit::inbox::{InboxProcess, forwarded, fresh_generation, migrate};
use blobgate_testkit::{TestDelivery, Upstream, closed_port, eventually, free_port, module, repository};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_blobgate");

const SENTENCE: &str = "blobgate: cannot write to standard output: No space left on device (os error 28). Free space there, or redirect it to another place\n";

/// A valid delivery.
const VALID: &str = include_str!("../../../tests/cases/samples/completed.json");

fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

/// A pipe that its reader has closed.
fn closed_pipe() -> std::io::PipeWriter {
    let (_reader, writer) = std::io::pipe().unwrap();
    writer
}

/// The commands that do something, from the page that has every command of the tool.
fn leaves() -> BTreeSet<String> {
    let page = fs::read_to_string(repository("docs/reference/command-line.md")).unwrap();
    let all: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("## blobgate ")).collect();
    let is_leaf = |name: &str| !all.iter().any(|other| other.starts_with(&format!("{name} ")));
    all.iter().filter(|name| is_leaf(name)).map(|&name| name.to_owned()).collect()
}

fn run(args: &[&str], stdout: impl Into<Stdio>, stderr: impl Into<Stdio>) -> Output {
    let mut command = blobgate(args);
    command.env("KEY", "a token key of a test, 32 bytes and more");
    command.env("NOTIFY_KEY", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").stdout(stdout).stderr(stderr);
    command.output().unwrap()
}

/// Standard output is full: exit code 1 and one sentence. A command may add a notice on standard error.
#[track_caller]
fn fails_on_a_full_disk(args: &[&str]) {
    let end = run(args, full(), Stdio::piped());
    let stderr = text(&end.stderr);
    assert_eq!((end.status.code(), stderr.matches(SENTENCE).count()), (Some(1), 1), "{args:?}: {stderr}");
}

/// The reader has closed the pipe, as `head` does.
#[track_caller]
fn is_quiet_on_a_closed_pipe(args: &[&str]) {
    let end = run(args, closed_pipe(), Stdio::piped());
    let stderr = text(&end.stderr);
    let is_quiet = !stderr.contains("cannot write") && !stderr.contains("roken pipe");
    assert!(end.status.success() && is_quiet, "{args:?}: {}, {stderr}", end.status);
}

/// Standard error is full or closed: the exit code is the same.
#[track_caller]
fn needs_no_standard_error(args: &[&str], code: i32) {
    for stderr in [Stdio::from(full()), closed_pipe().into()] {
        assert_eq!(run(args, Stdio::piped(), stderr).status.code(), Some(code), "{args:?}");
    }
}

#[test]
fn reports_help_that_cannot_be_written() {
    let leaves = leaves();
    assert!(leaves.len() > 20, "{leaves:?}");
    for name in leaves.iter().map(String::as_str).chain(["", "inbox"]) {
        let args: Vec<&str> = name.split_whitespace().chain(["--help"]).collect();
        fails_on_a_full_disk(&args);
        is_quiet_on_a_closed_pipe(&args);
    }
    for args in [&["--version"][..], &["-h"], &["inbox", "ls", "-h"]] {
        fails_on_a_full_disk(args);
        is_quiet_on_a_closed_pipe(args);
    }
    needs_no_standard_error(&["inbox", "ls", "--no-such-option"], 2);
    let readable = File::open("/dev/null").unwrap();
    let end = run(&["--version"], readable, Stdio::piped());
    assert_eq!(end.status.code(), Some(1));
    assert!(text(&end.stderr).contains("Bad file descriptor"), "{}", text(&end.stderr));
}

/// A store with an entry of each kind that a command changes.
struct Rig {
    folder: TempDir,
    store: String,
    inbox: InboxProcess,
    /// The service, and the receiver of notifications.
    receiver: Upstream,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = format!("sqlite:{}", folder.path().join("inbox.db").display());
        migrate(PROGRAM, &store);
        let provider = format!("http://{}", closed_port().address);
        let receiver = Upstream::start();
        let inbox = InboxProcess::start(
            PROGRAM,
            &store,
            receiver.port,
            &["--provider", &provider, "--access-log", "127.0.0.1:0"],
        )
        .ready();
        // No attempt is under way.
        assert!(inbox.command(&["pause", "--hook", "veo3"]).status.success());
        let rig = Self { folder, store, inbox, receiver };
        rig.waiting();
        eventually("the pause", || {
            let metrics = rig.inbox.get("/metrics").unwrap().text();
            metrics.contains("route_paused{route=\"veo3/completed\"} 1").then_some(())
        });
        rig
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Stores a delivery. Returns the id of its entry.
    #[track_caller]
    fn stored(&self, delivery: &TestDelivery) -> String {
        assert_eq!(self.inbox.receive(delivery).unwrap().status, 200);
        let list = self.inbox.command(&["ls", "--limit", "1", "--json"]);
        let entry: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap();
        entry["id"].to_string()
    }

    fn waiting(&self) -> String {
        self.stored(&forwarded(&fresh_generation()))
    }

    fn quarantined(&self) -> String {
        let delivery = forwarded(&fresh_generation())
            .without_header(header::VERDICT)
            .without_header(header::EVENT)
            .header(header::VERDICT, Verdict::Quarantined.name())
            .header(header::CLAIMED_EVENT, Kind::Completed.name())
            .header(header::REASON, "token-expired");
        self.stored(&delivery)
    }

    fn dropped(&self) -> String {
        let id = self.waiting();
        self.drop(&id);
        id
    }

    /// Drops an entry between two attempts.
    fn drop(&self, id: &str) {
        eventually("a dropped entry", || {
            self.inbox.command(&["drop", id, "--yes"]).status.success().then_some(())
        });
    }

    /// Every form of a command that prints, each with entries of its own. A server has none here.
    fn forms(&self, leaf: &str) -> Vec<Vec<String>> {
        let admin = format!("--admin http://127.0.0.1:{}", self.inbox.admin);
        let config = repository("envoy.yaml").display().to_string();
        let new = |name: &str| self.path(&format!("{name}-{}", fresh_generation()));
        let announced = || format!("--hook veo3 --generation {} --job order-17", fresh_generation());
        let token = "--url https://hooks.example.com/h --aud a/b --kid k --key-env KEY";
        let forms = match leaf {
            "check" => vec![config, format!("--json {}", repository("envoy.yaml").display())],
            "init" => vec![format!("{} --host localhost --api-key-file none", new("gate"))],
            "completions" => vec!["bash".to_owned()],
            "explain" => {
                let body = self.path("body.json");
                fs::write(&body, VALID).unwrap();
                let request = format!("--config {config} --hook veo3 --body {body}");
                vec![
                    "result-url-denied".to_owned(),
                    "--json result-url-denied".to_owned(),
                    request.clone(),
                    format!("--json {request}"),
                ]
            }
            "render" => {
                let folder = new("setup");
                let args = format!("init {folder} --host localhost --api-key-file none");
                let made = blobgate(&args.split(' ').collect::<Vec<_>>()).output().unwrap();
                assert!(made.status.success(), "{}", text(&made.stderr));
                let setup = Path::new(&folder).join("blobgate.yaml");
                let module = format!("module_file: {}\n", module().canonicalize().unwrap().display());
                fs::write(&setup, fs::read_to_string(&setup).unwrap() + &module).unwrap();
                vec![format!("--setup {}", setup.display())]
            }
            "schema" => vec![String::new(), "--for envoy".to_owned()],
            "why" => {
                let told = format!("--entry {} {admin}", self.waiting());
                vec![told.clone(), format!("--json {told}")]
            }
            "inbox ls" => vec![admin.clone(), format!("--json {admin}")],
            "inbox show" => {
                let shown = format!("{} {admin}", self.waiting());
                vec![shown.clone(), format!("--json {shown}"), format!("--body {shown}")]
            }
            "inbox stats" => vec![admin.clone(), format!("--json {admin}")],
            "inbox audit" => {
                self.dropped();
                vec![admin.clone(), format!("--json {admin}")]
            }
            "inbox refusals" => vec![admin.clone(), format!("--json {admin}")],
            "inbox pause" => vec![format!("--hook another {admin}")],
            "inbox resume" => {
                self.inbox.command(&["pause", "--hook", "another"]);
                vec![format!("--hook another {admin}")]
            }
            "inbox retry" => ["--yes", "--yes --json", "--dry-run"]
                .map(|form| format!("{} {form} {admin}", self.waiting()))
                .into(),
            "inbox replay" => vec![
                format!("{} --yes {admin}", self.dropped()),
                format!("{} --yes --json {admin}", self.dropped()),
            ],
            "inbox release" => vec![
                format!("{} --yes {admin}", self.quarantined()),
                format!("{} --as completed --yes {admin}", self.quarantined()),
                format!("{} --as completed --yes --json {admin}", self.quarantined()),
                format!("{} --as completed --dry-run {admin}", self.quarantined()),
            ],
            "inbox reevaluate" => {
                vec![format!("{} --config {config} --dry-run --json {admin}", self.quarantined())]
            }
            "inbox drop" => vec![
                format!("{} --yes {admin}", self.quarantined()),
                format!("{} --yes --json {admin}", self.quarantined()),
            ],
            "inbox expect" => vec![
                format!("{} {admin}", announced()),
                format!("{} --json {admin}", announced()),
                format!("--csv {} {admin}", self.csv()),
            ],
            "inbox reconcile" => {
                self.inbox.command(&["expect", "--csv", &self.csv()]);
                ["", "--json ", "--dry-run ", "--dry-run --json "].map(|form| format!("{form}{admin}")).into()
            }
            "inbox export" => vec![admin.clone(), format!("--bodies {admin}")],
            "inbox purge" => ["--yes", "--dry-run", "--dry-run --json", "--yes --json"]
                .map(|form| {
                    let generation = fresh_generation();
                    let id = self.stored(&forwarded(&generation));
                    self.drop(&id);
                    format!("--generation {generation} {form} {admin}")
                })
                .into(),
            "inbox test-notify" => {
                vec![format!("--notify http://127.0.0.1:{} --notify-key-env NOTIFY_KEY", self.receiver.port)]
            }
            "inbox migrate" => vec![format!("--store sqlite:{}", new("migrated"))],
            "inbox backup" => vec![format!("--store {} --to {}", self.store, new("backup"))],
            "inbox restore" => {
                let from = new("from");
                let copied = blobgate(&["inbox", "backup", "--store", &self.store, "--to", &from]).output();
                assert!(copied.unwrap().status.success());
                vec![format!("--from {from} --store sqlite:{}", new("to"))]
            }
            "mint" => vec![
                token.to_owned(),
                format!("{token} --json"),
                "--new-key".to_owned(),
                "--new-key --json".to_owned(),
                format!("--new-key --out {}", new("key")),
            ],
            // Tests of their own.
            "inbox tail" | "inbox serve" | "receiver" | "sandbox" | "up" | "demo" => vec![],
            _ => panic!("add a row for `blobgate {leaf}`"),
        };
        forms
            .iter()
            .map(|form| leaf.split(' ').chain(form.split_whitespace()).map(str::to_owned).collect())
            .collect()
    }

    fn csv(&self) -> String {
        let path = self.path("generations.csv");
        fs::write(&path, format!("veo3,{},order-1\n", fresh_generation())).unwrap();
        path
    }
}

#[test]
fn reports_output_that_cannot_be_written() {
    let rig = Rig::new();
    for leaf in leaves() {
        // A fresh set for each, because a command changes its entries.
        for form in rig.forms(&leaf) {
            fails_on_a_full_disk(&form.iter().map(String::as_str).collect::<Vec<_>>());
        }
        for form in rig.forms(&leaf) {
            is_quiet_on_a_closed_pipe(&form.iter().map(String::as_str).collect::<Vec<_>>());
        }
        for form in rig.forms(&leaf) {
            let form: Vec<_> = form.iter().map(String::as_str).collect();
            let end = run(&form, Stdio::piped(), full());
            assert_eq!(end.status.code(), Some(0), "{form:?}");
            assert!(!end.stdout.is_empty(), "{form:?} prints nothing, so it proves nothing");
        }
    }
}

fn spawned(args: &[&str], stdout: impl Into<Stdio>) -> Child {
    blobgate(args).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap()
}

/// Its exit code and standard error, at its own end.
#[track_caller]
fn ended(mut child: Child) -> (Option<i32>, String) {
    eventually("its end", || child.try_wait().unwrap());
    let end = child.wait_with_output().unwrap();
    (end.status.code(), text(&end.stderr))
}

#[test]
fn tail_ends_without_its_reader() {
    let rig = Rig::new();
    rig.waiting();
    let admin = format!("http://127.0.0.1:{}", rig.inbox.admin);
    for more in [&[][..], &["--json"]] {
        let args = [&["inbox", "tail", "--after", "0.0", "--admin", &admin][..], more].concat();
        let (code, stderr) = ended(spawned(&args, full()));
        assert_eq!((code, stderr.matches(SENTENCE).count()), (Some(1), 1), "{stderr}");
        assert_eq!(ended(spawned(&args, closed_pipe())), (Some(0), String::new()));
    }
    // It has nothing to print, and notices the end of its reader all the same.
    let args = ["inbox", "tail", "--hook", "another", "--admin", &admin];
    assert_eq!(ended(spawned(&args, closed_pipe())), (Some(0), String::new()));
}

#[test]
fn servers_report_output_that_cannot_be_written() {
    let rig = Rig::new();
    let key = rig.path("api-key");
    fs::write(&key, "rb-a-key-of-a-test\n").unwrap();
    for args in [
        &["receiver", "--listen", "127.0.0.1:0"][..],
        &["sandbox", "--listen", "127.0.0.1:0", "--api-key-file", &key],
    ] {
        assert_eq!(ended(spawned(args, full())), (Some(1), SENTENCE.to_owned()), "{args:?}");
    }
}

#[test]
fn serve_continues_without_its_output() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("inbox.db").display());
    migrate(PROGRAM, &store);
    for (stdout, code, sentence) in [(Stdio::from(full()), 1, SENTENCE), (closed_pipe().into(), 0, "")] {
        let closed = closed_port();
        let ports = [free_port(), free_port()];
        let [listen, admin] = ports.map(|port| format!("127.0.0.1:{port}"));
        let deliver_to = format!("http://{}", closed.address);
        let args = [
            "inbox",
            "serve",
            "--store",
            &store,
            "--listen",
            &listen,
            "--admin",
            &admin,
            "--deliver-to",
            &deliver_to,
        ];
        let child = spawned(&args, stdout);
        let admin = format!("http://{admin}");
        eventually("an inbox that answers", || {
            let stats = run(&["inbox", "stats", "--admin", &admin], Stdio::piped(), Stdio::piped());
            stats.status.success().then_some(())
        });
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let (status, stderr) = ended(child);
        let reported: String =
            stderr.split_inclusive('\n').filter(|line| line.contains("cannot write")).collect();
        assert_eq!((status, reported.as_str()), (Some(code), sentence), "{stderr}");
    }
}

#[test]
fn needs_no_standard_error_to_fail() {
    let closed = closed_port();
    let url = format!("http://{}", closed.address);
    assert!(!Path::new("/nowhere").exists());
    needs_no_standard_error(&["inbox", "ls", "--admin", &url], 1);
    needs_no_standard_error(&["inbox", "migrate", "--store", "sqlite:/nowhere/inbox.db"], 1);
    needs_no_standard_error(&["mint", "--new-key", "--prompt", "A cat"], 2);
}
