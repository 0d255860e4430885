//! The names of the types that a file defines.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

const KEYWORDS: [&str; 4] = ["struct", "enum", "trait", "type"];

/// The types in these tokens, at any depth, without associated types.
pub(crate) fn types(tokens: &[TokenTree]) -> Vec<String> {
    let mut found = Vec::new();
    let macros = defining_macros(tokens);
    walk(tokens, Scope::Items, &macros, &mut found);
    found
}

#[derive(Clone, Copy, PartialEq)]
enum Scope {
    Items,
    /// The block of an `impl` or a trait, where `type` names an associated type.
    Associated,
}

fn walk(tokens: &[TokenTree], scope: Scope, macros: &[String], found: &mut Vec<String>) {
    let mut next_block = Scope::Items;
    for (index, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Ident(keyword) => {
                let keyword = keyword.to_string();
                if KEYWORDS.contains(&&*keyword) && (scope == Scope::Items || keyword != "type") {
                    found.extend(ident(tokens.get(index + 1)));
                }
                if keyword == "trait" || keyword == "impl" && is_item(tokens, index) {
                    next_block = Scope::Associated;
                }
                if let [bang, TokenTree::Group(input), ..] = &tokens[index + 1..]
                    && bang.to_string() == "!"
                    && macros.contains(&keyword)
                {
                    found.extend(before_braces(&list(input.stream())));
                }
            }
            TokenTree::Group(group) => {
                let is_block = group.delimiter() == Delimiter::Brace;
                let inside =
                    if is_block { std::mem::replace(&mut next_block, Scope::Items) } else { Scope::Items };
                walk(&list(group.stream()), inside, macros, found);
            }
            _ => {}
        }
    }
}

/// Whether an `impl` begins a block. `impl Trait` in a signature does not.
fn is_item(tokens: &[TokenTree], index: usize) -> bool {
    match index.checked_sub(1).map(|before| &tokens[before]) {
        None => true,
        Some(TokenTree::Group(group)) => group.delimiter() != Delimiter::Parenthesis,
        Some(before) => before.to_string() == ";" || before.to_string() == "unsafe",
    }
}

/// The macros in these tokens that define a type by a name in their input: `enum $name`.
fn defining_macros(tokens: &[TokenTree]) -> Vec<String> {
    let mut macros = Vec::new();
    for window in tokens.windows(4) {
        if let [rules, bang, TokenTree::Ident(name), TokenTree::Group(body)] = window
            && rules.to_string() == "macro_rules"
            && bang.to_string() == "!"
            && defines_input(&list(body.stream()))
        {
            macros.push(name.to_string());
        }
    }
    macros
}

fn defines_input(tokens: &[TokenTree]) -> bool {
    let here =
        tokens.windows(2).any(|pair| KEYWORDS.contains(&&*pair[0].to_string()) && pair[1].to_string() == "$");
    here || tokens.iter().any(|token| match token {
        TokenTree::Group(group) => defines_input(&list(group.stream())),
        _ => false,
    })
}

fn before_braces(tokens: &[TokenTree]) -> Vec<String> {
    let is_block =
        |token: &TokenTree| matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
    tokens.windows(2).filter(|pair| is_block(&pair[1])).filter_map(|pair| ident(Some(&pair[0]))).collect()
}

fn ident(token: Option<&TokenTree>) -> Option<String> {
    match token {
        Some(TokenTree::Ident(ident)) => Some(ident.to_string()),
        _ => None,
    }
}

fn list(tokens: TokenStream) -> Vec<TokenTree> {
    tokens.into_iter().collect()
}

#[track_caller]
fn defines(text: &str, expected: &[&str]) {
    let tokens: TokenStream = text.parse().unwrap();
    assert_eq!(types(&list(tokens)), expected, "{text}");
}

#[test]
fn finds_types_of_each_kind_at_each_depth() {
    defines("pub struct A; enum B {} trait C { type Item; } type D = u8;", &["A", "B", "C", "D"]);
    defines("mod tests { #[test] fn a() { struct A<'a>(&'a str); } }", &["A"]);
    defines("impl C for A { type Item = u8; fn f() -> u8 { type B = u8; 0 } }", &["B"]);
    defines("fn f() -> impl Iterator<Item = u8> { type A = u8; }", &["A"]);
    defines("fn f(a: impl C) { type A = u8; } #[attr] impl A { type B = u8; }", &["A"]);
    defines("use a::Struct as Other; fn f(r#type: u8) { let a = B {}; }", &[]);
    let rules = "macro_rules! make { ($name:ident) => { pub enum $name { A } }; }";
    defines(
        &format!("{rules} make! {{ pub A {{ B \"b\" }} }} make! {{ #[doc = \"b\"] C {{ }} }}"),
        &["A", "C"],
    );
    defines(&format!("{rules} make! {{ pub A {{ B \"b\" }} }} other! {{ D {{ }} }}"), &["A"]);
}
