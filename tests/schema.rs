//! The schema and the loader of the configuration agree: on each configuration of the corpus, the book and the shipped
//! files, and on thousands of mutations.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

#[path = "config/agreement.rs"]
mod agreement;
mod corpus;
#[path = "config/mutants.rs"]
mod mutants;

use agreement::{Agreement, BEYOND_A_SCHEMA, agreement};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use blobgate::Config;
use blobgate_testkit_book::blocks;
use mutants::{mutant, mutants};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// The corpus is in it.
const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");
const PUBLIC: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

/// Each variable has a key of its own, which is valid for tokens and for signatures. Some have none.
fn env(name: &str) -> Option<String> {
    match name {
        "" | "UNSET" => None,
        "SHORT" => Some("short".to_owned()),
        "SAME" | "SAME_TOO" => Some(format!("whsec_{}", STANDARD.encode([7; 32]))),
        "NO_BASE64" => Some("base64:_".to_owned()),
        name => Some(format!("whsec_{}", STANDARD.encode(format!("{name:_>24.64}")))),
    }
}

#[track_caller]
fn agree(config: &Value) -> Agreement {
    let loaded = Config::load(config.to_string().as_bytes(), &env).map_err(|error| error.to_string());
    agreement(config, loaded.as_ref().err().map(String::as_str))
}

/// Configurations that together have every key, and every form of each.
fn whole() -> Vec<Value> {
    let hook = |name: &str, path: &str, keys: Value| {
        let mut hook = json!({
            "name": name, "path": path, "dialect": "veo3", "source": "any", "trust": "open", "result_url": "any",
            "quarantine": "none",
        });
        hook.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        hook
    };
    let with = |hooks: Vec<Value>| {
        json!({
            "version": 1,
            "environment": "production",
            "docs": "https://docs.example.com:8443/a%20b/c",
            "hooks": hooks,
            "token": {"leeway": "60s", "keys": {
                "ed": {"alg": "EdDSA", "public": PUBLIC}, "hs": {"alg": "HS256", "env": "TOKEN"},
            }},
            "confirm": {
                "cluster": "runblob_api", "authority": "platform.runblob.io:443", "per_minute": 40, "timeout": "0.25s",
            },
            "sign": {"env": ["SIGN", "SIGN_OLD"]},
        })
    };
    let any_of = json!({
        "trust": {"any_of": ["token", "confirmed"]}, "quarantine": "route", "mode": "observe", "schema": "strict",
        "source": ["203.0.113.0/24", "2001:db8::/32", "10.1.2.3"], "result_url": ["runblob.io", "*.runblob.io"],
        "transport": {"behind_proxy": ["10.0.0.0/8", "fd00::1:2/128"]}, "answers": "receipt",
        "max_body_bytes": 65536, "max_depth": 16,
        "checks": {"source": "observe", "result_url": "enforce", "trust": "observe", "prompt": "enforce"},
    });
    let all_of = json!({"trust": {"all_of": ["token"]}, "transport": "any", "checks": {"prompt": false}});
    let confirmed = json!({
        "trust": {"any_of": ["confirmed"], "unprotected_budget": true}, "quarantine": "route",
        "transport": "tls_here", "checks": {"prompt": "off"},
    });
    vec![
        json!({"version": 1, "environment": "e", "hooks": [hook("a", "/a", json!({}))]}),
        with(vec![hook("veo3", "/hooks/veo3/{token}", any_of), hook("b", "/b/{token}", all_of)]),
        json!({
            "version": 1, "environment": "e", "confirm": {"cluster": "c", "authority": "[::1]:1"},
            "hooks": [hook("confirmed", "/c", confirmed)],
        }),
    ]
}

#[test]
fn knows_each_key_of_the_configuration() {
    let mut written = BTreeSet::new();
    for config in whole() {
        assert_eq!(agree(&config), Agreement::Accepted);
        mutants::keys(&config, &mut written);
    }
    for section in blobgate::config::sections() {
        for key in section.keys {
            assert!(written.contains(key.key), "no configuration here has {} of {}", key.key, section.path);
        }
    }
}

