//! Blobgate decides on one webhook delivery at a time: encrypted, from an allowed address, well-formed, authentic?
//!
//! The stages, in the order in which [`policy`] runs them, are a file each:
//! [`sanitize`], [`hook`], [`transport`], [`source`], [`request`], [`token`], [`json`], [`dialect`], [`event`], [`result_url`],
//! [`confirm`], [`forward`]. [`trust`] has the trust rule, [`contract`] every name that crosses a process.
//! Everything here is a pure function of its arguments, but for [`exchange`], which drives a host through one request and
//! its response. `wasm`, compiled for WebAssembly only, is the one place that talks to Envoy.

pub mod answer;
pub mod config;
pub mod confirm;
pub mod contract;
pub mod dialect;
pub mod enforcement;
pub mod event;
pub mod exchange;
pub mod forward;
pub mod head;
pub mod headers;
pub mod hook;
pub mod ip_ranges;
pub mod json;
mod keyring;
pub mod policy;
pub mod reason;
pub mod request;
pub mod result_url;
pub mod sanitize;
mod secret;
pub mod settings;
pub mod sign;
pub mod source;
pub mod token;
pub mod transport;
pub mod trust;

#[cfg(target_family = "wasm")]
mod wasm;

pub use config::Config;
pub use reason::Reason;
