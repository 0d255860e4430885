//! The delivery of an entry as a curl command.

use crate::service::{BodyEncoding, EntryPayload};
use blobgate::contract::header;

/// A longer body comes from a file. A command has to be readable.
const MAX_BODY: usize = 4 << 10;
/// The address of a service on the person's own machine.
const SERVICE: &str = "http://127.0.0.1:5000";

/// curl sets these itself, and a copy has another length and host.
const OWN: [&str; 5] = ["host", "content-length", "connection", "transfer-encoding", "expect"];
/// A signature is valid for some minutes.
const SIGNATURE: &str = header::WEBHOOK_SIGNATURE;

/// The command, which a person can paste into a POSIX shell. It has every stored header except the signature.
pub(super) fn command(id: i64, payload: &EntryPayload) -> String {
    let mut lines =
        vec![format!("curl --globoff --path-as-is -i {}", quote(&format!("{SERVICE}{}", payload.path)))];
    for header in &payload.headers {
        if OWN.contains(&header.name.as_str()) || header.name == SIGNATURE {
            continue;
        }
        // `name;` is curl's way of an empty value.
        let line = match header.value.as_str() {
            "" => format!("{};", header.name),
            value => format!("{}: {value}", header.name),
        };
        lines.push(format!("  -H {}", quote(&line)));
    }
    let is_plain = payload.body_encoding == BodyEncoding::Text
        && payload.body.len() <= MAX_BODY
        // `@` begins the name of a file.
        && !payload.body.starts_with('@')
        && !payload.body.chars().any(|c| c.is_control() && c != '\n' && c != '\t');
    let body = if is_plain { quote(&payload.body) } else { format!("@{}", file_name(id)) };
    lines.push(format!("  --data-binary {body}"));
    lines.join(" \\\n")
}

/// The name of a downloaded body.
pub(super) fn file_name(id: i64) -> String {
    format!("entry-{id}.body")
}

/// One word of a POSIX shell.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::HeaderLine;
    use std::process::Command;

    fn payload(path: &str, headers: &[(&str, &str)], body: &str) -> EntryPayload {
        EntryPayload {
            path: path.to_owned(),
            headers: headers
                .iter()
                .map(|(name, value)| HeaderLine { name: (*name).to_owned(), value: (*value).to_owned() })
                .collect(),
            body_encoding: BodyEncoding::Text,
            body: body.to_owned(),
        }
    }

    /// The words that a shell makes of a command.
    fn words(command: &str) -> Vec<String> {
        let script = format!("curl() {{ printf '%s\\0' \"$@\"; }}\n{command}");
        let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.trim_end_matches('\0').split('\0').map(ToOwned::to_owned).collect()
    }

    #[test]
    fn a_shell_reads_each_value_as_one_word() {
        let hostile = "it's $(touch /x) `id` \\ \"!\"\n; rm -rf ~";
        let headers = [
            ("content-type", "application/json"),
            ("host", "gate.example"),
            ("content-length", "7"),
            (header::WEBHOOK_SIGNATURE, "v1,c2VjcmV0"),
            ("x-note", "a'b; $HOME"),
            ("x-empty", ""),
        ];
        let command = command(17, &payload("/hooks/veo3?a='$(id)'", &headers, hostile));
        assert_eq!(
            words(&command),
            [
                "--globoff",
                "--path-as-is",
                "-i",
                "http://127.0.0.1:5000/hooks/veo3?a='$(id)'",
                "-H",
                "content-type: application/json",
                "-H",
                "x-note: a'b; $HOME",
                "-H",
                "x-empty;",
                "--data-binary",
                hostile,
            ]
        );
    }

    #[test]
    fn a_body_that_is_no_short_text_comes_from_a_file() {
        for body in ["a\0b", "\u{1b}[2J", "@/etc/passwd", &"x".repeat(MAX_BODY + 1)] {
            let words = words(&command(17, &payload("/", &[], body)));
            assert_eq!(words.last().map(String::as_str), Some("@entry-17.body"));
        }
        let bytes = EntryPayload { body_encoding: BodyEncoding::Base64, ..payload("/", &[], "/w==") };
        assert!(command(17, &bytes).ends_with("--data-binary @entry-17.body"));
    }
}
