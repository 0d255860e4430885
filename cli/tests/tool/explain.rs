//! `blobgate explain`: from a log line to the remedy, and a request against a configuration.

use crate::running::{blobgate, text};
use blobgate::contract::header;
use blobgate_testkit::book::block;
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

const GENERATION: &str = "ffd473d5-5bef-4e14-bf22-8d559be3c19f";
const BODY: &str = r#"{"generation_id": "ffd473d5-5bef-4e14-bf22-8d559be3c19f", "status": "completed", "prompt": "PRIVATE PROMPT",
    "video_url": "https://cdn.runblob.io/a.mp4", "created_at": "2025-12-06T21:43:03", "completed_at": "2025-12-06T21:44:06", "seed": 1, "error": null}"#;
/// At least 32 bytes.
const KEY: &str = "a key of the tests of explain, 32 bytes";

/// A directory with `envoy.yaml` of the repository and a body `event.json`.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::copy(root.join("envoy.yaml"), folder.path().join("envoy.yaml")).unwrap();
    fs::write(folder.path().join("event.json"), BODY).unwrap();
    folder
}

/// A run of `explain` without keys in its environment.
fn explain(folder: &TempDir, args: &[&str]) -> Output {
    let mut command = blobgate(&[&["explain"], args].concat());
    command.current_dir(folder).env_remove("BLOBGATE_TOKEN_KEY").env_remove("BLOBGATE_SIGNING_KEY");
    command.output().unwrap()
}

