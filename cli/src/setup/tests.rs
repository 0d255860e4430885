//! Wrong setup files, each with its sentence.

use super::*;
use blobgate_inbox::AccessRole::{Expect, Operate, Read};

const SETUP: &str = include_str!("example.yaml");

fn parse(text: &str) -> Result<Setup, Vec<SetupFault>> {
    Setup::parse(Path::new("my-gate/blobgate.yaml"), text)
}

/// The faults of a text, as `LINE:COLUMN SENTENCE`.
fn faults(text: &str) -> Vec<String> {
    let faults = parse(text).err().unwrap_or_default();
    faults.iter().map(|fault| format!("{}:{} {}", fault.line, fault.column, fault.sentence())).collect()
}

/// A change of the setup file has one fault.
#[track_caller]
fn refuses(from: &str, to: &str, sentence: &str) {
    assert!(SETUP.contains(from), "{from}");
    assert_eq!(faults(&SETUP.replacen(from, to, 1)), [sentence], "{to}");
}

#[track_caller]
fn accepts(from: &str, to: &str) -> Setup {
    assert!(SETUP.contains(from), "{from}");
    parse(&SETUP.replacen(from, to, 1)).unwrap_or_else(|faults| panic!("{to}: {faults:?}"))
}

#[test]
fn reads_the_short_file() {
    let setup = parse(SETUP).unwrap();
    assert_eq!(setup.folder, Path::new("my-gate"));
    assert_eq!(setup.hook_url(), "https://hooks.example.com/webhook");
    assert_eq!((setup.module, &setup.module_file), (ModuleKind::Wasm, &None));
    assert_eq!((setup.listen, setup.ports), ("0.0.0.0:443".parse().unwrap(), SetupPorts::default()));
    assert_eq!(setup.signing_keys, ["BLOBGATE_SIGNING_KEY"]);
    assert_eq!((setup.hook.name.as_str(), setup.hook.service_path()), ("veo3", "/webhook"));
    let names: Vec<_> = setup.inbox_variables().into_iter().map(|(name, _)| name).collect();
    assert!(names.contains(&"BLOBGATE_INBOX_PROVIDER"), "{names:?}");
}

#[test]
fn reads_every_key() {
    let ports =
        "ports: {services: 18090, metrics: 19901, inbox: 19084, admin: 19085}\nhost: \"2001:db8::7\"\n";
    let all = format!(
        "{ports}listen: \"[::]:8443\"\nrun: /run/blobgate\nmodule: native\nmodule_file: ./libblobgate.so\nsigning_keys: [A, B]\n"
    );
    let setup = accepts("host: hooks.example.com\n", &all);
    assert_eq!(setup.hook_url(), "https://[2001:db8::7]:8443/webhook");
    assert_eq!((setup.ports.services, setup.ports.admin), (18090, 19085));
    assert_eq!(
        (setup.run.as_path(), setup.module, setup.module_file.as_deref()),
        (Path::new("/run/blobgate"), ModuleKind::Native, Some(Path::new("./libblobgate.so")))
    );
    assert_eq!(setup.signing_keys, ["A", "B"]);
    let open = accepts("{any_of: [token, confirmed]}", "{any_of: [token]}");
    assert_eq!(open.gate["hooks"][0]["quarantine"], "route");
    let text = SETUP.replace("{any_of: [token, confirmed]}", "open").replace("/{token}", "");
    let text = text.lines().filter(|line| !line.starts_with("api_key") && !line.starts_with("token_keys"));
    let setup = parse(&text.collect::<Vec<_>>().join("\n")).unwrap();
    assert_eq!((&setup.gate["hooks"][0]["quarantine"], setup.gate.get("confirm")), (&"none".into(), None));
    // An alias is a copy, and JSON is YAML.
    accepts("failed: \"http://127.0.0.1:5000\"", "failed: &a \"http://[::1]:5000\", quarantined: *a");
}

