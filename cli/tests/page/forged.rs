//! Hostile sites in the visitor's browser: they post forms to the page, call the API, and frame the page. Nothing changes.

use crate::browser::Browser;
use crate::look::Look;
use crate::page_inbox::{OPERATOR, PageInbox, READER};
use blobgate_testkit::{Reply, Upstream, needs, pause};
use serde_json::json;
use std::time::Duration;

/// A site whose paths each attack the page at `target`.
fn hostile_site(target: String, id: i64) -> Upstream {
    let site = Upstream::start();
    site.reply_by(move |request| {
        let form = |enctype: &str, action: &str| {
            format!(
                "<form id=f method=post enctype='{enctype}' action='{target}{action}'><input name=ids value='{id}'>\
                 <input name=csrf value=guessed></form><script>document.getElementById('f').submit()</script>"
            )
        };
        let body = match request.path.as_str() {
            "/form" => form("application/x-www-form-urlencoded", "/page/actions/release"),
            "/multipart" => form("multipart/form-data", "/page/actions/reevaluate"),
            "/text" => form("text/plain", "/release"),
            "/sign-out" => form("application/x-www-form-urlencoded", "/page/sign-out"),
            "/frame" => format!("<iframe id=frame src='{target}/page/entries/{id}'></iframe>"),
            "/fetch" => format!(
                "<script>const post = (path, type, body, mode) => fetch('{target}' + path, {{method: 'POST', mode, \
                 credentials: 'include', headers: {{'content-type': type}}, body}}).then(() => 'sent', () => 'refused');
                 Promise.all([
                   post('/release', 'application/json', '{{\"ids\": [{id}]}}', 'cors'),
                   post('/release', 'text/plain', '{{\"ids\": [{id}]}}', 'no-cors'),
                   post('/page/actions/release', 'application/x-www-form-urlencoded', 'ids={id}', 'no-cors'),
                   fetch('{target}/page/entries/{id}', {{credentials: 'include'}}).then(r => r.text(), () => 'unreadable'),
                   fetch('{target}/entries/{id}', {{credentials: 'include'}}).then(r => r.text(), () => 'unreadable'),
                 ]).then(all => window.done = all);</script>"
            ),
            _ => return Some(Reply::status(404)),
        };
        let page = format!("<!doctype html><html lang=en><title>Hostile</title><link rel=icon href='data:,'>{body}");
        Some(Reply::status(200).header("content-type", "text/html").body(page))
    });
    site
}

#[needs(Chromium, Sqlite3)]
#[test]
fn hostile_sites_change_and_read_nothing_without_sign_in() {
    let page = PageInbox::start();
    attack(&page, |_| {});
}

/// The visitor has signed in, in the same browser. A site on another port gets the cookie: `SameSite` ignores ports.
#[needs(Chromium, Sqlite3)]
#[test]
fn hostile_sites_change_and_read_nothing_with_a_session() {
    let page = PageInbox::with_tokens();
    attack(&page, |browser| {
        page.sign_in(browser, OPERATOR);
        browser.shows("operator");
    });
}

fn attack(page: &PageInbox, sign_in: impl Fn(&Browser)) {
    let id = page.quarantined();
    let site = hostile_site(page.origin(), id);
    let browser = Browser::open(Look::DESK);
    sign_in(&browser);
    // Refusals stand on the console.
    for report in
        ["Failed to load resource", "CORS policy", "Refused to display", "frame-ancestors", "X-Frame-Options"]
    {
        browser.expect(report);
    }
    // One is cross-site, the other is the same site on another port.
    for host in ["localhost", "127.0.0.1"] {
        let at = |path: &str| format!("http://{host}:{}{path}", site.port);
        for path in ["/form", "/multipart", "/text", "/sign-out"] {
            browser.open_page(&at(path));
            browser.arrives_at(&page.origin());
            pause(Duration::from_millis(100));
            assert_eq!(page.state(id), "quarantined", "{host}{path}");
        }
        browser.open_page(&at("/fetch"));
        let done = browser.wait_for_value("window.done");
        assert_eq!(done[0], "refused", "{host}: a preflight");
        assert_eq!([&done[3], &done[4]], ["unreadable", "unreadable"], "{host}");
        assert_eq!(page.state(id), "quarantined", "{host}/fetch");
        browser.open_page(&at("/frame"));
        pause(Duration::from_millis(300));
        // A frame of the inbox's origin would show, as one that its policy refuses does not.
        browser.enter_frame();
        assert!(!browser.text("body").contains(&format!("Entry {id}")), "{host}: the page shows in a frame");
        browser.leave_frame();
    }
    assert_eq!(page.audit().len(), 0);
    // The session stays, and the page's own form works: what the sites lack is not the right.
    browser.open_page(&page.at(&format!("/page/entries/{id}")));
    browser.press("Release");
    browser.press(&format!("Release entry {id}"));
    browser.shows("1 entry released");
}

