//! Asks a person before a change.

use crate::output::{ask, say};
use anyhow::Result;
use std::io::{self, BufRead, IsTerminal};
use std::process::ExitCode;

/// Asks on the terminal. Returns the exit code without a yes.
pub(super) fn confirm(action: &str, past: &str) -> Result<Option<ExitCode>> {
    if !io::stdin().is_terminal() {
        say(format_args!("blobgate: this would {action}. There is no terminal for the question: pass --yes"));
        return Ok(Some(ExitCode::from(2)));
    }
    ask(format_args!("This will {action}. Continue? [y/N] "));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(None);
    }
    say(format_args!("no entry {past}"));
    Ok(Some(ExitCode::FAILURE))
}