#[test]
fn agrees_on_each_mutation() {
    let (mut accepted, mut refused, mut beyond) = (0, 0, BTreeSet::new());
    for config in whole() {
        for mutant in mutants(&config) {
            match agree(&mutant) {
                Agreement::Accepted => accepted += 1,
                Agreement::Refused => refused += 1,
                Agreement::Beyond(kind) => drop(beyond.insert(kind)),
            }
        }
    }
    assert!(accepted > 1_000 && refused > 10_000, "{accepted} accepted, {refused} refused");
    // An exception that no configuration needs could hide a difference.
    let unused: Vec<_> = BEYOND_A_SCHEMA.iter().filter(|kind| !beyond.contains(*kind)).collect();
    assert!(unused.is_empty(), "no mutation has {unused:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Some differences need two changes, such as another trust rule and another path.
    #[test]
    fn agrees_on_several_mutations(which in 0..3_usize, changes in vec(any::<(Index, Index)>(), 2..5)) {
        let mut config = whole().swap_remove(which);
        for (place, change) in changes {
            config = mutant(&config, place, change);
        }
        agree(&config);
    }

    #[test]
    fn agrees_on_addresses(text in "[0-9a-f:.]{0,12}(::)?[0-9a-fA-F:]{0,12}(/[0-9]{0,3})?|([0-9]{1,3}[.]){3}[0-9]{1,3}(/[0-9]{1,2})?") {
        let mut config = whole().swap_remove(0);
        config["hooks"][0]["source"] = json!([text]);
        agree(&config);
        config["hooks"][0]["source"] = "any".into();
        config["docs"] = format!("https://[{text}]:1/").into();
        agree(&config);
    }

    #[test]
    fn agrees_on_hosts(text in "([*][.])?([a-z0-9-]{1,3}[.]){0,4}(0x)?[a-f0-9-]{0,3}", port in "(:[0-9]{0,6})?") {
        let mut config = whole().swap_remove(1);
        config["hooks"][0]["result_url"] = json!([text]);
        agree(&config);
        config["hooks"][0]["result_url"] = "any".into();
        config["confirm"]["authority"] = format!("{text}{port}").into();
        agree(&config);
        config["confirm"]["authority"] = "a".into();
        config["docs"] = format!("https://{text}{port}/{text}").into();
        agree(&config);
    }

    #[test]
    fn agrees_on_times(text in "0{0,3}[0-9]{0,4}[.]?[0-9]{0,10}s?|0{0,2}(3[56][0-9]{2}|[345]|0)?[.]0[45]?[0-9]{0,8}s") {
        let mut config = whole().swap_remove(1);
        config["token"]["leeway"] = text.clone().into();
        agree(&config);
        config["token"]["leeway"] = "1s".into();
        config["confirm"]["timeout"] = text.into();
        agree(&config);
    }
}

/// A name of 253 characters and labels of 63 are the longest.
#[test]
fn agrees_on_long_hosts() {
    for (label, count) in [(63, 3), (64, 1), (63, 4), (61, 3), (62, 4), (1, 126), (1, 127)] {
        for end in ["io", "i", "", "a-", "1", "0x", "0xf", "0xg", "aaaaa", &"b".repeat(61), &"b".repeat(63)] {
            let name = format!("{}{end}", format!("{}.", "a".repeat(label)).repeat(count));
            for prefix in ["", "*.", "*"] {
                let mut config = whole().swap_remove(0);
                config["hooks"][0]["result_url"] = json!([format!("{prefix}{name}")]);
                agree(&config);
            }
        }
    }
}

#[test]
fn agrees_on_the_configurations_of_the_corpus() {
    let corpus = corpus::Corpus::load();
    let variables = |_: &str| Some("a key of the tests, of 32 bytes..".to_owned());
    let config = corpus.configuration();
    Config::load(config.to_string().as_bytes(), &variables).unwrap();
    assert_eq!(agreement(&config, None), Agreement::Accepted);
}

/// The files that have a filter's configuration, and the blocks of the book.
#[test]
fn accepts_each_shipped_configuration() {
    let root = Path::new(REPOSITORY);
    let tracked = Command::new("git").args(["ls-files", "*.yaml", "*.yml"]).current_dir(root).output();
    let mut found = Vec::new();
    for name in String::from_utf8(tracked.expect("git runs").stdout).unwrap().lines() {
        let text = std::fs::read_to_string(root.join(name)).unwrap();
        for document in serde_saphyr::from_multiple::<Value>(&text).unwrap() {
            collect(&document, &mut found);
        }
    }
    assert!(found.len() >= 2, "{} configurations", found.len());
    for block in blocks("config/") {
        found.push(serde_saphyr::from_str(&block.text).unwrap());
    }
    for config in found {
        assert_eq!(agree(&config), Agreement::Accepted, "{config}");
    }
}

fn collect(part: &Value, found: &mut Vec<Value>) {
    let children: Vec<&Value> = match part {
        Value::Array(items) => items.iter().collect(),
        Value::Object(fields) => fields.values().collect(),
        _ => Vec::new(),
    };
    let value = part.pointer("/configuration/value").filter(|value| value.get("hooks").is_some());
    found.extend(value.cloned());
    children.into_iter().for_each(|child| collect(child, found));
}

/// A default of the schema is the loader's: `tests/book.rs` compares the text that both come from.
#[test]
fn each_default_fits_its_own_schema() {
    let mut compared = 0;
    let schema = blobgate::config::schema();
    let objects = schema["$defs"].as_object().unwrap().values().chain([&schema]);
    for properties in objects.map(|object| object["properties"].as_object().unwrap()) {
        compared += properties.values().map(check_default).filter(|has_default| *has_default).count();
    }
    assert!(compared >= 12, "{compared}");
}

fn check_default(property: &Value) -> bool {
    let Some(default) = property.get("default") else { return false };
    let mut alone: Map<String, Value> = property.as_object().unwrap().clone();
    alone.insert("$defs".to_owned(), blobgate::config::schema()["$defs"].clone());
    jsonschema::validate(&alone.into(), default).unwrap();
    true
}

#[test]
fn the_schema_is_a_schema() {
    let schema = blobgate::config::schema();
    jsonschema::draft202012::meta::validate(&schema).unwrap();
    let text = schema.to_string();
    // Go's, Rust's and RE2's regular expressions have no look-around.
    assert!(!text.contains("(?=") && !text.contains("(?!") && !text.contains("(?<"), "{text}");
}
