//! Expectations in a file. Nothing in them needs a quote.

use anyhow::{Context, Result, bail};
use std::path::Path;

pub(super) struct Line {
    pub(super) number: usize,
    pub(super) hook: String,
    pub(super) generation: String,
    pub(super) job: String,
}

const HEAD: [&str; 3] = ["hook", "generation_id", "job"];

/// Reads all of it before anything is said to the inbox.
pub(super) fn read(file: &Path) -> Result<Vec<Line>> {
    let name = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("{name} cannot be read"))?;
    let mut lines = Vec::new();
    for (number, text) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        let fields: Vec<_> = text.split(',').map(str::trim).collect();
        match fields[..] {
            [""] => {}
            [hook, generation, job] if number == 1 && [hook, generation, job] == HEAD => {}
            [hook, generation, job] => lines.push(Line {
                number,
                hook: hook.to_owned(),
                generation: generation.to_owned(),
                job: job.to_owned(),
            }),
            _ => bail!("{name}, line {number}: {text:?} is not of the form hook,generation_id,job"),
        }
    }
    Ok(lines)
}
