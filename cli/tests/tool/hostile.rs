//! Files that are no configuration, or that are made to harm: each command that reads one ends with a sentence, in bounded time
//! and memory, and shows no character that a terminal would obey.

use crate::running::{blobgate, text};
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// The commands that read a configuration, without the file.
const READERS: [&[&str]; 4] = [
    &["check"],
    &["check", "--json"],
    &["explain", "--hook", "a", "--config"],
    &["explain", "--json", "--hook", "a", "--config"],
];

/// In KiB. A configuration of 150,000 ranges needs less.
const MAX_MEMORY: &str = "2000000";
/// In seconds, for a machine under load.
const MAX_TIME: &str = "240";
const MAX_OUTPUT: usize = 2 << 20;

/// A run within limits.
fn run(args: &[&str], file: &Path) -> Output {
    let script = format!("ulimit -v {MAX_MEMORY}; exec timeout {MAX_TIME} \"$@\"");
    let mut command = Command::new("bash");
    command.args(["-c", &script, "bash", env!("CARGO_BIN_EXE_blobgate")]).args(args).arg(file);
    command.stdin(std::process::Stdio::null()).output().unwrap()
}

/// A control, or a character of another direction or without a width.
fn is_obeyed(character: char) -> bool {
    (character.is_control() && character != '\n' && character != '\t')
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// A file that is no valid configuration.
#[track_caller]
fn refuses(file: &Path) {
    READERS.iter().for_each(|args| refuses_by(args, file));
}

#[track_caller]
fn refuses_by(args: &[&str], file: &Path) {
    let end = run(args, file);
    let told = [text(&end.stdout), text(&end.stderr)].concat();
    let start: String = told.chars().take(2_000).collect();
    assert!(matches!(end.status.code(), Some(1 | 2)), "{args:?} {}: {}, {start}", file.display(), end.status);
    assert!(!told.is_empty() && told.len() < MAX_OUTPUT, "{args:?} {}: {} bytes", file.display(), told.len());
    assert!(!told.contains(is_obeyed), "{args:?} {}: {start:?}", file.display());
    assert!(!told.contains("panicked"), "{args:?} {}: {start}", file.display());
}

struct HostileFiles(TempDir);

impl HostileFiles {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

#[test]
fn refuses_what_is_no_file_of_text() {
    let files = HostileFiles::new();
    let folder = files.0.path();
    let (one, other) = (folder.join("one.yaml"), folder.join("other.yaml"));
    symlink(&one, &other).unwrap();
    symlink(&other, &one).unwrap();
    refuses(&one);
    refuses(folder);
    refuses(&folder.join("missing.yaml"));
    refuses(&one.join("below"));
    for device in ["/dev/null", "/dev/zero", "/dev/full"] {
        refuses(Path::new(device));
    }
    for bytes in [
        &b""[..],
        b"\xff\xfe\x00",
        b"a: \xc3\x28",
        b"\xef\xbb\xbf",
        b"\0\0\0",
        b"\x80: \x80",
        b"%YAML 9.9\n---\n",
    ] {
        refuses(&files.file("bytes.yaml", bytes));
    }
    refuses(
        &files
            .file("utf-16.yaml", "version: 1".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>()),
    );
}

#[test]
fn refuses_huge_files_in_bounded_memory() {
    let files = HostileFiles::new();
    let sparse = files.0.path().join("sparse.yaml");
    File::create(&sparse).unwrap().set_len(100 << 20).unwrap();
    refuses(&sparse);
    refuses(&files.file("lines.yaml", "hooks: []\n".repeat(10 << 20)));
    refuses(&files.file("deep.yaml", "[".repeat(1 << 20)));
    refuses(&files.file("deep.json", format!("{{\"hooks\":{}", "[".repeat(1 << 20))));
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let before = format!("*a{}", level - 1);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", [before.as_str(); 10].join(", ")));
    }
    refuses(&files.file("bomb.yaml", format!("{bomb}hooks: *a11\n")));
    refuses(&files.file("loop.yaml", "hooks: &a [*a]\n"));
}

#[test]
fn refuses_a_pipe_that_ends_early() {
    let files = HostileFiles::new();
    let pipe = files.0.path().join("pipe.yaml");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for args in READERS {
        let writer = pipe.clone();
        let written = std::thread::spawn(move || fs::write(writer, "hooks: [\u{1b}"));
        refuses_by(args, &pipe);
        written.join().unwrap().unwrap();
    }
}

#[test]
fn shows_no_character_that_a_terminal_obeys() {
    let files = HostileFiles::new();
    const HIDDEN: [&str; 6] = ["\u{1b}[2J", "\u{9b}2J", "\u{202e}", "\u{2066}", "\u{200b}", "\u{7f}"];
    const HOOK: &str =
        "name: a, path: /a, dialect: veo3, source: any, trust: open, result_url: any, quarantine: none";
    for hidden in HIDDEN {
        let escaped: String =
            hidden.chars().map(|character| format!("\\U{:08x}", u32::from(character))).collect();
        for yaml in [
            format!("version: 1\nenvironment: e\nhooks: [{{{HOOK}}}]\n\"k{escaped}\": 1\n"),
            format!("version: 1\nenvironment: \"e{escaped}\"\nhooks: [{{{HOOK}}}]\n"),
            format!("version: 1\nenvironment: e\nhooks: [{{{HOOK}, \"{escaped}\": \"{escaped}\"}}]\n"),
            format!("version: 1\nenvironment: e\nhooks: [{{{HOOK}, mode: \"{escaped}\"}}]\n"),
            format!("version: 1\nenvironment: e\nhooks: [{{{HOOK}, mode: \"x{hidden}\"}}]\n"),
            format!("version: 1\n{hidden}: [\n"),
            format!("# {hidden}\nversion: 1\nhooks: {{]\n"),
        ] {
            refuses(&files.file("hidden.yaml", &yaml));
            refuses(&files.file(&format!("name{hidden}.yaml"), &yaml));
        }
    }
}

/// NO_COLOR stands above what a terminal can show; without a terminal there is no colour at all.
#[test]
fn has_no_colour_with_no_color_and_in_a_pipe() {
    let files = HostileFiles::new();
    let broken = files.file("broken.yaml", "version: 2\nenvironment: e\nhooks: []\n").display().to_string();
    for args in [
        &["check", &broken][..],
        &["check", "/nowhere"],
        &["explain", "result-url-denied"],
        &["explain", "--hook", "a", "--config", &broken],
        &["schema"],
        &["completions", "bash"],
        &["check", "--help"],
        &["check", "--no-such-option"],
    ] {
        let end = blobgate(args).output().unwrap();
        assert!(!end.stdout.contains(&0x1b) && !end.stderr.contains(&0x1b), "{args:?} in a pipe");
        assert!(!end.stdout.is_empty() || !end.stderr.is_empty(), "{args:?} prints nothing");
        let command = [&[env!("CARGO_BIN_EXE_blobgate")], args].concat().join(" ");
        let mut terminal = Command::new("script");
        terminal
            .args(["-qec", &command, "/dev/null"])
            .env("TERM", "xterm-256color")
            .stdin(std::process::Stdio::null());
        let shown = terminal.env("NO_COLOR", "1").output().expect("script of util-linux runs");
        assert!(
            !shown.stdout.is_empty() && !shown.stdout.contains(&0x1b),
            "{args:?} with NO_COLOR: {}",
            text(&shown.stdout)
        );
    }
}
