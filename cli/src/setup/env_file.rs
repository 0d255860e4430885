//! Files of variables, such as secrets/env: lines `NAME=value`, as systemd, Docker and a shell read them.

use std::io;
use std::path::Path;

/// Why a file of variables cannot be read. Never with a value.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnvFileError {
    #[error("{0}")]
    Unreadable(#[from] io::Error),
    #[error("line {0} is not NAME=value")]
    Line(usize),
    #[error("line {0} has a quote that does not end")]
    Quote(usize),
}

/// The variables of a file, in its order. Of a repeated one, the last value counts.
pub(crate) fn read(path: &Path) -> Result<Vec<(String, String)>, EnvFileError> {
    parse(&std::fs::read_to_string(path)?)
}

/// The variables of a text.
pub(crate) fn parse(text: &str) -> Result<Vec<(String, String)>, EnvFileError> {
    let mut variables: Vec<(String, String)> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index.saturating_add(1);
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").map_or(line, str::trim_start);
        let (name, value) = line.split_once('=').ok_or(EnvFileError::Line(number))?;
        if !is_name(name) {
            return Err(EnvFileError::Line(number));
        }
        let value = unquote(value).ok_or(EnvFileError::Quote(number))?;
        variables.retain(|(known, _)| known != name);
        variables.push((name.to_owned(), value));
    }
    Ok(variables)
}

/// A line of a file of variables. Values with other characters than these are in single quotes.
pub(crate) fn line(name: &str, value: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_@%+=:,./-[]".contains(&byte);
    if value.bytes().all(is_plain) { format!("{name}={value}\n") } else { format!("{name}='{value}'\n") }
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first == b'_' || first.is_ascii_alphabetic())
        && bytes.all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
}

fn unquote(value: &str) -> Option<String> {
    match value.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            let inner = value.strip_prefix(quote)?.strip_suffix(quote)?;
            (!inner.contains(quote)).then(|| inner.to_owned())
        }
        _ => Some(value.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn reads(text: &str, expected: &[(&str, &str)]) {
        let read = parse(text).unwrap();
        let read: Vec<_> = read.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(read, expected, "{text:?}");
    }

    #[test]
    fn reads_lines_of_variables() {
        reads("", &[]);
        reads(
            "# a comment\n\nA=base64:a+/b==\r\nexport B='two words'\nC=\"\"\n",
            &[("A", "base64:a+/b=="), ("B", "two words"), ("C", "")],
        );
        reads("A=1\nB=2\nA=3\n", &[("B", "2"), ("A", "3")]);
    }

    #[test]
    fn names_the_line_and_no_value() {
        for (text, error) in [
            ("A=1\nsecret\n", "line 2 is not NAME=value"),
            ("9A=secret\n", "line 1 is not NAME=value"),
            ("A B=secret\n", "line 1 is not NAME=value"),
            ("A='secret\n", "line 1 has a quote that does not end"),
            ("A='sec'ret'\n", "line 1 has a quote that does not end"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn writes_what_it_reads() {
        for value in
            ["", "sqlite:inbox.db", "postgres://a@b/c?sslmode=verify-full&x=$y", "two words", "[::1]:9084"]
        {
            reads(&line("A", value), &[("A", value)]);
        }
        assert_eq!(line("A", "a?b&c"), "A='a?b&c'\n");
    }
}
