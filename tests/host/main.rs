//! What only a real host shows, on every Envoy.

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod body;
mod closed;
mod edge;
mod failure;
mod heads;
mod modes;
mod operator;
