//! Reads environment variables.

use crate::option::UsageError;
use clap::Command;
use std::env::VarError;

/// An empty variable of an option is an unset one, as a manifest with `${NAME:-}` means it.
pub(crate) fn without_empty_variables(command: Command) -> Command {
    let is_empty = |name: &std::ffi::OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    command
        .mut_args(|arg| if arg.get_env().is_some_and(is_empty) { arg.env(None::<&str>) } else { arg })
        .mut_subcommands(without_empty_variables)
}

/// The value of a variable. Fails for an unset, empty or unreadable one.
pub(crate) fn read_env(name: &str) -> Result<String, UsageError> {
    match std::env::var(name) {
        Ok(value) if !value.is_empty() => Ok(value),
        Err(VarError::NotUnicode(_)) => {
            Err(UsageError(format!("the environment variable {name} is not UTF-8. Set it to text")))
        }
        // Perhaps a key stands in the place of its name. The error must not show it.
        _ if !name.bytes().all(is_of_name) => Err(UsageError(
            "no environment variable has this name. Write the name of a variable, and not its value"
                .to_owned(),
        )),
        _ => Err(UsageError(format!("the environment variable {name} is unset or empty. Set it"))),
    }
}

/// Whether a byte is usual in the name of a variable.
fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_'
}

/// A token for `Authorization: Bearer`. Fails for a token that no client can send.
pub(crate) fn read_token(name: &str) -> Result<String, UsageError> {
    let token = read_env(name)?;
    if token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(token);
    }
    Err(UsageError(format!("the token in {name} is not one word of visible ASCII. Set it to such a word")))
}
