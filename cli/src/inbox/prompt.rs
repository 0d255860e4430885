//! Asks a person before a change.

use crate::output::{eprint_line, eprint_prompt};
use anyhow::Result;
use std::io::{self, BufRead, IsTerminal};
use std::process::ExitCode;

/// Asks on the terminal. Returns the exit code without a yes.
pub(super) fn confirm(action: &str, past: &str) -> Result<Option<ExitCode>> {
    if !io::stdin().is_terminal() {
        eprint_line(format_args!(
            "blobgate: this would {action}. There is no terminal for the question: pass --yes"
        ));
        return Ok(Some(ExitCode::from(2)));
    }
    eprint_prompt(format_args!("This will {action}. Continue? [y/N] "));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(None);
    }
    eprint_line(format_args!("no entry {past}"));
    Ok(Some(ExitCode::FAILURE))
}
