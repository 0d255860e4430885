//! `blobgate render`, and `blobgate check` of a setup file, with a folder as `init` makes it.

use crate::running::{blobgate, text};
use blobgate_testkit::{GateModule, module, needs, repository, versions};
use rcgen::{CertificateParams, KeyPair};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use tempfile::TempDir;

const TOKEN_KEY: &str = "base64:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const SIGNING_KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const API_KEY: &str = "rb_0123456789abcdef";

fn setup() -> String {
    let example = include_str!("../../src/setup/example.yaml");
    let text = example.replace("failed: \"http://127.0.0.1:5000\"", "failed: \"https://app.internal\"");
    format!("{text}module_file: {}\n", module().display())
}

/// A setup folder.
struct RenderFolder(TempDir);

impl RenderFolder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for name in ["certs", "secrets"] {
            std::fs::create_dir(folder.path(name)).unwrap();
        }
        let (certificate, key) = certificate("hooks.example.com", |_| {});
        for (name, text) in [
            ("blobgate.yaml", setup().as_str()),
            ("certs/edge.pem", &certificate),
            ("certs/edge-key.pem", &key),
            ("secrets/runblob-key", API_KEY),
            ("secrets/env", &format!("BLOBGATE_TOKEN_KEY={TOKEN_KEY}\nBLOBGATE_SIGNING_KEY={SIGNING_KEY}\n")),
        ] {
            folder.write(name, text);
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
        std::fs::set_permissions(self.path(name), PermissionsExt::from_mode(0o600)).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = blobgate(args);
        command.env_remove("BLOBGATE_TOKEN_KEY").env_remove("BLOBGATE_SIGNING_KEY");
        command.current_dir(self.0.path()).output().unwrap()
    }

    /// Renders without a warning.
    #[track_caller]
    fn renders(&self, expected: &str) {
        let end = self.run(&["render"]);
        assert_eq!((text(&end.stdout).as_str(), text(&end.stderr).as_str()), (expected, ""));
        assert_eq!(end.status.code(), Some(0));
    }

    /// `render` ends with one sentence, and writes nothing.
    #[track_caller]
    fn refuses(&self, sentence: &str) {
        let end = self.run(&["render"]);
        assert_eq!(
            (text(&end.stderr).as_str(), end.status.code()),
            (format!("blobgate: {sentence}\n").as_str(), Some(1))
        );
        assert!(!self.path("envoy.yaml").exists() && !self.path("rendered.sha256").exists());
    }
}

fn certificate(host: &str, edit: fn(&mut CertificateParams)) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    edit(&mut params);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

const ALL_WRITTEN: &str = "written    envoy.yaml\nwritten    inbox.env\nwritten    certs/sds.yaml\nwritten    secrets/runblob-key.yaml\n";

#[test]
fn renders_a_folder_that_envoy_loads() {
    let folder = RenderFolder::new();
    folder.renders(ALL_WRITTEN);
    folder.renders(&ALL_WRITTEN.replace("written  ", "unchanged"));
    let sums = Command::new("sha256sum")
        .args(["--strict", "-c", "rendered.sha256"])
        .current_dir(folder.0.path())
        .output();
    assert!(sums.unwrap().status.success());
    assert!(folder.path("run").is_dir());
    for name in ["envoy.yaml", "inbox.env", "certs/sds.yaml", "rendered.sha256"] {
        for key in [TOKEN_KEY, SIGNING_KEY, API_KEY] {
            assert!(!folder.read(name).contains(key), "{name} has a key");
        }
    }
    assert!(folder.read("secrets/runblob-key.yaml").contains(API_KEY));
    for version in versions() {
        let mut envoy = Command::new(&version.binary);
        envoy.args(["--mode", "validate", "-c", "envoy.yaml", "--log-level", "error"]);
        envoy.envs([("BLOBGATE_TOKEN_KEY", TOKEN_KEY), ("BLOBGATE_SIGNING_KEY", SIGNING_KEY)]);
        let end = envoy.current_dir(folder.0.path()).output().unwrap();
        assert!(end.status.success(), "Envoy {}: {}", version.name, text(&end.stderr));
    }
}

