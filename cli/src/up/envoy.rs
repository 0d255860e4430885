//! Finds Envoy on this machine, and its version.

use super::Error;
use crate::setup::ModuleKind;
use std::cmp::Reverse;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::timeout;

/// Envoy answers within 0.1 s, on a busy machine within seconds.
const VERSION_TIMEOUT: Duration = Duration::from_secs(30);

/// An Envoy that runs here.
pub(super) struct EnvoyProgram {
    /// Absolute.
    pub(super) path: PathBuf,
    /// Such as `1.40.0`.
    pub(super) version: String,
}

impl EnvoyProgram {
    /// The named one: a path, or a name in PATH. Else the one in PATH, else the newest in `.tools` of a clone.
    pub(super) async fn find(named: Option<&Path>, module: ModuleKind) -> Result<Self, Error> {
        let path = match named {
            Some(named) => {
                resolve(named).ok_or_else(|| error(named, "the program does not exist".to_owned()))?
            }
            None => resolve(Path::new("envoy")).or_else(newest_of_clone).ok_or(Error::EnvoyNotFound)?,
        };
        let version = version(&path).await?;
        match release(&version) {
            Some(release) if release < module.oldest_envoy() => {
                let (major, minor) = module.oldest_envoy();
                let needs = match module {
                    ModuleKind::Wasm => String::new(),
                    ModuleKind::Native => format!(", the first that runs the {module}"),
                };
                Err(error(&path, format!("{version} is older than {major}.{minor}{needs}")))
            }
            _ => Ok(Self { path, version }),
        }
    }
}

/// What a run tells at its start: `Envoy 1.40.0`.
pub(super) fn runs_on(envoy: &EnvoyProgram, module: ModuleKind) -> String {
    let with = match module {
        ModuleKind::Wasm => String::new(),
        ModuleKind::Native => format!(", with the {module}"),
    };
    format!("Envoy {}{with}", envoy.version)
}

fn error(program: &Path, why: String) -> Error {
    Error::NoEnvoy { program: program.display().to_string(), why }
}

/// The absolute path of a program. A name without a slash is searched in PATH, as a shell does.
fn resolve(program: &Path) -> Option<PathBuf> {
    if program.as_os_str().as_encoded_bytes().contains(&b'/') {
        return std::path::absolute(program).ok().filter(|program| program.exists());
    }
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders)
        .filter_map(|folder| std::path::absolute(folder.join(program)).ok())
        .find(|program| is_program(program))
}

fn is_program(file: &Path) -> bool {
    file.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// In `.tools` of the working folder, and of the folders above this program: `make` builds it into `target` of a clone.
fn newest_of_clone() -> Option<PathBuf> {
    let working = std::env::current_dir().ok();
    let own = std::env::current_exe().ok();
    let above = own.iter().flat_map(|own| own.ancestors().skip(1)).map(Path::to_owned);
    working.into_iter().chain(above).find_map(|folder| newest(&folder.join(".tools")))
}

/// The newest `envoy-VERSION`, as `dev/envoy` installs it.
fn newest(tools: &Path) -> Option<PathBuf> {
    let mut found: Vec<(Vec<u32>, PathBuf)> = std::fs::read_dir(tools)
        .ok()?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let numbers = numbers(entry.file_name().to_str()?.strip_prefix("envoy-")?)?;
            let program = entry.path().join("envoy/_bin/envoy");
            is_program(&program).then_some((numbers, program))
        })
        .collect();
    found.sort_by_key(|(numbers, _)| Reverse(numbers.clone()));
    found.into_iter().next().map(|(_, program)| program)
}

fn numbers(version: &str) -> Option<Vec<u32>> {
    version.split('.').map(|number| number.parse().ok()).collect()
}

