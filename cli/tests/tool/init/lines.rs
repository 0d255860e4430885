//! The printed lines for a shell, as they stand, on a real gate and inbox. tests/trust/run runs those in Python and JavaScript.

use super::{init, secret, succeeds};
use crate::running::{RunningReceiver, RunningTool, blobgate, text};
use blobgate::contract::header;
use blobgate_testkit::{eventually, free_port, module, versions};
use serde_json::Value;
use standardwebhooks::Webhook;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// A request that `blobgate receiver --keep` has written: headers and body.
fn kept(folder: &Path) -> Option<(axum::http::HeaderMap, Vec<u8>)> {
    let file = fs::read_dir(folder)
        .ok()?
        .map(|entry| entry.unwrap().path())
        .find(|path| !path.file_name().unwrap().to_str().unwrap().starts_with('.'))?;
    let request = fs::read(file).unwrap();
    let end = request.windows(2).position(|two| two == b"\n\n").unwrap();
    let head = String::from_utf8(request[..end].to_vec()).unwrap();
    let headers = head.lines().map(|line| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.parse::<axum::http::HeaderName>().unwrap(), value.parse::<axum::http::HeaderValue>().unwrap())
    });
    Some((headers.collect(), request[end + 2..].to_vec()))
}

#[test]
fn curl_gives_a_first_signed_event() {
    // The second name has no address: the lines tell curl where it is.
    for host in ["localhost", "hooks.example.com"] {
        let work = tempfile::tempdir().unwrap();
        let received = work.path().join("received");
        let app = RunningReceiver::with("app", &["--keep", received.to_str().unwrap()]);
        let listen = format!("127.0.0.1:{}", free_port());
        let service = format!("http://{}", app.address);
        let made = ["my gate", "--host", host, "--listen", &listen, "--service", &service];
        succeeds(&init(work.path(), &[made.as_slice(), &["--api-key-file", "none"]].concat()));
        let setup = work.path().join("my gate/blobgate.yaml");
        let [services, metrics, inbox, admin, access_log] = [(); 5].map(|()| free_port());
        let mut file = OpenOptions::new().append(true).open(&setup).unwrap();
        writeln!(
            file,
            "module_file: {}\nports: {{services: {services}, metrics: {metrics}, inbox: {inbox}, admin: {admin}, access_log: {access_log}}}",
            fs::canonicalize(module()).unwrap().display(),
        )
        .unwrap();
        let envoy = fs::canonicalize(versions().pop().unwrap().binary).unwrap();
        let mut up =
            blobgate(&["up", "--setup", setup.to_str().unwrap(), "--envoy", envoy.to_str().unwrap()]);
        up.current_dir(work.path()).stderr(Stdio::inherit());
        let up = RunningTool::start(up);
        while !up.next_line().contains("Blobgate runs on Envoy ") {}

        let print = ["init", "--print", "curl", "--setup", "my gate/blobgate.yaml"];
        let lines = succeeds(&blobgate(&print).current_dir(work.path()).output().unwrap());
        // `init` tells to pipe them to it.
        let mut shell = Command::new("sh");
        shell.args(["-euc", &lines]).current_dir(work.path()).env("NO_PROXY", "*").stdin(Stdio::null());
        let end = shell.output().unwrap();
        let answers = text(&end.stdout);
        assert!(end.status.success(), "{lines}\n{answers}\n{}", text(&end.stderr));
        assert!(answers.starts_with("HTTP/2 200"), "{answers}");
        assert!(answers.contains("\"job\":\"order-1\""), "{answers}");

        let (headers, body) = eventually("the event", || kept(&received));
        let key = secret(&work.path().join("my gate"), "BLOBGATE_SIGNING_KEY");
        Webhook::new(&key).unwrap().verify(&body, &headers).unwrap();
        assert_eq!(headers[header::JOB], "order-1");
        let event: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(event["status"], "completed");
        up.end_by("TERM");
    }
}

/// A setup folder with a change to its setup file, and the file.
fn changed(work: &Path, name: &str, from: &str, to: &str) -> String {
    succeeds(&init(work, &[name, "--host", "hooks.example.com", "--api-key-file", "none"]));
    let file = work.join(name).join("blobgate.yaml");
    let made = fs::read_to_string(&file).unwrap();
    assert!(made.contains(from), "{from:?} in {made}");
    fs::write(&file, made.replace(from, to)).unwrap();
    file.display().to_string()
}

/// The line of token_keys that `init` writes.
fn token_keys(work: &Path) -> String {
    succeeds(&init(work, &["probe", "--host", "localhost", "--api-key-file", "none"]));
    let made = fs::read_to_string(work.join("probe/blobgate.yaml")).unwrap();
    made.lines().find(|line| line.starts_with("token_keys: ")).unwrap().to_owned()
}