#[track_caller]
fn json(folder: &TempDir, args: &[&str], code: i32) -> Value {
    let output = explain(folder, &[args, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(code), "{}{}", text(&output.stdout), text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

const REQUEST: [&str; 4] = ["--config", "envoy.yaml", "--hook", "veo3"];

/// The verdict, reason and detail of a request with these options.
#[track_caller]
fn row(options: &[&str], code: i32, expected: [&str; 3]) {
    let folder = folder();
    let report = json(&folder, &[&["--config", "envoy.yaml"], options].concat(), code);
    let told = ["verdict", "reason", "detail"].map(|name| report[name].as_str().unwrap_or("-").to_owned());
    assert_eq!(told, expected, "{options:?}: {report:#}");
}

#[test]
fn names_the_field_and_the_expectation() {
    let accepted = ["accepted", "-", "-"];
    row(&["--hook", "veo3", "--body", "event.json"], 0, accepted);
    row(&["--path", "/webhook?x=1", "--body", "event.json"], 0, accepted);
    row(&["--path", "https://gate.example/webhook", "--body", "event.json"], 0, accepted);
    let body = ["--body", "event.json"];
    for (options, code, reason, detail) in [
        (
            &["--hook", "veo3", "--from", "203.0.113.9"][..],
            4,
            "source-denied",
            "source: address is in none of 2 ranges, expected an allowed address",
        ),
        (&["--hook", "veo3", "--plaintext"], 4, "https-required", "connection: is plaintext, expected TLS"),
        (&["--hook", "veo3", "--method", "GET"], 4, "method-not-allowed", "method: is GET, expected POST"),
        (
            &["--hook", "veo3", "--header", "content-encoding: gzip"],
            4,
            "unsupported-encoding",
            "content-encoding: is gzip, expected identity or none",
        ),
        (&["--path", "/elsewhere"], 4, "unknown-hook", "path: matches no hook, expected the path of a hook"),
        (
            &["--hook", "veo3-token", "--token", "expired", "--confirm", "contradicted"],
            3,
            "token-expired",
            "token: has expired, expected an exp in the future",
        ),
    ] {
        row(
            &[options, &body].concat(),
            code,
            [if code == 3 { "quarantined" } else { "refused" }, reason, detail],
        );
    }
    row(&["--hook", "veo3"], 4, ["refused", "body-missing", "body: is empty, expected a JSON object"]);
}

/// The line of a refused or quarantined request leads to a command that gives the same reason.
#[test]
fn repeats_the_request_of_a_line() {
    let folder = folder();
    fs::write(folder.path().join("http.json"), BODY.replace("https:", "http:")).unwrap();
    fs::write(folder.path().join("case.json"), BODY.replace("\"status\"", "\"STATUS\"")).unwrap();
    for (options, body, reason) in [
        (&["--hook", "veo3", "--from", "203.0.113.9"][..], "event.json", "source-denied"),
        (&["--hook", "veo3", "--plaintext"], "event.json", "https-required"),
        (&["--hook", "veo3", "--method", "PUT"], "event.json", "method-not-allowed"),
        (&["--hook", "veo3", "--header", "content-encoding: gzip"], "event.json", "unsupported-encoding"),
        (
            &["--hook", "veo3", "--header", "content-encoding: a", "--header", "content-encoding: b"],
            "event.json",
            "header-invalid",
        ),
        (&["--hook", "veo3", "--header", "content-length: a"], "event.json", "header-invalid"),
        (&["--hook", "veo3"], "", "body-missing"),
        (&["--hook", "veo3"], "http.json", "schema-invalid"),
        (&["--hook", "veo3"], "case.json", "json-duplicate-key"),
        (&["--path", "/elsewhere"], "event.json", "unknown-hook"),
        (
            &["--hook", "veo3-token", "--token", "expired", "--confirm", "limited"],
            "event.json",
            "token-expired",
        ),
        (
            &["--hook", "veo3-token", "--token", "other-hook", "--confirm", "unknown"],
            "event.json",
            "token-audience",
        ),
        (
            &["--hook", "veo3-token", "--token", "invalid", "--confirm", "unknown"],
            "event.json",
            "not-confirmed",
        ),
        (&["--hook", "veo3-token", "--confirm", "limited"], "event.json", "confirm-unavailable"),
    ] {
        let body = if body.is_empty() { vec![] } else { vec!["--body", body] };
        let args = [&["explain", "--config", "envoy.yaml", "--json"], options, &body].concat();
        let output = blobgate(&args).current_dir(&folder).output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["reason"], reason, "{args:?}: {report:#}");
        let line = report["log"][0].as_str().unwrap();
        // As `make run` shows it.
        let line = line.replace("blobgate verdict", "10:00:00  gate     verdict");
        let lines = json(&folder, &["--line", &line], 0);
        let next = lines["lines"][0]["next"].as_array().unwrap();
        let command = next.iter().filter_map(Value::as_str).find(|it| it.starts_with("blobgate explain"));
        let command = command.unwrap_or_else(|| panic!("{lines:#}"));
        let command = command.replace("BODY.json", body.last().copied().unwrap_or_default()) + " --json";
        let tool = format!("blobgate() {{ {} \"$@\"; }}; {command}", env!("CARGO_BIN_EXE_blobgate"));
        let output = Command::new("bash").args(["-c", &tool]).current_dir(&folder).output().unwrap();
        assert_eq!(
            output.status.code(),
            if report["verdict"] == "refused" { Some(4) } else { Some(3) },
            "{command}: {}",
            text(&output.stderr)
        );
        let again: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (&again["reason"], &again["verdict"]),
            (&report["reason"], &report["verdict"]),
            "{command}"
        );
    }
}

/// What a person has may be a part of a line, or the code alone.
#[test]
fn explains_a_part_of_a_line() {
    let folder = folder();
    for (line, expected) in [
        (
            "01:54:34  gate     verdict=refused reason=https-required hook=veo3-token source=127.0.0.1 id=-",
            "--plaintext",
        ),
        ("reason=schema-invalid", "schema-invalid"),
        ("schema-invalid", "schema-invalid"),
        ("< blobgate-reason: unknown-host", "no address of this machine"),
        (
            "wasm log blobgate blobgate: blobgate lines-left-out=2 kind=refused environment=test",
            "left out 2 lines",
        ),
        (
            r#"{"reason":"no-route","status":404,"details":"direct_response","attempt":"1"}"#,
            "No service route",
        ),
    ] {
        let output = explain(&folder, &["--line", line]);
        let shown = text(&output.stdout);
        assert!(
            output.status.success() && shown.contains(expected),
            "{line}: {shown}{}",
            text(&output.stderr)
        );
    }
    for code in ["no-route", "unknown-host", "store-damaged", "schema-invalid"] {
        assert!(explain(&folder, &[code]).status.success(), "{code}");
    }
}

#[test]
fn prints_the_response_and_the_services_headers() {
    let folder = folder();
    let report = json(&folder, &[&REQUEST[..], &["--body", "event.json"]].concat(), 0);
    let value = |name: &str| {
        let headers = report["service_request"]["headers"].as_array().unwrap();
        headers.iter().find(|header| header["name"] == name).map(|header| header["value"].clone())
    };
    assert_eq!(value(header::EVENT).unwrap(), "completed");
    assert_eq!(value(header::WEBHOOK_SIGNATURE).unwrap(), "(hidden)");
    assert_eq!((&report["generation"], &report["response"]["status"]), (&GENERATION.into(), &200.into()));
    assert_eq!(report["response_if_service_fails"]["status"], 503);
    let refused =
        json(&folder, &[&REQUEST[..], &["--body", "event.json", "--from", "203.0.113.9"]].concat(), 4);
    assert_eq!(refused["response"]["status"], 403);
    let problem: Value = serde_json::from_str(refused["response"]["body"].as_str().unwrap()).unwrap();
    assert_eq!(problem["code"], "source-denied");
    assert_eq!(refused["service_request"], Value::Null);
    assert!(refused["log"][0].as_str().unwrap().starts_with("blobgate verdict=refused reason=source-denied"));
}

/// A body of 1 MB and more is a verdict, and so is one that is not UTF-8.
#[test]
fn judges_every_body() {
    let folder = folder();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    write("large", &vec![b' '; 3_000_000]);
    write("empty", b"");
    write("binary", &[0xff, 0xfe, 0]);
    write("ended", format!("{BODY}\n").as_bytes());
    write("http", BODY.replace("https:", "http:").as_bytes());
    for (file, code, reason) in [
        ("large", 4, Some("body-too-large")),
        ("empty", 4, Some("body-missing")),
        ("binary", 4, Some("json-invalid")),
        ("http", 4, Some("schema-invalid")),
        ("ended", 0, None),
    ] {
        let report = json(&folder, &[&REQUEST[..], &["--body", file]].concat(), code);
        assert_eq!(report["reason"].as_str(), reason, "{file}");
    }
    let report = json(&folder, &[&REQUEST[..], &["--body", "http"]].concat(), 4);
    assert_eq!(report["detail"], "video_url: scheme is http, expected https");
}

#[test]
fn reads_a_body_from_standard_input() {
    let folder = folder();
    let mut command =
        blobgate(&["explain", "--config", "envoy.yaml", "--hook", "veo3", "--body", "-", "--json"]);
    let mut child =
        command.current_dir(&folder).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(BODY.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["generation"], GENERATION);
}

#[test]
fn decides_for_each_answer_of_the_status_api() {
    let folder = folder();
    let args = ["--config", "envoy.yaml", "--hook", "veo3-token", "--body", "event.json"];
    let report = json(&folder, &args, 5);
    assert_eq!(report["verdict"], "needs-confirmation");
    let url = report["confirmation"]["url"].as_str().unwrap();
    assert!(url.starts_with("https://platform.runblob.io/") && url.contains(GENERATION), "{url}");
    let outcomes: Vec<_> = report["outcomes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|outcome| {
            (
                outcome["outcome"].as_str().unwrap(),
                outcome["verdict"].as_str().unwrap(),
                outcome["reason"].as_str(),
            )
        })
        .collect();
    assert_eq!(
        outcomes,
        [
            ("confirmed", "accepted", None),
            ("contradicted", "refused", Some("not-confirmed")),
            ("no-answer", "refused", Some("confirm-unavailable")),
        ]
    );
    for (outcome, code) in [("confirmed", 0), ("unknown", 4), ("budget", 4)] {
        let report = json(&folder, &[&args[..], &["--confirm", outcome]].concat(), code);
        assert_eq!(
            (&report["confirmation"]["outcome"], &report["outcomes"]),
            (&outcome.into(), &Value::Array(vec![]))
        );
    }
}

