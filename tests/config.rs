//! Configurations that load and that do not, as Envoy hands them over: a serialised Struct and JSON text.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use blobgate::Config;
use prost::Message;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value as Wire};
use serde_json::{Value, json};

/// A configuration with every key that must be written.
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

/// Loads the configuration in both forms, which must agree.
#[track_caller]
fn load(config: &Value) -> Result<Config, String> {
    let text = Config::load(config.to_string().as_bytes()).map_err(|error| error.to_string());
    let wire = Config::load(&a_struct(config).encode_to_vec()).map_err(|error| error.to_string());
    assert_eq!(format!("{text:?}"), format!("{wire:?}"));
    wire
}

/// `minimal()` with `patch` laid over its hook; a null takes the key away.
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
    assert_eq!(Config::load(bytes).unwrap_err().to_string(), sentence);
}

#[test]
fn what_loads() {
    load(&minimal()).unwrap();
    for patch in [
        "source: any",
        "source: ['2001:db8::/32', '::1', 203.0.113.7, '::ffff:10.0.0.0/104', 0.0.0.0/0]",
        "result_url: [runblob.io, '*.runblob.io']",
        "result_url: ['*.a.b-1.runblob.io', xn--bcher-kva.example, 127.0.0.1.runblob.io]",
        "transport: any",
        "transport: {behind_proxy: [10.0.0.0/8]}",
        "mode: observe",
        "mode: enforce",
        "schema: strict",
        "answers: receipt",
        "max_body_bytes: 1000000",
        "max_depth: 3",
        "checks: {}",
        "checks: {source: observe, result_url: observe, trust: enforce, prompt: 'off'}",
        "checks: {prompt: false}",
        "path: /a/b.c_d~e-f/0",
        "name: a-1",
    ] {
        hook_loads(patch);
    }
}

#[test]
fn the_shipped_configuration_loads() {
    let envoy: Value = serde_saphyr::from_str(include_str!("../envoy.yaml")).unwrap();
    let filters = &envoy["static_resources"]["listeners"][0]["filter_chains"][0]["filters"];
    let gate = &filters[0]["typed_config"]["http_filters"][0]["typed_config"]["config"];
    let config = load(&gate["configuration"]["value"]).unwrap();
    assert_eq!(config.hooks[0].path, "/webhook");
}

#[test]
fn json_text_may_start_with_a_line_break() {
    // `\n{` are also the first two bytes of a Struct whose first field takes 123 bytes.
    Config::load(format!("\n{}\n", minimal()).as_bytes()).unwrap();
    let mut config = minimal();
    for length in 1..=32 {
        config["environment"] = "e".repeat(length).into();
        load(&config).unwrap();
    }
}

#[test]
fn a_number_of_a_struct_is_a_double() {
    for (written, right) in
        [("65536.0", true), ("65536.5", false), ("6.5536e4", true), ("-1.0", false), ("1e300", false)]
    {
        let config =
            minimal().to_string().replace("\"name\"", &format!("\"max_body_bytes\":{written},\"name\""));
        assert_eq!(Config::load(config.as_bytes()).is_ok(), right, "{written}");
    }
}

#[test]
fn bytes_that_are_no_configuration() {
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
        "the configuration is nested too deeply; write it as the README shows",
    );
    bytes_refused(b"{}", "version is missing; write 1");
}

#[test]
fn what_is_wrong_at_the_top() {
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
    refused(&with("hook", json!([])), "hook is not a key; the keys here are version, environment, hooks");
    for section in ["token", "confirm", "sign"] {
        refused(&with(section, json!({})), &format!("{section} is not in this version; leave it out"));
    }
    let hook = minimal()["hooks"][0].clone();
    let mut other = hook.clone();
    other["path"] = json!("/other");
    refused(
        &with("hooks", json!([hook, other])),
        "hooks[1].name is \"veo3\", as another hook's is; give each hook its own",
    );
    other["name"] = json!("other");
    other["path"] = json!("/webhook");
    refused(
        &with("hooks", json!([hook, other])),
        "hooks[1].path is \"/webhook\", as another hook's is; give each hook its own",
    );
}

