//! rendered.sha256: the digests of what was written, in the form of `sha256sum -c`.

use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

pub(super) const FILE: &str = "rendered.sha256";
/// A line about a file that is about to be replaced: a comment for `sha256sum`. After an interruption the file is the old or
/// the new one, and both are the program's.
const NEXT: &str = "# next: ";
const HEX: usize = 64;

/// The digests that the program has written.
#[derive(Debug, Default)]
pub(super) struct Digests {
    /// In the order of the file; a path may have several.
    known: Vec<(String, PathBuf)>,
}

impl Digests {
    /// Damaged lines count as none, so that the files are a person's.
    pub(super) fn parse(text: &str) -> Self {
        let entry = |line: &str| {
            let line = line.strip_prefix(NEXT).unwrap_or(line);
            let (digest, path) = line.split_once("  ")?;
            let is_digest = digest.len() == HEX && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_digest.then(|| (digest.to_owned(), PathBuf::from(path)))
        };
        Self { known: text.lines().filter_map(entry).collect() }
    }

    /// Whether the program has written this text to the path.
    pub(super) fn knows(&self, path: &Path, text: &[u8]) -> bool {
        let digest = digest(text);
        self.known.iter().any(|(known, of)| of == path && *known == digest)
    }

    /// The lines as they are, and as comments those that come next.
    pub(super) fn with_next(&self, next: &[(String, PathBuf)]) -> String {
        let news = next.iter().map(|(digest, path)| format!("{NEXT}{digest}  {}\n", path.display()));
        self.to_text() + &news.collect::<String>()
    }

    /// The digests of a path as they were.
    pub(super) fn of(&self, path: &Path) -> impl Iterator<Item = &(String, PathBuf)> {
        self.known.iter().filter(move |(_, of)| of == path)
    }

    pub(super) fn set(known: Vec<(String, PathBuf)>) -> Self {
        Self { known }
    }

    pub(super) fn to_text(&self) -> String {
        self.known.iter().map(|(digest, path)| format!("{digest}  {}\n", path.display())).collect()
    }
}

pub(super) fn digest(text: &[u8]) -> String {
    hex::encode(Sha256::digest(text))
}
