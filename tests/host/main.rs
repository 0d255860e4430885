//! Behaviour of a real host: chunks, trailers, reloads, crashes. On every Envoy.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

use blobgate_testkit as support;

mod access_log;
mod answers;
mod body;
mod edge;
mod envoy_checks;
mod fail_closed;
mod failure;
mod flood;
mod heads;
mod inbox_health;
mod inbox_route;
mod large;
mod leaving;
mod local;
mod modes;
mod operator;
mod responses;
mod thread;
mod trust;
mod wasm_alone;

use serde_json::Value;
use support::{EnvoyProcess, eventually, metrics};

/// Waits for a line of Envoy's log with `text`.
#[track_caller]
fn log_line(envoy: &EnvoyProcess, text: &str) -> String {
    eventually(text, || envoy.log().lines().find(|line| line.contains(text)).map(str::to_owned))
}

/// Waits for a line of the access log that `is_it` matches.
#[track_caller]
fn access_line(envoy: &EnvoyProcess, is_it: impl Fn(&Value) -> bool) -> Value {
    eventually("line in the access log", || envoy.access_log().into_iter().find(|line| is_it(line)))
}

/// The access log so far, as text.
fn access_text(envoy: &EnvoyProcess) -> String {
    envoy.access_log().iter().map(|line| format!("{line}\n")).collect()
}

/// Waits until a counter has this value. A worker's counts reach the admin page after the response.
#[track_caller]
fn counts(envoy: &EnvoyProcess, name: &str, labels: &[(&str, &str)], expected: f64) {
    let what = format!("{name} {labels:?} of {expected}");
    eventually(&what, || (metrics::sum(&envoy.prometheus(), name, labels) == expected).then_some(()));
}

/// Changes each route that enables the gate, with or without a verdict.
fn hook_routes(bootstrap: support::Bootstrap, change: impl Fn(&mut Value)) -> support::Bootstrap {
    bootstrap.routes(|routes| {
        let enables = |route: &&mut Value| route["typed_per_filter_config"]["blobgate"].is_object();
        routes.iter_mut().filter(enables).for_each(&change);
    })
}
