//! `blobgate up --dev`, with a real Envoy, in folders like a clone of the repository with other ports.

use crate::running::{RunningTool, blobgate, kill, processes_in, text};
use blobgate::contract::header::VERDICT;
use blobgate_testkit::clone::ADMIN;
use blobgate_testkit::{CloneFolder, GateModule, eventually, module, versions};
use serde_json::Value;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The last line of its text once all parts run.
const READY: &str = "Ctrl-C ends everything.";

const GATE: &str = "-c envoy.yaml";
const SANDBOX: &str = "sandbox --listen";
const INBOX: &str = "inbox serve";
const VIDEO: &str = "receiver --name video";

/// Runs `blobgate up --dev` in a clone.
struct UpFolder {
    clone: CloneFolder,
}

/// A running `blobgate up --dev`. Its lines include standard error.
struct RunningUp<'a> {
    clone: &'a UpFolder,
    running: RunningTool,
}

impl UpFolder {
    fn new() -> Self {
        Self { clone: CloneFolder::new() }
    }

    fn path(&self) -> PathBuf {
        self.clone.path()
    }

    fn admin(&self) -> String {
        format!("127.0.0.1:{}", self.clone.port(ADMIN))
    }

    fn arguments(&self, more: &[&str]) -> Vec<String> {
        let envoy = versions().pop().unwrap().binary;
        let envoy = fs::canonicalize(envoy).unwrap().display().to_string();
        let mut all: Vec<String> =
            ["up", "--dev", "--envoy", &envoy, "--admin", &self.admin()].map(str::to_owned).into();
        all.extend(more.iter().map(|&one| one.to_owned()));
        all
    }

    /// The output of a run.
    fn output(&self) -> Output {
        let arguments = self.arguments(&[]);
        blobgate(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
            .current_dir(self.path())
            .output()
            .unwrap()
    }

    /// Starts it by a shell script, and waits for all parts.
    #[track_caller]
    fn up(&self, script: &str, more: &[&str]) -> RunningUp<'_> {
        let up = self.start(script, more);
        up.line(READY);
        up
    }

    fn start(&self, script: &str, more: &[&str]) -> RunningUp<'_> {
        let mut command = Command::new("bash");
        command.args(["-c", script, env!("CARGO_BIN_EXE_blobgate")]).args(self.arguments(more));
        command.current_dir(self.path()).stdin(Stdio::null());
        RunningUp { clone: self, running: RunningTool::start(command) }
    }

    fn processes(&self) -> Vec<(u32, String)> {
        processes_in(&self.path())
    }

    fn pid(&self, part: &str) -> Option<u32> {
        // `end-with` becomes the part a moment later.
        let is_part = |line: &str| line.contains(part) && !line.contains("end-with");
        self.processes().into_iter().find(|(_, line)| is_part(line)).map(|(pid, _)| pid)
    }

    fn has_store_open(&self, pid: u32) -> bool {
        let store = self.path().join("target/run/inbox.db");
        let mut open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        open.any(|fd| fs::read_link(fd.unwrap().path()).is_ok_and(|file| file == store))
    }

    #[track_caller]
    fn kill(&self, signal: &str, part: &str) {
        kill(signal, eventually(part, || self.pid(part)));
    }

    /// The output of a successful `blobgate inbox`.
    #[track_caller]
    fn inbox(&self, arguments: &[&str]) -> String {
        let done = blobgate(&[&["inbox"], arguments].concat()).current_dir(self.path()).output().unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", text(&done.stderr));
        text(&done.stdout)
    }
}

impl UpFolder {
    /// The rows of `blobgate demo` on a run.
    fn demo(&self) -> Output {
        let of = |scheme: &str, port: u16, path: &str| {
            format!("{scheme}://127.0.0.1:{}{path}", self.clone.port(port))
        };
        let arguments = [
            ("--gate", of("https", 8443, "/webhook")),
            ("--plain", of("http", 8080, "/webhook")),
            ("--token-gate", of("https", 8443, "/hooks/veo3")),
            ("--sandbox", of("https", 9443, "")),
            ("--inbox", of("http", ADMIN, "")),
            ("--service", format!("video={}", of("http", 9081, ""))),
            ("--service", format!("failure={}", of("http", 9082, ""))),
            ("--service", format!("quarantine={}", of("http", 9083, ""))),
        ];
        let mut command = blobgate(&["demo", "--json"]);
        command.args(arguments.iter().flat_map(|(name, value)| [*name, value.as_str()]));
        command.current_dir(self.path()).output().unwrap()
    }
}

