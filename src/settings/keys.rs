//! The keys of a section of the configuration. One table has the check for unknown keys and the reference in the book.

/// A section of the configuration, as the book shows it.
#[cfg(not(target_family = "wasm"))]
#[derive(Debug)]
pub struct Section {
    /// Where it stands, such as `hooks[]`.
    pub path: &'static str,
    /// What it is, in Markdown.
    pub docs: String,
    /// Its keys.
    pub keys: Vec<SectionKey>,
}

/// A key of a section, as the book shows it. All texts are Markdown.
#[cfg(not(target_family = "wasm"))]
#[derive(Debug)]
pub struct SectionKey {
    /// The key.
    pub key: &'static str,
    /// What it takes.
    pub value: String,
    /// What holds without it. A key without a default is required.
    pub default: Option<String>,
    /// What it does.
    pub docs: String,
}

/// The keys that a section takes, as the constant for [`Node::fields`](super::Node::fields). Natively also a function
/// that makes the [`Section`]: no text of it is in the module.
macro_rules! keys {
    ($(#[doc = $docs:literal])+ $path:literal: $known:ident, $section:ident {
        $($(#[doc = $doc:literal])+ $key:literal: $value:expr $(=> $default:expr)?;)+
    }) => {
        const $known: &[&str] = &[$($key,)+];

        $(#[doc = $docs])+
        #[cfg(not(target_family = "wasm"))]
        pub(crate) fn $section() -> $crate::settings::Section {
            use $crate::settings::{Section, SectionKey, join_lines};
            let keys = vec![$(SectionKey {
                key: $key,
                value: $value.to_string(),
                default: None$(.or_else(|| Some($default.to_string())))?,
                docs: join_lines(&[$($doc),+]),
            },)+];
            Section { path: $path, docs: join_lines(&[$($docs),+]), keys }
        }
    };
}

pub(crate) use keys;

/// The lines of a doc comment as one text.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn join_lines(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ").trim().to_owned()
}
