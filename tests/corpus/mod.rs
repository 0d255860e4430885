//! The corpus of `tests/cases/`, read for its two drivers: the native core and real Envoys.
//!
//! A case is a row: what is sent, and exactly what comes of it. The format is in
//! `tests/cases/README.md`.

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

/// All cases and the hooks that they are sent to.
pub struct Corpus {
    pub cases: Vec<Case>,
    /// As the filter's configuration has them.
    pub hooks: Vec<Value>,
    /// The status of each reason.
    pub statuses: BTreeMap<String, u16>,
}

/// What is sent, and what comes of it.
#[derive(Clone, Debug)]
pub struct Case {
    /// The file that it stands in, and its name there.
    pub name: String,
    pub hook: String,
    pub method: String,
    pub path: String,
    /// In the order in which they are sent; names may repeat. Without the content-length.
    pub headers: Vec<(String, Vec<u8>)>,
    /// `None` ends the request with its head.
    pub body: Option<Vec<u8>>,
    pub length: BodyLength,
    /// The name of the sample, where it is sent as it is.
    pub verbatim: Option<String>,
    pub listener: Listener,
    /// The client's own address.
    pub from: Ipv4Addr,
    /// What the host says that the source is.
    pub source: String,
    pub gate: GateSetup,
    pub upstream: Option<ServiceAnswer>,
    /// What the provider answers. Without this it must not be asked.
    pub provider: Option<ProviderAnswer>,
    /// What the core makes of it, and so does an Envoy, unless `hosts` says otherwise.
    pub expected: CaseOutcome,
    /// What Envoy makes of it instead, over HTTP/1.1 and over HTTP/2.
    pub hosts: [Option<CaseOutcome>; 2],
    /// It cannot be sent over HTTP/2.
    pub h1_only: bool,
}

/// What the head says about the body's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    Declared,
    Undeclared,
    Claimed(u64),
}

/// Where a case knocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Listener {
    /// The shipped one, with TLS.
    #[default]
    Edge,
    /// The shipped one without.
    Plaintext,
    /// Behind a proxy that ends TLS: the client plays the proxy.
    Proxied,
    /// With TLS and Envoy's default of believing anybody's `x-forwarded-for`.
    Trusting,
}

/// Which Envoy a case is sent to.
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
    /// Reads every file. Panics with the place of whatever is not as the format wants it.
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

    /// Exactly the filter's configuration with every hook.
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
    /// A POST of this body as the provider would send it, from loopback over TLS.
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
            source: "127.0.0.1:4000".to_owned(),
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

/// Lists are sets: `a,b` and `b,a` are one value.
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
    const TABLES: [&str; 4] = ["hooks.toml", "reasons.toml", "mutations.toml", "trust.toml"];
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

/// A hook with what is the same for all, and open unless it says otherwise.
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