/// A token is judged with its key only, and no output has it.
#[test]
fn judges_tokens_and_never_prints_them() {
    let folder = folder();
    let minted = blobgate(&[
        "mint",
        "--key-env",
        "KEY",
        "--kid",
        "dev",
        "--aud",
        "development/veo3-token",
        "--url",
        "https://gate.example/hooks/veo3",
    ])
    .env("KEY", KEY)
    .output()
    .unwrap();
    let url = text(&minted.stdout).trim().to_owned();
    let token = url.rsplit('/').next().unwrap().to_owned();
    let args = ["--config", "envoy.yaml", "--body", "event.json", "--path", &url];
    let output = explain(&folder, &args);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains("BLOBGATE_TOKEN_KEY") && error.contains("--token valid"), "{error}");
    assert!(!error.contains(&token), "{error}");
    for (key, code, verdict) in
        [(KEY, 0, "accepted"), ("another key of the tests of explain, 32 bytes", 5, "needs-confirmation")]
    {
        for json in [&[][..], &["--json"]] {
            let mut command = blobgate(&[&["explain"], &args[..], json].concat());
            let output = command.current_dir(&folder).env("BLOBGATE_TOKEN_KEY", key).output().unwrap();
            let shown = text(&output.stdout);
            assert_eq!(output.status.code(), Some(code), "{shown}{}", text(&output.stderr));
            assert!(shown.contains(verdict) && shown.contains("/hooks/veo3/{token}"), "{shown}");
            assert!(!shown.contains(&token) && !shown.contains(token.rsplit('.').next().unwrap()), "{shown}");
            assert!(!shown.contains("PRIVATE"), "{shown}");
        }
    }
    row(&["--hook", "veo3-token", "--token", "valid", "--body", "event.json"], 0, ["accepted", "-", "-"]);
    for (kind, reason) in [("expired", "token-expired"), ("other-hook", "token-audience")] {
        let args =
            ["--config", "envoy.yaml", "--hook", "veo3-token", "--body", "event.json", "--token", kind];
        let report = json(&folder, &[&args[..], &["--confirm", "no-answer"]].concat(), 3);
        assert_eq!(report["reason"], reason);
    }
}

