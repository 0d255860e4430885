//! A setup folder with free ports, and a run of `blobgate up` on it.

use crate::running::{RunningTool, blobgate, client, kill, processes_in, text};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use blobgate::contract::header::GENERATION_ID;
use blobgate_testkit::{GateModule, block, eventually, free_port, module, versions};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;
use uuid::Uuid;

/// The line of a run that is ready.
const READY: &str = "Blobgate runs on Envoy ";
pub(super) const GATE: &str = "--disable-hot-restart";
pub(super) const INBOX: &str = "inbox serve";

pub(super) struct SetupFolder {
    folder: TempDir,
    pub(super) edge: u16,
    pub(super) admin: u16,
    inbox: u16,
    services: u16,
    pub(super) metrics: u16,
}

impl SetupFolder {
    /// A folder for a service at this URL.
    #[track_caller]
    pub(super) fn new(service: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("blobgate-setup-").tempdir().unwrap();
        let setup = Self {
            folder,
            edge: free_port(),
            admin: free_port(),
            inbox: free_port(),
            services: free_port(),
            metrics: free_port(),
        };
        for name in ["certs", "secrets"] {
            fs::create_dir(setup.path().join(name)).unwrap();
        }
        setup.write_certificate(&["localhost", "127.0.0.1"]);
        let key = || STANDARD.encode([*Uuid::new_v4().as_bytes(), *Uuid::new_v4().as_bytes()].concat());
        let secrets = format!("BLOBGATE_TOKEN_KEY=base64:{}\nBLOBGATE_SIGNING_KEY=whsec_{}\n", key(), key());
        setup.write("secrets/env", &secrets, 0o600);
        setup.write("secrets/runblob-key", "rb_live_5f2c81c07d9e4b36\n", 0o600);
        setup.write("blobgate.yaml", &setup.yaml(service), 0o644);
        setup
    }

    fn yaml(&self, service: &str) -> String {
        format!(
            "host: localhost\n\
             listen: 127.0.0.1:{}\n\
             tls: {{certificate: certs/edge.pem, key: certs/edge-key.pem}}\n\
             environment: test\n\
             hook:\n  path: /webhook/{{token}}\n  trust: {{any_of: [token, confirmed]}}\n  source: any\n  \
             result_url: [runblob.io, \"*.runblob.io\"]\n\
             api_key_file: secrets/runblob-key\n\
             token_keys: {{\"2026-11\": {{alg: HS256, env: BLOBGATE_TOKEN_KEY}}}}\n\
             services: {{completed: \"{service}\", failed: \"{service}\"}}\n\
             inbox: {{store: \"sqlite:inbox.db\"}}\n\
             module_file: {}\n\
             ports: {{services: {}, metrics: {}, inbox: {}, admin: {}, access_log: {}}}\n",
            self.edge,
            fs::canonicalize(module()).unwrap().display(),
            self.services,
            self.metrics,
            self.inbox,
            self.admin,
            free_port()
        )
    }

    /// Changes the setup to the native module.
    pub(super) fn take_native(&self) {
        let path = |module: GateModule| fs::canonicalize(module.file()).unwrap().display().to_string();
        let line = |module| format!("module_file: {}\n", path(module));
        let native = format!("module: native\n{}", line(GateModule::Native));
        self.replace("blobgate.yaml", &line(GateModule::Wasm), &native);
    }

    pub(super) fn write_certificate(&self, names: &[&str]) {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        self.write("certs/edge.pem", &made.cert.pem(), 0o644);
        self.write("certs/edge-key.pem", &made.signing_key.serialize_pem(), 0o600);
    }

    /// Its absolute path, without links.
    pub(super) fn path(&self) -> PathBuf {
        fs::canonicalize(self.folder.path()).unwrap()
    }

