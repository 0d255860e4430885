//! Valid and invalid configurations, in both of Envoy's forms: a serialised Struct and JSON text.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    unreachable_pub,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]

#[path = "config/agreement.rs"]
mod agreement;

use agreement::agreement;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use blobgate::contract::DOCS;
use blobgate::trust::Trust;
use blobgate::{Config, hook};
use prost::Message;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value as Wire};
use serde_json::{Value, json};

/// A configuration with only the required keys.
fn minimal() -> Value {
    json!({
        "version": 1,
        "environment": "production",
        "hooks": [{
            "name": "veo3", "path": "/webhook", "dialect": "veo3", "source": ["203.0.113.0/24"],
            "trust": "open", "result_url": "any", "quarantine": "none",
        }],
    })
}

/// A valid key of each kind.
const TOKEN_KEY: &str = "a token's key, of thirty-two bytes";
const SIGNING_KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// RFC 8032, section 7.1, test 1: the public half, and the private one.
const PUBLIC: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const PRIVATE: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";

/// The variables of the host.
fn env(name: &str) -> Option<String> {
    let signing = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
    match name {
        "TOKEN" | "BLOBGATE_TOKEN_KEY" => Some(TOKEN_KEY.to_owned()),
        "TOKEN_32" => Some("k".repeat(32)),
        "TOKEN_BASE64" => Some(format!("base64:{}", STANDARD.encode(TOKEN_KEY))),
        "SIGN" | "BLOBGATE_SIGNING_KEY" => Some(SIGNING_KEY.to_owned()),
        "SIGN_24" => Some(signing(24)),
        "SIGN_AGAIN" => Some(SIGNING_KEY.to_owned()),
        "TOKEN_BYTES_OF_SIGN_64" => Some(signing(64).replace("whsec_", "base64:")),
        "TOKEN_TEXT_OF_SIGN" => Some(SIGNING_KEY["whsec_".len()..].to_owned()),
        "TOKEN_OF_SIGN_64" => Some("\x07".repeat(64)),
        "SIGN_OF_TOKEN" => Some(format!("whsec_{}", STANDARD.encode(TOKEN_KEY))),
        "TOKEN_OF_PUBLIC" => Some(PUBLIC.to_owned()),
        "TOKEN_BYTES_OF_PUBLIC" => {
            Some(format!("base64:{}", STANDARD.encode(URL_SAFE_NO_PAD.decode(PUBLIC).unwrap())))
        }
        "SIGN_64" => Some(signing(64)),
        "EMPTY" => Some(String::new()),
        "SHORT" => Some("shortsecret".repeat(3)[..31].to_owned()),
        "SHORT_BASE64" => Some("base64:c2hvcnRzZWNyZXQ=".to_owned()),
        "BAD_BASE64" => Some("base64:shortsecret_shortsecret_shortsecret".to_owned()),
        "UNPADDED" => Some(format!("base64:{}", STANDARD.encode(TOKEN_KEY).trim_end_matches('='))),
        "SIGN_23" => Some(signing(23)),
        "SIGN_65" => Some(signing(65)),
        "SIGN_NO_PREFIX" => Some(SIGNING_KEY["whsec_".len()..].to_owned()),
        "SIGN_BAD_BASE64" => Some("whsec_shortsecret_shortsecret_shortsecret".to_owned()),
        _ => None,
    }
}

/// A configuration with every section, whose hook takes both proofs.
fn complete() -> Value {
    let mut config =
        with_hook("{path: '/hooks/veo3/{token}', trust: {any_of: [token, confirmed]}, quarantine: route}");
    config["token"] = json!({"keys": {"hs": {"alg": "HS256", "env": "TOKEN"}}});
    config["confirm"] = json!({"cluster": "runblob_api", "authority": "platform.runblob.io"});
    config["sign"] = json!({"env": ["SIGN"]});
    config
}

/// `complete()` with another value at a JSON pointer. `None` removes the value.
fn complete_with(pointer: &str, value: Option<&str>) -> Value {
    let mut config = complete();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = config.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => drop(parent.insert(key.to_owned(), serde_saphyr::from_str(value).unwrap())),
        None => drop(parent.remove(key).unwrap()),
    }
    config
}

#[track_caller]
fn complete_loads(pointer: &str, value: &str) {
    load(&complete_with(pointer, Some(value))).unwrap();
}

#[track_caller]
fn complete_refused(pointer: &str, value: &str, sentence: &str) {
    assert_eq!(load(&complete_with(pointer, Some(value))).unwrap_err(), sentence, "{pointer}: {value}");
}

fn on_the_wire(value: &Value) -> Wire {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(*value),
        Value::Number(value) => Kind::NumberValue(value.as_f64().unwrap()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(items) => Kind::ListValue(ListValue { values: items.iter().map(on_the_wire).collect() }),
        Value::Object(_) => Kind::StructValue(a_struct(value)),
    };
    Wire { kind: Some(kind) }
}

fn a_struct(value: &Value) -> Struct {
    let fields = value.as_object().unwrap().iter();
    Struct { fields: fields.map(|(key, value)| (key.clone(), on_the_wire(value))).collect() }
}

/// Loads the configuration in both forms, which must agree, also with the schema.
#[track_caller]
fn load(config: &Value) -> Result<Config, String> {
    let text = Config::load(config.to_string().as_bytes(), &env).map_err(|error| error.to_string());
    let wire = Config::load(&a_struct(config).encode_to_vec(), &env).map_err(|error| error.to_string());
    assert_eq!(format!("{text:?}"), format!("{wire:?}"));
    agreement(config, wire.as_ref().err().map(String::as_str));
    wire
}

/// `minimal()` with changes of its hook. A null removes the key.
fn with_hook(patch: &str) -> Value {
    let patch: Value = serde_saphyr::from_str(patch).unwrap();
    let mut config = minimal();
    let hook = config["hooks"][0].as_object_mut().unwrap();
    for (key, value) in patch.as_object().unwrap() {
        match value {
            Value::Null => hook.remove(key),
            value => hook.insert(key.clone(), value.clone()),
        };
    }
    config
}

#[track_caller]
fn hook_loads(patch: &str) {
    load(&with_hook(patch)).unwrap();
}

#[track_caller]
fn hook_refused(patch: &str, sentence: &str) {
    assert_eq!(load(&with_hook(patch)).unwrap_err(), sentence, "{patch}");
}

#[track_caller]
fn refused(config: &Value, sentence: &str) {
    assert_eq!(load(config).unwrap_err(), sentence);
}

#[track_caller]
fn bytes_refused(bytes: &[u8], sentence: &str) {
    assert_eq!(Config::load(bytes, &env).unwrap_err().to_string(), sentence);
}

