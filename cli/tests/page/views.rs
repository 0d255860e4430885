//! Each view, in each look: nothing that axe-core or the browser reports, and no sideways scrolling.

use crate::browser::Browser;
use crate::look::{Look, Scheme, Screen, Scripts};
use crate::page_inbox::PageInbox;
use blobgate_testkit::inbox::fresh_generation;
use blobgate_testkit::{Connector, H1, Reply, TestDelivery, Upstream, needs};
use serde_json::json;

#[needs(Chromium, Sqlite3)]
#[test]
fn views_are_sound_on_a_phone() {
    views_are_sound(Screen::Phone);
}

#[needs(Chromium, Sqlite3)]
#[test]
fn views_are_sound_on_a_desk() {
    views_are_sound(Screen::Desk);
}

fn views_are_sound(screen: Screen) {
    let page = PageInbox::start();
    let browser = Browser::open(Look::DESK);
    let views = views_with_entries(&page);
    browser.expect("the server responded with a status of 40");
    for look in Look::ALL.into_iter().filter(|look| look.screen == screen) {
        browser.set_look(look);
        for (view, path) in &views {
            browser.open_page(&page.at(path));
            assert_eq!(browser.count("main h1"), 1, "{view} has one heading of the first rank");
            browser.is_sound(view);
        }
    }
}

/// Each view's name and path, with entries in each state, and without any.
fn views_with_entries(page: &PageInbox) -> Vec<(&'static str, String)> {
    let (dead, unreadable, quarantined) = (page.dead(), page.unreadable(), page.quarantined());
    let dropped = page.quarantined();
    assert_eq!(page.inbox.post("/drop", &json!({"ids": [dropped]})).status, 200);
    let waiting = page.waiting();
    let expect = json!({"hook": "veo3", "generation_id": fresh_generation(), "job": "order-18"});
    assert_eq!(page.inbox.post("/expect", &expect).status, 200);
    let pause = TestDelivery::json(&json!({"hook": "veo3", "event": "failed"})).method("PUT").path("/pauses");
    let pause = pause.header("host", "127.0.0.1");
    assert_eq!(Connector::plaintext(page.inbox.admin, H1).open().send(&pause).status, 200);
    vec![
        ("overview", "/page/".to_owned()),
        ("entries", "/page/entries".to_owned()),
        ("entries of a filter", "/page/entries?state=quarantined&hook=veo3&reason=token-expired".to_owned()),
        ("no entries", "/page/entries?state=superseded".to_owned()),
        ("a wrong filter", "/page/entries?state=kept&since=yesterday".to_owned()),
        ("a search without result", "/page/entries?q=order-0".to_owned()),
        ("a search with results", "/page/entries?q=order-17".to_owned()),
        ("a delivered entry", "/page/entries/1".to_owned()),
        ("a dead entry", format!("/page/entries/{dead}")),
        ("an unreadable entry", format!("/page/entries/{unreadable}")),
        ("a quarantined entry", format!("/page/entries/{quarantined}")),
        ("a dropped entry", format!("/page/entries/{dropped}")),
        ("a waiting entry", format!("/page/entries/{waiting}")),
        ("no such entry", "/page/entries/999999".to_owned()),
        ("refusals", "/page/refusals".to_owned()),
        ("audit", "/page/audit".to_owned()),
        ("no such view", "/page/nowhere".to_owned()),
        ("the question of replay", "/page/actions/replay?ids=1".to_owned()),
        ("the question of purge", format!("/page/actions/purge?ids={dead},{dropped}")),
        ("the question of release-as", format!("/page/actions/release-as?ids={unreadable}&as=completed")),
        ("the question of reevaluate", "/page/actions/reevaluate?state=quarantined".to_owned()),
        ("the question of pause", "/page/actions/pause".to_owned()),
        ("the question of a pause", "/page/actions/pause?hook=veo3".to_owned()),
        ("the question of a resumption", "/page/actions/resume?hook=veo3&event=failed".to_owned()),
        ("no such action", "/page/actions/burn?ids=1".to_owned()),
    ]
}

/// The checks find what they are for.
#[needs(Chromium)]
#[test]
fn a_bad_page_is_found() {
    const BAD: &str = "<!doctype html><html lang=en><title>Bad</title><meta name=viewport content='width=device-width'>\
        <main><h1>Bad</h1><img src='/x.png'><p style='color: red'>styled</p>\
        <div id=wide>wide</div><link rel=stylesheet href='/bad.css'><script src='/bad.js'></script>\
        <img alt=elsewhere src='http://127.0.0.9:9/elsewhere.png'></main>";
    let site = Upstream::start();
    site.reply_by(|request| {
        let (kind, text) = match request.path.as_str() {
            "/" => ("text/html", BAD),
            "/bad.css" => ("text/css", "#wide { width: 2000px; } p { color: #777; background: #888; }"),
            "/bad.js" => ("text/javascript", "console.error('a fault of the script'); window.ran = true;"),
            _ => return Some(Reply::status(404)),
        };
        let policy = "default-src 'self'";
        let answer =
            Reply::status(200).header("content-type", kind).header("content-security-policy", policy);
        Some(answer.body(text))
    });
    let browser = Browser::open(Look::PHONE);
    for scripts in [Scripts::On, Scripts::Off] {
        let look = Look { scripts, ..Look::PHONE };
        browser.set_look(look);
        browser.open_page(&format!("http://127.0.0.1:{}/", site.port));
        assert_eq!(browser.run("return Boolean(window.ran);", &[]), scripts == Scripts::On);
        let layout = browser.check_layout().join("\n");
        for part in ["wide on a screen of 390", "image-alt", "color-contrast"] {
            assert!(layout.contains(part), "no {part}, {look:?}: {layout}");
        }
        let traffic = browser.check_traffic().join("\n");
        let style = "Applying inline style violates";
        for part in [style, "127.0.0.9", "404"] {
            assert!(traffic.contains(part), "no {part}, {look:?}: {traffic}");
        }
        assert_eq!(traffic.contains("a fault of the script"), scripts == Scripts::On, "{traffic}");
    }
    browser.set_look(Look { scheme: Scheme::Dark, ..Look::DESK });
    let seen = "return [innerWidth, matchMedia('(prefers-color-scheme: dark)').matches];";
    assert_eq!(browser.run(seen, &[]).to_string(), "[1280,true]");
}