    pub(super) fn write(&self, file: &str, text: &str, mode: u32) {
        let path = self.path().join(file);
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    pub(super) fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path().join(file)).unwrap()
    }

    /// Changes a text of a file, which has it once.
    #[track_caller]
    pub(super) fn replace(&self, file: &str, from: &str, to: &str) {
        let before = self.read(file);
        assert_eq!(before.matches(from).count(), 1, "{from} in {before}");
        fs::write(self.path().join(file), before.replace(from, to)).unwrap();
    }

    pub(super) fn setup_file(&self) -> String {
        self.path().join("blobgate.yaml").display().to_string()
    }

    pub(super) fn arguments(&self, more: &[&str]) -> Vec<String> {
        let envoy = fs::canonicalize(versions().pop().unwrap().binary).unwrap().display().to_string();
        let mut all: Vec<String> =
            ["up", "--setup", &self.setup_file(), "--envoy", &envoy].map(str::to_owned).into();
        all.extend(more.iter().map(|&one| one.to_owned()));
        all
    }

    pub(super) fn command(&self, more: &[&str]) -> Command {
        let arguments = self.arguments(more);
        let mut command = blobgate(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        // The options of the inbox come from the setup alone.
        command.env("BLOBGATE_INBOX_LISTEN", "192.0.2.1:1").env("BLOBGATE_INBOX_PROVIDER", "no URL");
        command.current_dir(env!("CARGO_TARGET_TMPDIR"));
        command
    }

    /// The one sentence of a start that fails.
    #[track_caller]
    pub(super) fn fails(&self, more: &[&str]) -> String {
        let Output { status, stderr, stdout } = self.command(more).output().unwrap();
        let stderr = text(&stderr);
        assert_eq!(status.code(), Some(1), "{stderr}{}", text(&stdout));
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert_eq!(self.processes(), []);
        stderr.trim_end().replace(&self.path().display().to_string(), "FOLDER")
    }

    /// Starts it, and waits until it is ready.
    #[track_caller]
    pub(super) fn up(&self, more: &[&str]) -> RunningSetup<'_> {
        let mut script = Command::new("bash");
        script.args(["-c", r#"exec "$0" "$@" 2>&1"#, env!("CARGO_BIN_EXE_blobgate")]);
        script.args(self.arguments(more)).current_dir(env!("CARGO_TARGET_TMPDIR")).stdin(Stdio::null());
        let up = RunningSetup { folder: self, running: RunningTool::start(script) };
        up.line(READY);
        up
    }

    /// Starts it by the command of a page, which names the folder `my-gate`, and waits until it is ready.
    #[track_caller]
    pub(super) fn up_by(&self, command: &str) -> RunningSetup<'_> {
        let work = tempfile::tempdir().unwrap();
        let envoy = fs::canonicalize(versions().pop().unwrap().binary).unwrap();
        for (to, name) in
            [(self.path(), "my-gate"), (envoy, "envoy"), (env!("CARGO_BIN_EXE_blobgate").into(), "blobgate")]
        {
            std::os::unix::fs::symlink(to, work.path().join(name)).unwrap();
        }
        let path = format!("{}:{}", work.path().display(), std::env::var("PATH").unwrap());
        let mut script = Command::new("bash");
        script.args(["-c", &format!("exec 2>&1; exec {command}")]).env("PATH", path).env_remove("ENVOY");
        script.current_dir(work.path()).stdin(Stdio::null());
        let up = RunningSetup { folder: self, running: RunningTool::start(script) };
        up.line(READY);
        up
    }

    pub(super) fn processes(&self) -> Vec<(u32, String)> {
        processes_in(&self.path())
    }

    pub(super) fn pid(&self, part: &str) -> Option<u32> {
        // `end-with` becomes the part a moment later.
        let is_part = |line: &str| line.contains(part) && !line.contains("end-with");
        self.processes().into_iter().find(|(_, line)| is_part(line)).map(|(pid, _)| pid)
    }

    #[track_caller]
    pub(super) fn kill(&self, signal: &str, part: &str) -> u32 {
        let pid = eventually(part, || self.pid(part));
        kill(signal, pid);
        pid
    }

    /// Waits until a part has another process.
    #[track_caller]
    pub(super) fn is_new(&self, part: &str, old: u32) {
        eventually(part, || self.pid(part).filter(|pid| *pid != old));
    }

    /// A URL with a token, for a job.
    #[track_caller]
    pub(super) fn callback_url(&self, job: &str) -> String {
        let url = format!("https://localhost:{}/webhook", self.edge);
        let secrets = self.read("secrets/env");
        let key = secrets.lines().find_map(|line| line.strip_prefix("BLOBGATE_TOKEN_KEY=")).unwrap();
        let minted =
            blobgate(&["mint", "--kid", "2026-11", "--aud", "test/veo3", "--url", &url, "--job", job])
                .args(["--key-env", "BLOBGATE_TOKEN_KEY"])
                .env("BLOBGATE_TOKEN_KEY", key)
                .output()
                .unwrap();
        assert!(minted.status.success(), "{}", text(&minted.stderr));
        text(&minted.stdout).trim().to_owned()
    }

    /// Sends an event to a URL of the gate. `None` without an answer.
    pub(super) fn send(&self, url: &str, generation: Uuid) -> Option<u16> {
        let certificate = reqwest::Certificate::from_pem(self.read("certs/edge.pem").as_bytes()).unwrap();
        let _first = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([certificate]).build().unwrap();
        let body = json!({
            "generation_id": generation.to_string(),
            "status": "completed",
            "prompt": "A cat playing with a ball in a sunny room",
            "video_url": "https://cdn.runblob.io/videos/your-video.mp4",
            "created_at": "2025-12-06T21:43:03.374000",
            "completed_at": "2025-12-06T21:44:06.143000",
            "seed": 319790131,
            "error": null,
        });
        block(async { Some(client.post(url).json(&body).send().await.ok()?.status().as_u16()) })
    }

    /// Sends an event until it is stored.
    #[track_caller]
    pub(super) fn store(&self, job: &str) -> Uuid {
        let (url, generation) = (self.callback_url(job), Uuid::new_v4());
        eventually("stored event", || self.send(&url, generation).filter(|status| *status == 200));
        generation
    }
}