impl RunningUp<'_> {
    /// Waits for a line with this text.
    #[track_caller]
    fn line(&self, words: &str) -> String {
        self.running.line_with(words)
    }

    fn signal(&self, signal: &str) {
        kill(signal, self.running.pid());
    }

    /// Ends it. No process may outlive it.
    #[track_caller]
    fn ends_well_by(self, signal: &str) {
        let clone = self.clone;
        let (status, lines) = self.running.end_by(signal);
        assert!(status.success(), "{signal}: {status}, {lines:#?}");
        assert_eq!(clone.processes(), [], "{signal}");
    }

    /// Waits for its end. Returns the unread lines.
    #[track_caller]
    fn fails(self) -> Vec<String> {
        let clone = self.clone;
        // Signal 0 changes nothing.
        let (status, lines) = self.running.end_by("0");
        assert_eq!(status.code(), Some(1), "{lines:#?}");
        assert_eq!(clone.processes(), []);
        lines
    }
}

/// The shell becomes the tool.
const ITSELF: &str = r#"exec "$0" "$@" 2>&1"#;

/// The shell waits for the tool.
const ITS_CHILD: &str = r#""$0" "$@" 2>&1; true"#;

#[test]
fn ends_all_parts_by_signal() {
    let clone = UpFolder::new();
    for (signal, more, processes) in [("INT", &[][..], 7), ("TERM", &["--no-inbox"], 6), ("HUP", &[], 7)] {
        let up = clone.up(ITSELF, more);
        assert_eq!(clone.processes().len(), processes, "{:#?}", clone.processes());
        up.ends_well_by(signal);
    }
}

#[test]
fn leaves_nothing_after_kill_9() {
    let clone = UpFolder::new();
    let up = clone.up(ITSELF, &[]);
    assert_eq!(clone.processes().len(), 7, "{:#?}", clone.processes());
    up.signal("KILL");
    eventually("end of every part", || clone.processes().is_empty().then_some(()));
}

#[test]
fn ends_with_its_parent_process() {
    let clone = UpFolder::new();
    let up = clone.up(ITS_CHILD, &[]);
    assert_eq!(clone.processes().len(), 8, "{:#?}", clone.processes());
    up.signal("KILL");
    up.line("blobgate: the parent process has ended. All parts end.");
    eventually("end of every part", || clone.processes().is_empty().then_some(()));
}

#[test]
fn names_a_dead_part() {
    let clone = UpFolder::new();
    for (part, name, more) in
        [(SANDBOX, "sandbox", &[][..]), (GATE, "gate", &[]), (VIDEO, "video", &["--no-inbox"])]
    {
        let up = clone.up(ITSELF, more);
        clone.kill("KILL", part);
        let lines = up.fails();
        let sentence = format!(
            "blobgate: {name} has ended (signal: 9 (SIGKILL)), so all parts end. See target/run/{name}.log"
        );
        let at = lines.iter().position(|line| *line == sentence);
        let at = at.unwrap_or_else(|| panic!("no {sentence:?} in {lines:#?}"));
        assert_eq!(lines[at + 1], format!("The last lines of target/run/{name}.log:"));
        if part != GATE {
            assert!(lines[at + 2].starts_with(&format!("  {name} listens on http")), "{lines:#?}");
        }
    }
}

#[test]
fn names_an_unusable_store() {
    let clone = UpFolder::new();
    fs::create_dir_all(clone.path().join("target/run/inbox.db")).unwrap();
    let output = clone.output();
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.starts_with("blobgate: cannot prepare the inbox's store: "), "{stderr}");
    assert_eq!((stderr.lines().count(), clone.processes()), (1, vec![]), "{stderr}");
}

