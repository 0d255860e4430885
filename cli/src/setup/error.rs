//! Why a setup cannot be used, in one sentence: what failed, why, what to do.

use std::path::{Path, PathBuf};

/// A fault in the text of the setup file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SetupFault {
    /// From 1; 0 for the whole file.
    pub(crate) line: usize,
    /// From 1, in characters.
    pub(crate) column: usize,
    /// Such as `hook.trust`.
    pub(crate) field: String,
    /// The predicate of the field: `has a scheme`.
    pub(crate) wrong: String,
    /// What to do: `write the name alone`.
    pub(crate) remedy: String,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    /// The setup file is wrong. `more` faults follow the first.
    #[error("cannot use {}: {}", place(file, first), sentence(first, *more, file))]
    Invalid { file: PathBuf, first: Box<SetupFault>, more: usize },
    /// A file that the setup names is missing or wrong.
    #[error("cannot use {what}: {why}. {remedy}")]
    Unusable { what: String, why: String, remedy: String },
    /// A rendered file cannot be written.
    #[error("cannot write {}: {why}. {remedy}", file.display())]
    Unwritable { file: PathBuf, why: String, remedy: String },
}

impl SetupError {
    pub(crate) fn invalid(file: &Path, faults: Vec<SetupFault>) -> Self {
        let more = faults.len().saturating_sub(1);
        match faults.into_iter().next() {
            Some(first) => Self::Invalid { file: file.to_owned(), first: Box::new(first), more },
            None => Self::unusable(file.display(), "it is invalid", "Check it with `blobgate check`"),
        }
    }

    pub(crate) fn unusable(
        what: impl std::fmt::Display,
        why: impl std::fmt::Display,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Unusable { what: what.to_string(), why: why.to_string(), remedy: remedy.into() }
    }
}

impl SetupFault {
    /// The field, its fault and the remedy.
    pub(crate) fn sentence(&self) -> String {
        let gap = if self.field.is_empty() { "" } else { " " };
        let end = if self.remedy.is_empty() { String::new() } else { format!("; {}", self.remedy) };
        format!("{}{gap}{}{end}", self.field, self.wrong)
    }
}

fn place(file: &Path, fault: &SetupFault) -> String {
    match fault.line {
        0 => file.display().to_string(),
        line => format!("{}:{line}:{}", file.display(), fault.column),
    }
}

fn sentence(first: &SetupFault, more: usize, file: &Path) -> String {
    let fault = first.sentence();
    match more {
        0 => fault,
        _ => format!("{fault} (`blobgate check {}` shows {more} more)", file.display()),
    }
}
