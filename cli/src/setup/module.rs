//! The two builds of the gate. Finds a build in this program's installation, and checks its file.

use super::error::SetupError;
use super::reader::{SetupReader, show};
use crate::check::cursor::YamlCursor;
use clap::ValueEnum;
use serde::Serialize;
use std::env::consts::ARCH;
use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

/// How Envoy runs the gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ModuleKind {
    /// In a sandbox: one file for every platform
    #[default]
    Wasm,
    /// As Envoy's own code, at a third of the cost
    Native,
}

/// The folders, from the program's own: a release's archive and an installation. A clone has another for each build.
const FOLDERS: [&str; 3] = ["", "../lib/blobgate", "../share/blobgate"];

impl ModuleKind {
    const ALL: [Self; 2] = [Self::Wasm, Self::Native];

    /// As in a setup file.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Wasm => "wasm",
            Self::Native => "native",
        }
    }

    pub(crate) fn file_name(self) -> &'static str {
        match self {
            Self::Wasm => "blobgate.wasm",
            Self::Native => "libblobgate.so",
        }
    }

    fn own_file(self) -> &'static str {
        match self {
            Self::Wasm => "blobgate.wasm",
            Self::Native => "libblobgate.so for this machine",
        }
    }

    /// The folder of a clone's build, from `target`.
    pub(crate) fn clone_folder(self) -> &'static str {
        match self {
            Self::Wasm => "wasm32-wasip1/release",
            Self::Native => "native",
        }
    }

    /// What makes the file in a clone.
    pub(crate) fn verb(self) -> &'static str {
        match self {
            Self::Wasm => "make build",
            Self::Native => "make native",
        }
    }

    /// The oldest Envoy that runs it: with every field of the configuration, and with every function that the module calls.
    pub(crate) fn oldest_envoy(self) -> (u32, u32) {
        match self {
            Self::Wasm => (1, 35),
            Self::Native => (1, 38),
        }
    }

    /// The build that a setup file names.
    pub(super) fn read(root: &YamlCursor<'_>, reader: &mut SetupReader) -> Option<Self> {
        let Some(value) = root.get("module") else { return Some(Self::default()) };
        let known = Self::ALL.into_iter().find(|kind| value.text() == Some(kind.name()));
        if known.is_none() {
            let is_path = value.text().is_some_and(|text| text.contains(['/', '.']));
            let remedy = match is_path {
                true => "write wasm or native, and the path as module_file",
                false => "write wasm or native",
            };
            reader.fault(value.spot(), format!("is {}", show(value.node())), remedy);
        }
        known
    }

    /// The file in this program's installation.
    pub(super) fn find(self) -> Result<PathBuf, SetupError> {
        let name = self.file_name();
        let unusable = |why: &dyn Display| {
            let remedy = format!(
                "Build it with `{}`, or name it as `module_file` in the setup file{}",
                self.verb(),
                if self == Self::Native { ", or write `module: wasm`" } else { "" }
            );
            SetupError::unusable(format!("the module {name}"), why, remedy)
        };
        let program = std::env::current_exe().and_then(|program| program.canonicalize());
        let program = program.map_err(|why| unusable(&format!("this program's folder is unknown: {why}")))?;
        let folder = program.parent().unwrap_or(Path::new("/"));
        let of_clone = format!("../{}", self.clone_folder());
        let candidates =
            FOLDERS.into_iter().chain([&*of_clone]).map(|place| match place.strip_prefix("../") {
                Some(place) => folder.parent().unwrap_or(folder).join(place).join(name),
                None => folder.join(name),
            });
        let found = candidates.into_iter().find(|module| module.is_file());
        found.ok_or_else(|| unusable(&format!("it is not beside {}, nor in lib/blobgate", program.display())))
    }

    /// Checks that a file is this build, for this machine. `shown` is its name in the sentence.
    pub(crate) fn check(self, file: &Path, shown: &Path, place: ModulePlace) -> Result<(), SetupError> {
        let unusable = |why: &dyn Display, remedy: String| {
            let remedy = match place {
                ModulePlace::Setup => remedy,
                ModulePlace::Clone => format!("Build it with `{}`", self.verb()),
            };
            SetupError::unusable(format!("the {self} {}", shown.display()), why, remedy)
        };
        let bytes = std::fs::metadata(file).and_then(|found| match found.is_file() {
            true => std::fs::read(file),
            false => Err(std::io::Error::other("it is no regular file")),
        });
        let bytes = bytes.map_err(|why| {
            unusable(&why, format!("Build it with `{}`, or correct `module_file`", self.verb()))
        })?;
        let fault = match self {
            Self::Wasm => wasm_fault(&bytes),
            Self::Native => native_fault(&bytes),
        };
        let Some(fault) = fault else { return Ok(()) };
        let remedy = match fault {
            ModuleFault::Other(other) => {
                format!("Write `module: {}`, or name {} in `module_file`", other.name(), self.file_name())
            }
            ModuleFault::Incomplete => "Copy or build it again".to_owned(),
            _ => format!("Name {} in `module_file`", self.own_file()),
        };
        Err(unusable(&fault, remedy))
    }
}

/// Who names the file of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ModulePlace {
    /// A setup file.
    Setup,
    /// The build of a clone.
    Clone,
}

impl Display for ModuleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wasm => "Wasm module",
            Self::Native => "native module",
        })
    }
}

/// Why a file is not the build.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum ModuleFault {
    #[error("it is a {0}")]
    Other(ModuleKind),
    #[error("it is no WebAssembly module")]
    NoWasm,
    #[error("it is no shared library of Linux")]
    NoLibrary,
    #[error("it is for {0}, and this machine is {ARCH}")]
    Machine(String),
    #[error("it is incomplete")]
    Incomplete,
    #[error("it has no function {}, which Envoy calls first", INIT.escape_ascii())]
    NoModule,
}

