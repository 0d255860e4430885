//! Tests of the built program.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::expect_used
)]

mod check;
mod demo;
mod inbox;
mod mint;
mod output;
mod receiver;
mod running;
mod sandbox;
mod signals;
mod up;
mod usage;
mod webhook;