#[test]
fn loads_valid_hooks() {
    load(&minimal()).unwrap();
    for patch in [
        "source: any",
        "source: ['2001:db8::/32', '::1', 203.0.113.7, '::ffff:10.0.0.0/104', 0.0.0.0/1]",
        "source: [0.0.0.0/1, 128.0.0.0/2, 192.0.0.0/3, '::/1', '8000::/2']",
        "result_url: [runblob.io, '*.runblob.io']",
        "result_url: ['*.a.b-1.runblob.io', xn--bcher-kva.example, 127.0.0.1.runblob.io]",
        "transport: any",
        "transport: {behind_proxy: [10.0.0.0/8]}",
        "transport: {behind_proxy: [10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10, 127.0.0.0/8, 'fc00::/7']}",
        "transport: {behind_proxy: [16.0.0.0/4, '2400:cb00::/32', '::1']}",
        "mode: observe",
        "mode: enforce",
        "schema: strict",
        "answers: receipt",
        "max_body_bytes: 1000000",
        "max_depth: 3",
        "checks: {}",
        "checks: {source: observe, result_url: observe, trust: observe, prompt: 'off'}",
        "checks: {prompt: false}",
        "path: /a/b.c_d~e-f/0",
        "name: a-1",
    ] {
        hook_loads(patch);
    }
}

#[test]
fn loads_the_shipped_configuration() {
    let envoy: Value = serde_saphyr::from_str(include_str!("../envoy.yaml")).unwrap();
    let filters = &envoy["static_resources"]["listeners"][0]["filter_chains"][0]["filters"];
    let gate = &filters[0]["typed_config"]["http_filters"][0]["typed_config"]["config"];
    let config = load(&gate["configuration"]["value"]).unwrap();
    let paths: Vec<&str> = config.hooks.iter().map(|hook| &*hook.path).collect();
    assert_eq!(paths, ["/webhook", "/hooks/veo3"]);
}

#[test]
fn loads_json_after_a_line_break() {
    // `\n{` are also the first two bytes of a Struct whose first field has 123 bytes.
    Config::load(format!("\n{}\n", minimal()).as_bytes(), &env).unwrap();
    let mut config = minimal();
    for length in 1..=32 {
        config["environment"] = "e".repeat(length).into();
        load(&config).unwrap();
    }
}

#[test]
fn loads_only_whole_doubles_as_whole_numbers() {
    for (written, right) in
        [("65536.0", true), ("65536.5", false), ("6.5536e4", true), ("-1.0", false), ("1e300", false)]
    {
        let config =
            minimal().to_string().replace("\"name\"", &format!("\"max_body_bytes\":{written},\"name\""));
        assert_eq!(load(&serde_json::from_str(&config).unwrap()).is_ok(), right, "{written}");
    }
}

#[test]
fn rejects_bytes_without_a_configuration() {
    bytes_refused(b"", "the configuration is empty; write version, environment and hooks");
    const NEITHER: &str =
        "the configuration is neither a google.protobuf.Struct nor a JSON object; write it as one of them";
    bytes_refused(b"[]", NEITHER);
    bytes_refused(b"version: 1", NEITHER);
    bytes_refused(b"\n\xff\xff", NEITHER);
    bytes_refused(b"{", "the configuration is not JSON; write one JSON object");
    bytes_refused(b"{} {}", "the configuration is not JSON; write one JSON object");
    bytes_refused(
        b"{\"version\":1,\"version\":1}",
        "the configuration has a key twice in one object; write each once",
    );
    bytes_refused(
        format!("{{\"a\":{}", "[".repeat(40)).as_bytes(),
        "the configuration is nested more than 32 deep; write only documented keys",
    );
    bytes_refused(b"{}", "version is missing; write 1");
}

#[test]
fn rejects_invalid_top_level_keys() {
    let with = |key: &str, value: Value| {
        let mut config = minimal();
        config[key] = value;
        config
    };
    let without = |key: &str| {
        let mut config = minimal();
        config.as_object_mut().unwrap().remove(key);
        config
    };
    refused(&without("version"), "version is missing; write 1");
    refused(&without("environment"), "environment is missing; write a name such as production");
    refused(&without("hooks"), "hooks is missing; write a list of hooks");
    refused(&with("version", json!(2)), "version is 2; write 1");
    refused(&with("version", json!("1")), "version is \"1\"; write 1");
    refused(
        &with("environment", json!("Production")),
        "environment is \"Production\"; write 1 to 32 of a-z, 0-9 and -, such as veo3",
    );
    refused(&with("hooks", json!([])), "hooks is an empty list; write at least one hook");
    refused(&with("hooks", json!({})), "hooks is an object; write a list of hooks");
    refused(
        &with("hooks", json!([3])),
        "hooks[0] is 3; write a hook: an object with name, path, dialect, source, trust and more",
    );
    refused(
        &with("hook", json!([])),
        "hook is not a known key; write one of version, environment, docs, hooks, token, confirm, sign",
    );
    let hook = minimal()["hooks"][0].clone();
    let mut other = hook.clone();
    other["path"] = json!("/other");
    refused(
        &with("hooks", json!([hook, other])),
        "hooks[1].name is \"veo3\", which another hook has; write a different name for each hook",
    );
    other["name"] = json!("other");
    other["path"] = json!("/webhook");
    refused(
        &with("hooks", json!([hook, other])),
        "hooks[1].path is \"/webhook\", which another hook has; write a different path for each hook",
    );
}

#[test]
fn reads_the_base_url_of_the_documentation() {
    let with = |docs: Value| {
        let mut config = minimal();
        config["docs"] = docs;
        config
    };
    assert_eq!(load(&minimal()).unwrap().docs, DOCS);
    for (docs, expected) in [
        ("https://docs.example", "https://docs.example"),
        ("HTTPS://docs.example:8443/gate/v1/", "HTTPS://docs.example:8443/gate/v1"),
    ] {
        assert_eq!(load(&with(docs.into())).unwrap().docs, expected);
    }
    const EXPECTED: &str =
        "an https URL without query and fragment, such as https://docs.example.com/blobgate";
    for docs in [
        "",
        "docs.example",
        "http://docs.example",
        "https:///a",
        "https://user@docs.example",
        "https://docs.example/?a",
        "https://docs.example/#a",
        "https://docs.example/\"",
        "https://docs.example/ä",
    ] {
        refused(&with(docs.into()), &format!("docs is {docs:?}; write {EXPECTED}"));
    }
    refused(&with(json!(7)), &format!("docs is 7; write {EXPECTED}"));
}