#[test]
fn refuses_what_is_no_setup_file() {
    const KEYS: &str = "write host, tls, environment, hook, services and inbox, or run `blobgate init`";
    for (text, sentence) in [
        ("", format!("0:0 the file is empty; {KEYS}")),
        ("# nothing\n---\n", format!("0:0 the file is empty; {KEYS}")),
        ("- host: a\n", format!("1:1 the file is a list; {KEYS}")),
        ("hooks.example.com\n", format!("1:1 the file is \"hooks.example.com\"; {KEYS}")),
    ] {
        assert_eq!(faults(text), [sentence], "{text}");
    }
    let second = faults(&format!("{SETUP}---\n{SETUP}"));
    assert_eq!(second, ["14:1 the file has a second document; write one"]);
    for text in ["host: [", "host: a: b\n", "host: \"a\n", "\tx"] {
        let found = faults(text);
        assert!(matches!(found.as_slice(), [one] if !one.starts_with("0:")), "{text}: {found:?}");
    }
}

#[test]
fn refuses_wrong_keys() {
    const TOP: &str = "host, listen, tls, environment, hook, api_key_file, token_keys, signing_keys, services, inbox, run, module, module_file, ports";
    refuses(
        "host:",
        "hosts: a\nhost:",
        &format!("1:1 hosts is not a known key; write host (known are {TOP})"),
    );
    refuses("host:", "zzz: 1\nhost:", &format!("1:1 zzz is not a known key; write one of {TOP}"));
    refuses(
        "host:",
        "apiKeyFile: a\nhost:",
        &format!("1:1 apiKeyFile is not a known key; write api_key_file (known are {TOP})"),
    );
    refuses("host:", "host: a.example\nhost:", "2:1 host is there twice, also in line 1; write it once");
    refuses(
        "  source: any",
        "  source: any\n  mode: observe",
        "8:3 hook.mode is not a known key; remove it, and edit mode in the rendered envoy.yaml",
    );
    refuses(
        "key: certs/edge-key.pem",
        "keys: a, key: b",
        "2:36 tls.keys is not a known key; write key (known are certificate, key)",
    );
    refuses(
        "host: hooks.example.com\n",
        "",
        "1:1 host is missing; write the public name, such as hooks.example.com",
    );
    refuses("host: hooks.example.com", "host:", "1:1 host has no value; write one, or remove the key");
    refuses("environment: production\n", "", "1:1 environment is missing; write a name such as production");
    refuses(
        "  source: any                                    # RunBlob documents no addresses\n",
        "",
        "4:1 hook.source is missing; write a list of addresses and ranges, or any",
    );
    refuses(
        ", failed: \"http://127.0.0.1:5000\"",
        "",
        "11:11 services.failed is missing; write http://HOST:PORT, such as http://127.0.0.1:5000",
    );
    refuses(
        "{certificate: certs/edge.pem, key: certs/edge-key.pem}",
        "certs",
        "2:1 tls is \"certs\"; write certificate: ..., key: ...",
    );
}

