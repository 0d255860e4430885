//! Reads environment variables.

use anyhow::{Context, Result};

/// The value of a variable. Fails for an unset or empty one.
pub(crate) fn read_env(name: &str) -> Result<String> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    value.with_context(|| format!("the environment variable {name} is unset or empty. Set it"))
}
