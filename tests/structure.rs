//! Rules between the modules of a crate and between the crates: no import circle, no import of `config` from below, each
//! header name written once, and no two types with one name.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test may panic: that is how it fails"
)]

#[path = "structure/source.rs"]
mod source;
#[path = "structure/types.rs"]
mod types;

use blobgate::contract::header::{IDEMPOTENCY_KEY, PREFIX, WEBHOOK_PREFIX};
use source::{Crate, Literal};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Crates without an import circle.
const WITHOUT_CIRCLES: [&str; 3] = ["src", "inbox/src", "native/src"];
/// Every folder with Rust.
const FOLDERS: [&str; 9] =
    ["src", "native", "examples", "fuzz/targets", "tests", "inbox", "cli", "testkit", "benches"];
/// The modules above `config`: the adapters, the exchange, and its driver.
const ABOVE_CONFIG: [&str; 3] = ["exchange", "explain", "wasm"];
/// The table of header names, and the test that pins them.
const MAY_WRITE: [&str; 2] = ["src/contract/header.rs", "tests/contract.rs"];
/// `Args` and `Command` are clap's words for each command's own.
const SHARED_TYPES: [&str; 3] = ["Error", "Args", "Command"];
/// Names with the prefix that are not headers: of a database's application and of a client.
const NO_HEADERS: [&str; 2] = ["blobgate-inbox", "blobgate-sandbox/"];

#[test]
fn imports_have_no_circle() {
    for folder in WITHOUT_CIRCLES {
        assert_eq!(circles(&Crate::read(folder)), Vec::<String>::new(), "in {folder}");
    }
}

#[test]
fn nothing_below_config_imports_it() {
    let importers = |imports: &BTreeSet<(Vec<String>, Vec<String>)>| -> Vec<String> {
        let of_config = imports.iter().filter(|(from, to)| to[0] == "config" && from[0] != "config");
        of_config.map(|(from, _)| from.join("::")).collect()
    };
    let mut below = importers(&Crate::read("src").imports());
    below.retain(|module| !ABOVE_CONFIG.iter().any(|above| module.split("::").next() == Some(*above)));
    assert_eq!(below, Vec::<String>::new());
}

#[test]
fn header_names_are_written_once() {
    let mut twice = Vec::new();
    for folder in FOLDERS {
        for (path, literals) in Crate::read(folder).literals() {
            if !MAY_WRITE.contains(&path) {
                let written = literals.iter().filter(|literal| is_of_contract(literal));
                twice.extend(written.map(|literal| format!("{path}: {:?}", literal.text)));
            }
        }
    }
    assert_eq!(twice, Vec::<String>::new(), "take it from blobgate::contract::header");
}

#[test]
fn type_names_are_unique() {
    let mut files: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for folder in FOLDERS {
        for (path, name) in Crate::read(folder).types() {
            if !SHARED_TYPES.contains(&&*name) {
                files.entry(name).or_default().push(path.to_owned());
            }
        }
    }
    files.retain(|_, paths| paths.len() > 1);
    assert!(files.is_empty(), "several types have one name; rename all but one:\n{files:#?}");
}

/// A header's name. A test may write a block of headers with their values.
fn is_of_contract(Literal { text, is_in_test }: &Literal) -> bool {
    let is_ours = text.starts_with(PREFIX) || text.starts_with(WEBHOOK_PREFIX) || text == IDEMPOTENCY_KEY;
    is_ours && !NO_HEADERS.contains(&text.as_str()) && (!is_in_test || is_whole_name(text))
}

fn is_whole_name(text: &str) -> bool {
    include_str!("../src/contract/header.rs").contains(&format!("= \"{text}\";"))
}

/// A circle of each set of sibling modules that has one, as `a -> b -> a`. Modules below a sibling count as the sibling. A parent
/// and its child may import each other.
fn circles(of: &Crate) -> Vec<String> {
    let mut levels: BTreeMap<Vec<String>, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for (from, to) in of.imports() {
        let shared = from.iter().zip(&to).take_while(|(from, to)| from == to).count();
        if let (Some(here), Some(there)) = (from.get(shared), to.get(shared)) {
            let level = levels.entry(from[..shared].to_vec()).or_default();
            level.entry(here.clone()).or_default().insert(there.clone());
        }
    }
    levels.values().filter_map(circle).collect()
}

fn circle(graph: &BTreeMap<String, BTreeSet<String>>) -> Option<String> {
    let mut done = BTreeSet::new();
    graph.keys().find_map(|start| walk(graph, start, &mut Vec::new(), &mut done))
}

fn walk<'g>(
    graph: &'g BTreeMap<String, BTreeSet<String>>,
    module: &'g str,
    path: &mut Vec<&'g str>,
    done: &mut BTreeSet<&'g str>,
) -> Option<String> {
    if let Some(first) = path.iter().position(|before| *before == module) {
        return Some([&path[first..], &[module]].concat().join(" -> "));
    }
    if !done.insert(module) {
        return None;
    }
    path.push(module);
    let found = graph.get(module).into_iter().flatten().find_map(|next| walk(graph, next, path, done));
    path.pop();
    found
}

