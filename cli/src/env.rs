//! Reads variables of the environment.

use anyhow::{Context, Result};

/// The value of a variable, which must be set and not empty.
pub(crate) fn read_env(name: &str) -> Result<String> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    value.with_context(|| format!("the environment variable {name} is unset or empty"))
}