/// `1.40` of `1.40.0-dev`.
fn release(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split(['.', '-']).map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// `1.40.0` of `envoy  version: 4cd9a9a/1.40.0/Clean/RELEASE/BoringSSL`. Fails if Envoy does not run here.
async fn version(envoy: &Path) -> Result<String, Error> {
    let run = Command::new(envoy).arg("--version").stdin(Stdio::null()).kill_on_drop(true).output();
    let run = timeout(VERSION_TIMEOUT, run).await.map_err(|_| {
        error(envoy, format!("`--version` has no answer after {} s", VERSION_TIMEOUT.as_secs()))
    })?;
    let run = run.map_err(|why| {
        error(
            envoy,
            match why.kind() {
                ErrorKind::NotFound => "the program does not exist".to_owned(),
                ErrorKind::PermissionDenied => "it is no program that this user can run".to_owned(),
                _ => why.to_string(),
            },
        )
    })?;
    let output = String::from_utf8_lossy(&run.stdout);
    let version = output.split_once("version:").and_then(|(_, version)| version.split('/').nth(1));
    match version {
        Some(version) if run.status.success() => Ok(version.to_owned()),
        None if run.status.success() => {
            let name = envoy.file_name().unwrap_or(OsStr::new("it")).display().to_string();
            Err(error(envoy, format!("the answer of `{name} --version` has no version of Envoy")))
        }
        _ => Err(error(envoy, format!("`--version` ends with {}", run.status))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn takes_the_newest_of_a_clone() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["envoy-1.9.0", "envoy-1.36.4", "envoy-1.40.0", "envoy-1.41.0", "envoy-x", "lint"] {
            let place = folder.path().join(name).join("envoy/_bin");
            fs::create_dir_all(&place).unwrap();
            fs::write(place.join("envoy"), "").unwrap();
            let mode = if name == "envoy-1.41.0" { 0o644 } else { 0o755 };
            fs::set_permissions(place.join("envoy"), fs::Permissions::from_mode(mode)).unwrap();
        }
        let expected = folder.path().join("envoy-1.40.0/envoy/_bin/envoy");
        assert_eq!(newest(folder.path()), Some(expected));
        assert_eq!(newest(&folder.path().join("none")), None);
    }

    #[test]
    fn reads_releases() {
        for (version, expected) in
            [("1.40.0", Some((1, 40))), ("1.36.0-dev", Some((1, 36))), ("1", None), ("x.y", None), ("", None)]
        {
            assert_eq!(release(version), expected, "{version}");
        }
    }

    #[tokio::test]
    async fn refuses_what_is_no_usable_envoy() {
        let folder = tempfile::tempdir().unwrap();
        let rows = [
            ("old", "echo 'envoy version: abc/1.34.9/Clean/RELEASE/BoringSSL'", "1.34.9 is older than 1.35"),
            ("other", "echo hello", "the answer of `other --version` has no version of Envoy"),
            ("broken", "exit 3", "`--version` ends with exit status: 3"),
        ];
        for (name, script, why) in rows {
            let file = folder.path().join(name);
            fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
            let error = EnvoyProgram::find(Some(&file), ModuleKind::Wasm).await.err().unwrap().to_string();
            assert!(
                error.starts_with(&format!("cannot run Envoy as {}: {why}. ", file.display())),
                "{error}"
            );
        }
        let old = folder.path().join("old");
        fs::write(&old, "#!/bin/sh\necho 'envoy version: abc/1.36.4/Clean/RELEASE/BoringSSL'\n").unwrap();
        assert_eq!(EnvoyProgram::find(Some(&old), ModuleKind::Wasm).await.unwrap().version, "1.36.4");
        let error = EnvoyProgram::find(Some(&old), ModuleKind::Native).await.err().unwrap().to_string();
        assert!(
            error.contains(": 1.36.4 is older than 1.38, the first that runs the native module. "),
            "{error}"
        );
        let file = folder.path().join("text");
        fs::write(&file, "text").unwrap();
        let error = EnvoyProgram::find(Some(&file), ModuleKind::Wasm).await.err().unwrap().to_string();
        assert!(error.contains(": it is no program that this user can run. "), "{error}");
        let error =
            EnvoyProgram::find(Some(folder.path()), ModuleKind::Wasm).await.err().unwrap().to_string();
        assert!(error.contains(": it is no program that this user can run. "), "{error}");
    }
}
