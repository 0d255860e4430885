//! Finds the gate's module in this program's installation.

use super::error::SetupError;
use std::path::{Path, PathBuf};

const NAME: &str = "blobgate.wasm";
/// The folders, from the program's own: a release's archive, an installation, and a clone.
const FOLDERS: [&str; 4] = ["", "../lib/blobgate", "../share/blobgate", "../wasm32-wasip1/release"];

pub(super) fn find() -> Result<PathBuf, SetupError> {
    let unusable = |why: &dyn std::fmt::Display| {
        SetupError::unusable(
            format!("the module {NAME}"),
            why,
            "Build it with `make build`, or name it as `module` in the setup file",
        )
    };
    let program = std::env::current_exe().and_then(|program| program.canonicalize());
    let program = program.map_err(|why| unusable(&format!("this program's folder is unknown: {why}")))?;
    let folder = program.parent().unwrap_or(Path::new("/"));
    let candidates = FOLDERS.iter().map(|place| match place.strip_prefix("../") {
        Some(place) => folder.parent().unwrap_or(folder).join(place).join(NAME),
        None => folder.join(NAME),
    });
    let found = candidates.into_iter().find(|module| module.is_file());
    found.ok_or_else(|| unusable(&format!("it is not beside {}, nor in lib/blobgate", program.display())))
}
