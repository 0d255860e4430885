//! Files of variables, such as secrets/env: lines `NAME=value`, as systemd, Docker and a shell read them.

use super::regular_file;
use std::io::{self, Read};
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
    #[error("line {0} has a character that a shell and systemd read differently")]
    Ambiguous(usize),
}

impl EnvFileError {
    /// What to do.
    pub(crate) fn remedy(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "Let your user read the file",
            Self::Line(_) | Self::Quote(_) => "Correct it: each line is NAME=value",
            Self::Ambiguous(_) => "Write the value in single quotes",
        }
    }
}

/// Larger files have no variables of a setup.
const MAX_BYTES: u64 = 1 << 20;

/// The variables of a file, in its order. Of a repeated one, the last value counts.
pub(crate) fn read(path: &Path) -> Result<Vec<(String, String)>, EnvFileError> {
    let mut text = String::new();
    regular_file::open(path)?.take(MAX_BYTES).read_to_string(&mut text)?;
    parse(&text)
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
        let value = unquote(value, number)?;
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

/// The value of a line. A shell replaces `$`, and ends a plain value at a space; systemd and Docker do not.
fn unquote(value: &str, line: usize) -> Result<String, EnvFileError> {
    let (inner, special) = match value.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            let inner = value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
            let inner = inner.filter(|inner| !inner.contains(quote)).ok_or(EnvFileError::Quote(line))?;
            (inner, if quote == '"' { "$`\\" } else { "" })
        }
        Some('#' | '~') => return Err(EnvFileError::Ambiguous(line)),
        _ => (value, "$`\\ '\";&|<>()"),
    };
    match inner.contains(|letter: char| letter.is_control() || special.contains(letter)) {
        true => Err(EnvFileError::Ambiguous(line)),
        false => Ok(inner.to_owned()),
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
        reads(r#"A='s$e`c\r"et'"#, &[("A", r#"s$e`c\r"et"#)]);
        reads("A=s#ecret!*?{}^~\n", &[("A", "s#ecret!*?{}^~")]);
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
            ("A=se cret\n", "line 1 has a character that a shell and systemd read differently"),
            ("A=secret # of today\n", "line 1 has a character that a shell and systemd read differently"),
            ("B=1\nA=se$cret\n", "line 2 has a character that a shell and systemd read differently"),
            ("A=\"se$cret\"\n", "line 1 has a character that a shell and systemd read differently"),
            ("A=\"se\\cret\"\n", "line 1 has a character that a shell and systemd read differently"),
            ("A=secret;id\n", "line 1 has a character that a shell and systemd read differently"),
            ("A=~/secret\n", "line 1 has a character that a shell and systemd read differently"),
            ("A='sec\0ret'\n", "line 1 has a character that a shell and systemd read differently"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), error);
        }
    }

    /// A shell, and the script that reads the files in containers.
    #[test]
    fn every_reader_reads_the_same() {
        const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/compose/with-env");
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        let written: String = ["a b", "$a`b\\c\"d", "#a", "postgres://u@h/d?sslmode=require&x=1", "", "a=b"]
            .iter()
            .enumerate()
            .map(|(index, value)| line(&format!("V{index}"), value))
            .collect();
        let own = "export V6='a b'\n# V8=no\nV7=\"a 'b'\"\n\nV6=last!";
        std::fs::write(path, written + own).unwrap();
        let expected = read(file.path()).unwrap();
        assert_eq!(expected.len(), 8);
        let print = "env | grep '^V'";
        for arguments in
            [&["-c", &format!("set -a; . {path}; {print}")][..], &[SCRIPT, path, "--", "sh", "-c", print]]
        {
            let end = std::process::Command::new("sh")
                .args(arguments)
                .env_clear()
                .env("PATH", "/usr/bin:/bin")
                .output();
            let text = String::from_utf8(end.unwrap().stdout).unwrap();
            let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
            lines.sort();
            let mut names: Vec<_> = expected.iter().map(|(name, value)| format!("{name}={value}")).collect();
            names.sort();
            assert_eq!(lines, names, "{arguments:?}");
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
