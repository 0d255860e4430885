//! The keys of a section of the configuration. One table has the check for unknown keys, the reference in the book and the
//! schema for editors.

#[cfg(not(target_family = "wasm"))]
use super::ValueForm;

/// A section of the configuration, as the book and the schema show it.
#[cfg(not(target_family = "wasm"))]
#[derive(Debug)]
pub struct Section {
    /// Its place in the configuration, such as `hooks[]`.
    pub path: &'static str,
    /// Its description in Markdown.
    pub docs: String,
    /// Its keys.
    pub keys: Vec<SectionKey>,
}

/// A key of a section, as the book and the schema show it. All texts are Markdown.
#[cfg(not(target_family = "wasm"))]
#[derive(Debug)]
pub struct SectionKey {
    /// The key.
    pub key: &'static str,
    /// Its valid values.
    pub value: ValueForm,
    /// Its default. A key without a default is required.
    pub default: Option<String>,
    /// Its effect.
    pub docs: String,
}

#[cfg(not(target_family = "wasm"))]
impl Section {
    /// A word for the section: the last part of its path.
    pub fn name(&self) -> &'static str {
        match self.path {
            "" => "configuration",
            "hooks[]" => "hook",
            "token.keys.KID" => "key",
            path => path.rsplit('.').next().unwrap_or(path),
        }
    }
}

/// Defines the keys of a section as the constant for [`Node::fields`](super::Node::fields), and natively a function that makes
/// the [`Section`]. The module has none of its texts.
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
                value: $value,
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
