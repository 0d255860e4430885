//! An inbox that is asked to end takes events until it ends.

use crate::{PROGRAM, on_each_store};
use blobgate::contract::header;
use blobgate_testkit::inbox::{fresh_generation, marked};
use blobgate_testkit::{InboxProcess, Reply, Upstream, eventually, pause};
use std::collections::BTreeMap;
use std::net::TcpStream;
use std::time::{Duration, Instant};

on_each_store! { takes_events_until_its_deliveries_have_ended ends_at_once_without_deliveries }

const SERVICE: Duration = Duration::from_secs(15);
const EVERY: Duration = Duration::from_millis(100);
/// From the first signal on: the limit that the book promises.
const ALL_OVER: Duration = Duration::from_secs(25);
/// From the last 200 on.
const EXIT: Duration = Duration::from_secs(2);

fn takes_events_until_its_deliveries_have_ended(store: &str) {
    let service = Upstream::start();
    service.reply(Reply::After(SERVICE, Box::new(Reply::status(200))));
    let mut inbox = InboxProcess::start(PROGRAM, store, service.port, &[]).ready();
    let first = fresh_generation();
    assert_eq!(inbox.receive(&marked(&first)).unwrap().status, 200);
    eventually("delivery under way", || (service.heads() == 1).then_some(()));

    inbox.signal("TERM");
    let asked = Instant::now();
    let (mut taken, mut last) = (Vec::new(), Instant::now());
    loop {
        let generation = fresh_generation();
        match inbox.receive(&marked(&generation)) {
            Ok(answer) => {
                assert_eq!(answer.status, 200, "after {:?}: {answer:?}", asked.elapsed());
                taken.push(generation);
                last = Instant::now();
            }
            // The port is closed: no later connection is answered either.
            Err(_) => break,
        }
        if taken.len() == 5 {
            let ready = inbox.get("/readyz").unwrap();
            assert_eq!(ready.status, 503);
            assert!(String::from_utf8_lossy(&ready.body).starts_with("ending: "), "{ready:?}");
        }
        if taken.len() == 10 {
            // Twice is once.
            inbox.signal("TERM");
            inbox.signal("INT");
        }
        pause(EVERY);
    }
    assert!(TcpStream::connect(("127.0.0.1", inbox.receive)).is_err(), "the port is closed");
    let status = eventually("end", || inbox.exited());
    assert!(last.elapsed() < EXIT, "{:?} after the last 200", last.elapsed());
    assert!(status.success() && asked.elapsed() < ALL_OVER, "{status}, {:?}", asked.elapsed());
    assert!(asked.elapsed() > SERVICE / 2 && taken.len() > 50, "{:?}, {}", asked.elapsed(), taken.len());

    // What was under way is finished, and the rest waits for the next start.
    assert_eq!(service.heads(), 1, "nothing new is delivered while it ends");
    service.reply(Reply::status(200));
    let _again = InboxProcess::start(PROGRAM, store, service.port, &[]).ready();
    let arrived = || {
        let mut times = BTreeMap::<_, usize>::new();
        for arrival in service.arrivals() {
            *times.entry(arrival.header(header::GENERATION_ID).unwrap()).or_default() += 1;
        }
        times
    };
    eventually("delivery of all that was taken", || {
        let arrived = arrived();
        taken.iter().all(|generation| arrived.contains_key(generation)).then_some(())
    });
    assert!(arrived().values().all(|times| *times == 1), "{:?}", arrived());
}

fn ends_at_once_without_deliveries(store: &str) {
    let service = Upstream::start();
    for signal in ["TERM", "INT"] {
        let mut inbox = InboxProcess::start(PROGRAM, store, service.port, &[]).ready();
        // Connections without a request hold nothing up.
        let idle: Vec<_> =
            (0..20).map(|_| TcpStream::connect(("127.0.0.1", inbox.receive)).unwrap()).collect();
        inbox.signal(signal);
        let asked = Instant::now();
        let status = eventually("end", || inbox.exited());
        assert!(status.success() && asked.elapsed() < 2 * EXIT, "{status}, {:?}", asked.elapsed());
        drop(idle);
    }
}
