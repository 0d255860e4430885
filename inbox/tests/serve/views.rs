//! The views of the page, over HTTP.

use super::{GATE_HEADERS, ID, MAX_WAIT, ServedInbox, client, gate_headers};
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, Request};
use blobgate::contract::{Verdict, header};
use http_body_util::{BodyExt, Full};
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A view as a browser gets it.
struct PageView {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl PageView {
    async fn get(inbox: &ServedInbox, path: &str) -> Self {
        let request = Request::get(format!("http://{}{path}", inbox.admin)).body(Full::default()).unwrap();
        let (head, body) = client().request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Self { status: head.status.as_u16(), headers: head.headers, body }
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn location(&self) -> &str {
        self.headers["location"].to_str().unwrap()
    }
}

#[tokio::test]
async fn views_show_a_hostile_delivery_as_text() {
    const BODY: &[u8] = b"{\"a\": \"<script>alert(1)</script>\xff\0";
    let inbox = ServedInbox::start().await;
    let headers = gate_headers(&[
        (header::VERDICT, Verdict::Quarantined.name()),
        (header::REASON, "json-invalid"),
        (header::EVENT, ""),
        (header::GENERATION_ID, ""),
        (header::IDEMPOTENCY_KEY, "veo3:quarantined"),
        ("blobgate-of-tomorrow", "<script>alert(2)</script>"),
    ]);
    inbox.send(Method::POST, &headers, BODY).await.assert_stored();
    for path in ["/page/", "/page/entries", "/page/entries/1", "/page/refusals", "/page/audit"] {
        let view = PageView::get(&inbox, path).await;
        let text = view.text();
        assert_eq!(view.status, 200, "{path}: {text}");
        assert_eq!(text.matches("<script").count(), 1, "{path}: {text}");
        assert!(text.starts_with("<!doctype html>\n<html lang=\"en\">\n"), "{path}");
        assert!(
            view.headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'; ")
        );
    }
    let view = PageView::get(&inbox, "/page/entries/1").await;
    let shown = ">{&quot;a&quot;: &quot;&lt;script&gt;alert(1)&lt;/script&gt;\\xff<span class=\"mark\" title=\"U+0000\">NUL</span></pre>";
    assert!(view.text().contains(shown), "{}", view.text());
    assert!(view.text().contains("<td>&lt;script&gt;alert(2)&lt;/script&gt;</td>"), "{}", view.text());
    let raw = PageView::get(&inbox, "/page/entries/1/body").await;
    assert_eq!(raw.body, BODY);
    assert_eq!(raw.headers["content-type"], "application/octet-stream");
    assert_eq!(raw.headers["content-disposition"], "attachment; filename=\"entry-1.body\"");
    assert_eq!(raw.headers["x-content-type-options"], "nosniff");
    assert_eq!(PageView::get(&inbox, "/page/entries/2").await.status, 404);
    assert_eq!(PageView::get(&inbox, "/page/entries/no").await.status, 400);
}

#[tokio::test]
async fn the_search_finds_what_a_text_is() {
    let inbox = ServedInbox::start().await;
    inbox.post(&gate_headers(&[(header::JOB, "1"), ("x-request-id", "r-1")])).await.assert_stored();
    for text in [ID, &ID.to_uppercase(), "r-1", "%231"] {
        let view = PageView::get(&inbox, &format!("/page/entries?q={text}")).await;
        assert_eq!((view.status, view.location()), (303, "/page/entries/1"), "{text}");
    }
    // An entry and a job.
    let view = PageView::get(&inbox, "/page/entries?q=1").await;
    assert_eq!(view.status, 200);
    assert!(view.text().contains("is several things"), "{}", view.text());
    for text in ["17", "nothing", "%3Cscript%3E", "two+words"] {
        let view = PageView::get(&inbox, &format!("/page/entries?q={text}")).await;
        assert_eq!(view.status, 200);
        assert!(view.text().contains("Nothing is called"), "{text}: {}", view.text());
    }
}

#[tokio::test]
async fn the_list_filters_and_explains_wrong_values() {
    let inbox = ServedInbox::start().await;
    inbox.post(&GATE_HEADERS).await.assert_stored();
    inbox.service.got(1).await;
    for (query, has_entry) in [
        ("", true),
        ("?state=&hook=veo3&event=completed&since=2020-01-01", true),
        ("?hook=other", false),
        ("?state=dead", false),
    ] {
        let view = PageView::get(&inbox, &format!("/page/entries{query}")).await;
        assert_eq!(view.status, 200, "{query}");
        assert_eq!(view.text().contains("data-id=\"1\""), has_entry, "{query}: {}", view.text());
    }
    let view = PageView::get(&inbox, "/page/entries?state=lost&hook=veo3").await;
    assert_eq!(view.status, 400);
    assert!(view.text().contains("id=\"e-state\"><bdi>unknown state &quot;lost&quot;: use one of waiting"));
    assert!(view.text().contains("name=\"hook\" value=\"veo3\""), "{}", view.text());
    let story = PageView::get(&inbox, &format!("/page/entries?generation={ID}")).await;
    assert!(
        story.text().contains("completed received from an unauthenticated sender: entry 1"),
        "{}",
        story.text()
    );
}

#[tokio::test]
async fn the_live_stream_tells_of_changes_and_ends_with_the_inbox() {
    let inbox = ServedInbox::start().await;
    let mut stream = TcpStream::connect(inbox.admin).await.unwrap();
    let request =
        format!("GET /page/live HTTP/1.1\r\nhost: {}\r\naccept: text/event-stream\r\n\r\n", inbox.admin);
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut got = String::new();
    read_until(&mut stream, &mut got, "event: counts").await;
    assert!(got.starts_with("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"), "{got}");
    inbox.post(&GATE_HEADERS).await.assert_stored();
    read_until(&mut stream, &mut got, "\"delivered\":1").await;
    let begun = Instant::now();
    inbox.ending.cancel();
    let mut rest = Vec::new();
    tokio::time::timeout(MAX_WAIT, stream.read_to_end(&mut rest)).await.unwrap().unwrap();
    inbox.served.await.unwrap().unwrap();
    assert!(begun.elapsed() < MAX_WAIT / 2, "{:?}", begun.elapsed());
}

async fn read_until(stream: &mut TcpStream, got: &mut String, end: &str) {
    let mut buffer = [0; 4_096];
    while !got.contains(end) {
        let read = tokio::time::timeout(MAX_WAIT, stream.read(&mut buffer));
        let count = read.await.unwrap_or_else(|_| panic!("no {end} in {got}")).unwrap();
        assert!(count > 0, "the stream ended: {got}");
        got.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
}
