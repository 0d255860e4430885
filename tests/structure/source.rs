//! The source of a crate as tokens: the imports between its modules, its texts and its types.

use crate::types::types;
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

pub(crate) struct Crate {
    files: Vec<SourceFile>,
}

struct SourceFile {
    /// The path in the repository.
    path: String,
    /// The module; `[]` for the root.
    module: Vec<String>,
    tokens: Vec<TokenTree>,
    is_test: bool,
}

pub(crate) struct Literal {
    pub(crate) text: String,
    pub(crate) is_in_test: bool,
}

impl Crate {
    pub(crate) fn read(folder: &str) -> Self {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        Self::read_from(repository, &repository.join(folder))
    }

    pub(crate) fn read_from(repository: &Path, folder: &Path) -> Self {
        let mut files = Vec::new();
        add(repository, folder, &[], &mut files);
        assert!(!files.is_empty(), "{} has no source", folder.display());
        let test_modules: Vec<Vec<String>> = files.iter().flat_map(SourceFile::test_modules).collect();
        for file in &mut files {
            file.is_test |= test_modules.iter().any(|module| file.module.starts_with(module));
        }
        Self { files }
    }

    /// Each import of one module by another, without tests.
    pub(crate) fn imports(&self) -> BTreeSet<(Vec<String>, Vec<String>)> {
        let modules: BTreeSet<&[String]> = self.files.iter().map(|file| &file.module[..]).collect();
        let root = self.names_at_root();
        let mut imports = BTreeSet::new();
        for file in self.files.iter().filter(|file| !file.module.is_empty() && !file.is_test) {
            let mut paths = Vec::new();
            collect(&without_tests(&file.tokens), &file.module, &mut paths);
            for mut path in paths {
                if let Some(module) = path.first().and_then(|first| root.get(first)) {
                    path = module.clone();
                }
                while !path.is_empty() && !modules.contains(&path[..]) {
                    path.pop();
                }
                if !path.is_empty() && path != file.module {
                    imports.insert((file.module.clone(), path));
                }
            }
        }
        imports
    }

    /// The names at the root, with their modules: `pub use a::B;` makes `crate::B`.
    fn names_at_root(&self) -> BTreeMap<String, Vec<String>> {
        let root = self.files.iter().filter(|file| file.module.is_empty());
        let mut names = BTreeMap::new();
        for file in root {
            for (index, token) in file.tokens.iter().enumerate() {
                if token.to_string() == "use" {
                    let mut paths = Vec::new();
                    read_path(&file.tokens[index + 1..], &[], &mut paths);
                    names.extend(paths.into_iter().filter_map(|mut path| Some((path.pop()?, path))));
                }
            }
        }
        names
    }

    /// The string literals of each file.
    pub(crate) fn literals(&self) -> BTreeMap<&str, Vec<Literal>> {
        let of = |file: &SourceFile| {
            let mut literals = Vec::new();
            texts(&file.tokens, &mut |text| literals.push(Literal { text, is_in_test: true }));
            let mut outside = Vec::new();
            if !file.is_test {
                texts(&without_tests(&file.tokens), &mut |text| outside.push(text));
            }
            for literal in &mut literals {
                literal.is_in_test = !outside.contains(&literal.text);
            }
            literals
        };
        self.files.iter().map(|file| (file.path.as_str(), of(file))).collect()
    }

    /// The types that each file defines.
    pub(crate) fn types(&self) -> Vec<(&str, String)> {
        let of = |file: &SourceFile| types(&file.tokens);
        self.files
            .iter()
            .flat_map(|file| of(file).into_iter().map(|name| (file.path.as_str(), name)))
            .collect()
    }
}

impl SourceFile {
    /// The modules that this file declares for tests: `#[cfg(test)] mod name;`.
    fn test_modules(&self) -> Vec<Vec<String>> {
        let mut modules = Vec::new();
        for window in self.tokens.windows(5) {
            let text = |index: usize| window[index].to_string();
            let is_declared = text(0) == "#" && is_cfg_test(&window[1]) && text(2) == "mod" && text(4) == ";";
            modules.extend(is_declared.then(|| [&self.module[..], &[text(3)]].concat()));
        }
        modules
    }
}

