//! The files of `make artefacts` in real Envoys: for x86-64 in a root that has glibc alone, as Envoy's distroless image,
//! and for aarch64 under qemu.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use blobgate_testkit as support;
use blobgate_testkit::book::block;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::client::Protocol;
use support::*;
use tempfile::TempDir;

/// The path of the module in the root.
const MODULE: &str = "/etc/blobgate/libblobgate.so";
/// Where Debian's `libc6-arm64-cross` puts the C library.
const AARCH64_ROOT: &str = "/usr/aarch64-linux-gnu";

/// A program that starts an Envoy elsewhere than on this machine.
struct Elsewhere {
    version: Version,
    _folder: TempDir,
}

impl Elsewhere {
    fn of(folder: TempDir, name: &str, script: &str) -> Self {
        let binary = folder.path().join("start");
        fs::write(&binary, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
        Self { version: Version { name: name.to_owned(), binary }, _folder: folder }
    }

    /// A root with this Envoy, the libraries that it needs, and the module.
    fn beside_glibc_alone(envoy: &Version, module: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("blobgate-root-").tempdir().unwrap();
        let root = folder.path().join("root");
        for library in libraries(&envoy.binary) {
            copy(&library, &root.join(library.strip_prefix("/").unwrap()));
        }
        copy(&envoy.binary, &root.join("envoy"));
        copy(module, &root.join(MODULE.strip_prefix("/").unwrap()));
        // The second argument is the path of the configuration, in a folder of its own.
        let script = format!(
            "exec unshare --user --map-root-user --mount sh -ec '\n\
             folder=${{2%/*}}\n\
             mkdir -p \"{root}$folder\"\n\
             mount --bind \"$folder\" \"{root}$folder\"\n\
             exec unshare --root={root} --wd=/ /envoy \"$@\"' start \"$@\"",
            root = root.display(),
        );
        Self::of(folder, &envoy.name, &script)
    }

    /// The Envoy of another machine, in an emulator of its processor.
    fn under_qemu(name: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("blobgate-qemu-").tempdir().unwrap();
        let installed = Command::new(repository("dev/envoy")).args([name, "aarch64"]).output().unwrap();
        assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
        let envoy = String::from_utf8(installed.stdout).unwrap();
        let script = format!("exec qemu-aarch64 -L {AARCH64_ROOT} {} \"$@\"", envoy.trim());
        Self::of(folder, name, &script)
    }

    fn gate(&self, module: &Path) -> TestGate {
        TestGate::with(&self.version, |shipped| with(shipped, module))
    }
}

fn with(shipped: Bootstrap, module: &Path) -> Bootstrap {
    shipped.with(GateModule::Native).file(module.to_owned())
}

/// The libraries that a program loads, by the C library's own loader.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let paths = text.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    let libraries: Vec<PathBuf> = paths.map(PathBuf::from).collect();
    assert!(libraries.len() > 3, "{text}");
    for library in &libraries {
        let name = library.file_name().unwrap().to_str().unwrap();
        let parts = ["libc.", "libm.", "libdl.", "librt.", "libpthread.", "ld-linux"];
        assert!(parts.iter().any(|part| name.starts_with(part)), "{name} is no part of glibc");
    }
    libraries
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
}

fn artefact(folder: &str, machine: &str) -> PathBuf {
    let path = repository(format!("target/{folder}/libblobgate-{machine}.so"));
    assert!(path.is_file(), "There is no {}: run `make check-artefacts`.", path.display());
    path
}

/// What the status API responds, if a delivery is genuine.
fn status_of(delivery: &TestDelivery) -> Reply {
    Reply::status(200).header("content-type", "application/json").body(delivery.body())
}

/// Genuine and forged deliveries, over both protocols.
fn assert_judges(gate: &TestGate) {
    for protocol in Protocol::BOTH {
        gate.accepts(protocol, &TestDelivery::completed());
        gate.accepts(protocol, &TestDelivery::completed_of(65_536).undeclared().pieces_of(9_000));
        gate.refuses(protocol, &TestDelivery::of("{"), 400, "json-invalid");
        // The confirmation of deliveries without a valid token.
        let tokenless = TestDelivery::completed().path("/hooks/veo3/eyJhbGciOiJIUzI1NiJ9.e30.AAAA");
        gate.provider.reply(status_of(&TestDelivery::completed()));
        gate.accepts(protocol, &tokenless);
        let forged = TestDelivery::failed().path("/hooks/veo3");
        gate.refuses(protocol, &forged, 403, "not-confirmed");
    }
}

/// A panic is caught: the unwinder is in the file.
fn assert_survives_panics(gate: &TestGate) {
    for protocol in Protocol::BOTH {
        for place in ["headers", "body"] {
            let delivery = TestDelivery::completed().header("x-crash-test", place);
            let answer = gate.nothing_arrives(|| gate.send(protocol, &delivery));
            assert_eq!((answer.status, answer.reason()), (503, None), "{answer:?}");
            gate.accepts(protocol, &TestDelivery::completed());
        }
    }
    eventually("four lines of panics", || (gate.envoy.crashes() == 4).then_some(()));
}

