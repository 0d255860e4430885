//! A stolen URL fills only the quarantine of its own generation.

use crate::{PROGRAM, on_each_store};
use blobgate::contract::{self, Kind, Verdict, header};
use blobgate_testkit::inbox::{forwarded, fresh_generation};
use blobgate_testkit::{ClientResponse, InboxProcess, TestDelivery, Upstream};
use serde_json::json;

on_each_store! {
    one_stolen_url_harms_one_generation
    limits_expected_generations_too
}

/// The quarantine is a tenth of this, less than the 24 MB that the thief sends.
const LIMIT: &[&str] = &["--limit", "200MB"];
const BODIES: usize = 400;
const BODY_BYTES: usize = 60_000;
/// The limit of one generation.
const MAX_STORED: usize = 20;

/// Adds a token's id and job.
fn with_token(delivery: TestDelivery, token: &str) -> TestDelivery {
    delivery.header(header::TOKEN_ID, token).header(header::JOB, format!("job-{token}"))
}

/// A delivery for this generation with an expired token.
fn expired(token: &str, generation: &str, prompt: &str) -> TestDelivery {
    let url = format!("https://cdn.runblob.io/{generation}.mp4");
    let body =
        json!({"generation_id": generation, "status": "completed", "prompt": prompt, "video_url": url});
    let delivery = TestDelivery::json(&body)
        .path("/hooks/veo3")
        .header(header::CONTRACT, contract::VERSION)
        .header(header::VERDICT, Verdict::Quarantined.name())
        .header(header::HOOK, "veo3")
        .header(header::DIALECT, "veo3")
        .header(header::REASON, "token-expired")
        .header(header::CLAIMED_EVENT, Kind::Completed.name())
        .header(header::GENERATION_ID, generation);
    with_token(delivery, token)
}

fn send(inbox: &InboxProcess, delivery: &TestDelivery) -> (u16, Option<String>) {
    let answer: ClientResponse = inbox.receive(delivery).unwrap();
    (answer.status, answer.header(header::INBOX_REASON))
}

/// Sends deliveries and returns the number of stored ones. All later ones must be refused for their token.
#[track_caller]
fn count_stored(inbox: &InboxProcess, deliveries: impl Iterator<Item = TestDelivery>) -> usize {
    let mut stored = 0;
    for (number, delivery) in deliveries.enumerate() {
        match send(inbox, &delivery) {
            (200, None) => {
                assert_eq!(number, stored, "none is stored after a refused one");
                stored += 1;
            }
            refused => assert_eq!(refused, (503, Some("token-full".to_owned())), "delivery {number}"),
        }
    }
    stored
}

fn one_stolen_url_harms_one_generation(store: &str) {
    let service = Upstream::start();
    let inbox = InboxProcess::start(PROGRAM, store, service.port, LIMIT).ready();
    let (own, customer) = (fresh_generation(), fresh_generation());
    assert_eq!(send(&inbox, &with_token(forwarded(&own), "stolen")), (200, None));

    let filler = "p".repeat(BODY_BYTES);
    let bodies = (0..BODIES).map(|number| expired("stolen", &own, &format!("{number} {filler}")));
    assert_eq!(count_stored(&inbox, bodies), MAX_STORED);
    // The same body with more white space counts as another body.
    let spaced = (1..30).map(|spaces| {
        let same = expired("stolen", &own, "A cat");
        let body = [same.body(), vec![b' '; spaces]].concat();
        let delivery = TestDelivery::of(body).path("/hooks/veo3");
        copy_gate_headers(&same, delivery)
    });
    assert_eq!(count_stored(&inbox, spaced), 0);
    // A repeat of a stored delivery gets 200.
    assert_eq!(send(&inbox, &expired("stolen", &own, &format!("7 {filler}"))), (200, None));

    // Other tokens are not affected.
    for number in 0..5 {
        let delivery = expired(&format!("other-{number}"), &customer, "A cat");
        assert_eq!(send(&inbox, &delivery), (200, None));
    }
    let stats = inbox.get("/entries?state=quarantined&reason=token-expired&limit=500").unwrap().json();
    assert_eq!(stats["entries"].as_array().unwrap().len(), MAX_STORED + 5);
}

/// `to` with the gate headers of `from`.
fn copy_gate_headers(from: &TestDelivery, to: TestDelivery) -> TestDelivery {
    let ours = from.headers().iter().filter(|(name, _)| name.starts_with(header::PREFIX));
    ours.fold(to, |to, (name, value)| to.header(name, value))
}

fn limits_expected_generations_too(store: &str) {
    let service = Upstream::start();
    let inbox = InboxProcess::start(PROGRAM, store, service.port, LIMIT).ready();
    let (first, second) = (fresh_generation(), fresh_generation());
    for generation in [&first, &second] {
        let expect = json!({"hook": "veo3", "generation_id": generation, "job": "job-stolen"});
        assert_eq!(inbox.post("/expect", &expect).status, 200);
        assert_eq!(send(&inbox, &with_token(forwarded(generation), "stolen")), (200, None));
    }
    // Accepted deliveries, each with another video of the same generation.
    let others = |generation: &str| {
        let generation = generation.to_owned();
        (0..25).map(move |number| {
            let url = format!("https://cdn.runblob.io/{number}.mp4");
            let body = json!({"generation_id": generation, "status": "completed", "video_url": url});
            let accepted = with_token(forwarded(&generation), "stolen");
            copy_gate_headers(&accepted, TestDelivery::json(&body).path("/hooks/veo3"))
        })
    };
    assert_eq!(count_stored(&inbox, others(&first)), MAX_STORED);
    assert_eq!(count_stored(&inbox, others(&second)), MAX_STORED, "each generation has its own limit");
    assert_eq!(send(&inbox, &expired("another", &fresh_generation(), "A cat")), (200, None));
}