#[test]
fn rejects_missing_keys() {
    hook_refused("name:", "hooks[0].name is missing; write a name such as veo3");
    hook_refused("path:", "hooks[0].path is missing; write a path such as /webhook");
    hook_refused("dialect:", &format!("hooks[0].dialect is missing; write {}", dialects()));
    hook_refused("source:", "hooks[0].source is missing; write a list of addresses and ranges, or any");
    hook_refused("trust:", "hooks[0].trust is missing; write open, {any_of: [...]} or {all_of: [...]}");
    hook_refused("result_url:", "hooks[0].result_url is missing; write a list of hosts, or any");
    hook_refused("quarantine:", "hooks[0].quarantine is missing; write route or none");
}

#[test]
fn rejects_invalid_hooks() {
    const PATH: &str = "write a path such as /webhook or /hooks/veo3/{token}: segments of A-Z a-z 0-9 . _ ~ -, with no slash at the end";
    for path in [
        "webhook",
        "/",
        "",
        "/webhook/",
        "//webhook",
        "/a/../b",
        "/a/.",
        "/a b",
        "/a%2fb",
        "/a?b",
        "/ä",
        "/{token}",
        "/hooks/{token}/veo3",
        "/{token}/{token}",
        "/a{token}",
        "/a/{token}/",
        "/a/{TOKEN}",
        "/a/{id}",
        "/a/%7Btoken%7D",
    ] {
        hook_refused(&format!("path: '{path}'"), &format!("hooks[0].path is {path:?}; {PATH}"));
    }
    hook_refused("path: 3", &format!("hooks[0].path is 3; {PATH}"));
    hook_refused("name: veo.3", "hooks[0].name is \"veo.3\"; write 1 to 32 of a-z, 0-9 and -, such as veo3");
    hook_refused("name: ''", "hooks[0].name is \"\"; write 1 to 32 of a-z, 0-9 and -, such as veo3");
    hook_refused("dialect: sora", &format!("hooks[0].dialect is \"sora\"; write {}", dialects()));
    hook_refused("mode: 'off'", "hooks[0].mode is \"off\"; write enforce or observe");
    hook_refused("mode: false", "hooks[0].mode is false; write enforce or observe");
    hook_refused("schema: lenient", "hooks[0].schema is \"lenient\"; write tolerant or strict");
    hook_refused("answers: body", "hooks[0].answers is \"body\"; write status or receipt");
    hook_refused("paths: /a", &format!("hooks[0].paths is not a known key; write one of {}", HOOK_KEYS));
    hook_refused(
        "max_body_bytes: 64KiB",
        "hooks[0].max_body_bytes is \"64KiB\"; write a whole number from 1024 to 1000000",
    );
    hook_refused(
        "max_body_bytes: 1023",
        "hooks[0].max_body_bytes is 1023; write a whole number from 1024 to 1000000",
    );
    hook_refused(
        "max_body_bytes: 1000001",
        "hooks[0].max_body_bytes is 1000001; write a whole number from 1024 to 1000000",
    );
    hook_refused("max_depth: 2", "hooks[0].max_depth is 2; write a whole number from 3 to 64");
    hook_refused("max_depth: 65", "hooks[0].max_depth is 65; write a whole number from 3 to 64");
    hook_refused("max_depth: '1.5'", "hooks[0].max_depth is \"1.5\"; write a whole number from 3 to 64");
    hook_refused("max_depth: -1", "hooks[0].max_depth is -1; write a whole number from 3 to 64");
}

const HOOK_KEYS: &str = "name, path, dialect, mode, transport, source, trust, schema, result_url, quarantine, answers, \
                         max_body_bytes, max_depth, checks";

#[test]
fn rejects_invalid_addresses() {
    const ONE: &str = "an address or range such as 203.0.113.7, 203.0.113.0/24 or \"2001:db8::/32\"";
    const LIST: &str = "a list of addresses and ranges such as [203.0.113.0/24, \"2001:db8::/32\"], or any";
    hook_refused("source: all", &format!("hooks[0].source is \"all\"; write {LIST}"));
    hook_refused("source: {}", &format!("hooks[0].source is an object; write {LIST}"));
    hook_refused("source: []", "hooks[0].source is an empty list; write at least one address or range");
    for bad in [
        "203.0.113.0/33",
        "203.0.113",
        "2001:db8::/129",
        "localhost",
        "203.0.113.0-203.0.113.9",
        "010.0.0.0/8",
        "",
    ] {
        hook_refused(
            &format!("source: [10.0.0.0/8, '{bad}']"),
            &format!("hooks[0].source[1] is {bad:?}; write {ONE}"),
        );
    }
    hook_refused("source: [7]", &format!("hooks[0].source[0] is 7; write {ONE}"));
    hook_refused(
        "source: [10.0.0.1/8]",
        "hooks[0].source[0] is \"10.0.0.1/8\"; write the range's first address, 10.0.0.0/8",
    );
    const TRANSPORT: &str = "tls_here, any or {behind_proxy: [address ranges]}";
    hook_refused("transport: tls", &format!("hooks[0].transport is \"tls\"; write {TRANSPORT}"));
    hook_refused("transport: true", &format!("hooks[0].transport is true; write {TRANSPORT}"));
    hook_refused(
        "transport: {behind_proxy: [x]}",
        &format!("hooks[0].transport.behind_proxy[0] is \"x\"; write {ONE}"),
    );
    hook_refused(
        "transport: {}",
        "hooks[0].transport.behind_proxy is missing; write a list of the proxies' addresses and ranges",
    );
    hook_refused(
        "transport: {proxy: []}",
        "hooks[0].transport.proxy is not a known key; write one of behind_proxy",
    );
}

#[test]
fn rejects_invalid_result_hosts() {
    const ONE: &str = "a host such as runblob.io or \"*.runblob.io\", in lower case";
    const LIST: &str = "a list of hosts such as [runblob.io, \"*.runblob.io\"], or any";
    hook_refused("result_url: runblob.io", &format!("hooks[0].result_url is \"runblob.io\"; write {LIST}"));
    hook_refused("result_url: {}", &format!("hooks[0].result_url is an object; write {LIST}"));
    hook_refused("result_url: []", "hooks[0].result_url is an empty list; write at least one host");
    hook_refused("result_url: [7]", &format!("hooks[0].result_url[0] is 7; write {ONE}"));
    let long_label = format!("{}.io", "a".repeat(64));
    let shown = format!("hooks[0].result_url[0] is \"{}…\"; write {ONE}", "a".repeat(60));
    hook_refused(&format!("result_url: [{long_label}]"), &shown);
    for bad in [
        "any",
        "",
        "localhost",
        "RunBlob.io",
        "https://runblob.io",
        "runblob.io/",
        "runblob.io:443",
        "runblob.io.",
        ".runblob.io",
        "runblob..io",
        "user@runblob.io",
        "runblob_.io",
        "-runblob.io",
        "runblob-.io",
        "bücher.example",
        "runblob%2eio",
        " runblob.io",
        "*",
        "*.",
        "*.io",
        "*runblob.io",
        "**.runblob.io",
        "*.*.runblob.io",
        "cdn.*.runblob.io",
        "cdn*.runblob.io",
        "127.0.0.1",
        "127.1",
        "0x7f.0x1",
        "*.0.0.1",
        "::1",
        "[::1]",
    ] {
        hook_refused(
            &format!("result_url: [runblob.io, '{bad}']"),
            &format!("hooks[0].result_url[1] is {bad:?}; write {ONE}"),
        );
    }
}

