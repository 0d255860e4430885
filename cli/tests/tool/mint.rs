//! `blobgate mint`. Another implementation verifies its tokens.

use crate::running::{blobgate, text};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD as BASE64URL};
use ring::signature::{Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use ring::{hmac, signature};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;
use tempfile::TempDir;
use time::OffsetDateTime;

const URL: &str = "https://hooks.example.com/hooks/veo3";
const RAW: &str = "a key of thirty-two bytes, or so";
/// The key of RFC 8032, section 7.1, test 1, in the form of `openssl genpkey`.
const PEM: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g
-----END PRIVATE KEY-----";
const PUBLIC: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const USUAL: [&str; 6] = ["--url", URL, "--aud", "production/veo3", "--kid", "2026-02"];
const DAY: i64 = 24 * 60 * 60;

fn mint(key: &str, args: &[&str]) -> Output {
    run(Some(("BLOBGATE_MINT_KEY", key)), args)
}

fn run(variable: Option<(&str, &str)>, args: &[&str]) -> Output {
    let mut command = blobgate(&[&["mint"], args].concat());
    command.env_remove("BLOBGATE_MINT_KEY").envs(variable);
    command.output().unwrap()
}

fn usual(more: &[&'static str]) -> Vec<&'static str> {
    [&USUAL, more].concat()
}

/// The only line of a successful run.
#[track_caller]
fn line(end: &Output) -> String {
    assert_eq!((end.status.code(), text(&end.stderr)), (Some(0), String::new()));
    let message = text(&end.stdout);
    let line = message.strip_suffix('\n').unwrap();
    assert_eq!(line.lines().count(), 1, "{message}");
    line.to_owned()
}

#[track_caller]
fn fails(end: &Output, sentence: &str) {
    ends_with(end, 1, sentence);
}

/// The command line, or a variable that it names, is wrong.
#[track_caller]
fn is_wrong_usage(end: &Output, sentence: &str) {
    ends_with(end, 2, sentence);
}

#[track_caller]
fn ends_with(end: &Output, code: i32, sentence: &str) {
    let message = (end.status.code(), text(&end.stdout), text(&end.stderr));
    assert_eq!(message, (Some(code), String::new(), format!("blobgate: {sentence}\n")));
}

/// Header and claims of a token. Verifies the signature.
#[track_caller]
fn verified(token: &str, holds: impl Fn(&[u8], &[u8]) -> bool) -> (Value, Value) {
    let (signed, mac) = token.rsplit_once('.').unwrap();
    assert!(holds(signed.as_bytes(), &BASE64URL.decode(mac).unwrap()), "{token}");
    assert!(
        !holds(&signed.as_bytes()[1..], &BASE64URL.decode(mac).unwrap()),
        "the verifier accepts anything"
    );
    let (header, claims) = signed.split_once('.').unwrap();
    let json = |part| serde_json::from_slice(&BASE64URL.decode(part).unwrap()).unwrap();
    (json(header), json(claims))
}

fn hs256(key: &[u8]) -> impl Fn(&[u8], &[u8]) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    move |signed, mac| hmac::verify(&key, signed, mac).is_ok()
}

fn eddsa(public: &str) -> impl Fn(&[u8], &[u8]) -> bool {
    let public = UnparsedPublicKey::new(&signature::ED25519, BASE64URL.decode(public).unwrap());
    move |signed, mac| public.verify(signed, mac).is_ok()
}

#[track_caller]
fn token(url: &str) -> &str {
    url.strip_prefix(URL).unwrap().strip_prefix('/').unwrap()
}

fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

/// Removes `exp` from the claims, which is `ttl` from now.
#[track_caller]
fn expires_in(claims: &mut Value, ttl: i64) {
    let exp = claims.as_object_mut().unwrap().remove("exp").unwrap().as_i64().unwrap();
    let now = now();
    assert!((now + ttl - 20..=now + ttl).contains(&exp), "{exp} at {now}");
}

#[test]
fn signs_with_each_form_of_key() {
    #[track_caller]
    fn signs(key: &str, alg: &str, holds: impl Fn(&[u8], &[u8]) -> bool) {
        let args = usual(&["--job", "a.b_c~d-1", "--jti", "t1"]);
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key");
        let at = file.to_str().unwrap();
        let from_a_file = |content: &str| {
            std::fs::write(&file, content).unwrap();
            run(None, &[&args[..], &["--key-file", at]].concat())
        };
        for end in [
            mint(key, &args),
            run(Some(("MY_KEY", key)), &[&args[..], &["--key-env", "MY_KEY"]].concat()),
            from_a_file(key),
            from_a_file(&format!("{key}\n")),
            from_a_file(&format!("{key}\r\n")),
        ] {
            assert_eq!(end.status.code(), Some(0), "{}", text(&end.stderr));
            let url = text(&end.stdout);
            let (header, mut claims) = verified(token(url.trim_end()), &holds);
            assert_eq!(header, json!({"alg": alg, "typ": "JWT", "kid": "2026-02"}));
            expires_in(&mut claims, DAY);
            assert_eq!(claims, json!({"aud": "production/veo3", "job": "a.b_c~d-1", "jti": "t1"}));
        }
    }
    signs(RAW, "HS256", hs256(RAW.as_bytes()));
    let bytes: Vec<u8> = (200..=255).collect();
    signs(&format!("base64:{}", BASE64_STANDARD.encode(&bytes)), "HS256", hs256(&bytes));
    signs(PEM, "EdDSA", eddsa(PUBLIC));
    signs(&PEM.replace('\n', "\r\n"), "EdDSA", eddsa(PUBLIC));
    signs(&PEM.replace('\n', "\\n"), "EdDSA", eddsa(PUBLIC));
}

#[test]
fn mints_a_token_of_two_claims() {
    let url = line(&mint(PEM, &usual(&["--no-jti", "--ttl", "90m"])));
    let (_, mut claims) = verified(token(&url), eddsa(PUBLIC));
    expires_in(&mut claims, 90 * 60);
    assert_eq!(claims, json!({"aud": "production/veo3"}));
}

#[test]
fn mints_random_ids() {
    let id = || {
        let (_, claims) = verified(token(&line(&mint(RAW, &USUAL))), hs256(RAW.as_bytes()));
        claims["jti"].as_str().unwrap().to_owned()
    };
    let (one, other) = (id(), id());
    assert_eq!((one.len(), other.len()), (16, 16));
    assert_ne!(one, other);
}

#[test]
fn binds_a_prompt_byte_by_byte() {
    #[track_caller]
    fn bound(end: &Output, hash: &str) {
        let (_, claims) = verified(token(text(&end.stdout).trim_end()), hs256(RAW.as_bytes()));
        assert_eq!(claims["ph"], hash);
    }
    // From `printf ... | openssl dgst -sha256 -binary | basenc --base64url`.
    let (without, with) =
        ("ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0", "7eqv8_F3StKIhnN3DG1kCX45G8Ni19b7NJgt3w79GMs");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("prompt");
    let args = usual(&["--prompt-file"]);
    let args = [&args[..], &[file.to_str().unwrap()]].concat();
    bound(&mint(RAW, &usual(&["--prompt", "abc"])), without);
    std::fs::write(&file, "abc").unwrap();
    bound(&mint(RAW, &args), without);
    std::fs::write(&file, "abc\n").unwrap();
    let end = mint(RAW, &args);
    bound(&end, with);
    let warning =
        "blobgate: warning: the prompt ends with a line end. Send it to RunBlob with that line end\n";
    assert!(text(&end.stderr).starts_with(warning), "{}", text(&end.stderr));

    std::fs::write(&file, b"\xff").unwrap();
    fails(
        &mint(RAW, &args),
        &format!("cannot use {} as a prompt: it is not UTF-8. Encode it in UTF-8", file.display()),
    );
    let hyphen = mint(RAW, &usual(&["--prompt", "-5 degrees, and snow"]));
    bound(&hyphen, "p6oG5UK7bBDi9wqBCa16Vy55M5z7npUQVi0ea8YksSk");
    std::fs::write(&file, b"").unwrap();
    fails(
        &mint(RAW, &args),
        "the prompt is empty, and the gate refuses empty prompts. Pass another one, or none",
    );
}

#[test]
fn appends_the_token_as_last_segment() {
    #[track_caller]
    fn makes(url: &str, start: &str) {
        let url = line(&mint(RAW, &["--no-jti", "--aud", "a/b", "--kid", "k", "--url", url]));
        let (before, token) = url.rsplit_once('/').unwrap();
        assert_eq!(before, start);
        verified(token, hs256(RAW.as_bytes()));
    }
    for url in [URL, &format!("{URL}/"), &format!("{URL}/{{token}}"), &format!("{URL}/{{token}}/")] {
        makes(url, URL);
    }
    makes("https://hooks.example.com", "https://hooks.example.com");
    makes("https://hooks.example.com:8443/{token}", "https://hooks.example.com:8443");
    makes("HTTPS://Hooks.Example.com/Veo3", "https://hooks.example.com/Veo3");
}

#[test]
fn warns_about_plain_http() {
    for host in ["localhost", "127.0.0.1:8080", "127.9.9.9", "[::1]:8080"] {
        let url = format!("http://{host}/hooks/veo3");
        let end = mint(RAW, &["--no-jti", "--aud", "a/b", "--kid", "k", "--url", &url]);
        assert!(text(&end.stdout).starts_with(&format!("{url}/ey")), "{}", text(&end.stderr));
        let warning = "blobgate: warning: http:// shows the token to the network. Use https:// elsewhere\n";
        assert_eq!((end.status.code(), text(&end.stderr)), (Some(0), warning.to_owned()));
    }
}

#[test]
fn warns_about_a_long_url() {
    // The host's length sets the URL's length.
    let minted = |host: usize| {
        let url = format!("https://{}.{}/x", "a".repeat(host), "b".repeat(60));
        mint(RAW, &["--no-jti", "--aud", "production/veo3", "--kid", "2026-02", "--url", &url])
    };
    let shortest = text(&minted(1).stdout).trim_end().len();
    let up_to = |length: usize| minted(1 + length - shortest);

    assert_eq!(line(&up_to(255)).len(), 255);
    let end = up_to(256);
    let warning = "blobgate: warning: the URL has 256 characters, and some databases cut it at 255. \
                   Use HS256, --no-jti, or a shorter --job or --kid\n";
    assert_eq!((end.status.code(), text(&end.stderr)), (Some(0), warning.to_owned()));
    assert_eq!(text(&end.stdout).trim_end().len(), 256);
}

#[test]
fn prints_json() {
    let end = mint(RAW, &usual(&["--json", "--no-jti", "--job", "order-17"]));
    let message: Value = serde_json::from_slice(&end.stdout).unwrap();
    let token = message["token"].as_str().unwrap();
    let (_, claims) = verified(token, hs256(RAW.as_bytes()));
    let exp = OffsetDateTime::from_unix_timestamp(claims["exp"].as_i64().unwrap()).unwrap();
    let (hour, minute, second) = exp.to_hms();
    let expected = json!({
        "url": format!("{URL}/{token}"),
        "token": token,
        "claims": claims,
        "kid": "2026-02",
        "alg": "HS256",
        "expires": format!("{}T{hour:02}:{minute:02}:{second:02}Z", exp.date()),
    });
    assert_eq!(message, expected);
}

#[test]
fn rejects_wrong_values() {
    #[track_caller]
    fn refuses(option: &str, values: &[&str], sentence: &str) {
        for value in values {
            let mut args: Vec<_> = USUAL.to_vec();
            match args.iter().position(|arg| *arg == option) {
                Some(at) => args[at + 1] = value,
                None => args.extend([option, value]),
            }
            let end = mint(RAW, &args);
            let message = text(&end.stderr);
            assert_eq!(
                (end.status.code(), text(&end.stdout)),
                (Some(2), String::new()),
                "{value}: {message}"
            );
            let first = message.lines().next().unwrap();
            assert!(
                first.starts_with(&format!("error: invalid value '{value}' for '{option} <")),
                "{message}"
            );
            assert!(first.ends_with(&format!(">': {sentence}")), "{message}");
        }
    }
    let long = "x".repeat(65);
    let kid = "a kid has 1 to 32 letters, digits, `_` or `-`";
    refuses("--kid", &["a.b", "a b", "é", &"x".repeat(33)], kid);
    let aud = "an audience is environment/hook, each with 1 to 32 lower-case letters, digits or `-`";
    refuses(
        "--aud",
        &["veo3", "/veo3", "a/", "a/b/c", "A/b", "a_b/c", &format!("a/{}", "x".repeat(33))],
        aud,
    );
    let reference = "it needs 1 to 64 letters, digits, `.`, `_`, `~` or `-`";
    refuses("--job", &["a b", "a/b", "é", &long], reference);
    refuses("--jti", &["a b", &long], reference);
    let https = "the URL has to begin with https://, or with http:// on this machine";
    refuses(
        "--url",
        &["http://hooks.example.com/x", "http://127.0.0.1.example.com", "ftp://a/b", "localhost:80/x"],
        https,
    );
    let none = "it is no URL. Write one such as https://hooks.example.com/hooks/veo3";
    refuses("--url", &["hooks.example.com/x", "https://", "/hooks/veo3"], none);
    let whole = "{token} has to be the whole last segment";
    refuses("--url", &["https://a/{token}/b", "https://a/x{token}", "https://a/{token}/{token}"], whole);
    let query = "the URL has a query or a fragment. Remove it: the token is the end of the URL";
    refuses("--url", &["https://a/b?c=d", "https://a/b#c"], query);
    refuses("--url", &["https://u@a/b", "https://u:p@a/b"], "the URL has a user or a password. Remove them");
}

#[test]
fn reports_unusable_keys_and_options() {
    let without = run(None, &USUAL);
    is_wrong_usage(&without, "no key: BLOBGATE_MINT_KEY is not set. Set it, or name a file with --key-file");
    is_wrong_usage(
        &run(None, &usual(&["--key-env", "NO_KEY"])),
        "no key: the environment variable of --key-env is not set. Set it, or name another",
    );
    fails(
        &run(None, &usual(&["--key-file", "/no/key"])),
        "no key: the file of --key-file does not exist. Name another, or make a key with --new-key",
    );
    is_wrong_usage(
        &mint(RAW.strip_prefix('a').unwrap(), &USUAL),
        "the key has 31 bytes, and HS256 needs 32. Make one with `blobgate mint --new-key`",
    );
    is_wrong_usage(
        &mint("base64:c2hvcnQ=", &USUAL),
        "the key has 5 bytes, and HS256 needs 32. Make one with `blobgate mint --new-key`",
    );
    let url_safe = format!("base64:{}", BASE64URL.encode([255; 33]));
    is_wrong_usage(
        &mint(&url_safe, &USUAL),
        "cannot read the key: it has no standard base64 after base64:. Encode it again",
    );
    let pem = "cannot read the PEM: EdDSA needs an Ed25519 private key in PKCS#8 without a password. Make one with `blobgate mint --new-key`";
    is_wrong_usage(&mint(&PEM.replace("PRIVATE", "PUBLIC"), &USUAL), pem);
    let p256 = rcgen::KeyPair::generate().unwrap().serialize_pem();
    is_wrong_usage(&mint(&p256, &USUAL), pem);
    let directory = tempfile::tempdir().unwrap();
    let der = directory.path().join("key.der");
    std::fs::write(&der, rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_der())
        .unwrap();
    let args = [&USUAL[..], &["--key-file", der.to_str().unwrap()]].concat();
    fails(
        &run(None, &args),
        "cannot read the key: it is neither PEM nor text. Write bytes as base64: and base64",
    );
    let long = "--ttl ends after the year 9999. Pass 24h, for example";
    is_wrong_usage(&mint(RAW, &usual(&["--ttl", "9000years"])), long);
    is_wrong_usage(&mint(RAW, &usual(&["--ttl", "500000000000years"])), long);
}

#[test]
fn exits_with_2_on_wrong_usage() {
    for args in [
        &[][..],
        &["--url", URL, "--aud", "a/b"],
        &["--url", URL, "--kid", "k"],
        &["--aud", "a/b", "--kid", "k"],
        &usual(&["--ttl", "soon"]),
        &usual(&["--ttl", "10ms"]),
        &usual(&["--prompt", ""]),
        &usual(&["--jti", "a", "--no-jti"]),
        &usual(&["--prompt", "a", "--prompt-file", "b"]),
        &usual(&["--key-env", "A", "--key-file", "b"]),
        &usual(&["--alg", "HS256"]),
        &usual(&["--out", "b"]),
        &usual(&["--new-key"]),
        &["--alg", "HS256"],
        &["--out", "b"],
        &["--new-key", "--alg", "none"],
        &["--new-key", "--ttl", "24h"],
    ] {
        let end = mint(RAW, args);
        assert_eq!((end.status.code(), text(&end.stdout)), (Some(2), String::new()), "{args:?}");
    }
}

/// The output contains 12 bytes of the key.
fn shows(output: &Output, key: &str) -> bool {
    let message = [&output.stdout[..], &output.stderr].concat();
    let key = key.replace("-----BEGIN PRIVATE KEY-----", "").replace("-----END PRIVATE KEY-----", "");
    key.as_bytes().windows(12).any(|part| message.windows(12).any(|at| at == part))
}

#[test]
fn prints_no_key() {
    let coded = format!("base64:{}", BASE64_STANDARD.encode([77; 40]));
    for key in
        [RAW, PEM, &coded, coded.trim_end_matches('='), "too short for a key", &PEM.replace("MC4C", "MC4D")]
    {
        for args in [
            usual(&[]),
            usual(&["--json"]),
            usual(&["--ttl", "1ms"]),
            usual(&["--job", "a b"]),
            vec!["--url", URL],
            vec!["--help"],
        ] {
            assert!(!shows(&mint(key, &args), key), "{args:?}");
        }
        // A key in place of a name, by mistake.
        for (option, code) in [("--key-env", 2), ("--key-file", 1)] {
            let args = [&USUAL[..], &[option, key]].concat();
            let end = run(None, &args);
            assert_eq!(end.status.code(), Some(code), "{}", text(&end.stderr));
            assert!(!shows(&end, key), "{option}");
        }
    }
    for alg in ["EdDSA", "HS256"] {
        let end = run(None, &["--new-key", "--alg", alg, "--json"]);
        let message: Value = serde_json::from_slice(&end.stdout).unwrap();
        assert!(shows(&end, message["minter"]["private"].as_str().unwrap()), "the search finds nothing");
    }
}

/// Kid and value of the line for `token.keys`.
#[track_caller]
fn gate_line(message: &str, alg: &str, member: &str) -> (String, String) {
    let line = message.lines().find(|line| line.starts_with('"')).unwrap();
    let (kid, key) = line.split_once(&format!(": {{alg: {alg}, {member}: ")).unwrap();
    (kid.trim_matches('"').to_owned(), key.strip_suffix('}').unwrap().trim_matches('"').to_owned())
}

#[test]
fn signs_with_a_new_key_pair() {
    let end = run(None, &["--new-key"]);
    let message = text(&end.stdout);
    let (kid, public) = gate_line(&message, "EdDSA", "public");
    let today = OffsetDateTime::now_utc();
    assert_eq!(kid, format!("{}-{:02}", today.year(), u8::from(today.month())));
    let (_, private) = message.split_once("BLOBGATE_MINT_KEY='").unwrap();
    let (private, _) = private.split_once('\'').unwrap();

    let (header, _) = verified(token(&line(&mint(private, &usual(&["--no-jti"])))), eddsa(&public));
    assert_eq!(header["alg"], "EdDSA");
    let [_, der, _] = private.lines().collect::<Vec<_>>()[..] else { panic!("{message}") };
    let der = BASE64_STANDARD.decode(der).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).unwrap();
    assert_eq!(BASE64URL.encode(pair.public_key()), public);
}

#[test]
fn signs_with_a_new_shared_key() {
    let end = run(None, &["--new-key", "--alg", "HS256", "--kid", "2026-02b"]);
    let message = text(&end.stdout);
    let (kid, variable) = gate_line(&message, "HS256", "env");
    assert_eq!((&*kid, &*variable), ("2026-02b", "BLOBGATE_TOKEN_KEY_2026_02B"));
    let value = |name: &str| message.lines().find_map(|line| line.strip_prefix(&format!("{name}="))).unwrap();
    let private = value("BLOBGATE_MINT_KEY");
    assert_eq!(value(&variable), private);

    let bytes = BASE64_STANDARD.decode(private.strip_prefix("base64:").unwrap()).unwrap();
    assert_eq!(bytes.len(), 32);
    verified(token(&line(&mint(private, &usual(&["--no-jti"])))), hs256(&bytes));
}

#[test]
fn writes_a_new_key_to_a_private_file() {
    for (alg, more) in [("EdDSA", &[][..]), ("HS256", &[]), ("EdDSA", &["--json"]), ("HS256", &["--json"])] {
        let directory: TempDir = tempfile::tempdir().unwrap();
        let file = directory.path().join("key");
        let args =
            [&["--new-key", "--alg", alg, "--kid", "k", "--out", file.to_str().unwrap()], more].concat();
        let end = run(None, &args);
        assert_eq!((end.status.code(), text(&end.stderr)), (Some(0), String::new()));
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let private = std::fs::read_to_string(&file).unwrap();
        assert!(!shows(&end, &private), "{}", text(&end.stdout));
        signs_from(&file, alg);

        let again = run(None, &args);
        fails(&again, &format!("cannot create {}: it exists. Name a new file with --out", file.display()));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), private);
    }
}

