//! `blobgate init` with a person at a terminal, by script(1).

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(60);

pub(super) const CTRL_C: &str = "\u{3}";
pub(super) const CTRL_D: &str = "\u{4}";

/// A running command and its terminal. Ended when dropped.
pub(super) struct Dialogue {
    script: Child,
    keyboard: ChildStdin,
    screen: Arc<Mutex<String>>,
    /// How far the test has read the screen.
    read: usize,
}

impl Dialogue {
    /// Starts the command of a shell in this folder.
    pub(super) fn start(folder: &Path, arguments: &str) -> Self {
        let command = format!("stty cols 300; exec {} {arguments}", env!("CARGO_BIN_EXE_blobgate"));
        let mut script = Command::new("script")
            .args(["-qefc", &command, "/dev/null"])
            .env("SHELL", "/bin/sh")
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("script(1), of Debian's package bsdutils");
        let (keyboard, mut output) = (script.stdin.take().unwrap(), script.stdout.take().unwrap());
        let screen = Arc::new(Mutex::new(String::new()));
        let shown = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                shown.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        Self { script, keyboard, screen, read: 0 }
    }

    /// Waits for a text after the last one.
    #[track_caller]
    pub(super) fn shows(&mut self, text: &str) {
        let until = Instant::now() + DEADLINE;
        loop {
            let found = self.screen.lock().unwrap().get(self.read..).and_then(|unread| unread.find(text));
            if let Some(at) = found {
                self.read += at + text.len();
                return;
            }
            assert!(Instant::now() < until, "no {text:?} in {:?}", self.screen.lock().unwrap());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(super) fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for a question, and answers it.
    #[track_caller]
    pub(super) fn answers(&mut self, question: &str, answer: &str) {
        self.shows(question);
        self.shows("]: ");
        self.types(&format!("{answer}\n"));
    }

    /// The exit code, and all that the terminal has shown.
    #[track_caller]
    pub(super) fn end(mut self) -> (Option<i32>, String) {
        let until = Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = self.script.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < until, "still running: {:?}", self.screen.lock().unwrap());
            std::thread::sleep(Duration::from_millis(5));
        };
        // The reader ends with the pipe.
        while Arc::strong_count(&self.screen) > 1 {
            std::thread::sleep(Duration::from_millis(5));
        }
        (status.code(), self.screen.lock().unwrap().replace('\r', ""))
    }
}

impl Drop for Dialogue {
    fn drop(&mut self) {
        let _ended = self.script.kill();
        let _status = self.script.wait();
    }
}
