//! The files of `tests/cases/` with `[[case]]` rows.

use super::body::{Bytes, grown, patched, replaced};
use super::outcome::ExpectedOutcome;
use super::provider::ProviderAnswer;
use super::token::TokenRow;
use super::{BodyLength, Case, CaseOutcome, GateSetup, Listener, sample};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

/// A file with its rows and their defaults.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseFile {
    #[serde(default)]
    defaults: Defaults,
    case: Vec<CaseRow>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Defaults {
    hook: Option<String>,
    sample: Option<String>,
    listener: Listener,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseRow {
    name: String,
    hook: Option<String>,
    // The request.
    method: Option<String>,
    path: Option<String>,
    #[serde(default)]
    headers: Vec<(String, Bytes)>,
    #[serde(default)]
    without_headers: Vec<String>,
    sample: Option<String>,
    json: Option<String>,
    #[serde(default)]
    without: Vec<String>,
    #[serde(default)]
    replace: BTreeMap<String, Bytes>,
    bytes: Option<usize>,
    body: Option<Bytes>,
    #[serde(default)]
    no_body: bool,
    #[serde(default)]
    undeclared: bool,
    claims: Option<u64>,
    // The Envoy and the other parties.
    listener: Option<Listener>,
    from: Option<Ipv4Addr>,
    source: Option<String>,
    #[serde(default)]
    gate: GateSetup,
    upstream: Option<ServiceAnswer>,
    token: Option<TokenRow>,
    provider: Option<AnswerSpec>,
    // The result.
    expect: ExpectedOutcome,
    envoy: Option<ExpectedOutcome>,
    envoy_h1: Option<ExpectedOutcome>,
    envoy_h2: Option<ExpectedOutcome>,
    /// Why the request cannot use HTTP/2.
    h1_only: Option<String>,
}

/// The status API's response: `y`, `n`, `u` or `unknown`, or a whole response.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum AnswerSpec {
    Named(String),
    Written(ProviderAnswer),
}

/// The service's response. Without a status the service resets the connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServiceAnswer {
    pub status: Option<u16>,
    pub headers: Vec<(String, String)>,
    pub body: Option<String>,
}

impl CaseFile {
    #[track_caller]
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub fn cases(self, section: &str, paths: &BTreeMap<String, String>) -> Vec<Case> {
        let CaseFile { defaults, case } = self;
        case.into_iter().map(|row| row.case(section, &defaults, paths)).collect()
    }
}

impl CaseRow {
    fn case(self, section: &str, defaults: &Defaults, paths: &BTreeMap<String, String>) -> Case {
        let name = format!("{section}: {}", self.name);
        let wrong = |what: &str| -> ! { panic!("{name}: {what}") };
        let hook = self.hook.clone().or(defaults.hook.clone()).unwrap_or_else(|| "default".to_owned());
        let Some(path) = paths.get(&hook) else { wrong("no such hook") };
        let headers = self.head();
        let content_type = headers.iter().find(|(name, _)| name == "content-type");
        let content_type = content_type.map(|(_, value)| String::from_utf8_lossy(value).into_owned());
        let from = self.from.unwrap_or(Ipv4Addr::LOCALHOST);
        let source = self.source.clone().unwrap_or_else(|| format!("{from}:4000"));
        let outcome = |expect: &ExpectedOutcome| -> CaseOutcome {
            expect.outcome(&hook, &source, content_type.as_deref()).unwrap_or_else(|error| wrong(&error))
        };
        let host = |specific: &Option<ExpectedOutcome>| {
            let expect = specific.as_ref().or(self.envoy.as_ref())?;
            if expect.why.is_none() {
                wrong("has no why for Envoy's outcome");
            }
            Some(outcome(expect))
                .filter(|other| *other != outcome(&self.expect))
                .or_else(|| wrong("has the same outcome for Envoy"))
        };
        let hosts = [host(&self.envoy_h1), host(&self.envoy_h2)];
        let body = self.whole_body(defaults);
        let provider = self.provider.as_ref().map(|answer| match answer {
            AnswerSpec::Named(name) => ProviderAnswer::named(name, body.as_deref().unwrap_or_default()),
            AnswerSpec::Written(answer) => answer.clone(),
        });
        let base = path.trim_end_matches("/{token}");
        let token = self.token.as_ref().map(|token| token.mint(&hook));
        let path = match (&self.path, &token) {
            (Some(path), Some(token)) => path.replace("{token}", token),
            (Some(path), None) => path.clone(),
            (None, Some(token)) => format!("{base}/{token}"),
            (None, None) => base.to_owned(),
        };
        Case {
            hook: hook.clone(),
            method: self.method.clone().unwrap_or_else(|| "POST".to_owned()),
            path,
            verbatim: self.verbatim(defaults),
            body,
            provider,
            length: match (self.undeclared, self.claims) {
                (false, None) => BodyLength::Declared,
                (true, None) => BodyLength::Undeclared,
                (false, Some(length)) => BodyLength::Claimed(length),
                (true, Some(_)) => wrong("has both undeclared and claims"),
            },
            listener: self.listener.unwrap_or(defaults.listener),
            from,
            source: source.clone(),
            gate: self.gate,
            upstream: self.upstream.clone(),
            expected: outcome(&self.expect),
            hosts,
            h1_only: self.h1_only.is_some(),
            headers,
            name,
        }
    }

    fn head(&self) -> Vec<(String, Vec<u8>)> {
        let given = self.headers.iter().map(|(name, value)| (name.clone(), value.bytes()));
        let all = [("content-type".to_owned(), b"application/json".to_vec())].into_iter().chain(given);
        let mut left_out = self.without_headers.clone();
        let mut headers = Vec::new();
        for (name, value) in all {
            // Removes a default header, so that a row can set it.
            match left_out.iter().position(|other| *other == name) {
                Some(at) => drop(left_out.remove(at)),
                None => headers.push((name, value)),
            }
        }
        assert!(left_out.is_empty(), "{}: no header {left_out:?} to leave out", self.name);
        headers
    }

    fn sample_name(&self, defaults: &Defaults) -> String {
        self.sample.clone().or(defaults.sample.clone()).unwrap_or_else(|| "completed".to_owned())
    }

    fn verbatim(&self, defaults: &Defaults) -> Option<String> {
        let changed = self.body.is_some()
            || self.no_body
            || self.json.is_some()
            || !self.without.is_empty()
            || !self.replace.is_empty()
            || self.bytes.is_some();
        (!changed).then(|| self.sample_name(defaults))
    }

    fn whole_body(&self, defaults: &Defaults) -> Option<Vec<u8>> {
        let of_sample = self.sample.is_some() || self.json.is_some() || !self.without.is_empty();
        match &self.body {
            _ if self.no_body => {
                assert!(self.body.is_none() && !of_sample, "{}: has a body", self.name);
                None
            }
            Some(body) => {
                assert!(
                    !of_sample && self.replace.is_empty() && self.bytes.is_none(),
                    "{}: two bodies",
                    self.name
                );
                Some(body.bytes())
            }
            None => {
                let mut text = sample(&self.sample_name(defaults));
                if self.json.is_some() || !self.without.is_empty() {
                    text = patched(&text, self.json.as_deref(), &self.without);
                }
                let body = replaced(text.into_bytes(), &self.replace);
                Some(match self.bytes {
                    Some(size) => grown(body, size),
                    None => body,
                })
            }
        }
    }
}