#[test]
fn rejects_invalid_checks() {
    hook_refused(
        "checks: [source]",
        "hooks[0].checks is a list; write an object with some of source, result_url, trust and prompt",
    );
    hook_refused(
        "checks: {schema: observe}",
        "hooks[0].checks.schema is not a known key; write one of source, result_url, trust, prompt",
    );
    for check in ["source", "result_url", "trust"] {
        hook_refused(
            &format!("checks: {{{check}: false}}"),
            &format!("hooks[0].checks.{check} is false; write enforce or observe"),
        );
        hook_refused(
            &format!("checks: {{{check}: 'off'}}"),
            &format!("hooks[0].checks.{check} is \"off\"; write enforce or observe"),
        );
    }
    hook_refused(
        "checks: {prompt: later}",
        "hooks[0].checks.prompt is \"later\"; write enforce or observe or off",
    );
    hook_refused("checks: {prompt: true}", "hooks[0].checks.prompt is true; write enforce or observe or off");
    hook_refused(
        "checks: {prompt: [off]}",
        "hooks[0].checks.prompt is a list; write enforce or observe or off",
    );
    for check in ["enforce", "observe"] {
        hook_refused(
            &format!("checks: {{prompt: {check}}}"),
            &format!(
                "hooks[0].checks.prompt is \"{check}\", which needs a token, and the path takes none; write off"
            ),
        );
    }
    let twice = minimal()
        .to_string()
        .replace("\"trust\"", "\"checks\":{\"trust\":\"enforce\",\"trust\":\"observe\"},\"trust\"");
    bytes_refused(twice.as_bytes(), "the configuration has a key twice in one object; write each once");
}

#[test]
fn writes_an_error_on_one_line() {
    hook_refused(
        "\"mode\\nx\": enforce",
        &format!("hooks[0].mode\\nx is not a known key; write one of {HOOK_KEYS}"),
    );
    hook_refused("\"mode\": \"x\\ny\"", "hooks[0].mode is \"x\\ny\"; write enforce or observe");
    complete_refused(
        "/token/keys",
        "{\"a\\r\\nb\": {alg: HS256, env: TOKEN}}",
        "token.keys.a\\r\\nb is not a valid key; write a kid of 1 to 32 of A-Z a-z 0-9 _ -",
    );
}

/// The valid dialects in an error.
fn dialects() -> String {
    let names: Vec<_> = blobgate::dialect::Dialect::ALL.iter().map(|dialect| dialect.name()).collect();
    names.join(" or ")
}

#[test]
fn shortens_long_values() {
    let long = "x".repeat(200);
    hook_refused(
        &format!("dialect: {long}"),
        &format!("hooks[0].dialect is \"{}…\"; write {}", "x".repeat(60), dialects()),
    );
}

#[test]
fn loads_valid_proofs() {
    load(&complete()).unwrap();
    for (pointer, value) in [
        ("/token/leeway", "0s"),
        ("/token/leeway", "3600s"),
        ("/token/leeway", "1.5s"),
        ("/token/leeway", "1.000000001s"),
        ("/token/keys/hs/env", "TOKEN_32"),
        ("/token/keys/hs/env", "TOKEN_BASE64"),
        ("/token/keys", "{A-z_0-9: {alg: HS256, env: TOKEN}}"),
        ("/token/keys", "{k2345678901234567890123456789012: {alg: HS256, env: TOKEN}}"),
        ("/sign/env", "[SIGN, SIGN_24]"),
        ("/sign/env", "[SIGN_64]"),
        ("/confirm/per_minute", "1"),
        ("/confirm/per_minute", "6000"),
        ("/confirm/timeout", "0.05s"),
        ("/confirm/timeout", "4s"),
        ("/confirm/timeout", ".5s"),
        ("/hooks/0/checks", "{trust: observe, prompt: enforce}"),
        ("/hooks/0/checks", "{prompt: observe}"),
        ("/hooks/0/mode", "observe"),
        ("/hooks/0/quarantine", "none"),
    ] {
        complete_loads(pointer, value);
    }
    complete_loads(
        "/token/keys",
        &format!("{{ed: {{alg: EdDSA, public: {PUBLIC}}}, hs: {{alg: HS256, env: TOKEN}}}}"),
    );
    // Unused sections are valid.
    let mut unused = minimal();
    for section in ["token", "confirm", "sign"] {
        unused[section] = complete()[section].clone();
    }
    load(&unused).unwrap();
    load(&complete_with("/sign", None)).unwrap();
}

#[track_caller]
fn rule(trust: &str, path: &str, expected: Trust) {
    let mut config = complete_with("/hooks/0/trust", Some(trust));
    config["hooks"][0]["path"] = path.into();
    let config = load(&config).unwrap();
    assert_eq!(config.hooks[0].trust, expected, "{trust}");
}

#[test]
fn reads_any_and_all_of_one_proof_alike() {
    rule("{any_of: [token]}", "/a/{token}", Trust::Token);
    rule("{all_of: [token]}", "/a/{token}", Trust::Token);
    rule("{any_of: [confirmed], unprotected_budget: true}", "/a", Trust::Confirmed);
    rule("{all_of: [confirmed], unprotected_budget: true}", "/a", Trust::Confirmed);
    rule("{any_of: [token, confirmed]}", "/a/{token}", Trust::TokenOrConfirmed);
    rule("{any_of: [confirmed, token]}", "/a/{token}", Trust::TokenOrConfirmed);
    rule("{all_of: [token, confirmed]}", "/a/{token}", Trust::TokenAndConfirmed);
    rule("{all_of: [confirmed, token]}", "/a/{token}", Trust::TokenAndConfirmed);
}

