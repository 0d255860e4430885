//! The configurations of the how-tos, each in real Envoys: a genuine delivery arrives, others are refused, and the mistakes that a
//! page warns of end as it says.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod balancers;
mod own_envoy;
mod page_edge;
mod page_file;
mod shared;
mod values;

/// The tool under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_blobgate");
