//! The cells that all workers and all configurations of the process share. They survive a reload.

use blobgate::exchange::{SharedCell, VersionConflict, locked};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// One cell for each cluster that a configuration of this process has named. A cell has at most some 60 times of 8 bytes.
static CELLS: Mutex<BTreeMap<String, SharedCell>> = Mutex::new(BTreeMap::new());

/// Reads a cell.
pub(crate) fn read(key: &str) -> SharedCell {
    locked(&CELLS).get(key).cloned().unwrap_or_default()
}

/// Writes a cell, if it still has this version.
pub(crate) fn replace(key: &str, value: &[u8], version: u32) -> Result<(), VersionConflict> {
    let mut cells = locked(&CELLS);
    let current = cells.get(key).map_or(0, |cell| cell.version);
    if current != version {
        return Err(VersionConflict);
    }
    let cell = SharedCell { value: value.to_vec(), version: version.wrapping_add(1) };
    cells.insert(key.to_owned(), cell);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_only_the_version_that_was_read() {
        const KEY: &str = "cells.test";
        assert_eq!(read(KEY), SharedCell::default());
        assert_eq!(replace(KEY, b"a", 0), Ok(()));
        assert_eq!(replace(KEY, b"b", 0), Err(VersionConflict));
        let cell = read(KEY);
        assert_eq!(cell.value, b"a");
        assert_eq!(replace(KEY, b"c", cell.version), Ok(()));
        assert_eq!(read(KEY).value, b"c");
    }
}
