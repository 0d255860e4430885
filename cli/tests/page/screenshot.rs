//! Pictures for the book.

use crate::browser::Browser;
use crate::look::{Look, Screen};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use blobgate_testkit::repository;
use serde_json::{Value, json};
use std::fs;

/// The pictures of a run.
pub(crate) struct Album {
    screen: Screen,
    /// Whether `make screenshots` runs.
    writes: bool,
}

/// What each run has in place of its own ids, times and ports, so that a new picture shows only what has changed.
const FIXED: &str = r#"
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const rules = [[/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, "5f1c8c1e-7c0c-4b0a-9a5e-000000000017"],
    [/20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g, "2026-01-31T12:00:00.000Z"],
    [/\b\d+ (s|min) ago\b/g, "10 s ago"], [/\b\d+ ms\b/g, "3 ms"], [/\b[0-9a-f]{64}\b/g, "17".repeat(32)],
    [/\b00-[0-9a-f]{32}-[0-9a-f]{16}-00\b/g, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"]];
for (let node; node = texts.nextNode();) for (const [pattern, text] of rules) node.data = node.data.replace(pattern, text);
"#;

impl Album {
    pub(crate) fn of(look: Look) -> Self {
        Self { screen: look.screen, writes: std::env::var_os("BLOBGATE_SCREENSHOTS").is_some() }
    }

    /// Checks the view, and takes its picture. Without `make screenshots` it checks that the book's picture of it exists.
    #[track_caller]
    pub(crate) fn takes(&self, browser: &Browser, view: &str) {
        browser.is_sound(view);
        let name = match self.screen {
            Screen::Desk => format!("page-{view}.png"),
            Screen::Phone => format!("page-{view}-phone.png"),
        };
        if self.screen == Screen::Phone && !["overview", "entry"].contains(&view) {
            return;
        }
        let path = repository("docs/images").join(&name);
        if !self.writes {
            let size = fs::metadata(&path).map(|file| file.len());
            assert!(size.is_ok_and(|size| size > 1_000), "no docs/images/{name}: run `make screenshots`");
            return;
        }
        browser.run(FIXED, &[]);
        let (width, most) = self.screen.size();
        let end = "return Math.ceil(document.querySelector('main').getBoundingClientRect().bottom);";
        let height = browser.run(end, &[]).as_u64().unwrap();
        let clip = json!({"x": 0, "y": 0, "width": width, "height": height.min(most.into()), "scale": 1});
        let taken = browser.driver.devtools("Page.captureScreenshot", json!({"format": "png", "clip": clip}));
        let Value::String(png) = &taken["data"] else { panic!("no picture: {taken}") };
        fs::write(path, STANDARD.decode(png).unwrap()).unwrap();
    }
}
