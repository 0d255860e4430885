//! The live part: what arrives shows without a reload, and an end of the inbox shows.

use crate::PROGRAM;
use crate::browser::Browser;
use crate::look::Look;
use crate::page_inbox::quarantined;
use blobgate_testkit::inbox::fresh_generation;
use blobgate_testkit::{Connector, H1, SqliteFile, TestDelivery, closed_port, eventually, free_port, needs};
use std::process::{Child, Command, Stdio};

/// An inbox that returns at its address after an end.
struct ReturningInbox {
    store: SqliteFile,
    receive: u16,
    admin: u16,
    child: Option<Child>,
}

impl ReturningInbox {
    fn new() -> Self {
        let store = SqliteFile::migrated(PROGRAM);
        let mut inbox = Self { store, receive: free_port(), admin: free_port(), child: None };
        inbox.start();
        inbox
    }

    fn start(&mut self) {
        let service = closed_port();
        let mut command = Command::new(PROGRAM);
        command.args(["inbox", "serve", "--store", &self.store.url]);
        command.args(["--listen", &format!("127.0.0.1:{}", self.receive)]);
        command.args(["--admin", &format!("127.0.0.1:{}", self.admin)]);
        command.args(["--deliver-to", &format!("http://{}", service.address)]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().unwrap());
        let ready = TestDelivery::without_body().method("GET").path("/readyz").header("host", "127.0.0.1");
        eventually("ready inbox", || {
            let answer = Connector::plaintext(self.admin, H1).try_open().ok()?.try_send(&ready).ok()?;
            (answer.status == 200).then_some(())
        });
    }

    /// Ends it as an operator does. Returns after its end.
    fn end(&mut self) {
        let mut child = self.child.take().unwrap();
        let sent = Command::new("kill").arg(child.id().to_string()).status();
        assert!(sent.unwrap().success());
        let status = child.wait().unwrap();
        assert!(status.success(), "{status}");
    }

    fn store_one(&self) {
        let delivery = quarantined(&fresh_generation(), "token-expired", None);
        let answer = Connector::plaintext(self.receive, H1).open().send(&delivery);
        assert_eq!(answer.status, 200);
    }
}

impl Drop for ReturningInbox {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _gone_already = child.kill();
            let _status = child.wait();
        }
    }
}

#[needs(Chromium, Sqlite3)]
#[test]
fn shows_what_arrives_and_the_end_of_the_inbox() {
    let mut inbox = ReturningInbox::new();
    let browser = Browser::open(Look::DESK);
    let at = |path: &str| format!("http://127.0.0.1:{}{path}", inbox.admin);
    inbox.store_one();
    browser.open_page(&at("/page/entries"));
    // A reload would lose it.
    browser.run("window.same = true; document.querySelector('#q').focus();", &[]);
    browser.waits_for(".live-state[data-state=live]");
    assert_eq!(browser.count("table.entries tbody tr"), 1);
    inbox.store_one();
    browser.waits_for("table.entries tbody tr:nth-child(2)");
    assert_eq!(
        browser.run("return [window.same, document.activeElement.id];", &[]).to_string(),
        r#"[true,"q"]"#
    );
    browser.is_sound("a refreshed list");

    browser.expect("ERR_");
    browser.expect("Failed to load resource");
    inbox.end();
    browser.waits_for(".live-state[data-state=disconnected]");
    assert!(!browser.text(".live-state").is_empty(), "the state has no text");
    inbox.start();
    inbox.store_one();
    browser.waits_for(".live-state[data-state=live]");
    browser.waits_for("table.entries tbody tr:nth-child(3)");
    assert_eq!(browser.run("return window.same;", &[]), true);
}

/// A watching browser does not hold up the inbox's end.
#[needs(Chromium, Sqlite3)]
#[test]
fn a_watching_browser_does_not_delay_the_end() {
    let mut inbox = ReturningInbox::new();
    let browser = Browser::open(Look::DESK);
    browser.open_page(&format!("http://127.0.0.1:{}/page/", inbox.admin));
    browser.waits_for(".live-state[data-state=live]");
    browser.expect("ERR_");
    browser.expect("Failed to load resource");
    let begun = std::time::Instant::now();
    inbox.end();
    // The drain has 25 s for attempts, and none runs.
    assert!(begun.elapsed().as_secs() < 12, "{:?}", begun.elapsed());
    browser.waits_for(".live-state[data-state=disconnected]");
}
