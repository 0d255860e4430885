//! Questions on the terminal.

use crate::output::{eprint_line, eprint_prompt};
use anyhow::{Result, anyhow, ensure};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::fmt::Display;
use std::io::{self, BufRead, IsTerminal, Read};

pub(super) struct Question {
    pub(super) text: &'static str,
    pub(super) help: &'static str,
    /// What an empty answer means, as the question shows it.
    pub(super) default: String,
}

/// Whether a person reads the questions and can answer.
pub(super) fn has_person() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks until the answer is valid. An empty answer is passed on as it is.
pub(super) fn ask<T, E: Display>(question: &Question, parse: impl Fn(&str) -> Result<T, E>) -> Result<T> {
    eprint_line(format_args!("{}", question.help));
    loop {
        eprint_prompt(format_args!("{} [{}]: ", question.text, question.default));
        match parse(read_line()?.trim()) {
            Ok(value) => return Ok(value),
            Err(why) => eprint_line(format_args!("  {why}")),
        }
    }
}

/// Like [`ask`], and the terminal does not show the answer.
pub(super) fn ask_hidden<T, E: Display>(text: &str, parse: impl Fn(&str) -> Result<T, E>) -> Result<T> {
    loop {
        eprint_prompt(format_args!("{text}: "));
        let line = {
            let _restored = TerminalModes::save();
            hide_input()?;
            read_line()
        };
        // The terminal has not shown the line end either.
        eprint_line(format_args!(""));
        match parse(line?.trim()) {
            Ok(value) => return Ok(value),
            Err(why) => eprint_line(format_args!("  {why}")),
        }
    }
}

/// The modes of the terminal, restored at its end: a signal may come while they hide an answer.
pub(super) struct TerminalModes(Option<Termios>);

impl TerminalModes {
    pub(super) fn save() -> Self {
        Self(tcgetattr(io::stdin()).ok())
    }
}

impl Drop for TerminalModes {
    fn drop(&mut self) {
        if let Some(modes) = &self.0 {
            let _gone = tcsetattr(io::stdin(), OptionalActions::Now, modes);
        }
    }
}

fn hide_input() -> Result<()> {
    let hidden = tcgetattr(io::stdin()).and_then(|mut modes| {
        modes.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Now, &modes)
    });
    hidden.map_err(|error| anyhow!("cannot hide the answer: {error}. Name a file with --api-key-file"))
}

/// A terminal's line has at most 4,096 bytes (termios(3)).
const MAX_LINE: u64 = 65_536;

fn read_line() -> Result<String> {
    let mut line = Vec::new();
    let read = io::stdin().lock().take(MAX_LINE).read_until(b'\n', &mut line);
    read.map_err(|error| anyhow!("cannot read the answer: {error}. Nothing was written"))?;
    ensure!(
        line.pop() == Some(b'\n'),
        "the input ended before the last answer, so nothing was written. Run it again, or pass the answers as options"
    );
    // No value is valid with the replacement character, so the question comes again.
    Ok(String::from_utf8_lossy(&line).into_owned())
}
