//! Counters. A label is a part of a counter's name, `.key=value`. `stats_tags` in `envoy.yaml` turns labels into tags.

use super::Host;
use crate::Reason;
use crate::confirm::Outcome;
use crate::contract::{Kind, Verdict};
use crate::hook::Hook;
use crate::policy::Delivery;
use crate::token::Token;
use std::fmt::Write;
use std::sync::Arc;

/// A counter and its labels.
///
/// No label contains a client's text. So a hook has at most some 300 counters, and three more for each `kid`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Counter(Labels);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Labels {
    /// Deliveries by their end. `verdict` is `accepted`, `quarantined`, `observed` or `refused`. `event` is the claimed one
    /// of a quarantined delivery. `-` stands for no value.
    Delivery { hook: Arc<str>, event: Option<Kind>, verdict: Option<Verdict>, reason: Option<Reason> },
    /// Fields that are not as documented.
    Drift { hook: Arc<str>, field: &'static str },
    /// Violations that checks in observe mode let through.
    Observed { hook: Arc<str>, reason: Reason },
    /// Tokens at hooks that take one, by [outcome](#token-outcomes). `kid` is `-` for an invalid token. A plain HTTP request
    /// does not count.
    Token { hook: Arc<str>, kid: Option<Arc<str>>, outcome: &'static str },
    /// Deliveries that needed a confirmation, by [outcome](#confirm-outcomes).
    Confirm { hook: Arc<str>, outcome: Outcome },
}

/// The name of the gauge that shows the version. Its value is 1 on each worker.
pub fn info(environment: &str) -> String {
    format!("blobgate_info.environment={environment}.version={}", env!("CARGO_PKG_VERSION"))
}

pub(super) fn count_delivery(host: &mut impl Host, delivery: &Delivery) {
    count_token(host, delivery.hook(), delivery.token());
    let hook = &delivery.hook().name;
    for reason in delivery.observed() {
        host.count(Counter(Labels::Observed { hook: Arc::clone(hook), reason: *reason }));
    }
    for field in delivery.event().map_or(&[][..], |event| event.drift.names()) {
        host.count(Counter(Labels::Drift { hook: Arc::clone(hook), field }));
    }
    host.count(Counter(Labels::Delivery {
        hook: Arc::clone(hook),
        event: delivery.event().map(|event| event.kind),
        verdict: Some(delivery.verdict()),
        reason: delivery.reason(),
    }));
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
    pub(super) fn refusal(hook: Option<&Arc<Hook>>, reason: Reason) -> Self {
        let hook = hook.map_or_else(|| "-".into(), |hook| Arc::clone(&hook.name));
        Self(Labels::Delivery { hook, event: None, verdict: None, reason: Some(reason) })
    }

    pub(super) fn confirmation(hook: &Hook, outcome: Outcome) -> Self {
        Self(Labels::Confirm { hook: Arc::clone(&hook.name), outcome })
    }

    /// The name with all labels.
    pub fn name(&self, environment: &str) -> String {
        let mut name = String::new();
        let _ = match &self.0 {
            Labels::Delivery { hook, event, verdict, reason } => write!(
                name,
                "blobgate_deliveries_total.environment={environment}.hook={hook}.event={}.verdict={}.reason={}",
                event.map_or("-", Kind::name),
                verdict.map_or("refused", Verdict::name),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::TokenError;
    use blobgate_testkit_book::{check_part, documented_variants, items_between, table};

    #[track_caller]
    fn row(labels: Labels, expected: &str) {
        assert_eq!(Counter(labels).name("production"), expected);
    }

    /// Alert rules and `stats_tags` in `envoy.yaml` match these names.
    #[test]
    fn pins_names_and_labels() {
        let hook: Arc<str> = "veo3".into();
        let delivery =
            |event, verdict, reason| Labels::Delivery { hook: Arc::clone(&hook), event, verdict, reason };
        row(
            delivery(Some(Kind::Completed), Some(Verdict::Accepted), None),
            "blobgate_deliveries_total.environment=production.hook=veo3.event=completed.verdict=accepted.reason=-",
        );
        row(
            delivery(None, None, Some(Reason::SourceDenied)),
            "blobgate_deliveries_total.environment=production.hook=veo3.event=-.verdict=refused.reason=source-denied",
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

    #[test]
    fn the_reference_has_each_metric() {
        let hook: Arc<str> = "hook".into();
        let reason = Reason::UnknownHook;
        let samples = [
            Labels::Delivery { hook: Arc::clone(&hook), event: None, verdict: None, reason: None },
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

        let outcomes = [
            Outcome::Confirmed,
            Outcome::Contradicted,
            Outcome::Unknown,
            Outcome::StillWorking,
            Outcome::Unauthorized,
            Outcome::Limited,
            Outcome::Status,
            Outcome::Unreadable,
            Outcome::NoAnswer,
            Outcome::Budget,
            Outcome::InFlight,
            Outcome::NotStarted,
            Outcome::Remembered,
        ];
        let confirm = documented_variants(include_str!("../confirm.rs"), "pub enum Outcome {\n", outcomes);
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
        let invalid =
            invalid.into_iter().map(|(error, docs)| [format!("`{}`", Token::Invalid(error).outcome()), docs]);

        check_part(
            "metrics",
            "gate",
            &format!(
                "# Metrics\n\n## Gate\n\nEnvoy serves these counters, with its own, at `/stats/prometheus`. How to scrape them: \
                 [Metrics](../operate/metrics.md).\n\n{}\n### Confirm outcomes\n\nThe label `outcome` of `blobgate_confirm_total`. \
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
