//! Tests of the built program.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::expect_used
)]

mod check;
mod completions;
mod demo;
mod explain;
mod hostile;
mod inbox;
mod inbox_options;
mod init;
mod mint;
mod mistakes;
mod output;
mod receiver;
mod render;
mod running;
mod sandbox;
mod schema;
mod signals;
mod up;
mod up_setup;
mod usage;
mod webhook;