#[test]
fn rejects_invalid_trust_rules() {
    const FORMS: &str = "write open, {any_of: [...]} or {all_of: [...]} with token and confirmed";
    const NO_BUDGET: &str = "hooks[0].trust lets unauthenticated senders spend the budget of calls to the provider; \
                             write {any_of: [confirmed], unprotected_budget: true} to allow that";
    const BUDGET: &str = "hooks[0].trust names token, and unprotected_budget is only for confirmed alone; \
                          write the rule without unprotected_budget";
    let refused = |trust: &str, sentence: &str| complete_refused("/hooks/0/trust", trust, sentence);
    refused("closed", &format!("hooks[0].trust is \"closed\"; {FORMS}"));
    refused("token", &format!("hooks[0].trust is \"token\"; {FORMS}"));
    refused(
        "false",
        "hooks[0].trust is false; write open, {any_of: [...]} or {all_of: [...]} with token and confirmed",
    );
    refused("[token]", &format!("hooks[0].trust is a list; {FORMS}"));
    refused("{}", &format!("hooks[0].trust is an object; {FORMS}"));
    refused("{unprotected_budget: true}", &format!("hooks[0].trust is an object; {FORMS}"));
    refused(
        "{any_of: [token], all_of: [confirmed]}",
        "hooks[0].trust has both any_of and all_of; write one of them",
    );
    refused(
        "{one_of: [token]}",
        "hooks[0].trust.one_of is not a known key; write one of any_of, all_of, unprotected_budget",
    );
    for key in ["any_of", "all_of"] {
        let at = format!("hooks[0].trust.{key}");
        refused(
            &format!("{{{key}: []}}"),
            &format!("{at} is an empty list; write at least one of token and confirmed"),
        );
        refused(
            &format!("{{{key}: token}}"),
            &format!("{at} is \"token\"; write a list of token and confirmed"),
        );
        refused(
            &format!("{{{key}: {{token: true}}}}"),
            &format!("{at} is an object; write a list of token and confirmed"),
        );
        for (item, shown) in
            [("source", "\"source\""), ("Token", "\"Token\""), ("open", "\"open\""), ("1", "1")]
        {
            refused(
                &format!("{{{key}: [token, {item}]}}"),
                &format!("{at}[1] is {shown}; write token or confirmed"),
            );
        }
        for list in ["token, token", "confirmed, confirmed", "token, confirmed, token"] {
            refused(
                &format!("{{{key}: [{list}]}}"),
                &format!("{at} is a list; write each of token and confirmed once"),
            );
        }
        refused(&format!("{{{key}: [confirmed]}}"), NO_BUDGET);
        refused(&format!("{{{key}: [token], unprotected_budget: true}}"), BUDGET);
        refused(&format!("{{{key}: [token, confirmed], unprotected_budget: true}}"), BUDGET);
        for (value, shown) in [("false", "false"), ("'true'", "\"true\""), ("1", "1")] {
            refused(
                &format!("{{{key}: [confirmed], unprotected_budget: {value}}}"),
                &format!("hooks[0].trust.unprotected_budget is {shown}; write true, or leave it out"),
            );
        }
    }
}

#[test]
fn rejects_conflicting_sections() {
    let without = |key: &str, sentence: &str| refused(&complete_with(key, None), sentence);
    without(
        "/token",
        "hooks[0].trust names token, and the section token is missing; write a section token with keys",
    );
    without(
        "/confirm",
        "hooks[0].trust names confirmed, and the section confirm is missing; write a section confirm with cluster and authority",
    );
    complete_refused(
        "/hooks/0/path",
        "/hooks/veo3",
        "hooks[0].path is \"/hooks/veo3\", which takes no token, and trust names one; write the path with /{token} at its end",
    );
    for trust in ["open", "{any_of: [confirmed], unprotected_budget: true}"] {
        complete_refused(
            "/hooks/0/trust",
            trust,
            "hooks[0].path is \"/hooks/veo3/{token}\", which takes a token, and trust names none; write the path without {token}",
        );
    }
    hook_refused(
        "quarantine: route",
        "hooks[0].quarantine is \"route\", which needs authenticated senders, and trust is open; write none",
    );
    for (value, shown) in [("keep", "\"keep\""), ("true", "true")] {
        complete_refused(
            "/hooks/0/quarantine",
            value,
            &format!("hooks[0].quarantine is {shown}; write route or none"),
        );
    }
}

/// Hooks with every setting that a hook may have of its own.
fn of_hooks(number: usize) -> Value {
    let mut config = complete();
    let hook = config["hooks"][0].clone();
    let hooks = (0..number).map(|number| {
        let mut hook = hook.clone();
        hook["name"] = format!("h{number}").into();
        hook["path"] = format!("/hooks/h{number}/{{token}}").into();
        hook
    });
    config["hooks"] = hooks.collect();
    config
}

/// Loading compares no hook with each other hook. The time of a loaded machine cancels out in the ratio.
#[test]
fn loads_ten_times_the_hooks_in_some_ten_times_the_time() {
    let time_of = |hooks: usize| {
        let bytes = a_struct(&of_hooks(hooks)).encode_to_vec();
        let load = || {
            let begun = std::time::Instant::now();
            assert_eq!(Config::load(&bytes, &env).unwrap().hooks.len(), hooks);
            begun.elapsed()
        };
        (0..5).map(|_| load()).min().unwrap()
    };
    let (few, many) = (time_of(1_000), time_of(10_000));
    assert!(many < few * 20, "{few:?} for 1,000 hooks, {many:?} for 10,000");
}

#[test]
fn rejects_paths_below_a_token() {
    let two = |first: &str, second: &str| {
        let mut config = complete();
        let hooks = [("one", first), ("two", second)].map(|(name, path)| {
            let mut hook = config["hooks"][0].clone();
            hook["name"] = name.into();
            hook["path"] = path.into();
            if !path.ends_with("{token}") {
                hook["trust"] = "open".into();
                hook["quarantine"] = "none".into();
            }
            hook
        });
        config["hooks"] = json!(hooks);
        config
    };
    for (first, second) in [("/a/{token}", "/a"), ("/a", "/a/{token}"), ("/a/{token}", "/a/{token}")] {
        refused(
            &two(first, second),
            "hooks[1].path is \"/a\", which another hook has; write a different path for each hook",
        );
    }
    let meet = |first: &str, second: &str| {
        let clean = |path: &str| path.trim_end_matches("/{token}").to_owned();
        for (first, second) in [(first, second), (second, first)] {
            let sentence = format!(
                "hooks[1].path is at {}, and another hook is at {}: a hook with {{token}} can have no other hook below its \
                 path; write paths that are not below each other",
                clean(second),
                clean(first)
            );
            refused(&two(first, second), &sentence);
        }
    };
    meet("/hooks/veo3/{token}", "/hooks/veo3/x");
    meet("/hooks/veo3/{token}", "/hooks/veo3/x/{token}");
    meet("/hooks/veo3/{token}", "/hooks/veo3/x/y");
    meet("/hooks/veo3/{token}", "/hooks/veo3/x/y/{token}");
    for (first, second) in [
        ("/a/{token}", "/b/{token}"),
        ("/a/{token}", "/ab/{token}"),
        ("/a/{token}", "/ab"),
        ("/a/b/{token}", "/a"),
        ("/a", "/a/b/{token}"),
        ("/a", "/a/b"),
    ] {
        let config = load(&two(first, second)).unwrap();
        for expected in &config.hooks {
            let (found, token) = hook::find(&config.hooks, expected.path.as_bytes()).unwrap();
            assert_eq!((&found.name, token), (&expected.name, None));
        }
    }
}