/// A running `blobgate up`. Its lines include standard error.
pub(super) struct RunningSetup<'a> {
    folder: &'a SetupFolder,
    pub(super) running: RunningTool,
}

impl RunningSetup<'_> {
    /// Waits for a line with this text.
    #[track_caller]
    pub(super) fn line(&self, words: &str) -> String {
        self.running.line_with(words)
    }

    /// Ends it. No process may outlive it.
    #[track_caller]
    pub(super) fn ends_well_by(self, signal: &str) -> Vec<String> {
        let folder = self.folder;
        let (status, lines) = self.running.end_by(signal);
        assert_eq!(status.code(), Some(0), "{signal}: {lines:#?}");
        assert_eq!(folder.processes(), [], "{signal}");
        lines
    }
}

/// The requests that a receiver has.
pub(super) fn deliveries(receiver: &str) -> Vec<Value> {
    let url = format!("{receiver}/deliveries");
    block(async { client().get(url).send().await.unwrap().json().await.unwrap() })
}

/// Waits for the event of a generation at a receiver.
#[track_caller]
pub(super) fn arrival(receiver: &str, generation: Uuid) -> Value {
    let generation = generation.to_string();
    let is_its = |request: &Value| request["headers"][GENERATION_ID] == generation.as_str();
    eventually("arrival", || deliveries(receiver).into_iter().find(is_its))
}

/// A script that stands in for a program.
pub(super) fn script(folder: &Path, name: &str, text: &str) -> String {
    let (path, written) = (folder.join(name), folder.join(format!("{name}.part")));
    fs::write(&written, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&written, Permissions::from_mode(0o755)).unwrap();
    copy(&written, &path);
    path.display().to_string()
}

/// Copies a program in another process: a file that this one writes may be busy in a child of another test's thread.
pub(super) fn copy(from: impl AsRef<OsStr>, to: &Path) {
    assert!(Command::new("cp").arg("-p").arg(from).arg(to).status().unwrap().success());
}
