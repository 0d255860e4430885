//! What only a real host shows, on every Envoy.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

use blobgate_testkit as support;

mod answers;
mod before_the_gate;
mod body;
mod closed;
mod edge;
mod failure;
mod flood;
mod heads;
mod inbox_route;
mod local;
mod modes;
mod operator;
mod trust;

use serde_json::Value;
use support::{EnvoyProcess, eventually, metrics};

/// A line of Envoy's own log that contains `text`, once it is there.
#[track_caller]
fn log_line(envoy: &EnvoyProcess, text: &str) -> String {
    eventually(text, || envoy.log().lines().find(|line| line.contains(text)).map(str::to_owned))
}

/// The line of the access log that `is_it` names, once it is there.
#[track_caller]
fn access_line(envoy: &EnvoyProcess, is_it: impl Fn(&Value) -> bool) -> Value {
    eventually("line in the access log", || envoy.access_log().into_iter().find(|line| is_it(line)))
}

/// The access log so far, as text to search.
fn access_text(envoy: &EnvoyProcess) -> String {
    envoy.access_log().iter().map(|line| format!("{line}\n")).collect()
}

/// A counter, once it has this value: a worker's counts reach the admin port after the answer.
#[track_caller]
fn counts(envoy: &EnvoyProcess, name: &str, labels: &[(&str, &str)], expected: f64) {
    let what = format!("{name} {labels:?} of {expected}");
    eventually(&what, || (metrics::sum(&envoy.prometheus(), name, labels) == expected).then_some(()));
}

/// Changes the routes that enable the gate, one by one: those to the services, and those of what nobody has judged.
fn hook_routes(bootstrap: support::Bootstrap, change: impl Fn(&mut Value)) -> support::Bootstrap {
    bootstrap.routes(|routes| {
        let enables = |route: &&mut Value| route["typed_per_filter_config"]["blobgate"].is_object();
        routes.iter_mut().filter(enables).for_each(&change);
    })
}