#[test]
fn names_a_part_that_does_not_start() {
    let clone = UpFolder::new();
    let config = clone.path().join("envoy.yaml");
    fs::write(&config, fs::read_to_string(&config).unwrap() + "\nnonsense: 1\n").unwrap();
    let output = clone.output();
    let stderr = text(&output.stderr);
    let mut lines = stderr.lines();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let sentence = "blobgate: gate has ended (exit status: 1), so all parts end. See target/run/gate.log";
    assert_eq!(lines.next(), Some(sentence), "{stderr}");
    assert_eq!(lines.next(), Some("The last lines of target/run/gate.log:"), "{stderr}");
    assert!(lines.any(|line| line.contains("nonsense")), "{stderr}");
    assert_eq!(clone.processes(), []);
}

#[test]
fn continues_without_a_terminated_inbox() {
    let clone = UpFolder::new();
    let up = clone.up(ITSELF, &[]);
    let store = "sqlite:target/run/inbox.db";
    clone.inbox(&["backup", "--store", store, "--to", "backup.db"]);

    assert!(clone.has_store_open(clone.pid(INBOX).unwrap()), "the search finds none");
    clone.kill("TERM", INBOX);
    let line = up.line("blobgate: inbox has ended");
    assert!(!clone.has_store_open(up.running.pid()), "the store is still open");
    let pid = up.running.pid();
    let expected = format!(
        "blobgate: inbox has ended (exit status: 0). Providers get 503 and retry until it runs again. `kill -USR1 {pid}` starts it again."
    );
    assert_eq!(line, expected);
    assert_eq!(clone.pid(INBOX), None);
    for file in ["inbox.db", "inbox.db-wal", "inbox.db-shm"] {
        let _none = fs::remove_file(clone.path().join("target/run").join(file));
    }
    clone.inbox(&["restore", "--from", "backup.db", "--store", store]);

    up.signal("USR1");
    let line = up.line("blobgate: inbox starts again");
    up.line("inbox listens on");
    assert_eq!(line, format!("blobgate: inbox starts again (pid {}).", clone.pid(INBOX).unwrap()));
    clone.inbox(&["ls", "--admin", &format!("http://{}", clone.admin())]);
    up.signal("USR1");
    up.line("blobgate: all parts run.");
    up.ends_well_by("INT");
}

#[test]
fn starts_a_crashed_inbox_again() {
    let clone = UpFolder::new();
    let up = clone.up(ITSELF, &[]);
    clone.kill("KILL", INBOX);
    up.line("blobgate: inbox has ended (signal: 9 (SIGKILL)). Its store has all events.");
    up.line("blobgate: inbox starts again (pid ");
    up.line("inbox listens on");
    up.ends_well_by("INT");
}

#[test]
fn continues_without_a_service() {
    let clone = UpFolder::new();
    let up = clone.up(ITSELF, &[]);
    clone.kill("TERM", VIDEO);
    up.line("blobgate: video has ended (exit status: 0). Its events wait in the inbox.");
    assert_eq!(clone.pid(VIDEO), None);
    up.signal("USR1");
    up.line("blobgate: video starts again (pid ");
    up.line("video listens on");
    up.ends_well_by("INT");
}

