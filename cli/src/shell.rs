//! Commands that a person copies into a shell.

use std::path::Path;

/// This program, as the person's command line has it.
pub(crate) fn program() -> String {
    let program = std::env::args().next().unwrap_or_else(|| "blobgate".to_owned());
    word(&program)
}

/// A path as one word.
pub(crate) fn path(path: &Path) -> String {
    word(&path.display().to_string())
}

/// A text as one word.
pub(crate) fn word(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:@%,".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::word;

    #[test]
    fn quotes_texts_for_a_shell() {
        for (text, expected) in [
            ("my-gate/blobgate.yaml", "my-gate/blobgate.yaml"),
            ("my gate/x", "'my gate/x'"),
            ("a'b$(c)", r"'a'\''b$(c)'"),
            ("~/x", "'~/x'"),
            ("", "''"),
        ] {
            assert_eq!(word(text), expected);
        }
    }
}