#[test]
fn refuses_wrong_values() {
    let host =
        |value: &str, sentence: &str| refuses("hooks.example.com", value, &format!("1:1 host {sentence}"));
    host("https://hooks.example.com", "has a scheme; write the name alone, such as hooks.example.com");
    host(
        "hooks.example.com:99999",
        "has no port from 1 to 65535 after its colon; write the name alone, or with the public port, such as hooks.example.com:8443",
    );
    host("123", "is 123; write the public name, such as hooks.example.com");
    host("[a]", "is a list; write the public name, such as hooks.example.com");
    host(
        "\"a\\nb\"",
        "has a line break or another control character; write the public name, such as hooks.example.com",
    );
    let listen = |value: &str, shown: &str| {
        refuses(
            "host:",
            &format!("listen: {value}\nhost:"),
            &format!("1:1 listen is {shown}; write ADDRESS:PORT, such as 0.0.0.0:443 or \"[::]:443\""),
        );
    };
    listen("443", "443");
    listen("localhost:443", "\"localhost:443\"");
    listen("0.0.0.0:0", "\"0.0.0.0:0\"");
    listen("\":443\"", "\":443\"");
    let port = |ports: &str, sentence: &str| {
        refuses("host:", &format!("ports: {{{ports}}}\nhost:"), &format!("1:9 ports.{sentence}"))
    };
    port("inbox: 0", "inbox is 0; write a number from 1 to 65535");
    port("inbox: 09084", "inbox is \"09084\"; write a number from 1 to 65535");
    port("inbox: 70000", "inbox is 70000; write a number from 1 to 65535");
    port("inbox: off", "inbox is \"off\"; write a number from 1 to 65535");
    port("inbox: 8090", "inbox is 8090, as in ports.services; write another port");
    port("metrics: 443", "metrics is 443, as in listen; write another port");
    let key = |value: &str, sentence: &str| {
        refuses("certs/edge-key.pem", value, &format!("2:36 tls.key {sentence}"))
    };
    key("~/edge-key.pem", "begins with ~, which only a shell replaces; write the whole path");
    key("\"\"", "is empty; write the name of a PEM file");
    key("https://a/b", "is a URL; write the name of a PEM file");
    refuses(
        "secrets/runblob-key",
        "9f86d081884c7d659a2feaa0c55ad015",
        "9:1 api_key_file looks like a key, and not like a path; write the name of a file with RunBlob's API key, such as secrets/runblob-key",
    );
    refuses(
        "/webhook/{token}",
        "/healthz",
        "5:3 hook.path is the path of Envoy's own health check; write another, such as /webhook/{token}",
    );
    let module = |value: &str, sentence: &str| {
        refuses("host:", &format!("module: {value}\nhost:"), &format!("1:1 module {sentence}"))
    };
    let both = "write wasm or native, and the path as module_file";
    module("./blobgate.wasm", &format!("is \"./blobgate.wasm\"; {both}"));
    module("libblobgate.so", &format!("is \"libblobgate.so\"; {both}"));
    module("Native", "is \"Native\"; write wasm or native");
    module("1", "is 1; write wasm or native");
    module("[native]", "is a list; write wasm or native");
    refuses(
        "host:",
        "module_file: https://example.com/libblobgate.so\nhost:",
        "1:1 module_file is a URL; write the name of blobgate.wasm or libblobgate.so",
    );
    refuses(
        "host:",
        &format!("run: /{}\nhost:", "a".repeat(100)),
        "1:1 run is too long for Envoy's admin socket in it; write a path of up to 96 bytes",
    );
}

#[test]
fn refuses_wrong_services_and_stores() {
    let service = |value: &str, sentence: &str| {
        refuses(
            "failed: \"http://127.0.0.1:5000\"",
            &format!("failed: \"{value}\""),
            &format!("11:48 services.failed {sentence}"),
        );
    };
    service(
        "http://127.0.0.1:5000/webhook",
        "has a path; write http://HOST:PORT alone: the service gets the hook's path",
    );
    service(
        "http://me:secret@127.0.0.1",
        "has a user or a password; write http://HOST:PORT or https://HOST, such as http://127.0.0.1:5000",
    );
    let circle = |own: &str| {
        format!(
            "is this setup's own listener ({own}), so deliveries would run in a circle; write the address of your service"
        )
    };
    service("http://localhost:9084", &circle("ports.inbox"));
    service("http://127.0.0.2:8090", &circle("ports.services"));
    service("http://[::1]:443", &circle("listen"));
    service("https://hooks.example.com", &circle("listen"));
    service("https://Hooks.Example.com:443/", &circle("listen"));
    let store = |value: &str, sentence: &str| {
        refuses("sqlite:/var/lib/blobgate/inbox.db", value, &format!("12:9 inbox.store {sentence}"));
    };
    store(
        "postgres://me:secret@db/blobgate",
        "has a password, which each reader of the file gets; remove it, and write PGPASSWORD=... into secrets/env",
    );
    store(
        "postgres://me@db/blobgate?password=secret",
        "has a password, which each reader of the file gets; remove it, and write PGPASSWORD=... into secrets/env",
    );
    store(
        "mysql://a",
        "does not load: it names no store: write sqlite:PATH or postgres://USER@HOST/DATABASE",
    );
    store("sqlite:ann's/inbox.db", "has a quote, which inbox.env cannot have; write a place without one");
    store("sqlite:~/inbox.db", "begins with ~, which only a shell replaces; write the whole path");
    store(
        "sqlite::memory:",
        "is in memory, so a restart loses every event; write sqlite:/var/lib/blobgate/inbox.db, or postgres://USER@HOST/DATABASE",
    );
    assert_eq!(accepts("sqlite:/var/lib/blobgate/inbox.db", "sqlite:inbox.db").store, "sqlite:inbox.db");
}

