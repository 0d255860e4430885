//! Blobgate decides on one webhook delivery at a time: encrypted, from an allowed place, well-formed, authentic?
//!
//! The stages, in the order in which [`policy`] runs them, are a file each:
//! [`clean`], [`hook`], [`transport`], [`source`], [`request`], [`json`], [`dialect`], [`event`], [`result_url`], [`forward`].
//! Everything here is a pure function of its arguments; `filter`, compiled for WebAssembly only, is the one place
//! that talks to Envoy.

pub mod answer;
pub mod clean;
pub mod config;
pub mod dialect;
pub mod event;
pub mod forward;
pub mod headers;
pub mod hook;
pub mod json;
pub mod policy;
pub mod reason;
pub mod request;
pub mod result_url;
pub mod source;
pub mod transport;

#[cfg(target_family = "wasm")]
mod filter;

pub use config::Config;
pub use reason::Reason;