#[track_caller]
fn signs_from(file: &Path, alg: &str) {
    let args = usual(&["--json", "--key-file"]);
    let end = run(None, &[&args[..], &[file.to_str().unwrap()]].concat());
    let message: Value = serde_json::from_slice(&end.stdout).unwrap();
    assert_eq!(message["alg"], alg);
}

#[test]
fn prints_a_new_key_in_json() {
    let message = |args: &[&str]| -> Value {
        serde_json::from_slice(&run(None, &[&["--new-key", "--json", "--kid", "k"], args].concat()).stdout)
            .unwrap()
    };
    let pair = message(&[]);
    let public = pair["gate"]["key"]["public"].as_str().unwrap();
    let expected = json!({
        "kid": "k",
        "gate": {
            "line": format!(r#""k": {{alg: EdDSA, public: "{public}"}}"#),
            "key": {"alg": "EdDSA", "public": public},
        },
        "minter": {"env": "BLOBGATE_MINT_KEY", "private": pair["minter"]["private"], "file": null},
    });
    assert_eq!(pair, expected);
    let shared = message(&["--alg", "hs256"]);
    assert_eq!(shared["gate"]["key"], json!({"alg": "HS256", "env": "BLOBGATE_TOKEN_KEY_K"}));
}

/// Runs the book's commands for a key and a callback URL.
#[test]
fn the_book_makes_a_key_and_a_url() {
    let place = TempDir::new().unwrap();
    let folder = Path::new(env!("CARGO_BIN_EXE_blobgate")).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let commands = blobgate_testkit::book::block("mint-shell");
    let end = std::process::Command::new("bash")
        .args(["-euo", "pipefail", "-c", &commands])
        .env("PATH", path)
        .current_dir(place.path())
        .output()
        .unwrap();
    assert!(end.status.success(), "{}", text(&end.stderr));
    let message = text(&end.stdout);
    let (_, public) = message.split_once("public: \"").unwrap();
    let (public, _) = public.split_once('"').unwrap();
    let (_, claims) = verified(token(message.lines().last().unwrap()), eddsa(public));
    assert_eq!((&claims["aud"], &claims["job"]), (&json!("production/veo3"), &json!("order-17")));
}