#[test]
fn shows_faults_of_the_gate_in_the_words_of_the_setup() {
    refuses(
        "/webhook/{token}",
        "/webhook",
        "5:3 hook.path is \"/webhook\", which takes no token, and trust names one; write the path with /{token} at its end",
    );
    refuses(
        "api_key_file: secrets/runblob-key\n",
        "",
        "6:3 hook.trust names confirmed, and api_key_file is missing; write api_key_file: secrets/runblob-key",
    );
    refuses(
        "token_keys: {\"2026-11\": {alg: HS256, env: BLOBGATE_TOKEN_KEY}}\n",
        "",
        "6:3 hook.trust names token, and token_keys is missing; write token_keys: {\"2026-11\": {alg: HS256, env: BLOBGATE_TOKEN_KEY}}",
    );
    for (from, to, start) in [
        ("source: any", "source: [10.0.0.0/33]", "7:"),
        ("environment: production", "environment: Production!", "3:1 environment is "),
        ("alg: HS256", "alg: none", "10:"),
        ("path: /webhook/{token}", "path: /a//b/{token}", "5:3 hook.path is "),
        ("trust: {any_of: [token, confirmed]}", "trust: {any_of: []}", "6:11 hook.trust"),
        ("host:", "signing_keys: []\nhost:", "1:1 signing_keys"),
        ("host:", "signing_keys: [A, A]\nhost:", "1:"),
        ("host:", "signing_keys: [BLOBGATE_TOKEN_KEY]\nhost:", "1:"),
    ] {
        let found = faults(&SETUP.replacen(from, to, 1));
        assert!(!found.is_empty() && found[0].starts_with(start), "{to}: {found:?}");
        let text = found.join("\n");
        for word in ["hooks[", "sign.env", "token.keys", "section"] {
            assert!(!text.contains(word), "{word}: {text}");
        }
    }
}

#[test]
fn a_url_has_the_public_port() {
    let url = |to: &str| accepts("host: hooks.example.com", to).hook_url();
    let listen = "listen: 0.0.0.0:8443\nhost: hooks.example.com";
    assert_eq!(url(listen), "https://hooks.example.com:8443/webhook");
    assert_eq!(url(&format!("{listen}:443")), "https://hooks.example.com/webhook");
    assert_eq!(url("host: \"[2001:db8::7]:8443\""), "https://[2001:db8::7]:8443/webhook");
    refuses(
        "http://127.0.0.1:5000",
        "https://hooks.example.com",
        "11:12 services.completed is this setup's own listener (listen), so deliveries would run in a circle; write the address of your service",
    );
    let text = SETUP.replace("host: hooks.example.com", "host: hooks.example.com:444").replacen(
        "http://127.0.0.1:5000",
        "https://hooks.example.com:444",
        1,
    );
    assert!(faults(&text).join("").contains("own listener (host)"), "{:?}", faults(&text));
}

#[test]
fn takes_long_paths_with_digits_and_both_cases() {
    for path in [
        "/home/Ann2026/Projects/My-Gate/certs/fullchain",
        "../Certificates-Of-2026/Hooks-Example-Com",
        "certs/Hooks2026-Example-Com-Fullchain.pem",
    ] {
        assert_eq!(accepts("certs/edge.pem", path).certificate, Path::new(path));
    }
}

#[test]
fn never_shows_a_secret() {
    let secret = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    for (from, to) in [
        ("secrets/runblob-key", secret.to_owned()),
        ("secrets/runblob-key", "rb_live_4f8a9b7c6d5e4f3a2b1c0d9e8f7a6b5c".to_owned()),
        ("BLOBGATE_TOKEN_KEY", secret.to_owned()),
        ("sqlite:/var/lib/blobgate/inbox.db", format!("postgres://me:{secret}@db/blobgate")),
        ("sqlite:/var/lib/blobgate/inbox.db", format!("mysql://me:{secret}@db/blobgate")),
        ("http://127.0.0.1:5000", format!("http://me:{secret}@127.0.0.1:5000")),
        ("host:", format!("signing_keys: [{secret}]\nhost:")),
        ("host:", format!("listen: {secret}\nhost:")),
    ] {
        let found = faults(&SETUP.replacen(from, &to, 1)).join("\n");
        assert!(
            !found.is_empty() && !found.contains(secret.get(..16).unwrap()) && !found.contains("4f8a9b7c"),
            "{from}: {found}"
        );
    }
}

