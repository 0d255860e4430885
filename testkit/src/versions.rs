//! The versions of Envoy for tests.

use super::{GateModule, repository};
use std::path::PathBuf;
use std::thread;

/// The version of `make run`, and of `make test` without `ENVOYS`.
const NEWEST: &str = "1.40.0";

/// An Envoy binary.
#[derive(Clone, Debug)]
pub struct Version {
    pub name: String,
    pub binary: PathBuf,
}

/// The versions for the tests that can load the chosen module.
#[track_caller]
pub fn versions() -> Vec<Version> {
    versions_with(GateModule::chosen())
}

/// The versions for the tests that can load this module.
#[track_caller]
pub fn versions_with(module: GateModule) -> Vec<Version> {
    let mut versions = all();
    versions.retain(|version| module.runs_on(version));
    assert!(!versions.is_empty(), "no Envoy of ENVOYS can load the native module: name one from 1.38.");
    versions
}

/// The binary in `ENVOY`, else the versions in `ENVOYS`, oldest first, else the newest.
fn all() -> Vec<Version> {
    if let Some(path) = std::env::var_os("ENVOY").filter(|path| !path.is_empty()) {
        let binary = PathBuf::from(&path);
        assert!(
            binary.is_file(),
            "cannot start Envoy: {}, the value of ENVOY, is no file. Set ENVOY to an Envoy binary.",
            binary.display()
        );
        return vec![Version { name: "ENVOY".to_owned(), binary }];
    }
    let names = std::env::var("ENVOYS").unwrap_or_default();
    let versions: Vec<_> = names.split_whitespace().map(installed).collect();
    if versions.is_empty() { vec![installed(NEWEST)] } else { versions }
}

fn installed(name: &str) -> Version {
    let binary = repository(format!(".tools/envoy-{name}/envoy/_bin/envoy"));
    assert!(binary.is_file(), "cannot start Envoy {name}: it is not in .tools. Run `make tools`.");
    Version { name: name.to_owned(), binary }
}

/// Runs a test with the chosen module on every Envoy in parallel. A panic names the versions that failed.
#[track_caller]
pub fn on_every_envoy(test: impl Fn(&Version) + Sync) {
    on_every_envoy_with(GateModule::chosen(), test);
}

/// Like [`on_every_envoy`], with this module.
#[track_caller]
pub fn on_every_envoy_with(module: GateModule, test: impl Fn(&Version) + Sync) {
    let versions = versions_with(module);
    let failed: Vec<&str> = thread::scope(|scope| {
        let runs: Vec<_> = versions.iter().map(|version| scope.spawn(|| test(version))).collect();
        let ends = runs.into_iter().map(|run| run.join());
        versions.iter().zip(ends).filter(|(_, end)| end.is_err()).map(|(version, _)| &*version.name).collect()
    });
    assert!(failed.is_empty(), "failed on Envoy {}", failed.join(", "));
}
