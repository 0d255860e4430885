//! `blobgate init`: a setup folder, from options and from a person's answers.

mod dialogue;
mod lines;

use crate::running::{blobgate, text};
use blobgate_testkit::{GateModule, needs};
use dialogue::{CTRL_C, CTRL_D, Dialogue};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

const API_KEY: &str = "rb-7d0f1e55c2a94be18e";
/// The usual options of a setup without a terminal.
const USUAL: [&str; 4] = ["--host", "localhost", "--api-key-file", "none"];

fn init(folder: &Path, args: &[&str]) -> Output {
    blobgate(&[&["init"], args].concat()).current_dir(folder).output().unwrap()
}

/// Every name in a folder and its folders.
fn names(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            names.extend(self::names(&entry.path()).into_iter().map(|inner| format!("{name}/{inner}")));
        }
        names.push(name);
    }
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[track_caller]
fn succeeds(end: &Output) -> String {
    assert_eq!(end.status.code(), Some(0), "{}", text(&end.stderr));
    text(&end.stdout)
}

/// The value of a variable in secrets/env.
fn secret(folder: &Path, name: &str) -> String {
    let env = fs::read_to_string(folder.join("secrets/env")).unwrap();
    let found = env.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("no {name}")).to_owned()
}

/// A certificate and its key in files: for these names.
fn certificate(folder: &Path, names: &[&str]) -> (String, String) {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    fs::write(folder.join("given.pem"), made.cert.pem()).unwrap();
    fs::write(folder.join("given-key.pem"), made.signing_key.serialize_pem()).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// A certificate with an RSA key of 1024 bits, and the key in both forms.
fn short_pair(folder: &Path) {
    for arguments in [
        "req -x509 -newkey rsa:1024 -nodes -keyout short-key.pem -out short.pem -subj /CN=localhost -addext subjectAltName=DNS:localhost",
        "rsa -in short-key.pem -traditional -out short-key-1.pem",
    ] {
        let end = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().unwrap();
        assert!(end.status.success(), "{}", text(&end.stderr));
    }
}

/// The setup loads, its other files are good, and Envoy's configuration that it stands for has no fault.
#[track_caller]
fn is_good_setup(folder: &Path) {
    let file = folder.join("blobgate.yaml");
    let made = fs::read_to_string(&file).unwrap();
    let module = match made.contains("\nmodule: native  #") {
        true => GateModule::Native.file(),
        false => GateModule::Wasm.file(),
    };
    // The test's program is not installed beside its module.
    fs::write(&file, format!("{made}module_file: {}\n", module.display())).unwrap();
    let path = file.to_str().unwrap();
    for arguments in [["check", path].as_slice(), &["render", "--setup", path]] {
        let end = blobgate(arguments).output().unwrap();
        assert_eq!(end.status.code(), Some(0), "{arguments:?} {} {}", text(&end.stdout), text(&end.stderr));
    }
    assert!(folder.join("envoy.yaml").exists() && folder.join("inbox.env").exists());
}

#[test]
fn makes_a_trial_from_five_empty_answers() {
    let work = tempfile::tempdir().unwrap();
    let mut terminal = Dialogue::start(work.path(), "init my-gate");
    for (question, default) in [
        ("Public host name [", "localhost"),
        ("Address of your app [", "http://127.0.0.1:5000"),
        ("Path of your app [", "/webhook"),
        ("Certificate of this host, a PEM file [", "make one"),
        ("RunBlob's API key: a file, or - to type it [", "none"),
    ] {
        terminal.shows(question);
        terminal.shows(&format!("{default}]: "));
        terminal.types("\n");
    }
    let (code, screen) = terminal.end();
    assert_eq!(code, Some(0), "{screen}");
    let folder = work.path().join("my-gate");
    assert_eq!(
        names(&folder),
        [
            ".gitignore",
            "blobgate.yaml",
            "certs",
            "certs/edge-key.pem",
            "certs/edge.pem",
            "secrets",
            "secrets/env"
        ]
    );
    let modes = ["secrets", "secrets/env", "certs/edge-key.pem"].map(|name| mode(&folder.join(name)));
    assert_eq!(modes, [0o700, 0o600, 0o600]);
    let setup = fs::read_to_string(folder.join("blobgate.yaml")).unwrap();
    for line in [
        "host: localhost\n",
        "listen: 127.0.0.1:8443\n",
        "tls: {certificate: certs/edge.pem, key: certs/edge-key.pem}\n",
        "environment: development\n",
        "  path: /webhook/{token}",
        "  trust: {any_of: [token]}\n",
        "services: {completed: \"http://127.0.0.1:5000\", failed: \"http://127.0.0.1:5000\"}\n",
        "inbox: {store: \"sqlite:inbox.db\"}\n",
    ] {
        assert!(setup.contains(line), "{line:?} in {setup}");
    }
    let ignored = fs::read_to_string(folder.join(".gitignore")).unwrap();
    assert_eq!(ignored, "/secrets/\n/certs/*-key.pem\n/run/\n/inbox.db*\n");
    for name in ["BLOBGATE_TOKEN_KEY", "BLOBGATE_SIGNING_KEY"] {
        assert!(!screen.contains(&secret(&folder, name)), "the screen shows {name}");
    }
    for text in [
        "init --print python --setup my-gate/blobgate.yaml > gate.py",
        "init --print curl --setup my-gate/blobgate.yaml | sh",
        "HS256. A callback URL has",
        "up --setup my-gate/blobgate.yaml",
    ] {
        assert!(screen.contains(text), "{text:?} in {screen}");
    }
    let (_, report) = screen.split_once("Made the setup in my-gate").unwrap();
    assert!(report.lines().count() <= 24, "it fits on a terminal: {report}");
    is_good_setup(&folder);
}

#[test]
fn explains_wrong_answers_and_asks_again() {
    let work = tempfile::tempdir().unwrap();
    let folder = work.path();
    certificate(folder, &["hooks.example.com"]);
    fs::write(folder.join("wrong.pem"), "no certificate").unwrap();
    fs::write(folder.join("path-in-a-file"), "/run/secrets/runblob\n").unwrap();
    let mut terminal = Dialogue::start(folder, "init gate");
    let rows = [
        (
            "Public host name",
            ["https://hooks.example.com", "two words", "a/b"].as_slice(),
            "hooks.example.com",
        ),
        (
            "Address of your app",
            &["127.0.0.1:5000", "http://app/path", "ftp://app", "http://a'b"],
            "http://127.0.0.1:5001",
        ),
        ("Path of your app", &["webhook", "/a b", "/a/", "/ä"], "/hooks/video"),
        ("Certificate of this host", &["/nowhere.pem", "."], "given.pem"),
    ];
    for (question, wrong, right) in rows {
        terminal.shows(question);
        for answer in wrong {
            terminal.shows("]: ");
            terminal.types(&format!("{answer}\n"));
            terminal.shows("\n  ");
        }
        terminal.shows("]: ");
        terminal.types(&format!("{right}\n"));
    }
    // The key of a pair is wrong: both questions come again.
    terminal.answers("Key of the certificate", "wrong.pem");
    terminal.answers("Certificate of this host", "given.pem");
    terminal.answers("Key of the certificate", "given-key.pem");
    terminal.answers("RunBlob's API key", API_KEY);
    terminal.shows("there is no such file");
    terminal.answers("RunBlob's API key", "path-in-a-file");
    terminal.shows("it is the path of a file and no key");
    terminal.answers("RunBlob's API key", "-");
    terminal.shows("does not show it): ");
    terminal.types("two words\n");
    terminal.shows("it is not one word");
    terminal.shows("does not show it): ");
    terminal.types(" Bearer hidden-5f1c \n");
    let (code, screen) = terminal.end();
    assert_eq!(code, Some(0), "{screen}");
    assert!(!screen.contains("hidden-5f1c") && screen.contains("/hooks/video/TOKEN"), "{screen}");
    let gate = folder.join("gate");
    assert_eq!(fs::read_to_string(gate.join("secrets/runblob-key")).unwrap(), "hidden-5f1c\n");
    assert_eq!(
        fs::read_to_string(gate.join("certs/edge.pem")).unwrap(),
        fs::read_to_string(folder.join("given.pem")).unwrap()
    );
    is_good_setup(&gate);
}

#[test]
fn leaves_nothing_when_the_person_ends_it() {
    for (count, keys) in [(0, CTRL_C), (2, CTRL_D), (4, CTRL_C), (5, CTRL_C), (5, CTRL_D)] {
        let work = tempfile::tempdir().unwrap();
        let mut terminal = Dialogue::start(work.path(), "init gate");
        for answer in ["localhost\n", "\n", "\n", "\n", "-\n"].into_iter().take(count) {
            terminal.shows("]: ");
            terminal.types(answer);
        }
        terminal.shows(if count == 5 { "does not show it): " } else { "]: " });
        terminal.types(keys);
        let (code, screen) = terminal.end();
        assert_eq!(code, Some(1), "{screen}");
        assert!(names(work.path()).is_empty(), "{screen}");
        let reason = if keys == CTRL_C { "Ctrl-C ended the command" } else { "so nothing was written" };
        assert!(screen.contains(reason), "{screen}");
    }
}

#[test]
fn makes_a_setup_for_the_native_module() {
    let work = tempfile::tempdir().unwrap();
    let end =
        init(work.path(), &["g", "--host", "localhost", "--api-key-file", "none", "--module", "native"]);
    succeeds(&end);
    is_good_setup(&work.path().join("g"));
    let envoy = fs::read_to_string(work.path().join("g/envoy.yaml")).unwrap();
    assert!(envoy.contains("v3.DynamicModuleFilter") && !envoy.contains("blobgate.wasm"), "{envoy}");
}

#[test]
fn makes_a_setup_without_a_terminal() {
    let work = tempfile::tempdir().unwrap();
    let folder = work.path();
    let (pem, key) = certificate(folder, &["hooks.example.com"]);
    // One file with both, as HAProxy has it.
    fs::write(folder.join("both.pem"), format!("{key}{pem}")).unwrap();
    fs::write(folder.join("key"), format!(" Bearer {API_KEY}\r\n")).unwrap();
    let end = init(
        folder,
        &[
            "my gate",
            "--host",
            "Hooks.Example.com",
            "--service",
            "https://app.internal:8443",
            "--failed-service",
            "http://[::1]:7000",
            "--path",
            "/video/{token}",
            "--certificate",
            "both.pem",
            "--key",
            "both.pem",
            "--api-key-file",
            "key",
            "--listen",
            "[::]:4443",
            "--environment",
            "staging",
            "--hook",
            "shorts",
            "--store",
            "postgres://blobgate@db/inbox",
        ],
    );
    let printed = succeeds(&end);
    let gate = folder.join("my gate");
    assert_eq!(fs::read_to_string(gate.join("certs/edge.pem")).unwrap(), pem);
    assert_eq!(fs::read_to_string(gate.join("certs/edge-key.pem")).unwrap(), key);
    assert_eq!(fs::read_to_string(gate.join("secrets/runblob-key")).unwrap(), format!("{API_KEY}\n"));
    assert_eq!(mode(&gate.join("secrets/runblob-key")), 0o600);
    let setup = fs::read_to_string(gate.join("blobgate.yaml")).unwrap();
    assert!(setup.contains("trust: {any_of: [token, confirmed]}"), "{setup}");
    assert!(printed.contains("up --setup 'my gate/blobgate.yaml'"), "{printed}");
    let print = ["--print", "curl", "--setup", "my gate/blobgate.yaml"];
    let lines = succeeds(&init(folder, &print))
        + &succeeds(&init(folder, &[&["--print", "python"], &print[2..]].concat()));
    for text in ["'my gate/blobgate.yaml'", "--resolve hooks.example.com:4443:", "staging/shorts"] {
        assert!(lines.contains(text), "{text:?} in {lines}");
    }
    assert!(!format!("{printed}{}", text(&end.stderr)).contains(API_KEY));
    is_good_setup(&gate);
}

#[test]
fn takes_the_api_key_from_standard_input() {
    for (typed, outcome) in [(format!("{API_KEY}\n"), Some(0)), (String::new(), Some(1))] {
        let work = tempfile::tempdir().unwrap();
        let mut command = blobgate(&["init", "gate", "--host", "localhost", "--api-key-file", "-"]);
        let mut child = command
            .current_dir(work.path())
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), typed.as_bytes()).unwrap();
        let end = child.wait_with_output().unwrap();
        assert_eq!(end.status.code(), outcome, "{}", text(&end.stderr));
        let key = fs::read_to_string(work.path().join("gate/secrets/runblob-key")).ok();
        assert_eq!(key, (outcome == Some(0)).then_some(typed));
    }
}

