//! Each action by clicks alone: the question, the effect, and the row of the audit.

use crate::browser::Browser;
use crate::look::Look;
use crate::page_inbox::PageInbox;
use blobgate::contract::header;
use blobgate_testkit::{Reply, needs, repository};
use serde_json::{Value, json};
use std::fs;

#[needs(Chromium, Sqlite3)]
#[test]
fn actions_on_an_entry_at_a_desk() {
    acts_on_entries(Look::DESK);
}

#[needs(Chromium, Sqlite3)]
#[test]
fn actions_on_an_entry_on_a_phone_without_scripts() {
    acts_on_entries(Look::PHONE.without_scripts());
}

fn acts_on_entries(look: Look) {
    let page = PageInbox::start();
    let browser = Browser::open(look);
    let visit = Visit { page: &page, browser: &browser };

    let id = page.delivered();
    page.service.take();
    visit.acts(id, "Replay", &format!("Replay entry {id}"), "1 entry replayed");
    let again = page.service.take_one();
    assert_eq!(again.header(header::REDELIVERY).as_deref(), Some("1"));
    visit.audits("replay", &[id]);

    let id = page.quarantined();
    visit.acts(id, "Release", &format!("Release entry {id}"), "1 entry released");
    page.wait_for(id, "delivered");
    visit.audits("release", &[id]);

    let id = page.quarantined();
    visit.acts(id, "Drop", &format!("Drop entry {id}"), "1 entry dropped");
    assert_eq!(page.state(id), "dropped");
    visit.audits("drop", &[id]);

    let id = page.delivered();
    visit.acts(id, "Purge", &format!("Purge entry {id}"), "1 entry purged");
    visit.audits("purge", &[id]);
    browser.open_page(&page.at(&format!("/page/entries/{id}")));
    browser.shows("The body is deleted");

    let id = page.unreadable();
    visit.asks(id, "Release as an event");
    browser.choose("#as", "completed");
    browser.press("Next");
    visit.does(&format!("Release entry {id} as completed"), "Entry released as ");
    visit.audits("release-as", &[id]);
    page.wait_for(page.successor(id), "delivered");

    let id = page.waiting();
    page.service.reply(Reply::status(200));
    visit.acts(id, "Retry now", &format!("Retry entry {id}"), "1 entry retried");
    page.wait_for(id, "delivered");
    visit.audits("retry", &[id]);
}

#[needs(Chromium, Sqlite3)]
#[test]
fn reevaluates_by_a_pasted_configuration() {
    reevaluates(Look::DESK, |browser, text| browser.paste("#config", text));
}

#[needs(Chromium, Sqlite3)]
#[test]
fn reevaluates_by_a_file_on_a_phone_without_scripts() {
    reevaluates(Look::PHONE.without_scripts(), |browser, text| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("envoy.yaml");
        fs::write(&file, text).unwrap();
        browser.choose_file("#file", &file);
        // Chromium reads it when it sends the form.
        std::mem::forget(folder);
    });
}

fn reevaluates(look: Look, give: impl Fn(&Browser, &str)) {
    let page = PageInbox::start();
    let browser = Browser::open(look);
    let visit = Visit { page: &page, browser: &browser };
    let id = page.quarantined_for("source-denied");
    let config = fs::read_to_string(repository("envoy.yaml")).unwrap();
    visit.asks(id, "Reevaluate");
    // A configuration that judges as before.
    give(&browser, &config.replace("source: [127.0.0.0/8, \"::1\"]", "source: [192.0.2.1]"));
    browser.press("List what would change");
    browser.shows("No entry passes");
    browser.is_sound("the list of changes");
    assert_eq!((page.state(id).as_str(), page.audit().len()), ("quarantined", 0));
    // Today's configuration lets it pass.
    visit.asks(id, "Reevaluate");
    give(&browser, &config);
    browser.press("List what would change");
    browser.shows("is released");
    browser.is_sound("the list of changes");
    assert_eq!((page.state(id).as_str(), page.audit().len()), ("quarantined", 0));
    visit.does("Release 1 entry", "1 entry passed");
    page.wait_for(page.successor(id), "delivered");
    visit.audits("reevaluate", &[id]);
}

#[needs(Chromium, Sqlite3)]
#[test]
fn pauses_and_resumes_a_route_at_a_desk() {
    pauses_and_resumes(Look::DESK);
}

#[needs(Chromium, Sqlite3)]
#[test]
fn pauses_and_resumes_a_route_on_a_phone_without_scripts() {
    pauses_and_resumes(Look::PHONE.without_scripts());
}

