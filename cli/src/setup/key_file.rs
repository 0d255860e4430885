//! The file with RunBlob's API key.

use super::api_key::RunBlobKey;
use super::error::SetupError;
use super::regular_file;
use std::io::{ErrorKind, Read};
use std::path::Path;

/// Larger files have no key. `RunBlobKey` has the limit of a key.
const MAX_BYTES: u64 = 8192;

/// Reads the key. Errors never show it.
pub(crate) fn read_key(file: &Path, shown: &Path) -> Result<RunBlobKey, SetupError> {
    let unusable = |why: &dyn std::fmt::Display, remedy: &str| {
        SetupError::unusable(format!("the API key in {}", shown.display()), why, remedy)
    };
    // A person may have written the key in the place of its file.
    let is_key = !file.exists() && shown.parent().is_none_or(|folder| folder.as_os_str().is_empty());
    if is_key {
        return Err(SetupError::unusable(
            "`api_key_file`",
            "no file has that name",
            "Write RunBlob's API key into a file, with mode 600, and name that file",
        ));
    }
    let mut text = Vec::new();
    let read = regular_file::open(file).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut text));
    read.map_err(|why| {
        let remedy = match why.kind() {
            ErrorKind::NotFound => "Write RunBlob's API key into that file, with mode 600",
            ErrorKind::IsADirectory => "Name a file in `api_key_file`",
            _ => "Let your user read the file",
        };
        unusable(&why, remedy)
    })?;
    let text = String::from_utf8_lossy(&text);
    text.parse().map_err(|fault: super::api_key::ApiKeyFault| {
        let sentence = fault.to_string();
        let (why, remedy) = sentence.split_once(". ").unwrap_or((&sentence, "Write the key alone"));
        unusable(&why, remedy)
    })
}
