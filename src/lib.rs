//! Blobgate judges one webhook delivery at a time. It checks that the delivery is encrypted, comes from an allowed address,
//! is well-formed, and is authentic.
//!
//! Each stage has a file, in this order: [`sanitize`], [`hook`], [`transport`], [`source`], [`request`], [`token`], [`json`],
//! [`dialect`], [`event`], [`result_url`], [`confirm`], [`forward`]. [`policy`] runs the stages and decides. [`trust`] has the
//! trust rule. [`violation`] has what a stage finds, and [`trace`] what it saw. [`mask`] hides tokens in that. [`contract`] has the headers, their values, and the forms of tokens and signatures.
//! Only [`exchange`] has state: it drives a host through one request and its response. Only `wasm`, compiled for
//! WebAssembly, calls Envoy.

pub mod answer;
pub mod config;
pub mod confirm;
pub mod contract;
pub mod dialect;
pub mod enforcement;
pub mod event;
pub mod exchange;
#[cfg(not(target_family = "wasm"))]
pub mod explain;
pub mod forward;
pub mod head;
pub mod headers;
pub mod hook;
pub mod ip_ranges;
pub mod json;
mod keyring;
#[cfg(not(target_family = "wasm"))]
mod markdown;
pub mod mask;
mod names;
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
pub mod trace;
pub mod transport;
pub mod trust;
pub mod violation;

#[cfg(target_family = "wasm")]
mod wasm;

pub use config::Config;
pub use reason::Reason;
pub use violation::Violation;
