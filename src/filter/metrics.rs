//! Counters. Labels are part of a counter's name, `.key=value`, and `stats_tags` in `envoy.yaml` takes them out.

use crate::Reason;
use crate::confirm::Outcome;
use crate::event::Kind;
use crate::hook::Hook;
use crate::policy::{Delivery, Verdict};
use crate::token::Token;
use proxy_wasm::hostcalls;
use proxy_wasm::types::MetricType;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

/// The counters of one worker. A counter is defined on first use, for a name that is known costs one host call.
///
/// No label is a client's text: a hook has some 300 counters at most, and three of its `kid`s each.
pub(super) struct Metrics {
    environment: String,
    ids: BTreeMap<Counter, u32>,
}

/// A counter and its labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Counter {
    Delivery { hook: Arc<str>, event: Option<Kind>, verdict: Option<Verdict>, reason: Option<Reason> },
    Drift { hook: Arc<str>, field: &'static str },
    Observed { hook: Arc<str>, reason: Reason },
    Token { hook: Arc<str>, kid: Option<Arc<str>>, outcome: &'static str },
    Confirm { hook: Arc<str>, outcome: Outcome },
}

impl Metrics {
    /// Sets the gauge that tells the module's version.
    pub(super) fn new(environment: &str) -> Self {
        let info = format!("blobgate_info.environment={environment}.version={}", env!("CARGO_PKG_VERSION"));
        if let Ok(id) = hostcalls::define_metric(MetricType::Gauge, &info) {
            let _ = hostcalls::record_metric(id, 1);
        }
        Self { environment: environment.to_owned(), ids: BTreeMap::new() }
    }

    pub(super) fn count_delivery(&mut self, delivery: &Delivery) {
        self.count_token(delivery.hook(), delivery.token());
        let hook = &delivery.hook().name;
        for reason in delivery.observed() {
            self.add(Counter::Observed { hook: Arc::clone(hook), reason: *reason });
        }
        for field in delivery.event().map_or(&[][..], |event| event.drift.names()) {
            self.add(Counter::Drift { hook: Arc::clone(hook), field });
        }
        self.add(Counter::Delivery {
            hook: Arc::clone(hook),
            event: delivery.event().map(|event| event.kind),
            verdict: Some(delivery.verdict()),
            reason: delivery.reason(),
        });
    }

    /// What the token of a delivery was worth, where its hook takes one. A `kid` is one of ours: a stranger's would
    /// make counters without end.
    pub(super) fn count_token(&mut self, hook: &Hook, token: &Token) {
        if hook.token.is_some() {
            let kid = token.claims().map(|claims| Arc::clone(&claims.kid));
            self.add(Counter::Token { hook: Arc::clone(&hook.name), kid, outcome: token.outcome() });
        }
    }

    pub(super) fn count_confirm(&mut self, hook: &Arc<str>, outcome: Outcome) {
        self.add(Counter::Confirm { hook: Arc::clone(hook), outcome });
    }

    pub(super) fn count_refusal(&mut self, hook: Option<&Arc<str>>, reason: Reason) {
        let hook = hook.map_or_else(|| "-".into(), Arc::clone);
        self.add(Counter::Delivery { hook, event: None, verdict: None, reason: Some(reason) });
    }

    fn add(&mut self, counter: Counter) {
        let id = match self.ids.get(&counter) {
            Some(id) => *id,
            None => {
                let Ok(id) = hostcalls::define_metric(MetricType::Counter, &counter.name(&self.environment))
                else {
                    return;
                };
                self.ids.insert(counter, id);
                id
            }
        };
        let _ = hostcalls::increment_metric(id, 1);
    }
}

impl Counter {
    fn name(&self, environment: &str) -> String {
        let mut name = String::new();
        let _ = match self {
            Counter::Delivery { hook, event, verdict, reason } => write!(
                name,
                "blobgate_deliveries_total.environment={environment}.hook={hook}.event={}.verdict={}.reason={}",
                event.map_or("-", Kind::name),
                verdict.map_or("refused", Verdict::name),
                reason.map_or("-", Reason::code),
            ),
            Counter::Drift { hook, field } => write!(
                name,
                "blobgate_drift_total.environment={environment}.hook={hook}.field={}",
                // A dot would end the label.
                field.replace('.', "/"),
            ),
            Counter::Observed { hook, reason } => write!(
                name,
                "blobgate_observed_total.environment={environment}.hook={hook}.reason={}",
                reason.code(),
            ),
            Counter::Token { hook, kid, outcome } => write!(
                name,
                "blobgate_token_total.environment={environment}.hook={hook}.kid={}.outcome={outcome}",
                kid.as_deref().unwrap_or("-"),
            ),
            Counter::Confirm { hook, outcome } => write!(
                name,
                "blobgate_confirm_total.environment={environment}.hook={hook}.outcome={}",
                outcome.name(),
            ),
        };
        name
    }
}
