//! The gate as a dynamic module of Envoy: the same configuration and the same decisions as the Wasm module.
//!
//! `filter` drives an exchange by Envoy's hooks, and `host` is the exchange's host, with its response in `answer`. `counters` are the metrics, `cells`
//! what all configurations of a process share, and `ticker` the clock of the log's summary. `abi` is the binding, with all
//! unsafe code.
//!
//! The module runs inside Envoy's process, without a sandbox. A panic ends only the request, with 503. A stack overflow and an
//! allocation that fails still end Envoy.

#![cfg_attr(feature = "empty", allow(dead_code, reason = "the hooks do nothing"))]

#[allow(unsafe_code, reason = "the binding calls Envoy and is called by it, both by pointers")]
mod abi;
mod answer;
mod cells;
mod counters;
#[cfg(feature = "empty")]
mod empty;
mod filter;
mod host;
mod ticker;

#[cfg(test)]
mod tests;

#[cfg(not(feature = "empty"))]
abi::exports::export!(filter::NativeGate);
#[cfg(feature = "empty")]
abi::exports::export!(empty::EmptyModule);