#[test]
fn ends_all_parts_when_its_output_is_full() {
    let clone = UpFolder::new();
    let arguments = clone.arguments(&[]);
    let mut command = blobgate(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    command.stdout(fs::File::options().write(true).open("/dev/full").unwrap());
    let output = command.current_dir(clone.path()).output().unwrap();
    let stderr = text(&output.stderr);
    assert_eq!((output.status.code(), clone.processes()), (Some(1), vec![]), "{stderr}");
    assert!(stderr.starts_with("blobgate: cannot write to standard output: "), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

#[track_caller]
fn refuses(clone: &UpFolder, expected: &str) {
    let output = clone.output();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr), format!("{expected}\n"));
    assert_eq!(text(&output.stdout), "");
    assert!(!clone.path().join("target/run").exists(), "a part has started");
}

#[test]
fn names_a_taken_port() {
    let clone = UpFolder::new();
    let port = clone.clone.port(8443);
    let _taken = TcpListener::bind(("0.0.0.0", port)).unwrap();
    let (name, pid) = (fs::read_to_string("/proc/self/comm").unwrap(), std::process::id());
    refuses(
        &clone,
        &format!(
            "blobgate: port {port} of 127.0.0.1 is taken by {}, pid {pid}. End that program, or the `make run` in another terminal, and try again",
            name.trim_end()
        ),
    );
}

#[test]
fn names_a_missing_file() {
    let rows = [
        ("secrets/env", "secrets/env", "Make it with `dev/secrets`"),
        ("certs/edge-key.pem", "certs/edge-key.pem", "Make it with `dev/certificate`"),
        ("envoy.yaml", "./envoy.yaml", "Run this command in a clone of the repository"),
    ];
    let clone = UpFolder::new();
    for (removed, file, remedy) in rows {
        fs::remove_file(clone.path().join(removed)).unwrap();
        let why = "No such file or directory (os error 2)";
        refuses(&clone, &format!("blobgate: cannot read {file}: {why}. {remedy}"));
    }
}

/// `make demo` shows the same rows with either module.
#[test]
fn runs_the_native_module_with_the_same_rows() {
    let clone = UpFolder::new();
    assert!(GateModule::Native.file().is_file());
    let rows = |module: &str, shown: &str| {
        let up = clone.start(ITSELF, &["--module", module]);
        let line = up.line("Blobgate runs");
        assert_eq!(line, format!("Blobgate runs, on Envoy {}{shown}.", versions().pop().unwrap().name));
        up.line(READY);
        let end = clone.demo();
        let shown: Value = serde_json::from_slice(&end.stdout).unwrap_or_default();
        assert_eq!(end.status.code(), Some(0), "{module}: {shown:#}\n{}", text(&end.stderr));
        up.ends_well_by("INT");
        // Each run has other ids.
        let names = |headers: &Value| headers.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let arrived = |one: &Value| (one["service"].clone(), names(&one["headers"]));
        let row = |row: &Value| {
            let arrived: Vec<_> = row["arrived"].as_array().unwrap().iter().map(arrived).collect();
            format!("{} {} {} {arrived:?}", row["sent"], row["answer"], row["code"])
        };
        shown["rows"].as_array().unwrap().iter().map(row).collect::<Vec<_>>()
    };
    let wasm = rows("wasm", "");
    assert!(wasm.len() > 20 && wasm.iter().any(|row| row.contains(VERDICT)), "{wasm:#?}");
    assert_eq!(rows("native", ", with the native module"), wasm);
    let config = fs::read_to_string(clone.path().join("target/run/envoy.json")).unwrap();
    assert!(config.contains("libblobgate.so") && !config.contains("blobgate.wasm"), "{config}");
}

#[test]
fn names_a_missing_or_wrong_module() {
    let clone = UpFolder::new();
    let refuses = |more: &[&str], error: &str| {
        let arguments = clone.arguments(more);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let output = blobgate(&arguments).current_dir(clone.path()).output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), format!("blobgate: {error}\n")));
    };
    let native = ["--module", "native"];
    let gone = "No such file or directory (os error 2)";
    let so = "target/native/libblobgate.so";
    let _ = fs::remove_file(clone.path().join("target/native"));
    refuses(&native, &format!("cannot use the native module {so}: {gone}. Build it with `make native`"));
    fs::create_dir(clone.path().join("target/native")).unwrap();
    fs::copy(module(), clone.path().join(so)).unwrap();
    refuses(
        &native,
        &format!("cannot use the native module {so}: it is a Wasm module. Build it with `make native`"),
    );
    fs::remove_file(clone.path().join("target/wasm32-wasip1")).unwrap();
    let wasm = "target/wasm32-wasip1/release/blobgate.wasm";
    refuses(&[], &format!("cannot use the Wasm module {wasm}: {gone}. Build it with `make build`"));
}

#[test]
fn names_a_missing_envoy() {
    let clone = UpFolder::new();
    let output = blobgate(&["up", "--dev", "--envoy", "./none"]).current_dir(clone.path()).output().unwrap();
    let expected = "blobgate: cannot run Envoy as ./none: the program does not exist. Install one with `dev/envoy 1.40.0`, which prints the path for --envoy\n";
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), expected.to_owned()));
    assert!(!Path::new(&clone.path().join("target/run")).exists());
}
