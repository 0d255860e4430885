//! Each view, in each look: nothing that axe-core or the browser reports, and no sideways scrolling.

use crate::browser::Browser;
use crate::look::{Look, Scheme, Screen, Scripts};
use crate::page_inbox::PageInbox;
use blobgate_testkit::{Reply, Upstream, needs};

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
    for look in Look::ALL.into_iter().filter(|look| look.screen == screen) {
        browser.set_look(look);
        for (view, path) in &views {
            browser.open_page(&page.at(path));
            assert_eq!(browser.count("main h1"), 1, "{view} has one heading of the first rank");
            browser.is_sound(view);
        }
    }
}

/// Each view's name and path, with entries in it.
fn views_with_entries(page: &PageInbox) -> Vec<(&'static str, String)> {
    page.quarantined();
    vec![("overview", "/page/".to_owned())]
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
