//! The inbox reads every head that edge and gate forward, and reports a head that it cannot read.

use crate::{PROGRAM, on_each_store};
use blobgate::contract::header;
use blobgate_testkit::inbox::{forwarded, fresh_generation};
use blobgate_testkit::{Connector, H1, InboxProcess, Protocol, Upstream, eventually, metrics};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

on_each_store! { reads_as_many_headers_as_the_edge_forwards counts_and_logs_unreadable_heads }

/// The edge's `max_headers_count` and `max_request_headers_kb`.
const EDGE_HEADERS: usize = 100;
const EDGE_HEAD: usize = 32 << 10;
/// A text that must not be logged.
const SECRET: &str = "s3cret-of-a-client";

fn reads_as_many_headers_as_the_edge_forwards(store: &str) {
    let service = Upstream::start();
    let inbox = InboxProcess::start(PROGRAM, store, service.port, &[]).ready();
    for protocol in Protocol::BOTH {
        let generation = fresh_generation();
        let mut many = forwarded(&generation);
        for number in 0..EDGE_HEADERS {
            many = many.header(&format!("x-{number}"), "1");
        }
        let large = forwarded(&fresh_generation()).header("x-large", "x".repeat(EDGE_HEAD));
        for delivery in [many, large, forwarded(&fresh_generation()).path("/hooks/veo3?signed=%22")] {
            let answer = Connector::plaintext(inbox.receive, protocol).open().send(&delivery);
            assert_eq!(answer.status, 200, "{protocol:?}: {answer:?}");
        }
    }
}

fn counts_and_logs_unreadable_heads(store: &str) {
    let service = Upstream::start();
    let inbox = InboxProcess::start(PROGRAM, store, service.port, &[]).ready();
    assert_eq!(refused(&inbox), 0.0, "the counter exists from the start");
    let many: String = (0..300).map(|number| format!("x-{number}: {SECRET}\r\n")).collect();
    let heads = [
        format!("POST /hooks/{SECRET}?a=\"b\" HTTP/1.1\r\nhost: a\r\n\r\n"),
        format!("POST /hooks/veo3 {SECRET} HTTP/1.1\r\nhost: a\r\n\r\n"),
        format!("POST /hooks/veo3 HTTP/1.1\r\nhost: a\r\n{many}\r\n"),
        format!("POST /hooks/veo3 HTTP/1.1\r\nhost: a\r\nx-a: {SECRET}\u{1}\r\n\r\n"),
        format!("POST /hooks/veo3 HTTP/1.1\r\nhost: a\r\n{SECRET} : b\r\n\r\n"),
        format!("POST /hooks/veo3 HTTP/1.1\r\nhost: a\r\nx-a: {}\r\n\r\n", SECRET.repeat(20_000)),
        format!("{SECRET}\r\n\r\n"),
    ];
    let mut all = 0.0;
    for head in &heads {
        all += 1.0;
        let answer = Connector::plaintext(inbox.receive, H1).open().raw(head.as_bytes());
        assert!(answer.as_ref().map_or(0, |answer| answer.status) != 200, "{answer:?}");
        let count = eventually("count", || Some(refused(&inbox)).filter(|count| *count >= all));
        assert_eq!(count, all, "{head:.60}");
    }
    // The HTTP/2 library resets the stream of an invalid target.
    let mut stream = TcpStream::connect(("127.0.0.1", inbox.receive)).unwrap();
    stream.write_all(&h2_request(b"/hooks/veo3?a=\"\x01\"")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut read = [0; 64];
    assert!(stream.read(&mut read).unwrap() > 0);
    eventually("count of a reset", || (refused(&inbox) >= all + 1.0).then_some(()));
    // The inbox itself answers a head larger than the gate can send.
    let large = forwarded(&fresh_generation()).header("x-large", "x".repeat(200 << 10));
    let answer = Connector::plaintext(inbox.receive, Protocol::H2).open().send(&large);
    assert_eq!((answer.status, answer.header(header::INBOX_REASON).as_deref()), (503, Some("not-http")));

    let log = inbox.log();
    assert!(log.contains("refused reason=not-http listener=receive: "), "{log}");
    assert!(!log.contains(SECRET), "{log}");
    assert!(log.lines().filter(|line| line.contains("reason=not-http")).count() >= 9, "{log}");
    // Other deliveries still work.
    assert_eq!(inbox.receive(&forwarded(&fresh_generation())).unwrap().status, 200);
}

fn refused(inbox: &InboxProcess) -> f64 {
    let text = String::from_utf8(inbox.get("/metrics").unwrap().body).unwrap();
    assert!(text.contains("blobgate_inbox_refused_total{reason=\"not-http\"}"), "{text}");
    metrics::sum(&metrics::parse(&text), "blobgate_inbox_refused_total", &[("reason", "not-http")])
}

/// The start of an HTTP/2 connection and a request with this target (RFC 9113, RFC 7541).
fn h2_request(path: &[u8]) -> Vec<u8> {
    let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap();
    // POST, http, and a path without indexing.
    let fields = [&[0x83, 0x86, 0x04, length(path)], path].concat();
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let headers = [0, 0, length(&fields), 1, 5, 0, 0, 0, 1];
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings, &headers, &fields].concat()
}
