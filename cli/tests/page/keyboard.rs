//! The page by the keyboard alone.

use crate::browser::Browser;
use crate::look::Look;
use crate::page_inbox::PageInbox;
use blobgate_testkit::needs;
use fantoccini::key::Key;

#[needs(Chromium, Sqlite3)]
#[test]
fn releases_an_event_by_the_keyboard() {
    for look in [Look::DESK, Look::PHONE.without_scripts()] {
        let page = PageInbox::start();
        let browser = Browser::open(look);
        let id = page.quarantined();
        browser.open_page(&page.at(&format!("/page/entries/{id}")));
        // The first stop leads past the navigation.
        browser.keys(&[Key::Tab]);
        assert_eq!(browser.focused(), "Skip to the content");
        assert!(browser.is_focus_visible(), "the skip link shows");
        browser.keys(&[Key::Enter]);
        assert!(browser.path().ends_with("#main"), "{}", browser.path());
        browser.tab_to("Release");
        browser.keys(&[Key::Enter]);
        browser.shows(&format!("Release entry {id}?"));
        browser.tab_to(&format!("Release entry {id}"));
        browser.keys(&[Key::Enter]);
        browser.shows("1 entry released");
        page.wait_for(id, "delivered");
    }
}

/// Every element that Tab reaches is on the screen and shows that it has the focus.
#[needs(Chromium, Sqlite3)]
#[test]
fn the_focus_is_always_visible() {
    let page = PageInbox::start();
    let (quarantined, _) = (page.quarantined(), page.delivered());
    for look in [Look::DESK, Look::PHONE] {
        let browser = Browser::open(look);
        for path in ["/page/", "/page/entries", &format!("/page/entries/{quarantined}"), "/page/audit"] {
            browser.open_page(&page.at(path));
            let mut stops = Vec::new();
            for _ in 0..40 {
                browser.keys(&[Key::Tab]);
                let stop = browser.focused();
                if stop.is_empty() {
                    break; // past the last one
                }
                assert!(browser.is_focus_visible(), "{path}: {stop:?} after {stops:?}");
                stops.push(stop);
            }
            assert!(stops.len() > 5, "{path}: {stops:?}");
        }
    }
}
