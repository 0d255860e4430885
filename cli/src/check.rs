//! `blobgate check`: finds mistakes in configurations before Envoy or a sender does.

pub(crate) mod finding;
pub(crate) mod yaml;