#[test]
fn shows_the_first_fault_and_counts_the_others() {
    let faults = parse("host: a:x\nlisten: 1\n").err().unwrap();
    let more = faults.len() - 1;
    let error = SetupError::invalid(Path::new("g/blobgate.yaml"), faults).to_string();
    let start = "cannot use g/blobgate.yaml:1:1: host has no port from 1 to 65535 after its colon; write the name alone, or with the public port, such as hooks.example.com:8443 (";
    assert_eq!(error, format!("{start}`blobgate check g/blobgate.yaml` shows {more} more)"));
}

#[test]
fn reads_admin_tokens() {
    const STORE: &str = "inbox: {store: \"sqlite:/var/lib/blobgate/inbox.db\"";
    let with = |tokens: &str| format!("{STORE}, admin_tokens: {tokens}");
    let options = |setup: &Setup| {
        let variables = setup.inbox_variables().into_iter();
        variables.filter(|(name, _)| *name == "BLOBGATE_INBOX_ADMIN_TOKENS").map(|(_, value)| value).next()
    };
    assert_eq!(options(&parse(SETUP).unwrap()), None);
    let tokens = "{prometheus: {role: read, env: READ}, ops: {role: operate, env: [OPS, OPS_2]}}";
    let setup = accepts(STORE, &with(tokens));
    assert_eq!(options(&setup).unwrap(), "prometheus:read:READ,ops:operate:OPS,ops:operate:OPS_2");
    assert_eq!(setup.admin_token([Operate, Read]), Some("OPS"));
    assert_eq!(setup.admin_token([Expect, Read]), Some("READ"));
    let documented =
        accepts(&format!("{STORE}}}"), blobgate_testkit_book::block("admin-tokens-yaml").trim_end());
    let expected = "prometheus:read:BLOBGATE_READ_TOKEN,app:expect:BLOBGATE_EXPECT_TOKEN,ann:operate:BLOBGATE_OPERATE_TOKEN";
    assert_eq!(options(&documented).unwrap(), expected);
    let secret = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    for (tokens, sentence) in [
        ("{}", "inbox.admin_tokens is an object; write prometheus: {role: read, env: BLOBGATE_READ_TOKEN}"),
        (
            "{\"two words\": {role: read, env: A}}",
            "inbox.admin_tokens.two words is no name of an admin token",
        ),
        (
            "{a: {role: admin, env: A}}",
            "inbox.admin_tokens.a.role is \"admin\"; write read, expect or operate",
        ),
        ("{a: {env: A}}", "inbox.admin_tokens.a.role is missing; write read, expect or operate"),
        (
            "{a: {role: read}}",
            "inbox.admin_tokens.a.env is missing; write the name of the variable with the token",
        ),
        ("{a: {role: read, env: []}}", "inbox.admin_tokens.a.env is a list; write the name of a variable"),
        (
            "{a: {role: read, env: A, scope: x}}",
            "inbox.admin_tokens.a.scope is not a known key; write one of role, env",
        ),
        (
            "{a: {role: read, env: A}, b: {role: read, env: A}}",
            "inbox.admin_tokens.b.env names a variable a second time",
        ),
        ("{a: {role: read, env: A}, a: {role: read, env: B}}", "inbox.admin_tokens.a is there twice"),
        (
            &format!("{{a: {{role: read, env: {secret}}}}}"),
            "inbox.admin_tokens.a.env is what looks like a key",
        ),
        (&format!("{{a: {{role: {secret}, env: A}}}}"), "inbox.admin_tokens.a.role is what looks like a key"),
        ("[a:read:A]", "inbox.admin_tokens is a list"),
    ] {
        let found = faults(&SETUP.replacen(STORE, &with(tokens), 1)).join("\n");
        assert!(found.contains(sentence) && !found.contains(secret), "{tokens}: {found}");
    }
}
