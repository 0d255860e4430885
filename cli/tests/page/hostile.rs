//! Hostile values show as text: in a body, in a header, in a service's answer, and in the address.

use crate::browser::Browser;
use crate::look::Look;
use crate::page_inbox::{PageInbox, quarantined};
use blobgate::contract::header;
use blobgate_testkit::inbox::{forwarded, fresh_generation};
use blobgate_testkit::{Reply, needs};
use serde_json::json;

/// Markup that would run.
const MARKUP: &str = "</pre></script><script>window.ran = 1</script><img src=x onerror='window.ran = 2'>\
                      <svg onload='window.ran = 3'><a href=\"javascript:window.ran = 4\">x</a>{{ 7 * 7 }}{% raw %}&lt;b&gt;";

#[needs(Chromium, Sqlite3)]
#[test]
fn bodies_show_as_text() {
    let page = PageInbox::start();
    let browser = Browser::open(Look::PHONE);
    let in_json = json!({"generation_id": fresh_generation(), "prompt": MARKUP}).to_string();
    let megabyte = json!({"prompt": "long ".repeat(199_000), "end": "the end"}).to_string();
    let rows: [(&str, Vec<u8>, &[&str]); 8] = [
        ("markup", MARKUP.into(), &[MARKUP]),
        ("markup in JSON", in_json.into(), &["<script>window.ran = 1</script>", "{{ 7 * 7 }}"]),
        ("escapes", b"a\x1b[31mred\x1b]0;title\x07b".to_vec(), &["[31mred", "]0;title"]),
        ("bidi", "user \u{202e}gnp.exe\u{202c} \u{2066}x\u{2069}".into(), &["user ", "gnp.exe"]),
        ("NUL", b"before\0after".to_vec(), &["before", "after"]),
        ("invalid UTF-8", b"caf\xc3( \xff end".to_vec(), &["caf", " end"]),
        ("lone surrogate", br#"{"prompt": "\ud800 x"}"#.to_vec(), &["x"]),
        ("a megabyte of JSON", megabyte.into(), &["long long"]),
    ];
    for (name, body, shown) in rows {
        let delivery = quarantined(&fresh_generation(), "schema-invalid", Some(body.clone()));
        let id = page.store(&delivery);
        browser.open_page(&page.at(&format!("/page/entries/{id}")));
        let text = browser.text("#body pre");
        for part in shown {
            assert!(
                text.contains(part),
                "{name}: no {part:?} in {:?}",
                &text.chars().take(400).collect::<String>()
            );
        }
        let control = |c: char| {
            (c.is_control() && !matches!(c, '\n' | '\t'))
                || ('\u{202a}'..='\u{202e}').contains(&c)
                || ('\u{2066}'..='\u{2069}').contains(&c)
        };
        assert_eq!(text.chars().find(|&c| control(c)), None, "{name}");
        assert_eq!(browser.run("return window.ran;", &[]), json!(null), "{name}");
        assert_eq!(browser.count("#body script, #body img, #body svg"), 0, "{name}");
        browser.is_sound(name);
        // The raw body is the bytes, and no page.
        let raw = page.inbox.get(&format!("/page/entries/{id}/body")).unwrap();
        assert_eq!((raw.status, &raw.body), (200, &body), "{name}");
        let kind = raw.header("content-type").unwrap();
        assert!(["text/plain; charset=utf-8", "application/octet-stream"].contains(&kind.as_str()), "{kind}");
        assert!(raw.header("content-disposition").unwrap().starts_with("attachment"), "{name}");
        assert_eq!(raw.header("x-content-type-options").as_deref(), Some("nosniff"));
    }
}

#[needs(Chromium, Sqlite3)]
#[test]
fn other_values_show_as_text() {
    const SCRIPT: &str = "<img src=x onerror=window.ran=1>";
    let page = PageInbox::start();
    let browser = Browser::open(Look::PHONE);
    // A service's answer, and a header.
    page.service.reply(Reply::status(500).header("content-type", "text/html").body(SCRIPT));
    let event =
        forwarded(&fresh_generation()).header(header::JOB, "order-<b>17</b>").header("x-hostile", SCRIPT);
    let id = page.store(&event);
    browser.open_page(&page.at(&format!("/page/entries/{id}")));
    browser.click("#body details:last-of-type summary");
    for path in [
        format!("/page/entries/{id}"),
        "/page/entries".to_owned(),
        format!("/page/entries?q={}", "%3Cimg%20src%3Dx%20onerror%3Dwindow.ran%3D1%3E"),
        format!("/page/entries?hook={}", "%3Cimg%20src%3Dx%20onerror%3Dwindow.ran%3D1%3E"),
        format!("/page/entries?state={}", "%22%3E%3Cscript%3Ewindow.ran%3D1%3C%2Fscript%3E"),
        format!("/page/refusals?hook={}", "%3Cscript%3Ewindow.ran%3D1%3C%2Fscript%3E"),
        format!("/page/actions/{}?ids=1", "%3Cscript%3Ewindow.ran%3D1%3C%2Fscript%3E"),
        format!("/page/actions/release?ids={}", "%3Cscript%3Ewindow.ran%3D1%3C%2Fscript%3E"),
        "/page/%3Cscript%3Ewindow.ran%3D1%3C%2Fscript%3E".to_owned(),
    ] {
        browser.expect("the server responded with a status of 4");
        browser.open_page(&page.at(&path));
        assert_eq!(browser.run("return window.ran;", &[]), json!(null), "{path}");
        assert_eq!(browser.count("main img, main script"), 0, "{path}");
        browser.is_sound(&path);
    }
}