#[test]
fn what_must_be_written() {
    hook_refused("name:", "hooks[0].name is missing; write a name such as veo3");
    hook_refused("path:", "hooks[0].path is missing; write a path such as /webhook");
    hook_refused("dialect:", "hooks[0].dialect is missing; write veo3");
    hook_refused("source:", "hooks[0].source is missing; write a list of addresses and ranges, or any");
    hook_refused("trust:", "hooks[0].trust is missing; write open");
    hook_refused("result_url:", "hooks[0].result_url is missing; write a list of hosts, or any");
    hook_refused("quarantine:", "hooks[0].quarantine is missing; write none");
}

#[test]
fn what_is_not_in_this_version() {
    hook_refused(
        "trust: {any_of: [token]}",
        "hooks[0].trust is an object, which is not in this version; write open",
    );
    hook_refused("trust: closed", "hooks[0].trust is \"closed\", which is not in this version; write open");
    hook_refused(
        "quarantine: route",
        "hooks[0].quarantine is \"route\", which is not in this version; write none",
    );
    hook_refused(
        "path: '/hooks/veo3/{token}'",
        "hooks[0].path is \"/hooks/veo3/{token}\", which is not in this version; write a path without {token}",
    );
    hook_refused(
        "checks: {prompt: enforce}",
        "hooks[0].checks.prompt is \"enforce\", which is not in this version; write off",
    );
}

#[test]
fn what_is_wrong_in_a_hook() {
    const PATH: &str =
        "write a path such as /webhook: segments of A-Z a-z 0-9 . _ ~ -, with no slash at the end";
    for path in
        ["webhook", "/", "", "/webhook/", "//webhook", "/a/../b", "/a/.", "/a b", "/a%2fb", "/a?b", "/ä"]
    {
        hook_refused(&format!("path: '{path}'"), &format!("hooks[0].path is {path:?}; {PATH}"));
    }
    hook_refused("path: 3", &format!("hooks[0].path is 3; {PATH}"));
    hook_refused("name: veo.3", "hooks[0].name is \"veo.3\"; write 1 to 32 of a-z, 0-9 and -, such as veo3");
    hook_refused("name: ''", "hooks[0].name is \"\"; write 1 to 32 of a-z, 0-9 and -, such as veo3");
    hook_refused("dialect: sora", "hooks[0].dialect is \"sora\"; write veo3");
    hook_refused("mode: 'off'", "hooks[0].mode is \"off\"; write enforce or observe");
    hook_refused("mode: false", "hooks[0].mode is false; write enforce or observe");
    hook_refused("schema: lenient", "hooks[0].schema is \"lenient\"; write tolerant or strict");
    hook_refused("answers: body", "hooks[0].answers is \"body\"; write status or receipt");
    hook_refused("paths: /a", &format!("hooks[0].paths is not a key; the keys here are {}", HOOK_KEYS));
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
fn what_is_wrong_with_addresses() {
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
        "hooks[0].transport.proxy is not a key; the keys here are behind_proxy",
    );
}

#[test]
fn what_is_wrong_with_result_hosts() {
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
fn what_is_wrong_with_checks() {
    hook_refused(
        "checks: [source]",
        "hooks[0].checks is a list; write an object with some of source, result_url, trust and prompt",
    );
    hook_refused(
        "checks: {schema: observe}",
        "hooks[0].checks.schema is not a key; the keys here are source, result_url, trust, prompt",
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
    hook_refused("checks: {prompt: later}", "hooks[0].checks.prompt is \"later\"; write off");
}

#[test]
fn long_values_are_shortened() {
    let long = "x".repeat(200);
    hook_refused(
        &format!("dialect: {long}"),
        &format!("hooks[0].dialect is \"{}…\"; write veo3", "x".repeat(60)),
    );
}
