//! Reads the corpus of `tests/cases/` for its two drivers: the native core and real Envoys.
//!
//! A case is a row with a request and its exact result. `tests/cases/README.md` describes the format.

#![allow(
    dead_code, // each driver uses its part
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod body;
mod mutations;
mod outcome;
mod provider;
mod row;
pub mod token;
mod trust;

pub use outcome::CaseOutcome;
pub use provider::ProviderAnswer;
pub use row::ServiceAnswer;

use blobgate::contract::header;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// The generation of all samples.
pub const GENERATION: &str = "ffd473d5-5bef-4e14-bf22-8d559be3c19f";

/// The address of a client that a case does not name.
const LOOPBACK: &str = "127.0.0.1:4000";

/// All cases and their hooks.
pub struct Corpus {
    pub cases: Vec<Case>,
    /// In the form of the filter's configuration.
    pub hooks: Vec<Value>,
    /// The status of each reason.
    pub statuses: BTreeMap<String, u16>,
}

/// A request and its result.
#[derive(Clone, Debug)]
pub struct Case {
    /// The file's name and the row's name.
    pub name: String,
    pub hook: String,
    pub method: String,
    pub path: String,
    /// In the order of sending, without content-length. Names may repeat.
    pub headers: Vec<(String, Vec<u8>)>,
    /// `None` ends the request with its head.
    pub body: Option<Vec<u8>>,
    pub length: BodyLength,
    /// The name of the sample, if the body is an unchanged sample.
    pub verbatim: Option<String>,
    pub listener: Listener,
    /// The client's address.
    pub from: Ipv4Addr,
    /// The source address that the host reports.
    pub source: String,
    pub gate: GateSetup,
    pub upstream: Option<ServiceAnswer>,
    /// The status API's response. Without it the gate must not call.
    pub provider: Option<ProviderAnswer>,
    /// The outcome in the core, and in Envoy unless `hosts` has another.
    pub expected: CaseOutcome,
    /// The outcomes in Envoy, over HTTP/1.1 and over HTTP/2, if they differ.
    pub hosts: [Option<CaseOutcome>; 2],
    /// Whether the request cannot use HTTP/2.
    pub h1_only: bool,
}

/// The declared size of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    Declared,
    Undeclared,
    Claimed(u64),
}

/// The listener of a case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Listener {
    /// The shipped one, with TLS.
    #[default]
    Edge,
    /// The shipped one, without TLS.
    Plaintext,
    /// Behind a proxy that ends TLS. The client plays the proxy.
    Proxied,
    /// With TLS and Envoy's default of trusting every client's `x-forwarded-for`.
    Trusting,
}

/// The gate in the case's Envoy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GateSetup {
    /// The shipped configuration.
    #[default]
    Shipped,
    /// Without `allow_on_headers_stop_iteration`.
    NoFlag,
    /// Without the filter.
    Absent,
}

impl Corpus {
    /// Reads every file. Panics with the place of a format error.
    pub fn load() -> Self {
        let hooks: BTreeMap<String, Map<String, Value>> = read("hooks.toml");
        let hooks: Vec<Value> = hooks.into_iter().map(|(name, hook)| complete(&name, hook)).collect();
        let statuses: BTreeMap<String, u16> = read("reasons.toml");
        let paths: BTreeMap<String, String> =
            hooks.iter().map(|hook| (text(hook, "name"), text(hook, "path"))).collect();
        let mut cases: Vec<Case> = Vec::new();
        for file in case_files() {
            let section = file.file_stem().unwrap().to_str().unwrap().to_owned();
            cases.extend(row::CaseFile::read(&file).cases(&section, &paths));
        }
        cases.extend(mutations::cases(&paths));
        cases.extend(trust::cases(&paths));
        let corpus = Self { cases, hooks, statuses };
        corpus.assert_sound();
        corpus
    }

    /// The filter's configuration with every hook.
    pub fn configuration(&self) -> Value {
        json!({
            "version": 1,
            "environment": "test",
            "hooks": self.hooks,
            "token": {"keys": {
                "hs": {"alg": "HS256", "env": "BLOBGATE_TOKEN_KEY"},
                "ed": {"alg": "EdDSA", "public": token::ED_PUBLIC},
            }},
            "confirm": {
                "cluster": "runblob_api", "authority": "platform.runblob.io", "per_minute": 6000, "timeout": "3s",
            },
        })
    }

