//! The page in a real Chromium: each view and each action, on a phone and on a desk, light and dark, with and without JavaScript.
//! `make test-page` runs it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod actions;
mod browser;
mod driver;
mod findings;
mod forged;
mod hostile;
mod keyboard;
mod live;
mod look;
mod page_inbox;
mod screenshot;
mod story;
mod views;

/// The tool under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_blobgate");
