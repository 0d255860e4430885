//! What an operator sees: real stacks, with a real Prometheus that has the shipped rules. `make oncall` runs it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    clippy::expect_used
)]

mod expressions;
mod keys;
mod machines;
mod operator;
mod prefix;
mod quarantine;
mod selectors;
mod services;
mod stack;
mod traffic;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_blobgate");