#[test]
fn renders_the_native_module_that_envoy_loads() {
    let folder = RenderFolder::new();
    let wasm = format!("module_file: {}\n", module().display());
    let native = format!("module: native\nmodule_file: {}\n", GateModule::Native.file().display());
    folder.write("blobgate.yaml", &setup().replace(&wasm, &native));
    folder.renders(ALL_WRITTEN);
    folder.renders(&ALL_WRITTEN.replace("written  ", "unchanged"));
    folder.write("swapped.json", &text(&swapped(&folder).stdout));
    let mut tried = Vec::new();
    for version in versions().into_iter().filter(|version| GateModule::Native.runs_on(version)) {
        for file in ["envoy.yaml", "swapped.json"] {
            let mut envoy = Command::new(&version.binary);
            envoy.args(["--mode", "validate", "-c", file, "--log-level", "error"]);
            envoy.envs([("BLOBGATE_TOKEN_KEY", TOKEN_KEY), ("BLOBGATE_SIGNING_KEY", SIGNING_KEY)]);
            let end = envoy.current_dir(folder.0.path()).output().unwrap();
            assert!(end.status.success(), "Envoy {} {file}: {}", version.name, text(&end.stderr));
        }
        tried.push(version.name);
    }
    assert!(!tried.is_empty());
}

/// What `render --native` makes of the file with the Wasm module.
fn swapped(folder: &RenderFolder) -> Output {
    let wasm = RenderFolder::new();
    wasm.renders(ALL_WRITTEN);
    folder.write("wasm.yaml", &wasm.read("envoy.yaml"));
    let so = GateModule::Native.file().display().to_string();
    folder.run(&["render", "--native", "wasm.yaml", "--module-file", &so])
}

#[test]
fn leaves_an_edited_file_and_shows_the_difference() {
    let folder = RenderFolder::new();
    folder.renders(ALL_WRITTEN);
    assert_eq!(folder.run(&["render", "--diff"]).status.code(), Some(0));
    let edited = folder.read("envoy.yaml").replace("per_minute: 40", "per_minute: 20");
    folder.write("envoy.yaml", &edited);
    folder.write(
        "inbox.env",
        &folder.read("inbox.env").replace("sqlite:/var/lib/blobgate/inbox.db", "postgres://me:hunter2@db/b"),
    );
    folder.write("secrets/runblob-key", "rb_fedcba9876543210");
    folder.write("blobgate.yaml", &setup().replace("127.0.0.1:5000", "127.0.0.1:5001"));
    let end = folder.run(&["render", "--diff"]);
    let shown = text(&end.stdout);
    assert_eq!(end.status.code(), Some(1));
    for line in [
        "--- envoy.yaml\n",
        "\n-                    confirm: {cluster: runblob_api, authority: platform.runblob.io, per_minute: 20",
        "port_value: 5001",
        "\ninbox.env differs in BLOBGATE_INBOX_STORE\n",
        "\nsecrets/runblob-key.yaml differs\n",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    for secret in ["hunter2", "rb_", "\u{1b}"] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
    let left = ", and left as it is: `blobgate render --diff` shows the difference\n";
    folder.renders(&format!(
        "edited     envoy.yaml{left}edited     inbox.env{left}unchanged  certs/sds.yaml\nwritten    secrets/runblob-key.yaml\n"
    ));
    assert_eq!(folder.read("envoy.yaml"), edited);
    std::fs::remove_file(folder.path("envoy.yaml")).unwrap();
    std::fs::remove_file(folder.path("inbox.env")).unwrap();
    folder.renders("written    envoy.yaml\nwritten    inbox.env\nunchanged  certs/sds.yaml\nunchanged  secrets/runblob-key.yaml\n");
    assert!(folder.read("envoy.yaml").contains("port_value: 5001"));
}

/// Each wrong file of the native module, with its sentence.
#[test]
fn refuses_wrong_native_modules() {
    let refuses = |kind: &str, file: &str, edit: &dyn Fn(&RenderFolder), sentence: &str| {
        let folder = RenderFolder::new();
        let text = setup().replace(&module().display().to_string(), file);
        folder.write("blobgate.yaml", &format!("module: {kind}\n{text}"));
        edit(&folder);
        folder.refuses(&sentence.replace("WASM", &module().display().to_string()));
    };
    let none = |_: &RenderFolder| {};
    let native = |file: &str, edit: &dyn Fn(&RenderFolder), sentence: &str| {
        refuses("native", file, edit, &format!("cannot use the native module {file}: {sentence}"));
    };
    native(
        "gone.so",
        &none,
        "No such file or directory (os error 2). Build it with `make native`, or correct `module_file`",
    );
    native(
        &module().display().to_string(),
        &none,
        "it is a Wasm module. Write `module: wasm`, or name libblobgate.so in `module_file`",
    );
    let name = "Name libblobgate.so for this machine in `module_file`";
    native("certs", &none, "it is no regular file. Build it with `make native`, or correct `module_file`");
    native("blobgate.yaml", &none, &format!("it is no shared library of Linux. {name}"));
    let other = if cfg!(target_arch = "aarch64") { (62, "x86_64") } else { (183, "aarch64") };
    // A library of this machine: that of C, which this process has open.
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let library = maps.split_whitespace().find(|word| word.contains("/libc.so")).unwrap().to_owned();
    let write = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = std::fs::read(&library).unwrap();
        edit(&mut bytes);
        move |folder: &RenderFolder| std::fs::write(folder.path("it.so"), &bytes).unwrap()
    };
    let of_other = write(&|bytes| bytes[18] = other.0);
    let sentence = format!("it is for {}, and this machine is {}. {name}", other.1, std::env::consts::ARCH);
    native("it.so", &of_other, &sentence);
    native("it.so", &write(&|bytes| bytes.truncate(40_000)), "it is incomplete. Copy or build it again");
    let is_other = "it has no function envoy_dynamic_module_on_program_init, which Envoy calls first";
    native("it.so", &write(&|_| {}), &format!("{is_other}. {name}"));
    refuses(
        "wasm",
        "it.so",
        &write(&|_| {}),
        "cannot use the Wasm module it.so: it is a native module. Write `module: native`, or name blobgate.wasm in `module_file`",
    );
}