#[test]
fn loads_beside_glibc_alone() {
    on_every_envoy_with(GateModule::Native, |version| {
        let inside = Path::new(MODULE);
        let root = Elsewhere::beside_glibc_alone(version, &artefact("artefacts", "x86_64"));
        assert_judges(&root.gate(inside));
        let root = Elsewhere::beside_glibc_alone(version, &artefact("crash-test/artefacts", "x86_64"));
        assert_survives_panics(&root.gate(inside));
    });
}

/// The control: the root is as bare as the image. Debian's own linker makes a file that needs libgcc_s.
#[test]
fn the_build_for_this_machine_needs_more_than_glibc() {
    on_every_envoy_with(GateModule::Native, |version| {
        let root = Elsewhere::beside_glibc_alone(version, &GateModule::Native.file());
        let (video, failure) = (Upstream::off(), Upstream::off());
        let bootstrap = with(TestGate::bootstrap(&video, &failure), Path::new(MODULE));
        let log = EnvoyProcess::refuses(&root.version, &bootstrap);
        assert!(log.contains("libgcc_s.so.1: cannot open shared object file"), "{log}");
    });
}

#[test]
fn loads_on_aarch64() {
    let qemu = Elsewhere::under_qemu("1.40.0");
    assert_judges(&qemu.gate(&artefact("artefacts", "aarch64")));
    assert_survives_panics(&qemu.gate(&artefact("crash-test/artefacts", "aarch64")));
}

/// The page's command checks the files beside it.
#[test]
fn sums_match() {
    let block = block("artefacts-build");
    let check = block.lines().last().unwrap();
    let output = Command::new("sh").args(["-ec", check]).current_dir(repository("")).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, "libblobgate-x86_64.so: OK\nlibblobgate-aarch64.so: OK\n");
}

/// Each fault of a file that `make artefacts` must not make.
#[test]
fn the_check_finds_faults() {
    #[track_caller]
    fn row(file: &Path, machine: &str, glibc: &str, faults: &[&str]) {
        let check = Command::new(repository("dev/check-artefact")).args([machine, glibc]).arg(file).output();
        let check = check.unwrap();
        let text = String::from_utf8(check.stderr).unwrap();
        assert_eq!(check.status.success(), faults.is_empty(), "{text}");
        for fault in faults {
            let line = text
                .lines()
                .find(|line| line.contains(&format!("{} ", file.display())) && line.contains(fault));
            assert!(line.is_some(), "{fault}: {text}");
        }
    }
    for machine in ["x86_64", "aarch64"] {
        row(&artefact("artefacts", machine), machine, "2.28", &[]);
        row(&artefact("artefacts", machine), machine, "2.17", &["GLIBC_2.28, newer than 2.17"]);
    }
    row(&artefact("artefacts", "aarch64"), "x86_64", "2.28", &["is no shared library for x86_64"]);
    let foreign =
        ["needs libgcc_s.so.1, which an image with glibc alone lacks", "contains a path of this machine"];
    row(&GateModule::Native.file(), "x86_64", "2.99", &foreign);
    let libraries = libraries(&versions_with(GateModule::Native)[0].binary);
    let math = libraries.iter().find(|it| it.ends_with("libm.so.6")).unwrap();
    row(math, "x86_64", "2.99", &["calls nothing of Envoy", "exports other symbols than the hooks"]);
}

/// The page's image takes a file that is there, to a path where the tool looks for it.
#[test]
fn the_image_copies_a_file() {
    let block = block("artefacts-image");
    let copy = block.lines().find_map(|line| line.strip_prefix("COPY ")).unwrap();
    let (from, to) = copy.split_once(' ').unwrap();
    for machine in ["x86_64", "aarch64"] {
        let file = repository(from.replace("${MACHINE}", machine));
        // A ConfigMap has at most 1 MiB of data.
        assert!(file.metadata().unwrap().len() < 1_048_576, "{}", file.display());
    }
    // Beside /usr/local/bin/blobgate, in ../lib/blobgate.
    assert_eq!(to, "/usr/local/lib/blobgate/libblobgate.so");
}

/// What the page has of Envoy's log about a file for another processor.
#[test]
fn names_a_file_for_another_processor() {
    on_every_envoy_with(GateModule::Native, |version| {
        let file = artefact("artefacts", "aarch64");
        let bootstrap = with(TestGate::bootstrap(&Upstream::off(), &Upstream::off()), &file);
        let log = EnvoyProcess::refuses(version, &bootstrap);
        let line = format!("{}: cannot open shared object file: No such file or directory", file.display());
        assert!(log.contains(&line), "{log}");
        assert!(log.contains("Failed to load dynamic module"), "{log}");
    });
}

/// What the page has of the log of an Envoy before 1.38.
#[test]
fn an_older_envoy_knows_fewer_fields() {
    let old = repository(".tools/envoy-1.36.4/envoy/_bin/envoy");
    assert!(old.is_file(), "There is no Envoy 1.36.4: run `make check-artefacts`.");
    let version = Version { name: "1.36.4".to_owned(), binary: old };
    let file = artefact("artefacts", "x86_64");
    let log = EnvoyProcess::refuses(
        &version,
        &with(TestGate::bootstrap(&Upstream::off(), &Upstream::off()), &file),
    );
    assert!(log.contains("DynamicModuleConfig") && log.contains("has unknown fields"), "{log}");
}