#[test]
fn refuses_wrong_options_and_writes_nothing() {
    let work = tempfile::tempdir().unwrap();
    let folder = work.path();
    certificate(folder, &["other.example.com"]);
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    fs::write(folder.join("other-key.pem"), other.signing_key.serialize_pem()).unwrap();
    short_pair(folder);
    fs::create_dir(folder.join("directory")).unwrap();
    fs::write(folder.join("file"), "a file").unwrap();
    fs::write(folder.join("empty"), "").unwrap();
    fs::write(folder.join("path"), "/etc/runblob-key").unwrap();
    fs::write(folder.join("lines"), "one\ntwo\n").unwrap();
    let before = names(folder);
    let of_host = |host| vec!["--host", host, "--api-key-file", "none"];
    let with = |more: &[&'static str]| [&USUAL, more].concat();
    let with_key = |file| vec!["--host", "localhost", "--api-key-file", file];
    let rows: Vec<(i32, Vec<&str>, &str)> = vec![
        (2, vec![], "there is no terminal. Pass --host, and --api-key-file"),
        (2, vec!["--host", "localhost"], "Pass --api-key-file"),
        (2, vec!["--api-key-file", "none"], "Pass --host"),
        (2, of_host(""), "cannot use --host: "),
        (2, of_host("https://hooks.example.com"), "cannot use --host: "),
        (2, of_host("hooks.example.com:99999"), "cannot use --host: "),
        (2, of_host("hooks.example.com/x"), "cannot use --host: "),
        (2, of_host("two words"), "cannot use --host: "),
        (2, of_host("a\nlisten: 0.0.0.0:1"), "cannot use --host: "),
        (2, of_host("\"quoted\""), "cannot use --host: "),
        (2, of_host("-hooks"), "cannot use --host: "),
        (2, of_host("bücher.example"), "cannot use --host: "),
        (2, with(&["--service", "127.0.0.1:5000"]), "cannot use --service: "),
        (2, with(&["--service", "http://127.0.0.1:5000/webhook"]), "cannot use --service: "),
        (2, with(&["--service", "http://me:secret-word@127.0.0.1"]), "cannot use --service: "),
        (2, with(&["--service", "http://127.0.0.1:0"]), "cannot use --service: "),
        (2, with(&["--service", "http://127.0.0.1:5000\", x: \""]), "cannot use --service: "),
        (2, with(&["--failed-service", "unix:/run/app"]), "cannot use --failed-service: "),
        (2, with(&["--path", "webhook"]), "cannot use --path: "),
        (2, with(&["--path", ""]), "cannot use --path: "),
        (2, with(&["--path", "/a/{id}"]), "cannot use --path: "),
        (2, with(&["--path", "/a # b"]), "cannot use --path: "),
        (2, with(&["--hook", "Veo3"]), "cannot use --hook: "),
        (2, with(&["--hook", "a: b"]), "cannot use --hook: "),
        (2, with(&["--environment", "off on"]), "cannot use --environment: "),
        (2, with(&["--listen", "8443"]), "cannot use --listen: "),
        (2, with(&["--store", "postgres://me:secret-word@db/inbox"]), "cannot use --store: "),
        (2, with(&["--store", "mysql://db"]), "cannot use --store: "),
        (2, with(&["--certificate", "given.pem"]), "--key"),
        (
            1,
            with(&["--certificate", "given.pem", "--key", "given-key.pem"]),
            "not for localhost. Get a certificate for that host, or correct --host",
        ),
        (1, with(&["--certificate", "given.pem", "--key", "file"]), "it has no key in PEM form"),
        (
            1,
            with(&["--certificate", "given-key.pem", "--key", "given-key.pem"]),
            "it is a key, not a certificate. Name the certificate in --certificate",
        ),
        (
            1,
            with(&["--certificate", "given.pem", "--key", "other-key.pem"]),
            "Name the pair with --certificate and --key",
        ),
        (
            1,
            with(&["--certificate", "short.pem", "--key", "short-key.pem"]),
            "its RSA key of 1024 bits is too short: at least 2048 bits are needed",
        ),
        (
            1,
            with(&["--certificate", "short.pem", "--key", "short-key-1.pem"]),
            "its RSA key of 1024 bits is too short: at least 2048 bits are needed",
        ),
        (1, with(&["--certificate", "directory", "--key", "given-key.pem"]), "cannot use directory"),
        (1, with(&["--certificate", "~/no.pem", "--key", "~/no.pem"]), "cannot use ~/no.pem"),
        (1, with_key("secret-word"), "the file of --api-key-file: it does not exist"),
        (1, with_key("directory"), "the file of --api-key-file: it is a folder"),
        (1, with_key("empty"), "the file of --api-key-file: it is empty"),
        (1, with_key("path"), "the file of --api-key-file: it is the path of a file"),
        (1, with_key("lines"), "the file of --api-key-file: it has more than one line"),
        (1, with_key("given-key.pem"), "the file of --api-key-file: it is a private key or a certificate"),
    ];
    for (code, arguments, sentence) in rows {
        let end = init(folder, &[&["gate"], arguments.as_slice()].concat());
        let message = text(&end.stderr);
        assert_eq!(end.status.code(), Some(code), "{arguments:?} {message}");
        assert!(message.contains(sentence), "{arguments:?} {message}");
        assert!(!message.contains("secret-word"), "{arguments:?} {message}");
        assert_eq!((names(folder), text(&end.stdout)), (before.clone(), String::new()), "{arguments:?}");
    }
}

#[test]
fn refuses_folders_and_replaces_nothing() {
    let work = tempfile::tempdir().unwrap();
    let folder = work.path();
    fs::write(folder.join("file"), "a file").unwrap();
    symlink("/nowhere/else", folder.join("link")).unwrap();
    fs::create_dir(folder.join("made")).unwrap();
    fs::write(folder.join("made/envoy.yaml"), "of a clone").unwrap();
    for (name, sentence) in [
        ("file", "cannot make a setup in file: it is no folder"),
        ("link", "cannot make a setup in link: it is a link to nothing"),
        ("a/b", "cannot make a setup in a/b: there is no folder a. Make it first"),
        (
            "made",
            "cannot make a setup in made: envoy.yaml exists there, and nothing is replaced. Name a new folder, as in `blobgate init my-gate`",
        ),
        ("a\nb", "control character"),
    ] {
        let end = init(folder, &[&[name], USUAL.as_slice()].concat());
        assert_eq!(end.status.code(), Some(1));
        assert!(text(&end.stderr).contains(sentence), "{}", text(&end.stderr));
    }
    assert_eq!(names(folder), ["file", "link", "made", "made/envoy.yaml"]);
    succeeds(&init(folder, &[&["gate"], USUAL.as_slice()].concat()));
    let keys = secret(&folder.join("gate"), "BLOBGATE_TOKEN_KEY");
    let again = init(&folder.join("gate"), &USUAL);
    assert!(text(&again.stderr).contains("blobgate.yaml exists there"), "{}", text(&again.stderr));
    assert_eq!(secret(&folder.join("gate"), "BLOBGATE_TOKEN_KEY"), keys);
    succeeds(&init(folder, &[&["other"], USUAL.as_slice()].concat()));
    assert_ne!(secret(&folder.join("other"), "BLOBGATE_TOKEN_KEY"), keys);
}

#[test]
fn adds_a_setup_to_the_folder_of_an_app() {
    let work = tempfile::tempdir().unwrap();
    let folder = work.path();
    fs::write(folder.join(".gitignore"), "node_modules/\n").unwrap();
    fs::write(folder.join("app.py"), "").unwrap();
    let end = init(folder, &USUAL);
    succeeds(&end);
    assert_eq!(
        text(&end.stderr),
        "blobgate: warning: .gitignore exists. Add to it: /secrets/ /certs/*-key.pem /run/ /inbox.db*\n"
    );
    assert_eq!(fs::read_to_string(folder.join(".gitignore")).unwrap(), "node_modules/\n");
    is_good_setup(folder);
}

#[test]
#[needs(Root)]
fn gives_the_files_to_the_owner_of_the_folder() {
    let work: TempDir = tempfile::tempdir().unwrap();
    let folder = work.path().join("etc");
    fs::create_dir(&folder).unwrap();
    chown(&folder, Some(4321), Some(1234)).unwrap();
    succeeds(&init(work.path(), &[&["etc"], USUAL.as_slice()].concat()));
    for name in names(&folder) {
        let found = fs::metadata(folder.join(&name)).unwrap();
        assert_eq!((found.uid(), found.gid()), (4321, 1234), "{name}");
    }
}

#[test]
fn warns_of_urls_that_are_too_long() {
    let work = tempfile::tempdir().unwrap();
    let host = format!("{}.example.com", ["hooks"; 9].join("."));
    for (host, sentence) in [
        ("hooks.example.com", "and fits in 255 with a job of up to"),
        (
            host.as_str(),
            "and some databases cut it at 255. Shorten the host, --path, --hook or --environment.",
        ),
    ] {
        let folder = format!("of-{}", host.len());
        let end = init(work.path(), &[&folder, "--host", host, "--api-key-file", "none"]);
        let printed = succeeds(&end);
        assert!(printed.contains(sentence), "{printed}");
        // The printed length is the length of a URL.
        let stated = printed.split("A callback URL has ").nth(1).unwrap().split(' ').next().unwrap();
        let setup = format!("{folder}/blobgate.yaml");
        let minted = blobgate(&["mint", "--setup", &setup, "--job", "order-17"]);
        let minted = { minted }.current_dir(work.path()).output().unwrap();
        assert_eq!(succeeds(&minted).trim().len().to_string(), stated);
    }
}
