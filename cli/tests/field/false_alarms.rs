//! A stopped process, a locked table and a closed idle connection are no fault of a service or a store.

use crate::database::{app, name_of};
use crate::{PROGRAM, on_each_store};
use blobgate_testkit::inbox::{forwarded, fresh_generation, migrate};
use blobgate_testkit::{Cluster, InboxProcess, Reply, Upstream, eventually, needs, pause};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

on_each_store! { a_stop_of_40_s_fails_no_attempt }

/// The attempts that run at once.
const IN_FLIGHT: usize = 60;
/// Longer than a lease (30 s) and the limit of an attempt (25 s).
const STOPPED: Duration = Duration::from_secs(40);

/// The number of attempts with this outcome.
fn attempts(inbox: &InboxProcess, outcome: &str) -> u64 {
    let label = format!("outcome=\"{outcome}\"");
    let metrics = inbox.get("/metrics").unwrap().text();
    let lines = metrics
        .lines()
        .filter(|line| line.starts_with("blobgate_inbox_attempts_total{") && line.contains(&label));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[track_caller]
fn logs_no_alarm(inbox: &InboxProcess) {
    let log = inbox.log();
    for alarm in [" is down", "stepped back", "went back", "not ready"] {
        assert!(!log.contains(alarm), "{alarm}: {log}");
    }
}

/// The changes of health in a thread beside the test.
struct HealthLog {
    ending: Arc<AtomicBool>,
    changes: Arc<Mutex<Vec<String>>>,
}

impl HealthLog {
    /// Reads the health ten times a second while `test` runs. Returns each new answer that is not 200.
    fn during(inbox: &InboxProcess, test: impl FnOnce()) -> Vec<String> {
        let log = Self { ending: Arc::default(), changes: Arc::default() };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut last = 200;
                while !log.ending.load(Ordering::Relaxed) {
                    let answer = inbox.get("/readyz").unwrap();
                    if answer.status != last && answer.status != 200 {
                        log.changes.lock().unwrap().push(answer.text());
                    }
                    last = answer.status;
                    pause(Duration::from_millis(100));
                }
            });
            test();
            log.ending.store(true, Ordering::Relaxed);
        });
        log.changes.lock().unwrap().clone()
    }
}

fn a_stop_of_40_s_fails_no_attempt(store: &str) {
    let service = Upstream::start();
    service.reply(Reply::After(Duration::from_secs(5), Box::new(Reply::status(200))));
    let inbox = InboxProcess::start(PROGRAM, store, service.port, &[]).ready();
    std::thread::scope(|scope| {
        for _ in 0..IN_FLIGHT {
            scope.spawn(|| assert_eq!(inbox.receive(&forwarded(&fresh_generation())).unwrap().status, 200));
        }
    });
    eventually("all attempts in flight", || (service.heads() == IN_FLIGHT).then_some(()));
    assert_eq!(attempts(&inbox, "delivered"), 0, "the test is too slow: the service has answered already");
    inbox.signal("STOP");
    pause(STOPPED);
    inbox.signal("CONT");
    let unhealthy = HealthLog::during(&inbox, || {
        eventually("all answers", || (attempts(&inbox, "delivered") >= 60).then_some(()));
        // The inbox goes on as before.
        service.reply(Reply::status(200));
        for _ in 0..20 {
            assert_eq!(inbox.receive(&forwarded(&fresh_generation())).unwrap().status, 200);
            pause(Duration::from_millis(200));
        }
    });
    eventually("the later events", || (attempts(&inbox, "delivered") == 80).then_some(()));
    assert_eq!(service.heads(), 80, "each event arrives once");
    for outcome in ["unanswered", "lease-lost", "5xx"] {
        assert_eq!(attempts(&inbox, outcome), 0, "{outcome}: {}", inbox.log());
    }
    assert_eq!(unhealthy, Vec::<String>::new());
    logs_no_alarm(&inbox);
}

/// While the table is locked the inbox stores nothing, so it is not ready: once, and not by turns.
#[needs(Postgres)]
#[test]
fn a_lock_of_20_s_is_one_fault() {
    let cluster = Cluster::shared();
    let store = cluster.database();
    migrate(PROGRAM, &store);
    let service = Upstream::start();
    let inbox = InboxProcess::start(PROGRAM, &store, service.port, &[]).ready();
    let lock = "BEGIN; LOCK TABLE blobgate_inbox.entry; SELECT pg_sleep(20); COMMIT";
    let unlocked = AtomicBool::default();
    let unhealthy = HealthLog::during(&inbox, || {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                cluster.sql(name_of(&store), lock);
                unlocked.store(true, Ordering::Relaxed);
            });
            while !unlocked.load(Ordering::Relaxed) {
                scope.spawn(|| inbox.receive(&forwarded(&fresh_generation())));
                pause(Duration::from_millis(500));
            }
        });
        eventually("a ready inbox", || (inbox.get("/readyz").ok()?.status == 200).then_some(()));
        pause(Duration::from_secs(6));
    });
    assert!(unhealthy.len() <= 1, "{unhealthy:?}");
    let log = inbox.log();
    assert!(log.matches("not ready reason=").count() <= 1, "{log}");
    for alarm in [" is down", "stepped back", "went back"] {
        assert!(!log.contains(alarm), "{alarm}: {log}");
    }
    assert_eq!(attempts(&inbox, "unanswered"), 0);
}

