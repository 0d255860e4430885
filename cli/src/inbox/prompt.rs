//! Asks a person before a change.

use crate::output::{ask, say};
use anyhow::Result;
use std::io::{self, BufRead, IsTerminal};
use std::process::ExitCode;

/// Asks. Returns the exit code where nobody agrees.
pub(super) fn confirm(what: &str, past: &str) -> Result<Option<ExitCode>> {
    if !io::stdin().is_terminal() {
        say(format_args!("blobgate: this would {what}; there is no terminal to ask on: say --yes"));
        return Ok(Some(ExitCode::from(2)));
    }
    ask(format_args!("This will {what}. Go on? [y/N] "));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(None);
    }
    say(format_args!("nothing is {past}"));
    Ok(Some(ExitCode::FAILURE))
}
