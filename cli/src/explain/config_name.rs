//! The configuration that the next commands name.

use crate::setup::SETUP_FILE;
use crate::shell;
use std::fs;
use std::path::Path;

/// The file of Envoy's configuration, in a setup folder beside the setup file.
const ENVOY: &str = "envoy.yaml";

/// `envoy.yaml`, or that of the only setup folder in this folder.
pub(super) fn config_name() -> String {
    config_in(Path::new("."))
}

fn config_in(folder: &Path) -> String {
    let plain = ENVOY.to_owned();
    if folder.join(ENVOY).exists() {
        return plain;
    }
    let folders = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut setups = folders
        .filter(|entry| [SETUP_FILE, ENVOY].iter().all(|name| entry.path().join(name).exists()))
        .map(|entry| Path::new(&entry.file_name()).join(ENVOY));
    match (setups.next(), setups.next()) {
        (Some(only), None) => shell::path(&only),
        _ => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_only_setup() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let place = folder.path().join(name);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(place, "").unwrap();
        };
        let named = || config_in(folder.path());
        make("other/envoy.yaml");
        assert_eq!(named(), "envoy.yaml");
        make("my gate/envoy.yaml");
        make("my gate/blobgate.yaml");
        assert_eq!(named(), "'my gate/envoy.yaml'");
        make("second/envoy.yaml");
        make("second/blobgate.yaml");
        assert_eq!(named(), "envoy.yaml");
        make("envoy.yaml");
        assert_eq!(named(), "envoy.yaml");
        assert_eq!(config_in(Path::new("/nowhere")), "envoy.yaml");
    }
}