#[test]
fn rejects_invalid_token_sections() {
    const KEY: &str = "write {alg: EdDSA, public: \"...\"} or {alg: HS256, env: NAME}";
    const KEYS: &str = "write an object of keys by their kid";
    complete_refused("/token", "[]", "token is an empty list; write an object with keys");
    complete_refused("/token", "{}", "token.keys is missing; write an object of keys by their kid");
    complete_refused("/token", "{key: {}}", "token.key is not a known key; write one of keys, leeway");
    complete_refused("/token/keys", "[]", &format!("token.keys is an empty list; {KEYS}"));
    complete_refused("/token/keys", "{}", "token.keys is an object; write at least one key");
    complete_refused("/token/keys/hs", "TOKEN", &format!("token.keys.hs is \"TOKEN\"; {KEY}"));
    complete_refused("/token/keys/hs", "{env: TOKEN}", "token.keys.hs.alg is missing; write EdDSA or HS256");
    complete_refused(
        "/token/keys/hs",
        "{alg: HS256, secret: x}",
        "token.keys.hs.secret is not a known key; write one of alg, public, env",
    );
    for alg in ["none", "None", "HS512", "hs256", "RS256", "ES256", "Ed25519", ""] {
        complete_refused(
            "/token/keys/hs/alg",
            &format!("'{alg}'"),
            &format!("token.keys.hs.alg is {alg:?}; write EdDSA or HS256"),
        );
    }
    complete_refused("/token/keys/hs/alg", "256", "token.keys.hs.alg is 256; write EdDSA or HS256");
    for public in ["", ", public: x"] {
        complete_refused(
            "/token/keys",
            &format!("{{k: {{alg: EdDSA, env: TOKEN{public}}}}}"),
            "token.keys.k.env is for HS256, and alg is EdDSA; write public instead",
        );
        complete_refused(
            "/token/keys",
            &format!("{{k: {{alg: HS256, env: TOKEN, public: '{PUBLIC}{public}'}}}}"),
            "token.keys.k.public is for EdDSA, and alg is HS256; write env instead",
        );
    }
    complete_refused(
        "/token/keys",
        "{k: {alg: EdDSA}}",
        "token.keys.k.public is missing; write the 32 bytes of a public key in unpadded base64url",
    );
    complete_refused(
        "/token/keys",
        "{k: {alg: HS256}}",
        "token.keys.k.env is missing; write the name of an environment variable",
    );
    for kid in ["", "a b", "a.b", "ä", "k/1", "k23456789012345678901234567890123"] {
        complete_refused(
            "/token/keys",
            &format!("{{'{kid}': {{alg: HS256, env: TOKEN}}}}"),
            &format!("token.keys.{kid} is not a valid key; write a kid of 1 to 32 of A-Z a-z 0-9 _ -"),
        );
    }
    for (leeway, shown) in [
        ("60", "60"),
        ("'60'", "\"60\""),
        ("''", "\"\""),
        ("s", "\"s\""),
        ("-1s", "\"-1s\""),
        ("+1s", "\"+1s\""),
        ("1e3s", "\"1e3s\""),
        ("1m", "\"1m\""),
        ("1ms", "\"1ms\""),
        ("1.2.3s", "\"1.2.3s\""),
        ("1.0000000000s", "\"1.0000000000s\""),
        ("' 1s'", "\" 1s\""),
        ("infs", "\"infs\""),
        ("NaNs", "\"NaNs\""),
        ("3600.1s", "\"3600.1s\""),
        ("99999999999999999999s", "\"99999999999999999999s\""),
    ] {
        complete_refused(
            "/token/leeway",
            leeway,
            &format!("token.leeway is {shown}; write a time from 0s to 3600s"),
        );
    }
}

#[test]
fn rejects_kids_that_differ_only_in_case() {
    let key = "{alg: HS256, env: TOKEN}";
    let config = complete_with("/token/keys", Some(&format!("{{new: {key}, NEW: {key}}}")));
    bytes_refused(
        config.to_string().as_bytes(),
        "the configuration has a key twice in one object; write each once",
    );
    let sentence = Config::load(&a_struct(&config).encode_to_vec(), &env).unwrap_err().to_string();
    // The keys of a Struct have no order, so either can be the second.
    let kid = if sentence.starts_with("token.keys.NEW") { "NEW" } else { "new" };
    assert_eq!(
        sentence,
        format!(
            "token.keys.{kid} is not a valid key; write a kid that differs from the others by more than case"
        )
    );
}

#[test]
fn rejects_invalid_variables() {
    const NAME: &str = "write the name of an environment variable, of A-Z a-z 0-9 and _";
    let refused = |value: &str, rest: &str| {
        complete_refused("/token/keys/hs/env", value, &format!("token.keys.hs.env is {rest}"))
    };
    for name in ["", "A-B", "A B", "$A", "A=B", "Ä"] {
        refused(&format!("'{name}'"), &format!("{name:?}; {NAME}"));
    }
    refused("3", &format!("3; {NAME}"));
    refused("[TOKEN]", &format!("a list; {NAME}"));
    for name in ["UNSET", "EMPTY", "token"] {
        refused(
            name,
            &format!(
                "\"{name}\", which is unset or empty, or Envoy does not pass it to the module; write a variable that is set, \
                      and list it in vm_config.environment_variables.host_env_keys"
            ),
        );
    }
    refused("SHORT", "\"SHORT\", which contains 31 bytes; write a variable with at least 32 bytes");
    refused(
        "SHORT_BASE64",
        "\"SHORT_BASE64\", which contains 11 bytes; write a variable with at least 32 bytes",
    );
    for name in ["BAD_BASE64", "UNPADDED"] {
        refused(
            name,
            &format!(
                "\"{name}\", which contains no valid base64 after base64:; write a variable with padded standard base64"
            ),
        );
    }
}

