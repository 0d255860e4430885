//! The trust table: every cell of `trust.toml` is a case for each response of the status API.

use super::outcome::ExpectedOutcome;
use super::provider::ProviderAnswer;
use super::token::TokenRow;
use super::{Case, LOOPBACK, read, sample};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The columns of the table.
const PAYLOADS: [&str; 3] = ["valid", "invalid", "unreadable"];

/// The cells by hook and token.
type TrustTable = BTreeMap<String, BTreeMap<String, [TrustCell; 3]>>;

#[derive(Deserialize)]
#[serde(transparent)]
struct TrustCell(String);

pub fn cases(paths: &BTreeMap<String, String>) -> Vec<Case> {
    let table: TrustTable = read("trust.toml");
    let mut cases = Vec::new();
    for (hook, rows) in &table {
        let path = paths.get(hook).unwrap_or_else(|| panic!("trust.toml: no hook {hook}"));
        for (token, cells) in rows {
            for (payload, cell) in PAYLOADS.iter().zip(cells) {
                for (answer, outcome) in cell.outcomes() {
                    cases.push(case(hook, path, token, payload, answer, outcome));
                }
            }
        }
    }
    assert!(cases.len() > 50, "trust.toml has only {} cases", cases.len());
    cases
}

impl TrustCell {
    /// Reads `accepted`, or `y accepted, n not-confirmed, u quarantined confirm-unavailable`.
    fn outcomes(&self) -> Vec<(Option<&str>, &str)> {
        let parts = self.0.split(", ").map(|part| match part.split_once(' ') {
            Some((answer @ ("y" | "n" | "u"), outcome)) => (Some(answer), outcome),
            _ => (None, part),
        });
        parts.collect()
    }
}

fn case(hook: &str, path: &str, token: &str, payload: &str, answer: Option<&str>, outcome: &str) -> Case {
    let name = format!("trust: {hook}, token {token}, {payload}, {}", answer.unwrap_or("no call"));
    // Each case has its own generation, because the gate stores denials.
    let sum = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let id = format!("{:08x}-5bef-4e14-bf22-{:012x}", sum >> 32, sum & 0xffff_ffff_ffff);
    let mut json: Value = serde_json::from_str(&sample("completed")).unwrap();
    json["generation_id"] = id.clone().into();
    if payload == "invalid" {
        json["video_url"] = "https://evil.example/video.mp4".into();
    }
    let body = match payload {
        "unreadable" => format!("{json}x").into_bytes(),
        _ => json.to_string().into_bytes(),
    };
    let token = (!matches!(token, "absent" | "none")).then(|| (token, TokenRow::named(token)));
    let provider = answer.map(|answer| ProviderAnswer::named(answer, &body));
    let authentic = token.as_ref().is_some_and(|(name, _)| *name != "bad");
    let mut proofs = Vec::new();
    if token.as_ref().is_some_and(|(name, _)| *name == "good") {
        proofs.push("token".to_owned());
    }
    if answer == Some("y") {
        proofs.push("confirmed".to_owned());
    }
    let host = match payload {
        "invalid" => "evil.example",
        _ => "cdn.runblob.io",
    };
    let readable = payload != "unreadable";
    let expect = match outcome.split_once(' ') {
        Some(("quarantined", reason)) => {
            ExpectedOutcome::quarantined(reason, readable.then_some((&*id, host)), proofs, authentic)
        }
        None if outcome == "accepted" => ExpectedOutcome::accepted(&id, host, proofs, authentic),
        _ => ExpectedOutcome::refused_of(outcome, readable.then_some(&*id).filter(|_| !early(outcome))),
    };
    let detail = match outcome.rsplit(' ').next() {
        // The unreadable payload is JSON with one more byte.
        Some("json-invalid") => {
            Some("body: has bytes after its JSON value, expected one JSON value in UTF-8".to_owned())
        }
        // The hooks of the table allow one host.
        Some("result-url-denied") => {
            Some("video_url: host is none of 1 allowed hosts, expected a host of result_url".to_owned())
        }
        _ => None,
    };
    let expect = expect.with_detail(detail);
    let path = path.trim_end_matches("/{token}");
    let path = match &token {
        Some((_, token)) => format!("{path}/{}", token.mint(hook)),
        None => path.to_owned(),
    };
    let outcome = expect
        .outcome(hook, LOOPBACK, Some("application/json"))
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    Case { provider, ..Case::plain(name, hook, &path, body, outcome) }
}

/// Whether the gate refuses at the head, before it knows the generation.
fn early(reason: &str) -> bool {
    matches!(reason, "token-missing" | "token-invalid")
}
