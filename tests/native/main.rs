//! About the native module: its answers beside the Wasm module's, its loading, panics, reloads, and memory.

#![allow(
    missing_docs,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

#[path = "../corpus/bench.rs"]
#[allow(dead_code)]
mod bench;
#[path = "../corpus/case_run.rs"]
#[allow(dead_code)]
mod case_run;
#[path = "../corpus/mod.rs"]
mod corpus;

mod defaults;
mod differential;
mod loading;
mod metrics;
mod panics;
mod reload;
mod soak;

use blobgate_testkit as support;
use serde_json::{Value, json};
use support::bootstrap::merge;
use support::{Bootstrap, GateModule, Options, Reply, TestDelivery, TestGate, Version};

/// For the module `corpus`, which three packages include.
const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Runs a test on every Envoy that loads the native module.
#[track_caller]
fn on_every_envoy(test: impl Fn(&Version) + Sync) {
    support::on_every_envoy_with(GateModule::Native, test);
}

/// A gate with the native module.
#[track_caller]
fn native(version: &Version, change: impl FnOnce(Bootstrap) -> Bootstrap) -> TestGate {
    native_with(version, Options::default(), change)
}

#[track_caller]
fn native_with(version: &Version, options: Options, change: impl FnOnce(Bootstrap) -> Bootstrap) -> TestGate {
    TestGate::started(version, options, |shipped| change(shipped.with(GateModule::Native)))
}

/// The path of the shipped hook that needs a proof.
const TOKEN_HOOK: &str = "/hooks/veo3";

/// A delivery that needs a confirmation.
fn tokenless() -> TestDelivery {
    TestDelivery::completed().path(TOKEN_HOOK)
}

/// The status API confirms the delivery.
fn confirms(delivery: &TestDelivery) -> Reply {
    Reply::status(200).header("content-type", "application/json").body(delivery.body())
}

/// The shipped configuration with another name of its first hook and these changes.
fn named(name: &str, changes: &Value) -> Value {
    let mut configuration = Bootstrap::shipped_gate();
    merge(&mut configuration, changes);
    merge(&mut configuration["hooks"][0], &json!({"name": name}));
    configuration
}
