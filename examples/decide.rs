//! Judges one delivery without a host, with the core as a library.
//!
//! ```sh
//! cargo run --example decide -- tests/cases/samples/completed.json
//! ```

use blobgate::contract::header;
use blobgate::head::{Ending, Head, Hop};
use blobgate::headers::Headers;
use blobgate::policy::{Decision, admit, decide};
use blobgate::{Config, Violation, forward, hook, sanitize};
use std::error::Error;

const CONFIG: &str = r#"{
    "version": 1,
    "environment": "example",
    "hooks": [{
        "name": "veo3",
        "path": "/hooks/veo3",
        "dialect": "veo3",
        "transport": "tls_here",
        "source": ["203.0.113.0/24"],
        "trust": "open",
        "quarantine": "none",
        "result_url": ["*.runblob.io"]
    }]
}"#;

fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args().nth(1).ok_or("no file: pass one with the body of a delivery")?;
    let body = std::fs::read(&file).map_err(|error| format!("cannot read {file}: {error}"))?;
    let config = Config::load(CONFIG.as_bytes(), &|_| None)?;

    // The provider's request. The sender tries to set a header that only the gate may set.
    let mut headers = Headers::new(vec![
        ("content-type".to_owned(), b"application/json".to_vec()),
        (header::VERDICT.to_owned(), b"accepted".to_vec()),
    ]);
    println!("removed: {}", sanitize::head(&mut headers).join(", "));
    let head = Head {
        method: b"POST",
        headers: &headers,
        hop: Hop::Tls,
        source: Some(b"203.0.113.9:40000"),
        peer: None,
        ending: Ending::Later,
        now: 0,
    };

    let found = hook::find(&config.hooks, b"/hooks/veo3");
    match admit(found, &head, &mut ()).map(|admitted| decide(admitted, &body, &mut ())) {
        Ok(Decision::Forward(delivery)) => {
            for (name, value) in forward::headers(&delivery) {
                println!("{name}: {value}");
            }
        }
        Ok(Decision::Refuse(refusal)) | Err(refusal) => refused(&refusal.violation),
        Ok(Decision::Confirm(_)) => println!("needs a confirmation by the provider's status API"),
    }
    Ok(())
}

fn refused(violation: &Violation) {
    let reason = violation.reason;
    println!("{} at {}: {}", reason.status(), reason.stage().name(), reason.sentence());
    println!("detail: {}", violation.text().unwrap_or_default());
}