#[test]
fn hides_headers_with_secrets() {
    let folder = folder();
    let header = [
        "--header",
        "Authorization: Bearer SECRET",
        "--header",
        "cookie: SECRET",
        "--header",
        "x-plain: seen",
    ];
    let output = explain(&folder, &[&REQUEST[..], &["--body", "event.json"], &header].concat());
    let shown = text(&output.stdout);
    assert!(shown.contains("authorization: (hidden)") && shown.contains("x-plain: seen"), "{shown}");
    assert!(!shown.contains("SECRET"), "{shown}");
}

#[track_caller]
fn fails(folder: &TempDir, args: &[&str], code: i32, expected: &str) {
    let output = explain(folder, args);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {error}{}", text(&output.stdout));
    assert!(error.contains(expected), "{args:?}: {error}");
}

#[test]
fn names_what_is_wrong_with_its_input() {
    let folder = folder();
    let with = |args: &[&'static str]| [&REQUEST[..], args].concat();
    fails(&folder, &[], 2, "nothing to explain");
    fails(&folder, &["no-such-reason"], 2, "no-such-reason");
    fails(
        &folder,
        &["--config", "nowhere.yaml"],
        1,
        "cannot use nowhere.yaml: it cannot be read: No such file",
    );
    fails(&folder, &["--config", "event.json"], 1, "no configuration of the gate");
    fails(&folder, &["--config", "envoy.yaml"], 2, "one of veo3, veo3-token");
    fails(&folder, &["--config", "envoy.yaml", "--hook", "other"], 2, "veo3, veo3-token");
    fails(&folder, &with(&["--path", "/webhook"]), 2, "--path");
    fails(&folder, &with(&["--body", "nowhere.json"]), 1, "cannot read the body nowhere.json");
    fails(&folder, &with(&["--body", "."]), 1, "cannot read the body .");
    fails(&folder, &with(&["--header", "no colon"]), 2, "it has no colon");
    fails(&folder, &with(&["--header", ":path: /x"]), 2, "no header name");
    fails(&folder, &with(&["--header", "a: b\u{1}"]), 2, "control character");
    fails(&folder, &with(&["--from", "somewhere"]), 2, "no IP address");
    fails(&folder, &with(&["--at", "yesterday"]), 2, "no time");
    fails(&folder, &with(&["--token", "valid"]), 2, "takes no token");
    fails(&folder, &with(&["--confirm", "perhaps"]), 2, "perhaps");
    fails(&folder, &with(&["--entry", "1"]), 2, "Leave out");
    fails(&folder, &["source-denied", "--body", "event.json"], 2, "Leave out");
    fails(&folder, &["--line", "a line of another program"], 1, "it has no line of the gate");
    fails(&folder, &["--config", "envoy.yaml", "--path", "webhook"], 2, "slash");
}

#[test]
fn explains_a_hook_behind_a_proxy() {
    let folder = folder();
    let config = r#"{"version": 1, "environment": "test", "hooks": [{"name": "proxied", "path": "/p", "dialect": "veo3",
        "transport": {"behind_proxy": ["10.0.0.0/8"]}, "source": ["203.0.113.0/24"], "trust": "open", "result_url": "any", "quarantine": "none"}]}"#;
    fs::write(folder.path().join("gate.json"), config).unwrap();
    let args = ["--config", "gate.json", "--body", "event.json", "--from", "203.0.113.9"];
    fails(&folder, &args, 2, "--peer");
    for (options, code, reason) in [
        (&["--peer", "10.0.0.7"][..], 0, None),
        (&["--peer", "10.0.0.7", "--plaintext"], 4, Some("https-required")),
        (&["--peer", "11.0.0.7"], 4, Some("https-required")),
    ] {
        let report = json(&folder, &[&args[..], options].concat(), code);
        assert_eq!(report["reason"].as_str(), reason, "{options:?}");
    }
}