/// At its start the inbox looks once for due times that a step of the clock moved. Under a lock it cannot.
#[needs(Postgres)]
#[test]
fn a_lock_at_the_start_is_no_step_of_the_clock() {
    let cluster = Cluster::shared();
    let store = cluster.database();
    migrate(PROGRAM, &store);
    std::thread::scope(|scope| {
        let lock = "BEGIN; LOCK TABLE blobgate_inbox.entry; SELECT pg_sleep(12); COMMIT";
        scope.spawn(|| cluster.sql(name_of(&store), lock));
        let locked = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(12)%' AND wait_event = 'PgSleep'";
        eventually("the lock", || (cluster.sql(name_of(&store), locked) == "1").then_some(()));
        let inbox = InboxProcess::start(PROGRAM, &store, 9, &[]);
        eventually("a ready inbox", || (inbox.get("/readyz").ok()?.status == 200).then_some(()));
        let log = inbox.log();
        assert!(!log.contains("stepped back") && !log.contains("went back"), "{log}");
    });
}

/// PostgreSQL, a pooler or a firewall closes a connection that is unused for a second.
#[needs(Postgres)]
#[test]
fn a_database_that_closes_idle_connections_is_no_fault() {
    let cluster = Cluster::shared();
    let direct = cluster.database();
    migrate(PROGRAM, &direct);
    let (role, store) = app(&cluster, &direct, "");
    cluster.sql(name_of(&direct), &format!("ALTER ROLE {role} SET idle_session_timeout = '300ms'"));
    let service = Upstream::start();
    let inbox = InboxProcess::start(PROGRAM, &store, service.port, &[]).ready();
    let unhealthy = HealthLog::during(&inbox, || {
        for number in 0..30_u64 {
            assert_eq!(inbox.receive(&forwarded(&fresh_generation())).unwrap().status, 200);
            pause(Duration::from_millis(200 + number * 10));
        }
    });
    assert_eq!(unhealthy, Vec::<String>::new());
    eventually("the deliveries", || (service.heads() == 30).then_some(()));
    logs_no_alarm(&inbox);
    assert!(!inbox.log().contains("ERROR"), "{}", inbox.log());
}

/// The service closes each connection about when the next attempt uses it.
#[test]
fn a_service_that_closes_idle_connections_is_not_down() {
    const EVENTS: usize = 60;
    let file = blobgate_testkit::SqliteFile::migrated(PROGRAM);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answered = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&answered);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let counter = Arc::clone(&counter);
            std::thread::spawn(move || serve_for_100_ms(stream.unwrap(), &counter));
        }
    });
    let inbox = InboxProcess::start(PROGRAM, &file.url, port, &[]).ready();
    for number in 0..EVENTS {
        assert_eq!(inbox.receive(&forwarded(&fresh_generation())).unwrap().status, 200);
        let number = u64::try_from(number).unwrap();
        pause(Duration::from_micros(95_000 + number * 150));
    }
    eventually("the deliveries", || (attempts(&inbox, "delivered") == 60).then_some(()));
    assert!(answered.load(Ordering::Relaxed) >= EVENTS);
    assert_eq!(attempts(&inbox, "unanswered"), 0, "{}", inbox.log());
    logs_no_alarm(&inbox);
}

/// InitAnswers each request of a connection, and closes the connection once it is idle for 100 ms.
fn serve_for_100_ms(mut stream: TcpStream, answered: &AtomicUsize) {
    let mut request = Vec::new();
    let mut part = [0; 4096];
    loop {
        let idle = request.is_empty();
        let limit = if idle { Duration::from_millis(100) } else { Duration::from_secs(10) };
        stream.set_read_timeout(Some(limit)).unwrap();
        let started = Instant::now();
        match stream.read(&mut part) {
            Ok(0) | Err(_) => {
                assert!(idle || started.elapsed() < limit, "half a request");
                return;
            }
            Ok(read) => request.extend_from_slice(&part[..read]),
        }
        let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.parse().unwrap());
        if body.len() >= length {
            request.clear();
            answered.fetch_add(1, Ordering::Relaxed);
            if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").is_err() {
                return;
            }
        }
    }
}