#[test]
fn prints_an_envoy_yaml_with_the_native_module() {
    let folder = RenderFolder::new();
    folder.renders(ALL_WRITTEN);
    let end = folder.run(&["render", "--native", "envoy.yaml", "--module-file", "/opt/libblobgate.so"]);
    assert_eq!((text(&end.stderr).as_str(), end.status.code()), ("", Some(0)));
    let printed: serde_json::Value = serde_json::from_slice(&end.stdout).unwrap();
    let filter = printed
        .pointer("/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters/0/typed_config")
        .unwrap();
    assert_eq!(filter["dynamic_module_config"]["module"]["local"]["filename"], "/opt/libblobgate.so");
    assert_eq!(filter["filter_config"]["value"]["hooks"][0]["name"], "veo3");
    for (file, sentence) in [
        ("inbox.env", "cannot use inbox.env: it has no Wasm filter with the gate's configuration. "),
        ("none.yaml", "cannot use none.yaml: it cannot be read: No such file or directory (os error 2). "),
    ] {
        let end = folder.run(&["render", "--native", file]);
        let stderr = text(&end.stderr);
        assert!(stderr.starts_with(&format!("blobgate: {sentence}")), "{stderr}");
        assert_eq!((stderr.lines().count(), end.status.code()), (1, Some(1)), "{stderr}");
    }
}

/// Envoy watches the folder for new names.
#[test]
fn a_new_api_key_is_a_new_file_and_nothing_else() {
    use std::os::unix::fs::MetadataExt;
    let folder = RenderFolder::new();
    folder.renders(ALL_WRITTEN);
    let inodes = || {
        ["envoy.yaml", "inbox.env", "certs/sds.yaml", "secrets/runblob-key.yaml"]
            .map(|name| folder.path(name).metadata().unwrap().ino())
    };
    let before = inodes();
    folder.write("secrets/runblob-key", "rb_fedcba9876543210");
    folder.renders("unchanged  envoy.yaml\nunchanged  inbox.env\nunchanged  certs/sds.yaml\nwritten    secrets/runblob-key.yaml\n");
    let after = inodes();
    assert_eq!(before[..3], after[..3]);
    assert_ne!(before[3], after[3]);
}

