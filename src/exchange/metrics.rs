//! Counters. A label is a part of a counter's name, `.key=value`. `stats_tags` in `envoy.yaml` turns labels into tags.

use super::Host;
use crate::Reason;
use crate::confirm::Outcome;
use crate::hook::Hook;
use crate::policy::{Delivery, Disposition};
use crate::token::{Token, TokenError};
use std::fmt::{self, Write};
use std::sync::Arc;

/// A counter and its labels.
///
/// No label contains a client's text. So a hook has at most some 300 counters, and three more for each `kid`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Counter(Labels);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Labels {
    /// Requests by the response that the sender gets. `reason` is that of a refusal, or of a quarantined delivery that got 200.
    /// `-` stands for no value. A status of `-` is a client that left before its response. A status that neither the gate nor
    /// Envoy gives is `2xx`, `3xx`, `4xx`, `5xx` or `other`.
    Response { reason: Option<Reason>, status: Status, hook: Arc<str> },
    /// Fields that are not as documented.
    Drift { hook: Arc<str>, field: &'static str },
    /// Violations that a hook or a check in observe mode let through.
    Observed { hook: Arc<str>, reason: Reason },
    /// Tokens at hooks that take one, by [outcome](#token-outcomes). `kid` is `-` for an invalid token. A plain HTTP request
    /// does not count.
    Token { hook: Arc<str>, kid: Option<Arc<str>>, outcome: &'static str },
    /// Deliveries that needed a confirmation, by [outcome](#confirm-outcomes).
    Confirm { hook: Arc<str>, outcome: Outcome },
}

/// The label `status`. Its values are bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Status {
    /// A status of the gate, or one that Envoy gives on a hook.
    Known(u16),
    /// The first digit of another status.
    Class(u16),
    /// No final status.
    Other,
    /// No response: the client left.
    Left,
}

/// Each counter's name without labels, and the names of its labels in their order.
pub const FAMILIES: [(&str, &[&str]); 5] = [
    ("blobgate_responses_total", &["environment", "hook", "status", "reason"]),
    ("blobgate_drift_total", &["environment", "hook", "field"]),
    ("blobgate_observed_total", &["environment", "hook", "reason"]),
    ("blobgate_token_total", &["environment", "hook", "kid", "outcome"]),
    ("blobgate_confirm_total", &["environment", "hook", "outcome"]),
];
/// The counters of a hook that exist at 0.
const MAX_INITIAL: usize = 30;
/// The outcomes of a confirmation that alert rules read.
const INITIAL_OUTCOMES: [Outcome; 7] = [
    Outcome::Confirmed,
    Outcome::Unauthorized,
    Outcome::Budget,
    Outcome::NoAnswer,
    Outcome::Status,
    Outcome::Limited,
    Outcome::Unreadable,
];
/// The keys whose valid tokens have a counter at 0: one, and the next one during a change of keys.
const MAX_INITIAL_KEYS: usize = 2;

/// The name of the gauge that shows the version. Its value is 1 on each worker.
pub fn info(environment: &str) -> String {
    format!("blobgate_info.environment={environment}.version={}", env!("CARGO_PKG_VERSION"))
}

/// The name of the counter of requests that a panic of the native module ended.
pub fn panics(environment: &str) -> String {
    format!("blobgate_module_panics_total.environment={environment}")
}

/// The counters of a hook that exist at 0: those that alert rules read. At most 30.
pub(super) fn initial(hook: &Hook) -> Vec<Counter> {
    let name = &hook.name;
    let mut labels = Vec::with_capacity(MAX_INITIAL);
    labels.push(Labels::response(Some(name), Status::OK, None));
    for reason in [Reason::UpstreamError, Reason::ConfirmUnavailable] {
        labels.push(Labels::response(Some(name), Status::judged(Err(reason)), Some(reason)));
    }
    for reason in Reason::ALL.iter().filter(|reason| hook.may_quarantine_for(**reason)) {
        labels.push(Labels::response(Some(name), Status::OK, Some(*reason)));
    }
    if let Some(token) = &hook.token {
        for kid in token.keys.kids().take(MAX_INITIAL_KEYS) {
            let kid = Some(Arc::clone(kid));
            labels.push(Labels::Token { hook: Arc::clone(name), kid, outcome: Token::GOOD });
        }
        for error in [TokenError::Kid, TokenError::Signature, TokenError::Algorithm] {
            labels.push(Labels::Token { hook: Arc::clone(name), kid: None, outcome: error.name() });
        }
    }
    if hook.confirm.is_some() {
        for outcome in INITIAL_OUTCOMES {
            labels.push(Labels::Confirm { hook: Arc::clone(name), outcome });
        }
    }
    labels.into_iter().map(Counter).collect()
}

