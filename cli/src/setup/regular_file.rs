//! Opens the files that a setup names.

use std::fs::File;
use std::io;
use std::path::Path;

/// Opens a regular file. A pipe could block its reader, and a device may have no end.
pub(crate) fn open(file: &Path) -> io::Result<File> {
    let found = std::fs::metadata(file)?;
    if found.is_dir() {
        return Err(rustix::io::Errno::ISDIR.into());
    }
    if !found.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    File::open(file)
}