/// Each wrong file, with its sentence.
#[test]
fn refuses_wrong_files() {
    let wrong = |name: &str, text: &str, sentence: &str| {
        let folder = RenderFolder::new();
        folder.write(name, text);
        folder.refuses(sentence);
    };
    let (other, _) = certificate("other.example.com", |_| {});
    let (_, other_key) = certificate("hooks.example.com", |_| {});
    let key = RenderFolder::new().read("certs/edge-key.pem");
    wrong(
        "certs/edge-key.pem",
        &other_key,
        "cannot use certs/edge-key.pem: it is the key of another certificate than certs/edge.pem. Name the pair in `tls`",
    );
    wrong(
        "certs/edge.pem",
        &key,
        "cannot use certs/edge.pem: it is a key, not a certificate. Name the certificate in `tls.certificate`",
    );
    wrong(
        "certs/edge-key.pem",
        &other,
        "cannot use certs/edge-key.pem: it is a certificate, not a key. Name the key in `tls.key`",
    );
    wrong(
        "certs/edge.pem",
        "",
        "cannot use certs/edge.pem: it has no certificate in PEM form. Name a file with -----BEGIN CERTIFICATE-----",
    );
    wrong(
        "certs/edge-key.pem",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMC4C\n-----END ENCRYPTED PRIVATE KEY-----\n",
        "cannot use certs/edge-key.pem: it is encrypted, and Envoy asks for no passphrase. Decrypt it: `openssl pkey -in KEY -out NEW_KEY`",
    );
    wrong(
        "secrets/runblob-key",
        "/run/secrets/key\n",
        "cannot use the API key in secrets/runblob-key: it is the path of a file and no key. Name that file instead",
    );
    wrong(
        "secrets/runblob-key",
        "\"rb_0123456789abcdef\"\n",
        "cannot use the API key in secrets/runblob-key: it is in quotes, and no shell reads this file. Write the key without them",
    );
    wrong(
        "blobgate.yaml",
        &setup().replace("secrets/runblob-key", "rb_0123456789"),
        "cannot use `api_key_file`: no file has that name. Write RunBlob's API key into a file, with mode 600, and name that file",
    );
    wrong(
        "secrets/env",
        &format!("BLOBGATE_TOKEN_KEY={TOKEN_KEY} # of November\n"),
        "cannot use secrets/env: line 1 has a character that a shell and systemd read differently. Write the value in single quotes",
    );
    wrong(
        "secrets/runblob-key",
        "one\ntwo\n",
        "cannot use the API key in secrets/runblob-key: it has more than one line. Write the key alone",
    );
    wrong(
        "secrets/runblob-key",
        "",
        "cannot use the API key in secrets/runblob-key: it is empty. Write the key that RunBlob shows once",
    );
    wrong(
        "secrets/env",
        "BLOBGATE_TOKEN_KEY\n",
        "cannot use secrets/env: line 1 is not NAME=value. Correct it: each line is NAME=value",
    );
    wrong(
        "secrets/env",
        &format!("BLOBGATE_TOKEN_KEY={TOKEN_KEY}\n"),
        "cannot use secrets/env: BLOBGATE_SIGNING_KEY is unset or empty. Write a variable that secrets/env has",
    );
    let gone = setup().replace(&module().display().to_string(), "gone.wasm");
    wrong(
        "blobgate.yaml",
        &gone,
        "cannot use the Wasm module gone.wasm: No such file or directory (os error 2). Build it with `make build`, or correct `module_file`",
    );
    let text = setup().replace(&module().display().to_string(), "blobgate.yaml");
    wrong(
        "blobgate.yaml",
        &text,
        "cannot use the Wasm module blobgate.yaml: it is no WebAssembly module. Name blobgate.wasm in `module_file`",
    );
    wrong(
        "blobgate.yaml",
        &setup().replace("host: hooks", "host: https://hooks"),
        "cannot use blobgate.yaml:1:1: host has a scheme; write the name alone, such as hooks.example.com",
    );
    let folder = RenderFolder::new();
    folder.write("certs/edge.pem", &(certificate("issuer", |_| {}).0 + &folder.read("certs/edge.pem")));
    folder.refuses("cannot use certs/edge.pem: the certificate of its key is not the first one. Write it before those of its issuers");
    let folder = RenderFolder::new();
    let (other, key) = certificate("other.example.com", |_| {});
    folder.write("certs/edge.pem", &other);
    folder.write("certs/edge-key.pem", &key);
    folder.refuses("cannot use certs/edge.pem: it is for other.example.com, and not for hooks.example.com. Get a certificate for that host, or correct `host`");
    let folder = RenderFolder::new();
    std::fs::remove_file(folder.path("blobgate.yaml")).unwrap();
    folder.refuses("cannot use blobgate.yaml: it cannot be read: No such file or directory (os error 2). Make one with `blobgate init`, or name another with --setup");
}

