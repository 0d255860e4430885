//! Reads a file, or standard input, within a limit.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// An allowlist of 150,000 ranges has 3 MB.
const MAX_BYTES: u64 = 64 << 20;

/// Standard input.
pub(super) const STDIN: &str = "-";

/// The text of a file, or a fault and its remedy.
pub(crate) fn read(path: &Path) -> Result<String, (String, String)> {
    let unreadable = |error: io::Error| {
        let remedy = match error.kind() {
            io::ErrorKind::IsADirectory => "name its files, such as DIRECTORY/*.yaml",
            io::ErrorKind::NotFound => "name a file that exists",
            _ => "name a file that you may read",
        };
        (format!("cannot be read: {error}"), remedy.to_owned())
    };
    let mut bytes = Vec::new();
    if path.as_os_str() == STDIN {
        io::stdin().lock().take(MAX_BYTES.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
    } else {
        let file = File::open(path).map_err(unreadable)?;
        file.take(MAX_BYTES.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
    }
    if u64::try_from(bytes.len()).is_ok_and(|size| size > MAX_BYTES) {
        return Err(("has over 64 MiB".to_owned(), "name a configuration".to_owned()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = valid.split(|byte| *byte == b'\n').count();
        (format!("is not UTF-8 in line {line}"), "save it as UTF-8 text".to_owned())
    })
}
