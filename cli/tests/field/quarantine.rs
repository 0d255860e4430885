//! A URL in wrong hands fills the quarantine of one generation, and takes no room from anybody else.

use crate::{PROGRAM, on_each_store};
use blobgate::contract::{self, Kind, Verdict, header};
use blobgate_testkit::inbox::{fresh_generation, marked};
use blobgate_testkit::{ClientResponse, InboxProcess, TestDelivery, Upstream};
use serde_json::json;

on_each_store! {
    one_stolen_url_harms_one_generation
    an_expected_generation_has_a_bound_too
}

/// Its tenth, the quarantine, is smaller than what a thief sends below, 24 MB.
const LIMIT: &[&str] = &["--limit", "200MB"];
const BODIES: usize = 400;
const BODY_BYTES: usize = 60_000;
/// As many of one generation, and no more.
const TAKEN: usize = 20;

/// What the gate forwards with this token and job.
fn with_token(delivery: TestDelivery, token: &str) -> TestDelivery {
    delivery.header(header::TOKEN_ID, token).header(header::JOB, format!("job-{token}"))
}

/// An expired token's delivery about this generation.
fn late(token: &str, generation: &str, prompt: &str) -> TestDelivery {
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

/// How many of these are stored; each other one is refused for its token, and none of them in between.
#[track_caller]
fn taken(inbox: &InboxProcess, deliveries: impl Iterator<Item = TestDelivery>) -> usize {
    let mut taken = 0;
    for (number, delivery) in deliveries.enumerate() {
        match send(inbox, &delivery) {
            (200, None) => {
                assert_eq!(number, taken, "one is stored after one that was refused");
                taken += 1;
            }
            refused => assert_eq!(refused, (503, Some("token-full".to_owned())), "delivery {number}"),
        }
    }
    taken
}

fn one_stolen_url_harms_one_generation(store: &str) {
    let service = Upstream::start();
    let inbox = InboxProcess::start(PROGRAM, store, service.port, LIMIT).ready();
    let (own, customer) = (fresh_generation(), fresh_generation());
    assert_eq!(send(&inbox, &with_token(marked(&own), "stolen")), (200, None));

    let filler = "p".repeat(BODY_BYTES);
    let bodies = (0..BODIES).map(|number| late("stolen", &own, &format!("{number} {filler}")));
    assert_eq!(taken(&inbox, bodies), TAKEN);
    // The same body with more white space is another body, and the same bound holds.
    let spaced = (1..30).map(|spaces| {
        let same = late("stolen", &own, "A cat");
        let body = [same.body(), vec![b' '; spaces]].concat();
        let delivery = TestDelivery::of(body).path("/hooks/veo3");
        same_headers(&same, delivery)
    });
    assert_eq!(taken(&inbox, spaced), 0);
    // A sender that comes back with what is stored is told so.
    assert_eq!(send(&inbox, &late("stolen", &own, &format!("7 {filler}"))), (200, None));

    // Nobody else is harmed.
    for number in 0..5 {
        let delivery = late(&format!("other-{number}"), &customer, "A cat");
        assert_eq!(send(&inbox, &delivery), (200, None));
    }
    let stats = inbox.get("/entries?state=quarantined&reason=token-expired&limit=500").unwrap().json();
    assert_eq!(stats["entries"].as_array().unwrap().len(), TAKEN + 5);
}

/// `to` with the gate's headers of `from`.
fn same_headers(from: &TestDelivery, to: TestDelivery) -> TestDelivery {
    let ours = from.headers().iter().filter(|(name, _)| name.starts_with(header::PREFIX));
    ours.fold(to, |to, (name, value)| to.header(name, value))
}

fn an_expected_generation_has_a_bound_too(store: &str) {
    let service = Upstream::start();
    let inbox = InboxProcess::start(PROGRAM, store, service.port, LIMIT).ready();
    let (first, second) = (fresh_generation(), fresh_generation());
    for generation in [&first, &second] {
        let expect = json!({"hook": "veo3", "generation_id": generation, "job": "job-stolen"});
        assert_eq!(inbox.post("/expect", &expect).status, 200);
        assert_eq!(send(&inbox, &with_token(marked(generation), "stolen")), (200, None));
    }
    // Another video of the same generation each time, as the gate accepts it.
    let others = |generation: &str| {
        let generation = generation.to_owned();
        (0..25).map(move |number| {
            let url = format!("https://cdn.runblob.io/{number}.mp4");
            let body = json!({"generation_id": generation, "status": "completed", "video_url": url});
            let accepted = with_token(marked(&generation), "stolen");
            same_headers(&accepted, TestDelivery::json(&body).path("/hooks/veo3"))
        })
    };
    assert_eq!(taken(&inbox, others(&first)), TAKEN);
    assert_eq!(taken(&inbox, others(&second)), TAKEN, "each generation has a bound of its own");
    assert_eq!(send(&inbox, &late("another", &fresh_generation(), "A cat")), (200, None));
}