/// A pipe blocks its reader, and some devices have no end.
#[test]
fn reads_regular_files_alone() {
    for (name, start) in [
        ("certs/edge.pem", "cannot use certs/edge.pem: it is no regular file. "),
        ("certs/edge-key.pem", "cannot use certs/edge-key.pem: it is no regular file. "),
        ("secrets/runblob-key", "cannot use the API key in secrets/runblob-key: it is no regular file. "),
        ("secrets/env", "cannot use secrets/env: it is no regular file. "),
        ("module.wasm", "cannot use the Wasm module module.wasm: it is no regular file. "),
    ] {
        let folder = RenderFolder::new();
        if name == "module.wasm" {
            folder.write("blobgate.yaml", &setup().replace(&module().display().to_string(), name));
        } else {
            std::fs::remove_file(folder.path(name)).unwrap();
        }
        std::os::unix::fs::symlink("/dev/null", folder.path(name)).unwrap();
        let end = folder.run(&["render"]);
        assert!(text(&end.stderr).starts_with(&format!("blobgate: {start}")), "{}", text(&end.stderr));
        assert_eq!(end.status.code(), Some(1));
    }
}

/// Of a variable in both files, `blobgate up` takes the one of secrets/env.
#[test]
fn supervisors_read_secrets_env_last() {
    for file in [
        "deploy/systemd/blobgate-inbox.service",
        "compose.production.yaml",
        "docs/howto/install.md",
        "docs/howto/own-envoy.md",
    ] {
        let text = std::fs::read_to_string(repository(file)).unwrap();
        let is_reader = |line: &&str| {
            ["EnvironmentFile=", "[with-env, ", "set -a"].iter().any(|start| line.contains(start))
        };
        let lines: String = text.lines().filter(is_reader).collect();
        let (inbox, secrets) = (lines.find("inbox.env"), lines.rfind("secrets/env"));
        assert!(inbox.is_some() && inbox < secrets, "{file}: {lines}");
    }
}