const WASM: &[u8] = b"\0asm";
const ELF: &[u8] = b"\x7fELF";
/// Envoy looks it up after it has loaded the file.
const INIT: &[u8] = b"envoy_dynamic_module_on_program_init";

fn wasm_fault(bytes: &[u8]) -> Option<ModuleFault> {
    match bytes {
        _ if bytes.starts_with(WASM) => None,
        _ if bytes.starts_with(ELF) => Some(ModuleFault::Other(ModuleKind::Native)),
        _ => Some(ModuleFault::NoWasm),
    }
}

fn native_fault(bytes: &[u8]) -> Option<ModuleFault> {
    if bytes.starts_with(WASM) {
        return Some(ModuleFault::Other(ModuleKind::Wasm));
    }
    if !bytes.starts_with(ELF) {
        return Some(ModuleFault::NoLibrary);
    }
    let Some(header) = ElfHeader::parse(bytes) else { return Some(ModuleFault::Incomplete) };
    if let Err(machine) = header.machine() {
        return Some(ModuleFault::Machine(machine));
    }
    if header.kind != ElfHeader::SHARED {
        return Some(ModuleFault::NoLibrary);
    }
    if !usize::try_from(header.end).is_ok_and(|end| end <= bytes.len()) {
        return Some(ModuleFault::Incomplete);
    }
    // The names of symbols are texts with a zero behind each.
    let has_init = bytes.split(|byte| *byte == 0).any(|text| text.ends_with(INIT));
    (!has_init).then_some(ModuleFault::NoModule)
}

/// The fields of an ELF header (elf(5)) that tell for which machine a file is, and how long.
struct ElfHeader {
    class: u8,
    order: u8,
    kind: u16,
    machine: u16,
    /// The end of the section headers, which linkers write last.
    end: u64,
}

impl ElfHeader {
    /// `ET_DYN`.
    const SHARED: u16 = 3;
    /// Of 64 bits.
    const CLASS: u8 = 2;
    /// Of little-endian numbers.
    const ORDER: u8 = 1;

    /// The numbers have the order of the machines that Envoy runs on; with another order, the machine is another one anyway.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let half = |at: usize| Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let offset = u64::from_le_bytes(*bytes.get(40..)?.first_chunk()?);
        let headers = u64::from(half(58)?).saturating_mul(u64::from(half(60)?));
        Some(Self {
            class: *bytes.get(4)?,
            order: *bytes.get(5)?,
            kind: half(16)?,
            machine: half(18)?,
            end: offset.saturating_add(headers),
        })
    }

    /// The name of another machine.
    fn machine(&self) -> Result<(), String> {
        let name = match (self.class, self.order, self.machine) {
            (Self::CLASS, Self::ORDER, 62) => "x86_64",
            (Self::CLASS, Self::ORDER, 183) => "aarch64",
            (Self::CLASS, Self::ORDER, 243) => "riscv64",
            (1, ..) => return Err("a machine of 32 bits".to_owned()),
            (.., other) => return Err(format!("the machine {other} of ELF")),
        };
        if name == ARCH { Ok(()) } else { Err(name.to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A library as long as its header says.
    fn library(edit: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let machine: u8 = if ARCH == "aarch64" { 183 } else { 62 };
        let mut bytes = vec![0; 64];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[16] = 3;
        bytes[18] = machine;
        bytes.extend([b"\0", INIT, b"\0"].concat());
        let end = u8::try_from(bytes.len()).unwrap();
        bytes[40] = end;
        bytes[58] = 64;
        bytes[60] = 1;
        bytes.extend([0; 64]);
        edit(&mut bytes);
        bytes
    }

    #[test]
    fn knows_a_native_module() {
        let other = if ARCH == "aarch64" { (62, "x86_64") } else { (183, "aarch64") };
        let no_init = |bytes: &mut Vec<u8>| bytes[70] = b'x';
        for (bytes, expected) in [
            (library(|_| {}), None),
            (b"\0asm\x01\0\0\0".to_vec(), Some(ModuleFault::Other(ModuleKind::Wasm))),
            (Vec::new(), Some(ModuleFault::NoLibrary)),
            (b"#!/bin/sh\n".to_vec(), Some(ModuleFault::NoLibrary)),
            (library(|bytes| bytes[16] = 2), Some(ModuleFault::NoLibrary)),
            (library(|bytes| bytes.truncate(61)), Some(ModuleFault::Incomplete)),
            (library(|bytes| bytes.truncate(150)), Some(ModuleFault::Incomplete)),
            (library(|bytes| bytes[18] = other.0), Some(ModuleFault::Machine(other.1.to_owned()))),
            (library(|bytes| bytes[4] = 1), Some(ModuleFault::Machine("a machine of 32 bits".to_owned()))),
            (
                library(|bytes| (bytes[5], bytes[18]) = (2, 22)),
                Some(ModuleFault::Machine("the machine 22 of ELF".to_owned())),
            ),
            (library(no_init), Some(ModuleFault::NoModule)),
        ] {
            assert_eq!(native_fault(&bytes), expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn knows_a_wasm_module() {
        assert_eq!(wasm_fault(b"\0asm\x01\0\0\0"), None);
        assert_eq!(wasm_fault(&library(|_| {})), Some(ModuleFault::Other(ModuleKind::Native)));
        assert_eq!(wasm_fault(b""), Some(ModuleFault::NoWasm));
    }
}
