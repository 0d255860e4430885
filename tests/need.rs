//! `dev/need` finds a compiler that cannot link, as Debian's `gcc` without `libc6-dev`.

#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// Runs `dev/need TOOL` with this script as TOOL. Returns its exit code and standard error.
fn need(tool: &str, script: Option<&str>) -> (Option<i32>, String) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("need-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    for program in ["bash", "dirname"] {
        let _exists = std::os::unix::fs::symlink(format!("/usr/bin/{program}"), folder.join(program));
    }
    let path = folder.join(tool);
    let _absent = fs::remove_file(&path);
    if let Some(script) = script {
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let run = Command::new(folder.join("bash"))
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/dev/need"))
        .arg(tool)
        .env("PATH", &folder)
        .output()
        .unwrap();
    fs::remove_dir_all(&folder).unwrap();
    (run.status.code(), String::from_utf8(run.stderr).unwrap())
}

#[test]
fn links_a_program() {
    let real = |tool: &str, more: &str| {
        let search = std::env::var("PATH").unwrap();
        format!("#!/usr/bin/bash\nPATH={search}\nexec {tool} \"$@\" {more}\n")
    };
    for (tool, absent, incomplete) in [
        (
            "cc",
            "A C compiler is missing: install the packages gcc and libc6-dev.\n",
            "The C library for `cc` is missing: it cannot link a program; install the package libc6-dev.\n",
        ),
        (
            "c++",
            "A C++ compiler is missing: install the packages g++ and libc6-dev.\n",
            "The C++ library for `c++` is missing: it cannot link a program; install the packages g++ and libc6-dev.\n",
        ),
    ] {
        assert_eq!(need(tool, None), (Some(1), absent.to_owned()));
        assert_eq!(need(tool, Some(&real(tool, ""))), (Some(0), String::new()));
        // Headers without a C library to link, and a compiler without headers.
        for lacks in ["-nodefaultlibs -Wl,--no-such-option", "-nostdinc -nostdinc++"] {
            assert_eq!(need(tool, Some(&real(tool, lacks))), (Some(1), incomplete.to_owned()), "{lacks}");
        }
    }
}