    /// The status of a refusal.
    #[track_caller]
    pub fn status(&self, reason: &str) -> u16 {
        *self.statuses.get(reason).unwrap_or_else(|| panic!("reasons.toml has no {reason}"))
    }

    fn assert_sound(&self) {
        let mut names = BTreeSet::new();
        for case in &self.cases {
            assert!(names.insert(&case.name), "two cases are named {}", case.name);
            for outcome in case.hosts.iter().flatten().chain([&case.expected]) {
                outcome.reasons().iter().for_each(|reason| {
                    assert!(self.statuses.contains_key(*reason), "{}: {reason}", case.name)
                });
            }
        }
        for hook in &self.hooks {
            let name = text(hook, "name");
            assert!(self.cases.iter().any(|case| case.hook == name), "no case is sent to the hook {name}");
        }
    }
}

impl Case {
    /// A POST of this body as the provider sends it, from loopback over TLS.
    pub fn plain(name: String, hook: &str, path: &str, body: Vec<u8>, expected: CaseOutcome) -> Self {
        Self {
            name,
            hook: hook.to_owned(),
            method: "POST".to_owned(),
            path: path.to_owned(),
            headers: vec![("content-type".to_owned(), b"application/json".to_vec())],
            body: Some(body),
            length: BodyLength::Declared,
            verbatim: None,
            listener: Listener::default(),
            from: Ipv4Addr::LOCALHOST,
            source: LOOPBACK.to_owned(),
            gate: GateSetup::default(),
            upstream: None,
            provider: None,
            expected,
            hosts: [None, None],
            h1_only: false,
        }
    }
}

/// The text of a sample.
#[track_caller]
pub fn sample(name: &str) -> String {
    let path = folder().join("samples").join(name).with_extension("json");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of all samples.
pub fn samples() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder().join("samples"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

/// Whether only the gate may set a header of this name, in any spelling.
pub fn is_the_gates(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    name.starts_with(header::PREFIX)
        || name.starts_with(header::WEBHOOK_PREFIX)
        || name == header::IDEMPOTENCY_KEY
}

/// Sorts the items of a list header, so that `a,b` and `b,a` are equal.
pub fn normal(name: &str, value: &str) -> String {
    if !matches!(name, header::DRIFT | header::OBSERVED) {
        return value.to_owned();
    }
    let mut items: Vec<&str> = value.split(',').collect();
    items.sort_unstable();
    items.join(",")
}

fn folder() -> PathBuf {
    Path::new(crate::REPOSITORY).join("tests/cases")
}

/// Every file with `[[case]]` rows.
fn case_files() -> Vec<PathBuf> {
    const TABLES: [&str; 5] = ["details.toml", "hooks.toml", "reasons.toml", "mutations.toml", "trust.toml"];
    let mut files: Vec<PathBuf> = [folder(), folder().join("attacks")]
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|file| {
        let name = file.file_name().unwrap().to_str().unwrap();
        name.ends_with(".toml") && !TABLES.contains(&name)
    });
    files.sort();
    files
}

#[track_caller]
fn read<T: serde::de::DeserializeOwned>(name: &str) -> T {
    let text = fs::read_to_string(folder().join(name)).unwrap();
    toml::from_str(&text).unwrap_or_else(|error| panic!("tests/cases/{name}: {error}"))
}

/// A hook with the defaults of all hooks.
fn complete(name: &str, mut hook: Map<String, Value>) -> Value {
    for (key, open) in [("dialect", "veo3"), ("result_url", "any"), ("trust", "open"), ("quarantine", "none")]
    {
        hook.entry(key).or_insert(json!(open));
    }
    let mut whole = json!({"name": name});
    for (key, value) in hook {
        assert!(whole.get(&key).is_none(), "hooks.toml: {name}.{key} is the same for all");
        whole[key] = value;
    }
    whole
}

#[track_caller]
fn text(hook: &Value, key: &str) -> String {
    hook[key].as_str().unwrap_or_else(|| panic!("a hook without {key}: {hook}")).to_owned()
}
