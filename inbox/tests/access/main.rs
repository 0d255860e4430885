//! The sign-in of the page and attacks on it, by a client that sends any bytes.

#![allow(
    clippy::string_slice,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    reason = "a test may panic: that is how it fails"
)]

mod forgery;
#[path = "../support/settings.rs"]
mod settings;
mod sign_in;
mod site;