/// Checks the circles in these files.
#[track_caller]
fn seeded(files: &[(&str, &str)], expected: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    assert_eq!(circles(&Crate::read_from(Path::new("/"), folder.path())), expected);
}

#[test]
fn finds_a_seeded_circle() {
    let lib = ("lib.rs", "mod a; mod b; mod c; pub use c::Thing;");
    let a = ("a.rs", "use crate::b::B;");
    seeded(&[lib, a, ("b.rs", "// crate::a\n/// crate::a\nconst B: &str = \"crate::a\";")], &[]);
    seeded(&[lib, a, ("b.rs", "use crate::a;")], &["a -> b -> a"]);
    seeded(&[lib, a, ("b.rs", "use crate::{c::C, a::{self, A}};"), ("c.rs", "")], &["a -> b -> a"]);
    seeded(&[lib, a, ("b.rs", "fn b() { m!(crate::a::f()) }")], &["a -> b -> a"]);
    seeded(&[lib, a, ("b.rs", "use super::a::A;")], &["a -> b -> a"]);
    seeded(&[lib, a, ("b.rs", "#[cfg(test)] mod tests { use crate::a; }")], &[]);
    seeded(&[lib, a, ("b.rs", "#[cfg(test)] mod tests;"), ("b/tests.rs", "use crate::a;")], &[]);
    seeded(&[lib, a, ("b.rs", "#[cfg(test)] mod check;"), ("b/check.rs", "use crate::a;")], &[]);
    seeded(&[lib, a, ("b.rs", "mod check;"), ("b/check.rs", "use crate::a;")], &["a -> b -> a"]);
    // No circle without an import back.
    seeded(&[lib, ("a.rs", "use crate::b; use crate::c;"), ("b.rs", ""), ("c.rs", "use crate::b;")], &[]);
    // Through a third module, and through a name at the root.
    seeded(&[lib, a, ("b.rs", "use crate::Thing;"), ("c.rs", "use crate::a;")], &["a -> b -> c -> a"]);
    // A module below a sibling counts as the sibling, and siblings below it are siblings.
    seeded(&[lib, a, ("b.rs", "mod d;"), ("b/d.rs", "use crate::a;")], &["a -> b -> a"]);
    let (d, e) = (("b/d.rs", "use super::e; use super::B;"), ("b/e.rs", "use crate::b::d;"));
    seeded(&[lib, ("b.rs", "mod d; mod e; use d::D;"), d, e], &["d -> e -> d"]);
    seeded(&[lib, ("b.rs", "mod d; use d::D;"), ("b/d.rs", "use super::B;")], &[]);
}

/// `autotests` is off, so Cargo runs only files that a manifest names.
#[test]
fn names_each_test_in_a_manifest() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifests =
        ["Cargo.toml", "testkit/Cargo.toml"].map(|path| std::fs::read_to_string(root.join(path)).unwrap());
    let mut missing = Vec::new();
    for entry in std::fs::read_dir(root.join("tests")).unwrap() {
        let path = entry.unwrap().path();
        let file = if path.is_dir() { path.join("main.rs") } else { path };
        if file.extension().is_some_and(|extension| extension == "rs") && file.exists() {
            let name = format!("{}\"", file.strip_prefix(root).unwrap().display());
            missing.extend((!manifests.iter().any(|manifest| manifest.contains(&name))).then_some(name));
        }
    }
    assert_eq!(missing, Vec::<String>::new(), "add a [[test]] to a manifest");
}

/// In docs/contributing, as the end of a path.
#[test]
fn each_file_that_the_pages_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tracked = Command::new("git").arg("ls-files").current_dir(root).output().expect("git runs").stdout;
    let tracked = String::from_utf8(tracked).unwrap();
    let mut named = 0;
    for page in ["code.md", "changes.md", "tests.md"] {
        let text = std::fs::read_to_string(root.join("docs/contributing").join(page)).unwrap();
        for name in
            text.split('`').filter(|name| name.ends_with(".rs") && !name.contains(char::is_whitespace))
        {
            let exists = tracked.lines().any(|path| Path::new(path).ends_with(name));
            assert!(exists, "{page} names {name}, and there is no such file");
            named += 1;
        }
    }
    assert!(named > 20, "the pages name {named} files only: do they still write them as `policy.rs`?");
}

/// The examples in docs/contributing/changes.md.
#[test]
fn applies_each_example_of_a_change() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["reason", "check", "dialect", "store-operation"] {
        let diff = root.join("docs/contributing").join(name).with_extension("diff");
        let output =
            Command::new("git").args(["apply", "--check", "-C1"]).arg(&diff).current_dir(root).output();
        let output = output.expect("git runs");
        let why = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} does not apply; make it again: {why}", diff.display());
    }
}
