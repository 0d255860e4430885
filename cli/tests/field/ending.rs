//! After SIGTERM an inbox stores events until it ends.

use crate::{PROGRAM, on_each_store};
use blobgate::contract::header;
use blobgate_testkit::inbox::{forwarded, fresh_generation};
use blobgate_testkit::{InboxProcess, Reply, Upstream, eventually, pause};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

on_each_store! { stores_events_until_its_attempts_have_ended ends_at_once_without_attempts }

const SERVICE_DELAY: Duration = Duration::from_secs(15);
const EVERY: Duration = Duration::from_millis(100);
/// After the first signal: the documented limit.
const END_TIMEOUT: Duration = Duration::from_secs(25);
/// After the last 200.
const EXIT_TIMEOUT: Duration = Duration::from_secs(2);

fn stores_events_until_its_attempts_have_ended(store: &str) {
    let service = Upstream::start();
    service.reply(Reply::After(SERVICE_DELAY, Box::new(Reply::status(200))));
    let mut inbox = InboxProcess::start(PROGRAM, store, service.port, &[]).ready();
    let first = fresh_generation();
    assert_eq!(inbox.receive(&forwarded(&first)).unwrap().status, 200);
    eventually("attempt in flight", || (service.heads() == 1).then_some(()));

    inbox.signal("TERM");
    let signalled = Instant::now();
    let (mut stored, mut last) = (Vec::new(), Instant::now());
    loop {
        let generation = fresh_generation();
        match inbox.receive(&forwarded(&generation)) {
            Ok(answer) => {
                assert_eq!(answer.status, 200, "after {:?}: {answer:?}", signalled.elapsed());
                stored.push(generation);
                last = Instant::now();
            }
            // The port is closed.
            Err(_) => break,
        }
        if stored.len() == 5 {
            let ready = inbox.get("/readyz").unwrap();
            assert_eq!(ready.status, 503);
            assert!(String::from_utf8_lossy(&ready.body).starts_with("ending: "), "{ready:?}");
        }
        if stored.len() == 10 {
            // Further signals change nothing.
            inbox.signal("TERM");
            inbox.signal("INT");
        }
        pause(EVERY);
    }
    assert!(TcpStream::connect(("127.0.0.1", inbox.receive)).is_err(), "the port is closed");
    let status = eventually("end", || inbox.exited());
    assert!(last.elapsed() < EXIT_TIMEOUT, "{:?} after the last 200", last.elapsed());
    assert!(status.success() && signalled.elapsed() < END_TIMEOUT, "{status}, {:?}", signalled.elapsed());
    assert!(
        signalled.elapsed() > SERVICE_DELAY / 2 && stored.len() > 50,
        "{:?}, {}",
        signalled.elapsed(),
        stored.len()
    );

    // The attempt in flight has finished. The other events wait for the next start.
    assert_eq!(service.heads(), 1, "no new attempt while it ends");
    service.reply(Reply::status(200));
    let _again = InboxProcess::start(PROGRAM, store, service.port, &[]).ready();
    let arrived = || {
        let mut times = BTreeMap::<_, usize>::new();
        for arrival in service.arrivals() {
            *times.entry(arrival.header(header::GENERATION_ID).unwrap()).or_default() += 1;
        }
        times
    };
    eventually("delivery of all stored events", || {
        let arrived = arrived();
        stored.iter().all(|generation| arrived.contains_key(generation)).then_some(())
    });
    assert!(arrived().values().all(|times| *times == 1), "{:?}", arrived());
}

fn ends_at_once_without_attempts(store: &str) {
    let service = Upstream::start();
    for signal in ["TERM", "INT"] {
        let mut inbox = InboxProcess::start(PROGRAM, store, service.port, &[]).ready();
        // Idle connections do not delay the end.
        let idle: Vec<_> =
            (0..20).map(|_| TcpStream::connect(("127.0.0.1", inbox.receive)).unwrap()).collect();
        // Nor does a browser that watches the page.
        let mut watching = TcpStream::connect(("127.0.0.1", inbox.admin)).unwrap();
        let stream = "GET /page/live HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/event-stream\r\n\r\n";
        watching.write_all(stream.as_bytes()).unwrap();
        let mut answer = [0; 12];
        watching.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        inbox.signal(signal);
        let signalled = Instant::now();
        let status = eventually("end", || inbox.exited());
        assert!(!inbox.log().contains("not stored in time"), "{}", inbox.log());
        assert!(
            status.success() && signalled.elapsed() < 2 * EXIT_TIMEOUT,
            "{status}, {:?}",
            signalled.elapsed()
        );
        drop(idle);
    }
}