#[test]
fn rejects_invalid_public_keys() {
    let refused = |public: &str| {
        let shown = match public.len() {
            0..=31 => format!("{public:?}"),
            length => format!("a text of {length} bytes"),
        };
        complete_refused(
            "/token/keys",
            &format!("{{ed: {{alg: EdDSA, public: '{public}'}}}}"),
            &format!(
                "token.keys.ed.public is {shown}; write the 32 bytes of an Ed25519 public key in unpadded base64url"
            ),
        );
    };
    refused("");
    refused("public");
    refused(&PUBLIC[..42]);
    refused(&format!("{PUBLIC}="));
    refused(&format!("{PUBLIC}AA"));
    refused(&PUBLIC.replace('_', "/"));
    refused(&URL_SAFE_NO_PAD.encode([9; 31]));
    refused(&URL_SAFE_NO_PAD.encode([9; 33]));
    refused("MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
    let key = |first: u8, middle: u8, last: u8| {
        let mut bytes = [middle; 32];
        (bytes[0], bytes[31]) = (first, last);
        bytes
    };
    // y = 2 is not on the curve.
    refused(&URL_SAFE_NO_PAD.encode(key(2, 0, 0)));
    // Of small order, each with either sign: y = 0, 1, -1, p, p + 1, and the two y of order 8.
    for sign in [0, 0x80] {
        for [first, middle, last] in
            [[0, 0, 0], [1, 0, 0], [0xec, 0xff, 0x7f], [0xed, 0xff, 0x7f], [0xee, 0xff, 0x7f]]
        {
            refused(&URL_SAFE_NO_PAD.encode(key(first, middle, last | sign)));
        }
        for order_8 in
            ["JuiVj8KyJ7BFw_SJ8u-Y8NXfrAXTxjM5sTgCiG1T_AU", "xxdqcD1N2E-6PAt2DRBnDyogU_osOczGTsf9d5KsA3o"]
        {
            let mut bytes = URL_SAFE_NO_PAD.decode(order_8).unwrap();
            bytes[31] |= sign;
            refused(&URL_SAFE_NO_PAD.encode(bytes));
        }
    }
}

#[test]
fn rejects_invalid_providers() {
    const CLUSTER: &str = "write the name of an Envoy cluster, such as runblob_api";
    const AUTHORITY: &str =
        "write a host such as platform.runblob.io, with :port if it has one, and nothing else";
    complete_refused(
        "/confirm",
        "runblob_api",
        "confirm is \"runblob_api\"; write an object with cluster and authority",
    );
    refused(&complete_with("/confirm/cluster", None), &format!("confirm.cluster is missing; {CLUSTER}"));
    refused(
        &complete_with("/confirm/authority", None),
        &format!("confirm.authority is missing; {AUTHORITY}"),
    );
    complete_refused("/confirm/cluster", "''", &format!("confirm.cluster is \"\"; {CLUSTER}"));
    complete_refused("/confirm/cluster", "[a]", &format!("confirm.cluster is a list; {CLUSTER}"));
    for value in [
        "",
        "a b",
        " a",
        "a ",
        "https://x",
        "HTTPS://x",
        "http://x:80",
        "//x",
        "x/",
        "x/v1",
        "user@x",
        "user:key@x",
        "x?a",
        "x#a",
        "x:",
        ":443",
        "x:0",
        "x:65536",
        "x:+1",
        "x:a",
        "x::1",
        "::1",
        "[::1",
        "[x]",
        "[::1]:",
        "[::1]x",
        "[fe80::1%1]",
        "a..b",
        ".a",
        "a.",
        "a,b",
        "ä.example",
        "%61",
    ] {
        let sentence = format!("confirm.authority is {value:?}; {AUTHORITY}");
        complete_refused("/confirm/authority", &format!("'{value}'"), &sentence);
    }
    for value in [
        "x",
        "platform.runblob.io",
        "PLATFORM.runblob.io:443",
        "localhost:9443",
        "10.0.0.1",
        "10.0.0.1:1",
        "'[::1]'",
        "'[2001:db8::1]:65535'",
        "a_b.example",
    ] {
        complete_loads("/confirm/authority", value);
    }
    complete_refused(
        "/confirm/key",
        "x",
        "confirm.key is not a known key; write one of cluster, authority, per_minute, timeout",
    );
    for (value, shown) in [("0", "0"), ("6001", "6001"), ("-1", "-1"), ("1.5", "1.5"), ("'40'", "\"40\"")] {
        complete_refused(
            "/confirm/per_minute",
            value,
            &format!("confirm.per_minute is {shown}; write a whole number from 1 to 6000"),
        );
    }
    for (value, shown) in [
        ("'60'", "\"60\""),
        ("3", "3"),
        ("-1s", "\"-1s\""),
        ("1e0s", "\"1e0s\""),
        ("1m", "\"1m\""),
        ("5.001s", "\"5.001s\""),
        ("0.049s", "\"0.049s\""),
        ("0s", "\"0s\""),
    ] {
        complete_refused(
            "/confirm/timeout",
            value,
            &format!("confirm.timeout is {shown}; write a time from 0.05s to 4s"),
        );
    }
}

#[test]
fn rejects_invalid_signing_keys() {
    const NAMES: &str = "write a list of one environment variable, or of two during a key rotation";
    complete_refused("/sign", "SIGN", "sign is \"SIGN\"; write an object with env");
    complete_refused("/sign", "{}", &format!("sign.env is missing; {NAMES}"));
    complete_refused("/sign", "{key: [SIGN]}", "sign.key is not a known key; write one of env");
    complete_refused("/sign/env", "SIGN", &format!("sign.env is \"SIGN\"; {NAMES}"));
    complete_refused("/sign/env", "[]", &format!("sign.env is an empty list; {NAMES}"));
    complete_refused("/sign/env", "[SIGN, SIGN_24, SIGN_64]", &format!("sign.env is a list; {NAMES}"));
    for name in ["SIGN_23", "SIGN_65", "SIGN_NO_PREFIX", "SIGN_BAD_BASE64", "TOKEN_32"] {
        complete_refused(
            "/sign/env",
            &format!("[SIGN_24, {name}]"),
            &format!(
                "sign.env[1] is \"{name}\", which contains no key of Standard Webhooks; \
                      write a variable with whsec_ and the base64 of 24 to 64 bytes"
            ),
        );
    }
    complete_refused(
        "/sign/env",
        "[UNSET]",
        "sign.env[0] is \"UNSET\", which is unset or empty, or Envoy does not pass it to the module; write a variable that is set, \
         and list it in vm_config.environment_variables.host_env_keys",
    );
}

#[test]
fn rejects_a_key_with_two_uses() {
    const OWN: &str = "write a variable with another key: each key has one use";
    let refused = |keys: &str, sign: &str, sentence: &str| {
        let mut config = complete_with("/token/keys", Some(keys));
        config["sign"]["env"] = serde_saphyr::from_str(sign).unwrap();
        assert_eq!(load(&config).unwrap_err(), sentence, "{keys} {sign}");
    };
    const HS: &str = "{hs: {alg: HS256, env: TOKEN}}";
    // One variable twice.
    refused(HS, "[SIGN, SIGN]", &format!("sign.env[1] is \"SIGN\", which sign.env[0] names too; {OWN}"));
    refused(
        "{hs: {alg: HS256, env: SIGN}}",
        "[SIGN_24, SIGN]",
        &format!("sign.env[1] is \"SIGN\", which token.keys.hs.env names too; {OWN}"),
    );
    refused(
        "{a: {alg: HS256, env: TOKEN}, b: {alg: HS256, env: TOKEN}}",
        "[SIGN]",
        &format!("token.keys.b.env is \"TOKEN\", which token.keys.a.env names too; {OWN}"),
    );
    // One key in two variables, in any two forms.
    for (token, sign) in [
        ("SIGN", "SIGN_AGAIN"),
        ("TOKEN_TEXT_OF_SIGN", "SIGN"),
        ("TOKEN_BYTES_OF_SIGN_64", "SIGN_64"),
        ("TOKEN_OF_SIGN_64", "SIGN_64"),
        ("TOKEN", "SIGN_OF_TOKEN"),
        ("TOKEN_BASE64", "SIGN_OF_TOKEN"),
    ] {
        refused(
            &format!("{{hs: {{alg: HS256, env: {token}}}}}"),
            &format!("[{sign}]"),
            &format!("sign.env[0] is \"{sign}\", which contains the key of token.keys.hs.env; {OWN}"),
        );
    }
    refused(
        HS,
        "[SIGN, SIGN_AGAIN]",
        &format!("sign.env[1] is \"SIGN_AGAIN\", which contains the key of sign.env[0]; {OWN}"),
    );
    refused(
        "{a: {alg: HS256, env: TOKEN}, b: {alg: HS256, env: TOKEN_BASE64}}",
        "[SIGN]",
        &format!("token.keys.b.env is \"TOKEN_BASE64\", which contains the key of token.keys.a.env; {OWN}"),
    );
    // A public key must not be a secret for tokens.
    for token in ["TOKEN_OF_PUBLIC", "TOKEN_BYTES_OF_PUBLIC"] {
        refused(
            &format!("{{ed: {{alg: EdDSA, public: {PUBLIC}}}, hs: {{alg: HS256, env: {token}}}}}"),
            "[SIGN]",
            &format!(
                "token.keys.hs.env is \"{token}\", which contains the key of token.keys.ed.public; {OWN}"
            ),
        );
    }
    let again = format!("{{a: {{alg: EdDSA, public: {PUBLIC}}}, b: {{alg: EdDSA, public: {PUBLIC}}}}}");
    refused(
        &again,
        "[SIGN]",
        "token.keys.b.public is a text of 43 bytes, which is the key of token.keys.a.public; write another key",
    );
}

#[test]
fn rejects_ranges_of_whole_families() {
    for ranges in [
        "[0.0.0.0/0]",
        "['::/0']",
        "[0.0.0.0/1, 128.0.0.0/1]",
        "[128.0.0.0/1, 10.0.0.0/8, 0.0.0.0/1]",
        "['::/1', '8000::/1']",
        "['::ffff:0.0.0.0/96']",
        "['2000::/3']",
        "['2000::/4', '3000::/4']",
        "[10.0.0.0/8, '::/0']",
    ] {
        let family = if ranges.contains("::/") || ranges.contains("000::") { "IPv6" } else { "IPv4" };
        hook_refused(
            &format!("source: {ranges}"),
            &format!(
                "hooks[0].source covers every {family} address; \
                 write any if that is meant"
            ),
        );
    }
    for ranges in [
        "[0.0.0.0/0]",
        "['::/0']",
        "[0.0.0.0/1, 128.0.0.0/1]",
        "['::ffff:0.0.0.0/96']",
        "['2000::/3']",
        "[0.0.0.0/1]",
        "[64.0.0.0/2]",
        "[16.0.0.0/4, 32.0.0.0/8]",
        "['2000::/4']",
        "[10.0.0.0/8, '::/1', '8000::/1']",
    ] {
        hook_refused(
            &format!("transport: {{behind_proxy: {ranges}}}"),
            "hooks[0].transport.behind_proxy covers more than a sixteenth of the internet: any \
             host there could set the client address; write only the addresses and ranges of your proxies",
        );
    }
}

/// The debug text of the loaded configuration, or the error.
fn shown(config: &Value) -> String {
    match load(config) {
        Ok(config) => format!("{config:?}"),
        Err(sentence) => sentence,
    }
}

#[test]
fn never_shows_a_key() {
    let debug = shown(&complete());
    assert!(debug.matches("[REDACTED]").count() >= 2, "{debug}");
    let bytes = |key: &str| STANDARD.decode(key).unwrap();
    for secret in [TOKEN_KEY.as_bytes(), SIGNING_KEY.as_bytes(), &bytes(&SIGNING_KEY[6..])] {
        assert!(!debug.contains(&*String::from_utf8_lossy(secret)), "{debug}");
        let list = format!("{secret:?}");
        assert!(!debug.contains(list.trim_matches(['[', ']'])), "{debug}");
    }
    // The value of a variable without a valid key.
    for name in [
        "SHORT",
        "SHORT_BASE64",
        "BAD_BASE64",
        "UNPADDED",
        "SIGN_23",
        "SIGN_65",
        "SIGN_NO_PREFIX",
        "SIGN_BAD_BASE64",
    ] {
        let value = env(name).unwrap();
        let value = value.trim_start_matches("base64:").trim_start_matches("whsec_");
        for config in [
            complete_with("/token/keys/hs/env", Some(name)),
            complete_with("/sign/env", Some(&format!("[{name}]"))),
        ] {
            let text = shown(&config);
            assert!(!text.contains(value) && !text.contains("shortsecret"), "{text}");
        }
    }
    // A secret key in the place of a variable's name or of a public key. Envoy's log must not contain it.
    for key in [SIGNING_KEY, TOKEN_KEY, PRIVATE, &"f0".repeat(32)] {
        for (pointer, value) in [
            ("/token", key.to_owned()),
            ("/token/keys", key.to_owned()),
            ("/token/keys/hs", key.to_owned()),
            ("/token/keys/hs/env", key.to_owned()),
            ("/token/keys/hs/alg", key.to_owned()),
            ("/token/keys/hs", format!("{{alg: EdDSA, public: \"{key}x\"}}")),
            ("/sign", key.to_owned()),
            ("/sign/env", key.to_owned()),
            ("/sign/env", format!("[\"{key}\"]")),
        ] {
            let value = if value.starts_with(['{', '[']) { value } else { format!("\"{value}\"") };
            let sentence = load(&complete_with(pointer, Some(&value))).unwrap_err();
            assert!(!sentence.contains(&key[..12]), "{sentence}");
            assert!(sentence.contains(" is a text of ") || sentence.contains(" is a list; "), "{sentence}");
        }
    }
}