#[test]
fn warns_of_times_links_and_open_files() {
    let folder = RenderFolder::new();
    let (expired, key) = certificate("hooks.example.com", |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    folder.write("certs/new.pem", &expired);
    folder.write("certs/edge-key.pem", &key);
    std::fs::remove_file(folder.path("certs/edge.pem")).unwrap();
    std::os::unix::fs::symlink("new.pem", folder.path("certs/edge.pem")).unwrap();
    std::fs::set_permissions(folder.path("secrets/runblob-key"), PermissionsExt::from_mode(0o644)).unwrap();
    let end = folder.run(&["render"]);
    let expected = "warning: certs/edge.pem expired at 2021-01-01T00:00:00Z. RunBlob refuses it: renew it
warning: certs/edge.pem is a symbolic link, and Envoy does not notice when it points elsewhere: move renewed files over it, as in docs/howto/rotate-keys.md
warning: other users of this machine can open secrets/runblob-key (mode 644): `chmod 600 secrets/runblob-key`
";
    assert_eq!((text(&end.stderr).as_str(), end.status.code()), (expected, Some(0)));
}

#[test]
fn check_reads_a_setup_file() {
    let folder = RenderFolder::new();
    let check = |args: &[&str]| {
        let end = folder.run(&[&["check"], args].concat());
        (text(&end.stdout), end.status.code())
    };
    assert_eq!(check(&["blobgate.yaml"]), ("0 errors, 0 warnings, 0 not checked\n".to_owned(), Some(0)));
    // An edited envoy.yaml is what `up` uses.
    folder.renders(ALL_WRITTEN);
    let rendered = folder.read("envoy.yaml");
    folder.write("envoy.yaml", &rendered.replace("\nstatic_resources:", "\nstatic_resourcs:"));
    let (found, code) = check(&["blobgate.yaml"]);
    assert!(code == Some(1) && found.contains(" the edited envoy.yaml "), "{found}");
    folder.write("envoy.yaml", "a: [");
    let (found, code) = check(&["blobgate.yaml"]);
    assert!(code == Some(1) && found.contains(" the edited envoy.yaml "), "{found}");
    std::fs::remove_file(folder.path("envoy.yaml")).unwrap();

    std::fs::remove_file(folder.path("secrets/runblob-key")).unwrap();
    let absent = |level: &str| {
        format!(
            "blobgate.yaml: {level}: the API key in secrets/runblob-key cannot be used: No such file or directory (os error 2); write RunBlob's API key into that file, with mode 600 [setup-files]\n"
        )
    };
    assert_eq!(
        check(&["blobgate.yaml"]),
        (absent("warning") + "0 errors, 1 warning, 0 not checked\n", Some(0))
    );
    assert_eq!(
        check(&["--require-env", "blobgate.yaml"]),
        (absent("error") + "1 error, 0 warnings, 0 not checked\n", Some(1))
    );
    folder.write("other.yaml", &setup().replace("  source: any ", "  sources: any "));
    assert_eq!(
        check(&["other.yaml"]),
        (
            "other.yaml:4:1: error: hook.source is missing; write a list of addresses and ranges, or any [setup]
other.yaml:7:3: error: hook.sources is not a known key; write source (known are name, path, trust, source, result_url) [setup]
2 errors, 0 warnings, 0 not checked\n".to_owned(),
            Some(1)
        )
    );
}

/// As `init` makes it on a laptop.
#[test]
fn check_takes_a_trial_on_this_machine() {
    let folder = RenderFolder::new();
    let (certificate, key) = certificate("localhost", |_| {});
    folder.write("certs/edge.pem", &certificate);
    folder.write("certs/edge-key.pem", &key);
    let text = setup().replace("host: hooks.example.com", "host: localhost\nlisten: 127.0.0.1:8443");
    folder.write("blobgate.yaml", &text);
    let end = folder.run(&["check", "blobgate.yaml"]);
    assert_eq!(self::text(&end.stdout), "0 errors, 0 warnings, 0 not checked\n");
    folder.write("blobgate.yaml", &setup().replace("host:", "listen: 127.0.0.1:8443\nhost:"));
    assert!(self::text(&folder.run(&["check", "blobgate.yaml"]).stdout).contains("warning: "));
}

/// Root renders, and another user runs Envoy.
#[needs(Root)]
#[test]
fn gives_new_files_to_the_owner_of_their_folder() {
    use std::os::unix::fs::{MetadataExt, chown};
    let folder = RenderFolder::new();
    for name in ["secrets", "."] {
        chown(folder.path(name), Some(4711), Some(4712)).unwrap();
    }
    folder.renders(ALL_WRITTEN);
    let owner = |name: &str| {
        let found = folder.path(name).metadata().unwrap();
        (found.uid(), found.gid())
    };
    for name in ["envoy.yaml", "inbox.env", "rendered.sha256", "secrets/runblob-key.yaml", "run"] {
        assert_eq!(owner(name), (4711, 4712), "{name}");
    }
    // Of a folder of root.
    assert_eq!(owner("certs/sds.yaml"), (0, 0));
}
