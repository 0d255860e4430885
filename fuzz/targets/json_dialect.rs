//! A second parser reads the same event from a body. The body as a status confirms the event.

#![no_main]

use blobgate::confirm::{self, Outcome};
use blobgate::dialect::Dialect;
use blobgate::{event, json};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|body: &[u8]| {
    let dialect = Dialect::Veo3;
    let Ok(payload) = json::parse(body, 16, dialect.known()) else { return };
    let second: Value = serde_json::from_slice(body).expect("a second parser accepts it");
    let _ = dialect.prompt(&payload);
    let Ok(claim) = dialect.read(&payload) else { return };
    let Ok(event) = event::check(claim) else { return };
    let id = second["generation_id"].as_str().unwrap();
    assert_eq!(event.generation_id.to_string(), id.to_ascii_lowercase());
    assert_eq!(event.kind == event::Kind::Completed, second["status"] == "completed");
    if let Some(url) = &event.result_url {
        assert_eq!(second["video_url"], **url);
    }
    if let Some(code) = event.failure.as_ref().and_then(|failure| failure.code.as_ref()) {
        assert!((1..=64).contains(&code.len()));
        assert!(code.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_'), "{code}");
    }
    assert!(event.idempotency_key(dialect.name()).bytes().all(|byte| byte.is_ascii_graphic()));
    assert_eq!(confirm::read(dialect, &event, b"200", body).outcome, Outcome::Confirmed);
});
