//! A web page in a browser on the inbox's machine can use neither listener.

use crate::{PROGRAM, on_each_store};
use blobgate::contract::header;
use blobgate_testkit::inbox::{forwarded, fresh_generation};
use blobgate_testkit::{Connector, H1, InboxProcess, Protocol, TestDelivery, Upstream};
use serde_json::json;

on_each_store! { refuses_events_from_a_page refuses_pages_on_the_admin_listener }

fn refuses_events_from_a_page(store: &str) {
    let service = Upstream::start();
    let inbox = InboxProcess::start(PROGRAM, store, service.port, &[]).ready();
    let port = inbox.receive;
    for protocol in Protocol::BOTH {
        let send = |delivery: &TestDelivery| Connector::plaintext(port, protocol).open().send(delivery);
        // DNS rebinding: the browser lets the page set every header.
        for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example"] {
            let forged = forwarded(&fresh_generation()).header("host", format!("{host}:{port}"));
            let answer = send(&forged);
            let reason = answer.header(header::INBOX_REASON);
            assert_eq!((answer.status, reason.as_deref()), (503, Some("host")), "{protocol:?} {host}");
        }
        // By address a page can send a form. Gate headers need a CORS preflight.
        let form = TestDelivery::of("{}").header("host", format!("127.0.0.1:{port}"));
        assert_eq!(send(&form.header("content-type", "text/plain")).status, 503);
        let first = TestDelivery::without_body()
            .method("OPTIONS")
            .path("/hooks/veo3")
            .header("host", format!("127.0.0.1:{port}"))
            .header("origin", "https://evil.example")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", header::VERDICT);
        let answer = send(&first);
        assert_eq!(answer.status, 503);
        assert_eq!(answer.header("access-control-allow-origin"), None);
        // The gate keeps the edge's host name. A test or a sidecar sends the address.
        for host in ["hooks.example.com", "hooks.example.com:8443", "localhost", &format!("127.0.0.1:{port}")]
        {
            let genuine = forwarded(&fresh_generation()).header("host", host);
            assert_eq!(send(&genuine).status, 200, "{protocol:?} {host}");
        }
    }
}

fn refuses_pages_on_the_admin_listener(store: &str) {
    let service = Upstream::start();
    let inbox = InboxProcess::start(PROGRAM, store, service.port, &[]).ready();
    let send = |delivery: &TestDelivery| Connector::plaintext(inbox.admin, H1).open().send(delivery).status;
    for path in ["/stats", "/entries", "/metrics", "/tail", "/pauses"] {
        let get = TestDelivery::without_body().method("GET").path(path);
        assert_eq!(send(&get.clone().header("host", "evil.example")), 403, "{path}");
        assert_eq!(send(&get.clone().header("host", format!("evil.example:{}", inbox.admin))), 403, "{path}");
        assert_eq!(send(&get.header("host", format!("127.0.0.1:{}", inbox.admin))), 200, "{path}");
    }
    let change = TestDelivery::of(json!({"hook": "veo3"}).to_string()).method("PUT").path("/pauses");
    let change = change.header("host", format!("127.0.0.1:{}", inbox.admin));
    let mut form = change.clone();
    form.headers.retain(|(name, _)| name != "content-type");
    assert_eq!(send(&form), 403);
    assert_eq!(send(&form.header("content-type", "text/plain")), 403);
    assert_eq!(send(&change), 200);
}