#[needs(Chromium, Sqlite3)]
#[test]
fn sessions_end_and_readers_only_read() {
    let page = PageInbox::with_tokens();
    let id = page.quarantined();
    let entry = format!("/page/entries/{id}");
    for look in [Look::DESK, Look::PHONE.without_scripts()] {
        let browser = Browser::open(look);
        browser.expect("the server responded with a status of 4");
        // A wrong token, and then the way back to the entry.
        browser.open_page(&page.at(&entry));
        assert!(browser.path().starts_with("/page/sign-in"), "{}", browser.path());
        browser.is_sound("the sign-in");
        browser.fill("#token", "a-wrong-token-of-enough-characters");
        browser.press("Sign in");
        browser.is_sound("a refused sign-in");
        assert!(!browser.text("body").contains("a-wrong-token"), "the page repeats a token");
        browser.fill("#token", READER);
        browser.press("Sign in");
        browser.shows(&format!("Entry {id}"));
        assert_eq!(browser.path(), entry);
        // A reader sees no buttons, and cannot ask or act without them.
        for button in ["Release", "Drop", "Reevaluate"] {
            assert!(!browser.has_button(button), "a reader sees {button}");
        }
        browser.open_page(&page.at("/page/"));
        assert!(!browser.has_button("Pause"), "a reader sees Pause");
        browser.is_sound("a reader's overview");
        browser.open_page(&page.at(&format!("/page/actions/release?ids={id}")));
        assert!(!browser.has_button("Release entry"));
        browser.is_sound("a reader's refusal");
        // A form without the page: also with a right CSRF token.
        browser.open_page(&page.at("/page/"));
        let forge = "const form = document.createElement('form'), csrf = document.querySelector('[name=csrf]');
            form.method = 'post'; form.action = '/page/actions/release';
            for (const [name, value] of [['csrf', csrf.value], ['ids', arguments[0]]])
                { const field = document.createElement('input'); field.name = name; field.value = value; form.append(field); }
            document.body.append(form); form.submit();";
        browser.run(forge, &[json!(id.to_string())]);
        browser.arrives_at(&page.at("/page/actions/release"));
        assert_eq!((page.state(id).as_str(), page.audit().len()), ("quarantined", 0));
        // After the sign-out, the page before is a sign-in.
        browser.open_page(&page.at(&entry));
        browser.press("Sign out");
        browser.open_page(&page.at(&entry));
        assert!(browser.path().starts_with("/page/sign-in"), "{}", browser.path());

        // An operator whose session ends between the question and the click.
        for end in [SessionEnd::Altered, SessionEnd::Deleted] {
            page.sign_in(&browser, OPERATOR);
            browser.open_page(&page.at(&format!("/page/actions/release?ids={id}")));
            end.apply(&browser);
            browser.press(&format!("Release entry {id}"));
            browser.is_sound("a form after the session's end");
            assert_eq!((page.state(id).as_str(), page.audit().len()), ("quarantined", 0));
        }
    }
    let log = page.inbox.log();
    for token in [READER, OPERATOR, "a-wrong-token-of-enough-characters"] {
        assert!(!log.contains(token), "the log has a token");
    }
}

/// How a session ends.
#[derive(Clone, Copy, Debug)]
enum SessionEnd {
    Altered,
    Deleted,
}

impl SessionEnd {
    fn apply(self, browser: &Browser) {
        let cookie = browser.cookie().expect("a session");
        browser.delete_cookies();
        if let Self::Altered = self {
            let last = if cookie.ends_with('A') { "B" } else { "A" };
            browser.set_cookie(&format!("{}{last}", &cookie[..cookie.len() - 1]));
        }
    }
}