/// The counters of a genuine delivery.
#[cfg(not(target_family = "wasm"))]
pub(super) fn frequent(hook: &Hook) -> impl Iterator<Item = Counter> {
    let kid = hook.token.as_ref().and_then(|token| token.keys.kids().next());
    let good = kid.map(|kid| Labels::Token {
        hook: Arc::clone(&hook.name),
        kid: Some(Arc::clone(kid)),
        outcome: Token::GOOD,
    });
    [Labels::response(Some(&hook.name), Status::OK, None)].into_iter().chain(good).map(Counter)
}

/// Counts what the gate has found in a forwarded delivery.
pub(super) fn count_findings(host: &mut impl Host, delivery: &Delivery) {
    count_token(host, delivery.hook(), delivery.token());
    let hook = &delivery.hook().name;
    let whole = match delivery.disposition() {
        Disposition::Observed { violation, .. } => *violation,
        Disposition::Accepted(_) | Disposition::Quarantined { .. } => None,
    };
    for violation in delivery.observed().iter().copied().chain(whole) {
        host.count(Counter(Labels::Observed { hook: Arc::clone(hook), reason: violation.reason }));
    }
    for field in delivery.event().map_or(&[][..], |event| event.drift.names()) {
        host.count(Counter(Labels::Drift { hook: Arc::clone(hook), field }));
    }
}

/// Counts the outcome of a token, where the hook takes one. The label `kid` comes from the configuration, because a client's
/// `kid` could create any number of counters.
pub(super) fn count_token(host: &mut impl Host, hook: &Hook, token: &Token) {
    if hook.token.is_some() {
        let kid = token.claims().map(|claims| Arc::clone(&claims.kid));
        host.count(Counter(Labels::Token { hook: Arc::clone(&hook.name), kid, outcome: token.outcome() }));
    }
}

impl Counter {
    /// A response; without a hook for an unknown path.
    pub(super) fn response(hook: Option<&Arc<Hook>>, status: Status, reason: Option<Reason>) -> Self {
        Self(Labels::response(hook.map(|hook| &hook.name), status, reason))
    }

    pub(super) fn confirmation(hook: &Hook, outcome: Outcome) -> Self {
        Self(Labels::Confirm { hook: Arc::clone(&hook.name), outcome })
    }

    /// The name with all labels.
    pub fn name(&self, environment: &str) -> String {
        let mut name = String::new();
        let _ = match &self.0 {
            Labels::Response { reason, status, hook } => write!(
                name,
                "blobgate_responses_total.environment={environment}.hook={hook}.status={status}.reason={}",
                reason.map_or("-", Reason::code),
            ),
            Labels::Drift { hook, field } => write!(
                name,
                "blobgate_drift_total.environment={environment}.hook={hook}.field={}",
                // A dot ends a label.
                field.replace('.', "/"),
            ),
            Labels::Observed { hook, reason } => write!(
                name,
                "blobgate_observed_total.environment={environment}.hook={hook}.reason={}",
                reason.code(),
            ),
            Labels::Token { hook, kid, outcome } => write!(
                name,
                "blobgate_token_total.environment={environment}.hook={hook}.kid={}.outcome={outcome}",
                kid.as_deref().unwrap_or("-"),
            ),
            Labels::Confirm { hook, outcome } => write!(
                name,
                "blobgate_confirm_total.environment={environment}.hook={hook}.outcome={}",
                outcome.name(),
            ),
        };
        name
    }
}

impl Labels {
    fn response(hook: Option<&Arc<str>>, status: Status, reason: Option<Reason>) -> Self {
        Labels::Response { reason, status, hook: hook.map_or_else(|| "-".into(), Arc::clone) }
    }
}

impl Status {
    /// The sender needs no retry.
    pub(super) const OK: Self = Self::Known(200);