/// From a refused request's log line to the field and its remedy, in one command.
#[test]
fn leads_from_a_log_line_to_the_remedy() {
    let folder = folder();
    fs::write(folder.path().join("http.json"), BODY.replace("https:", "http:")).unwrap();
    let report = json(&folder, &[&REQUEST[..], &["--body", "http.json"]].concat(), 4);
    let line = report["log"][0].as_str().unwrap();
    let envoy =
        format!("[2026-01-31 12:00:00.123][17][warning][wasm] [context.cc:1198] wasm log blobgate: {line}");
    let shown = text(&explain(&folder, &["--line", &envoy]).stdout);
    for part in [
        "schema-invalid",
        "video_url",
        "scheme is http",
        "https",
        "remedy",
        "Compare the field",
        "--hook veo3",
    ] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    let lines = json(&folder, &["--line", &envoy], 0);
    assert_eq!(lines["lines"][0]["detail"], "video_url: scheme is http, expected https");
    // A hostile line commands neither the terminal nor the shell.
    let hostile = envoy.replace("hook=veo3", "hook=$(id)").replace("scheme is http", "\u{1b}[2J");
    let shown = text(&explain(&folder, &["--line", &hostile]).stdout);
    assert!(!shown.contains('\u{1b}') && !shown.contains("--hook $(id)"), "{shown}");
}

/// What a reader copies from the page.
#[test]
fn runs_the_commands_of_the_page() {
    let folder = folder();
    let tool = Path::new(env!("CARGO_BIN_EXE_blobgate")).parent().unwrap().to_owned();
    let path = format!("{}:{}", tool.display(), std::env::var("PATH").unwrap());
    for (commands, code, expected) in [
        (block("explain-line"), 0, "scheme is http"),
        (block("explain-reason"), 0, "The client's address is not in the allowlist."),
        (block("explain-request"), 0, "blobgate-verdict: accepted"),
        (block("explain-token"), 5, "needs-confirmation"),
        (block("explain-confirm"), 0, "blobgate-proofs: confirmed"),
    ] {
        let output = Command::new("bash")
            .args(["-ec", &commands])
            .current_dir(&folder)
            .env("PATH", &path)
            .output()
            .unwrap();
        let shown = text(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{commands}{shown}{}", text(&output.stderr));
        assert!(shown.contains(expected), "{commands}{shown}");
    }
}
