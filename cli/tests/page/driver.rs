//! ChromeDriver as a process, and a session of a headless Chromium.

use blobgate_testkit::{block, free_port, within};
use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use reqwest::{Method, Url};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// Chromium as root, without its own calls to other machines.
const ARGUMENTS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
];

/// A ChromeDriver with one session. Both end on drop.
pub(crate) struct Driver {
    client: Option<Client>,
    child: Child,
}

impl Driver {
    pub(crate) fn start() -> Self {
        let port = free_port();
        let mut command = Command::new("chromedriver");
        command
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap_or_else(|error| {
            panic!("cannot run chromedriver: {error}. Install the packages chromium and chromium-driver.")
        });
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut before = Vec::new();
        while !before.last().is_some_and(|line: &String| line.contains("started successfully")) {
            before.push(lines.next().unwrap_or_else(|| panic!("chromedriver ends: {before:?}")));
        }
        // A full pipe would block it.
        std::thread::spawn(move || lines.for_each(drop));
        let options = json!({
            "goog:chromeOptions": {"args": ARGUMENTS},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        });
        let Value::Object(options) = options else { unreachable!() };
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(Capabilities::from_iter(options));
        let url = format!("http://127.0.0.1:{port}");
        let opened = within("session of Chromium", async { builder.connect(&url).await });
        Self { client: Some(opened.expect("a session of Chromium")), child }
    }

    pub(crate) fn client(&self) -> &Client {
        self.client.as_ref().expect("an open session")
    }

    /// Runs a command of the Chrome DevTools Protocol.
    #[track_caller]
    pub(crate) fn devtools(&self, name: &str, parameters: Value) -> Value {
        self.post("goog/cdp/execute", json!({"cmd": name, "params": parameters}))
    }

    /// The lines of a log since the last call: `browser` or `performance`.
    #[track_caller]
    pub(crate) fn log(&self, kind: &str) -> Vec<Value> {
        let Value::Array(lines) = self.post("se/log", json!({"type": kind})) else { panic!("no log {kind}") };
        lines
    }

    #[track_caller]
    fn post(&self, path: &'static str, body: Value) -> Value {
        let command = ChromeCommand { path, body };
        within(path, self.client().issue_cmd(command)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            let _gone_already = block(client.close());
        }
        let _gone_already = self.child.kill();
        let _status = self.child.wait();
    }
}

/// A command beside those of WebDriver.
#[derive(Debug)]
struct ChromeCommand {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for ChromeCommand {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, <Url as std::str::FromStr>::Err> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.body.to_string()))
    }
}