fn add(repository: &Path, folder: &Path, module: &[String], files: &mut Vec<SourceFile>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let below = [module, std::slice::from_ref(&name)].concat();
        if path.is_dir() {
            if name == "target" {
                continue;
            }
            add(repository, &path, &below, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let is_root = module.is_empty() && (name == "lib" || name == "main");
            let text = std::fs::read_to_string(&path).unwrap();
            let tokens: TokenStream = text.parse().unwrap();
            let path = path.strip_prefix(repository).unwrap().to_str().unwrap().to_owned();
            files.push(SourceFile {
                is_test: path.split('/').any(is_of_tests),
                path,
                module: if is_root { Vec::new() } else { below },
                tokens: tokens.into_iter().collect(),
            });
        }
    }
}

fn is_of_tests(part: &str) -> bool {
    matches!(part, "tests" | "tests.rs" | "testkit" | "benches" | "examples" | "fuzz")
}

fn is_cfg_test(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.stream().to_string() == "cfg (test)")
}

/// The tokens without the items after `#[cfg(test)]`.
fn without_tests(tokens: &[TokenTree]) -> Vec<TokenTree> {
    let mut kept = Vec::new();
    let mut rest = tokens;
    while let Some((token, after)) = rest.split_first() {
        rest = after;
        match after.first() {
            Some(group) if token.to_string() == "#" && is_cfg_test(group) => {
                let is_end = |token: &TokenTree| match token {
                    TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
                    token => token.to_string() == ";",
                };
                let end = after.iter().position(is_end).unwrap();
                rest = &after[end + 1..];
            }
            _ => kept.push(token.clone()),
        }
    }
    kept
}

/// Adds the absolute form of each path that begins with `crate`, `super` or `self`.
fn collect(tokens: &[TokenTree], module: &[String], paths: &mut Vec<Vec<String>>) {
    for (index, token) in tokens.iter().enumerate() {
        let rest = &tokens[index + 1..];
        match token {
            TokenTree::Group(group) => collect(&list(group.stream()), module, paths),
            TokenTree::Ident(ident) if ident == "crate" => read_path(after_colons(rest), &[], paths),
            TokenTree::Ident(ident) if ident == "self" => read_path(after_colons(rest), module, paths),
            TokenTree::Ident(ident) if ident == "super" => {
                let is_first = index.checked_sub(1).is_none_or(|before| tokens[before].to_string() != ":");
                if is_first {
                    let (mut base, mut rest) = (module, &tokens[index..]);
                    while rest.first().is_some_and(|token| token.to_string() == "super") {
                        base = base.split_last().map_or(base, |(_, parent)| parent);
                        rest = after_colons(&rest[1..]);
                    }
                    read_path(rest, base, paths);
                }
            }
            _ => {}
        }
    }
}

/// Adds the paths of `a::b`, `a::{b, c::d}` and `{a, b}`, each after `base`.
fn read_path(tokens: &[TokenTree], base: &[String], paths: &mut Vec<Vec<String>>) {
    match tokens.first() {
        Some(TokenTree::Ident(ident)) => {
            let path = [base, &[ident.to_string()]].concat();
            let rest = after_colons(&tokens[1..]);
            match rest.first() {
                Some(TokenTree::Ident(_) | TokenTree::Group(_)) => read_path(rest, &path, paths),
                _ => paths.push(path),
            }
        }
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
            for one in list(group.stream()).split(|token| token.to_string() == ",") {
                read_path(one, base, paths);
            }
        }
        _ => {}
    }
}

/// The tokens after `::`; none if there is no `::`.
fn after_colons(tokens: &[TokenTree]) -> &[TokenTree] {
    match tokens {
        [one, two, rest @ ..] if one.to_string() == ":" && two.to_string() == ":" => rest,
        _ => &[],
    }
}

fn list(tokens: TokenStream) -> Vec<TokenTree> {
    tokens.into_iter().collect()
}

fn texts(tokens: &[TokenTree], found: &mut impl FnMut(String)) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => texts(&list(group.stream()), found),
            TokenTree::Literal(literal) => {
                let text = literal.to_string();
                let text = text.trim_start_matches(['b', 'r', '#']);
                if let Some(text) = text.strip_prefix('"') {
                    found(text.trim_end_matches(['#', '"']).to_owned());
                }
            }
            _ => {}
        }
    }
}