#[test]
fn takes_the_newest_shared_key_and_each_form_of_key() {
    let work = tempfile::tempdir().unwrap();
    let made = token_keys(work.path());
    let pem = work.path().join("mint.pem");
    let new =
        blobgate(&["mint", "--new-key", "--kid", "ed", "--json", "--out", pem.to_str().unwrap()]).output();
    let new: Value = serde_json::from_str(&succeeds(&new.unwrap())).unwrap();
    let public = new["gate"]["line"].as_str().unwrap();
    let with = |keys: &str| format!("token_keys: {{{keys}}}");
    let shared = |kid: &str, variable: &str| format!("\"{kid}\": {{alg: HS256, env: {variable}}}");
    let kids = |file: &str, more: &[&str]| {
        let end = blobgate(&[&["mint", "--setup", file, "--json"], more].concat()).output().unwrap();
        let minted: Value = serde_json::from_str(&succeeds(&end)).unwrap();
        (minted["kid"].as_str().unwrap().to_owned(), minted["alg"].as_str().unwrap().to_owned())
    };
    let of = |kid: &str, alg: &str| (kid.to_owned(), alg.to_owned());

    let two = [shared("2026-09", "BLOBGATE_TOKEN_KEY"), shared("2026-10", "NEW_KEY"), public.to_owned()];
    let rotating = changed(work.path(), "two", &made, &with(&two.join(", ")));
    let env = Path::new(&rotating).with_file_name("secrets/env");
    let keys = fs::read_to_string(&env).unwrap();
    fs::write(&env, format!("{keys}NEW_KEY='forty characters of a text, all printable'\n")).unwrap();
    assert_eq!(kids(&rotating, &[]), of("2026-10", "HS256"));
    assert_eq!(kids(&rotating, &["--kid", "2026-09"]), of("2026-09", "HS256"));
    let print = |file: &str, language: &str| {
        succeeds(&blobgate(&["init", "--print", language, "--setup", file]).output().unwrap())
    };
    // The bytes of a text are the key.
    assert!(print(&rotating, "python").contains("key = os.environ[\"NEW_KEY\"].encode()\n"));
    assert!(print(&rotating, "javascript").contains("key = Buffer.from(process.env.NEW_KEY);\n"));

    let public_alone = changed(work.path(), "eddsa", &made, &with(public));
    assert_eq!(kids(&public_alone, &["--key-file", pem.to_str().unwrap()]), of("ed", "EdDSA"));
    for (language, line) in [
        ("python", "key = os.environ[\"BLOBGATE_MINT_KEY\"]\n"),
        ("javascript", "key = await importPKCS8(process.env.BLOBGATE_MINT_KEY, \"EdDSA\");\n"),
    ] {
        let lines = print(&public_alone, language);
        assert!(lines.contains(line) && !lines.contains('@'), "{lines}");
    }
}

#[test]
fn names_what_a_setup_lacks_for_a_token() {
    let work = tempfile::tempdir().unwrap();
    let none = changed(work.path(), "none", "  path: /webhook/{token}", "  path: /webhook");
    let text_of = fs::read_to_string(&none).unwrap();
    let confirmed = "trust: {any_of: [confirmed], unprotected_budget: true}";
    let rule = format!(
        "api_key_file: secrets/runblob-key\n{}",
        text_of.replace("trust: {any_of: [token]}", confirmed)
    );
    fs::write(&none, rule).unwrap();
    let keyless = changed(work.path(), "keyless", "host", "host");
    fs::write(Path::new(&keyless).with_file_name("secrets/env"), "").unwrap();
    let missing = work.path().join("missing.yaml").display().to_string();
    for (file, more, sentence) in [
        (&none, [].as_slice(), "its hook takes no tokens. Add token_keys, and name `token` in hook.trust"),
        (&keyless, &[], "has no line BLOBGATE_TOKEN_KEY=.... Add it, or set the variable"),
        (&keyless, &["--kid", "other"], "its token_keys have no other. Pass another --kid, or none"),
        (&missing, &[], "Make one with `blobgate init`, or name another with --setup"),
    ] {
        let end = blobgate(&[&["mint", "--setup", file], more].concat())
            .env_remove("BLOBGATE_TOKEN_KEY")
            .output()
            .unwrap();
        assert_eq!((end.status.code(), text(&end.stdout)), (Some(1), String::new()));
        assert!(text(&end.stderr).trim_end().ends_with(sentence), "{}", text(&end.stderr));
    }
    let end = blobgate(&["init", "--print", "python", "--setup", &none]).output().unwrap();
    assert!(text(&end.stderr).contains("its hook takes no tokens"), "{}", text(&end.stderr));
}