    /// The label of a `:status`.
    pub(super) fn of(status: &[u8]) -> Self {
        let number = std::str::from_utf8(status).ok().and_then(|text| text.parse().ok());
        match number {
            Some(
                known @ (200
                | 400
                | 401
                | 403
                | 404
                | 405
                | 408
                | 413
                | 415
                | 422
                | 426
                | 429
                | 431
                | 502..=504),
            ) => Self::Known(known),
            Some(other @ 200..=599) => Self::Class(other.div_euclid(100)),
            _ => Self::Other,
        }
    }

    /// The label of the gate's own status.
    pub(super) const fn judged(judged: Result<(), Reason>) -> Self {
        match judged {
            Ok(()) => Self::OK,
            Err(reason) => Self::Known(reason.status()),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Status::Known(status) => write!(f, "{status}"),
            Status::Class(class) => write!(f, "{class}xx"),
            Status::Other => f.write_str("other"),
            Status::Left => f.write_str("-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::MAX_INITIAL_HOOKS;
    use blobgate_testkit_book::{check_part, documented_variants, items_between, table};

    #[track_caller]
    fn row(labels: Labels, expected: &str) {
        assert_eq!(Counter(labels).name("production"), expected);
    }

    /// Alert rules and `stats_tags` in `envoy.yaml` match these names.
    #[test]
    fn pins_names_and_labels() {
        let hook: Arc<str> = "veo3".into();
        row(
            Labels::response(Some(&hook), Status::judged(Ok(())), None),
            "blobgate_responses_total.environment=production.hook=veo3.status=200.reason=-",
        );
        row(
            Labels::response(None, Status::judged(Err(Reason::SourceDenied)), Some(Reason::SourceDenied)),
            "blobgate_responses_total.environment=production.hook=-.status=403.reason=source-denied",
        );
        row(
            Labels::Drift { hook: Arc::clone(&hook), field: "error.details" },
            "blobgate_drift_total.environment=production.hook=veo3.field=error/details",
        );
        row(
            Labels::Observed { hook: Arc::clone(&hook), reason: Reason::SourceDenied },
            "blobgate_observed_total.environment=production.hook=veo3.reason=source-denied",
        );
        row(
            Labels::Token { hook: Arc::clone(&hook), kid: Some("k1".into()), outcome: "good" },
            "blobgate_token_total.environment=production.hook=veo3.kid=k1.outcome=good",
        );
        row(
            Labels::Confirm { hook, outcome: Outcome::Unauthorized },
            "blobgate_confirm_total.environment=production.hook=veo3.outcome=unauthorized",
        );
        assert_eq!(info("production"), "blobgate_info.environment=production.version=0.1.0");
    }

    /// The counters that exist at 0 for a hook with these settings, without the prefix of each name.
    fn initial_of(hook: &str, keys: usize) -> Vec<String> {
        let keys: Vec<String> =
            (0..keys).map(|key| format!(r#""k{key}": {{"alg": "HS256", "env": "KEY{key}"}}"#)).collect();
        let config = format!(
            r#"{{"version": 1, "environment": "e", "token": {{"keys": {{{}}}}},
                "confirm": {{"cluster": "c", "authority": "a.example"}},
                "hooks": [{{"name": "h", "dialect": "veo3", "result_url": "any", {hook}}}]}}"#,
            keys.join(", ")
        );
        let key = |name: &str| Some(format!("a key of the tests, of 32 bytes, {name}"));
        let config = crate::Config::load(config.as_bytes(), &key).unwrap();
        initial(&config.hooks[0])
            .iter()
            .map(|counter| counter.name("e").replace(".environment=e.hook=h", ""))
            .collect()
    }

    #[test]
    fn shows_at_most_30_counters_of_a_hook_at_0() {
        // Every setting that adds a counter.
        let largest = r#""path": "/h/{token}", "source": ["203.0.113.0/24"], "trust": {"all_of": ["token", "confirmed"]},
            "quarantine": "route", "schema": "strict", "checks": {"prompt": "enforce"}"#;
        let names = initial_of(largest, 9);
        assert_eq!(names.len(), MAX_INITIAL, "{names:?}");
        let unique: std::collections::BTreeSet<&String> = names.iter().collect();
        assert_eq!(unique.len(), names.len());
        let smallest =
            initial_of(r#""path": "/h", "source": "any", "trust": "open", "quarantine": "none""#, 1);
        let responses = [
            "status=200.reason=-",
            "status=503.reason=upstream-error",
            "status=503.reason=confirm-unavailable",
        ];
        assert_eq!(smallest, responses.map(|labels| format!("blobgate_responses_total.{labels}")));
    }

    #[test]
    fn bounds_the_label_status() {
        for reason in Reason::ALL {
            let status = reason.status().to_string();
            assert_eq!(Status::judged(Err(*reason)), Status::of(status.as_bytes()), "{reason:?}");
            assert_eq!(Status::of(status.as_bytes()).to_string(), status, "a class");
        }
        for (status, expected) in [
            ("200", "200"),
            ("504", "504"),
            ("201", "2xx"),
            ("302", "3xx"),
            ("418", "4xx"),
            ("599", "5xx"),
            ("101", "other"),
            ("", "other"),
            ("2000", "other"),
        ] {
            assert_eq!(Status::of(status.as_bytes()).to_string(), expected, "{status}");
        }
    }

    #[test]
    fn the_reference_has_each_metric() {
        let hook: Arc<str> = "hook".into();
        let reason = Reason::UnknownHook;
        let samples = [
            Labels::response(Some(&hook), Status::Left, None),
            Labels::Drift { hook: Arc::clone(&hook), field: "seed" },
            Labels::Observed { hook: Arc::clone(&hook), reason },
            Labels::Token { hook: Arc::clone(&hook), kid: None, outcome: "good" },
            Labels::Confirm { hook, outcome: Outcome::Confirmed },
        ];
        let metrics = items_between(include_str!("metrics.rs"), "enum Labels {\n", "\n}");
        assert_eq!(metrics.len(), samples.len());
        let mut rows: Vec<[String; 3]> = Vec::new();
        for (sample, (variant, docs)) in samples.into_iter().zip(metrics) {
            assert!(format!("{sample:?}").starts_with(&variant), "{variant}");
            rows.push(row_of(&Counter(sample).name("e"), docs));
        }
        let version = "A gauge, 1 on each worker. Its label has the version of the module.";
        rows.push(row_of(&info("e"), version.to_owned()));
        let panicked =
            "Requests that a panic of the native module ended with 503. The Wasm module traps instead.";
        rows.push(row_of(&panics("e"), panicked.to_owned()));

        let confirm =
            documented_variants(include_str!("../confirm.rs"), "pub enum Outcome {\n", Outcome::ALL);
        let confirm = confirm.into_iter().map(|(outcome, docs)| {
            let answer = format!("{:?}", outcome.answer()).to_lowercase();
            [format!("`{}`", outcome.name()), docs, answer]
        });

        let invalid =
            documented_variants(include_str!("../token.rs"), "pub enum TokenError {\n", TokenError::ALL);
        let authentic = [
            ("good", "The token is valid."),
            ("expired", "The signature is valid. The token has expired, or is not valid yet."),
            ("audience", "The signature is valid. The token is for another hook or environment."),
            ("absent", "There is no token."),
        ];
        let authentic = authentic.map(|(outcome, docs)| [format!("`{outcome}`"), docs.to_owned()]);
        let invalid = invalid.into_iter().map(|(error, docs)| [format!("`{}`", error.name()), docs]);

        check_part(
            "metrics",
            "gate",
            &format!(
                "# Metrics\n\n## Gate\n\nEnvoy serves these counters, with its own, at `/stats/prometheus`. How to scrape them: \
                 [Metrics](../operate/metrics.md).\n\n{}\nThe counters that alert rules read exist at 0 from the start, for the first \
                 {MAX_INITIAL_HOOKS} hooks. A request that Envoy\nitself ends [before the gate](../explanation/before-the-gate.md) does not \
                 count.\n\n### Confirm outcomes\n\nThe label `outcome` of `blobgate_confirm_total`. \
                 The [trust table](trust-table.md) uses the last column.\n\n{}\n### Token outcomes\n\nThe label `outcome` of \
                 `blobgate_token_total`.\n\n{}",
                table(["metric", "labels", "counts"], rows),
                table(["outcome", "status API", "answer"], confirm),
                table(["outcome", "token"], authentic.into_iter().chain(invalid)),
            ),
        );
    }

    fn row_of(name: &str, docs: String) -> [String; 3] {
        let mut parts = name.split('.');
        let metric = format!("`{}`", parts.next().unwrap());
        let labels: Vec<String> =
            parts.filter_map(|part| part.split_once('=')).map(|(label, _)| format!("`{label}`")).collect();
        [metric, labels.join(", "), docs]
    }
}