fn pauses_and_resumes(look: Look) {
    let page = PageInbox::start();
    let browser = Browser::open(look);
    let visit = Visit { page: &page, browser: &browser };
    page.delivered();
    browser.open_page(&page.at("/page/"));
    browser.press("Pause veo3/completed");
    browser.is_sound("the question of a pause");
    assert_eq!(page.audit().len(), 0);
    visit.does("Pause hook veo3, event completed", "Paused: ");
    assert_eq!(visit.newest_audit()["action"], "pause");
    page.service.take();
    let id = page.store_event();
    page.wait_for(id, "waiting");
    assert_eq!(page.service.take().len(), 0, "a paused route delivers");
    browser.open_page(&page.at("/page/"));
    browser.press("Resume veo3/completed");
    browser.is_sound("the question of a resumption");
    visit.does("Resume hook veo3, event completed", "Resumed: ");
    assert_eq!(visit.newest_audit()["action"], "resume");
    page.wait_for(id, "delivered");
}

#[needs(Chromium, Sqlite3)]
#[test]
fn acts_on_chosen_entries_and_on_all_that_match() {
    for look in [Look::DESK, Look::PHONE.without_scripts()] {
        let page = PageInbox::start();
        let browser = Browser::open(look);
        let visit = Visit { page: &page, browser: &browser };
        let ids: Vec<i64> = (0..4).map(|_| page.quarantined()).collect();
        browser.open_page(&page.at("/page/entries?state=quarantined"));
        for id in &ids[..2] {
            browser.click(&format!("input[name=ids][value='{id}']"));
        }
        browser.press("Drop");
        browser.is_sound("the question about chosen entries");
        visit.does("Drop 2 entries", "2 entries dropped");
        visit.audits("drop", &ids[..2]);
        browser.open_page(&page.at("/page/entries?state=quarantined"));
        browser.press("Release all that match");
        // An entry that comes now stays.
        let late = page.quarantined();
        visit.does("Release 2 entries", "2 entries released");
        visit.audits("release", &ids[2..]);
        assert_eq!(page.state(late), "quarantined");
        for id in &ids[2..] {
            page.wait_for(*id, "delivered");
        }
    }
}

/// A repeated form changes nothing, and neither does a form whose entry has changed meanwhile.
#[needs(Chromium, Sqlite3)]
#[test]
fn a_repeat_and_a_late_click_change_nothing() {
    let page = PageInbox::start();
    let browser = Browser::open(Look::DESK);
    let visit = Visit { page: &page, browser: &browser };
    let id = page.quarantined();
    visit.acts(id, "Drop", &format!("Drop entry {id}"), "1 entry dropped");
    let outcome = browser.path();
    browser.open_page(&browser.url()); // a reload
    browser.shows("1 entry dropped");
    assert_eq!((browser.path(), page.audit().len()), (outcome, 1));
    browser.back();
    visit.does(&format!("Drop entry {id}"), "Nothing changed");
    assert_eq!(page.audit().len(), 1);
    browser.open_page(&page.at(&format!("/page/actions/drop?ids={id}")));
    browser.shows("No selected entry would change");
    assert!(!browser.has_button("Drop "));

    let id = page.quarantined();
    visit.asks(id, "Release");
    assert_eq!(page.inbox.post("/drop", &json!({"ids": [id]})).status, 200);
    visit.does(&format!("Release entry {id}"), "Nothing changed");
    assert_eq!((page.state(id).as_str(), page.audit().len()), ("dropped", 2));
}

/// A browser at the page of an inbox.
struct Visit<'a> {
    page: &'a PageInbox,
    browser: &'a Browser,
}

impl Visit<'_> {
    /// Opens an entry, and the question of an action.
    #[track_caller]
    fn asks(&self, id: i64, action: &str) {
        self.browser.open_page(&self.page.at(&format!("/page/entries/{id}")));
        self.browser.press(action);
        self.browser.is_sound(&format!("the question of {action}"));
    }

    /// Sends the question's form.
    #[track_caller]
    fn does(&self, button: &str, outcome: &str) {
        self.browser.press(button);
        self.browser.shows(outcome);
        self.browser.is_sound(&format!("the outcome of {button}"));
    }

    #[track_caller]
    fn acts(&self, id: i64, action: &str, button: &str, outcome: &str) {
        let before = self.page.audit().len();
        self.asks(id, action);
        assert_eq!(self.page.audit().len(), before, "a question changes nothing");
        self.does(button, outcome);
    }

    fn newest_audit(&self) -> Value {
        self.page.audit().remove(0)
    }

    /// The newest row of the audit is this action, also on the page.
    #[track_caller]
    fn audits(&self, action: &str, ids: &[i64]) {
        let row = self.newest_audit();
        let mut changed: Vec<i64> =
            row["ids"].as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect();
        changed.sort_unstable();
        assert_eq!((row["action"].as_str(), changed.as_slice()), (Some(action), ids), "{row}");
        assert_eq!(row["entries"], ids.len(), "{row}");
        self.browser.press(&format!("action {}", row["id"]));
        assert!(self.browser.path().starts_with("/page/audit"));
        self.browser.shows(action);
    }
}
