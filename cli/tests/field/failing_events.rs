//! Some events of a route always fail. They do not delay the others. The 72 h after which an event is dead count only
//! while others of its route succeed.

use crate::{PROGRAM, on_each_store};
use blobgate::contract::{Kind, header};
use blobgate_testkit::inbox::{forwarded, fresh_generation};
use blobgate_testkit::{
    Cluster, Connector, H1, InboxProcess, Reply, TestDelivery, Upstream, eventually, pause, sql,
};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

on_each_store! { needs (Sqlite3): delivers_healthy_events_within_35_s events_die_only_if_others_succeed }

/// The maximum time until a healthy event is delivered.
const MAX_DELIVERY_TIME: Duration = Duration::from_secs(35);
/// Seconds after the failing events at which a healthy event comes.
const HEALTHY_AT: [u64; 4] = [2, 12, 22, 32];

/// Kinds of failures: a hook, the reply, and the number of events.
fn failures() -> Vec<(&'static str, Reply, usize)> {
    let never = || Reply::Hang;
    let slow = || Reply::After(Duration::from_secs(20), Box::new(Reply::status(500)));
    vec![
        ("two-503", Reply::status(503), 2),
        ("six-503", Reply::status(503), 6),
        ("forty-503", Reply::status(503), 40),
        ("two-500", Reply::status(500), 2),
        ("six-500", Reply::status(500), 6),
        ("forty-500", Reply::status(500), 40),
        ("two-never", never(), 2),
        ("six-never", never(), 6),
        ("forty-never", never(), 40),
        // More than the inbox delivers at a time.
        ("many-never", never(), 100),
        ("many-slow-500", slow(), 100),
        ("many-503", Reply::status(503), 150),
        ("forty-429", Reply::status(429), 40),
        ("forty-reset", Reply::Reset, 40),
    ]
}

/// Kinds of failures for an inbox with `--concurrency 4`.
fn failures_with_concurrency_4() -> Vec<(&'static str, Reply, usize)> {
    vec![
        ("narrow-two-never", Reply::Hang, 2),
        ("narrow-six-never", Reply::Hang, 6),
        ("narrow-forty-never", Reply::Hang, 40),
        ("narrow-forty-503", Reply::status(503), 40),
    ]
}

/// The replies of a service by generation. The default is 200.
#[derive(Clone, Default)]
struct ServiceAnswers(Arc<Mutex<HashMap<String, Reply>>>);

impl ServiceAnswers {
    fn of(service: &Upstream) -> Self {
        let answers = Self::default();
        let same = answers.clone();
        service.reply_by(move |arrival| {
            same.0.lock().unwrap().get(&arrival.header(header::GENERATION_ID)?).cloned()
        });
        answers
    }

    fn set(&self, generation: &str, reply: Reply) {
        self.0.lock().unwrap().insert(generation.to_owned(), reply);
    }
}

/// A delivery as the gate forwards it, for this hook and event.
fn of_hook(hook: &str, event: &str, generation: &str) -> TestDelivery {
    let mut delivery = forwarded(generation);
    for name in [header::HOOK, header::EVENT, header::IDEMPOTENCY_KEY] {
        delivery = delivery.without_header(name);
    }
    if event == "failed" {
        let body = serde_json::json!({
            "generation_id": generation, "status": "failed", "error": {"message": "UNSAFE_CONTENT"},
        });
        delivery.pieces = vec![body.to_string().into_bytes()];
    }
    delivery
        .header(header::HOOK, hook)
        .header(header::EVENT, event)
        .header(header::IDEMPOTENCY_KEY, format!("{hook}:{generation}:{event}"))
}

#[track_caller]
fn store(inbox: &InboxProcess, deliveries: impl IntoIterator<Item = TestDelivery>) {
    let connect = Connector::plaintext(inbox.receive, H1);
    let mut client = connect.open();
    for delivery in deliveries {
        let answer = client.send(&delivery);
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

fn delivers_healthy_events_within_35_s(at: &str) {
    let beside = format!("{at}.narrow");
    let narrow_at = if at.starts_with("sqlite:") { beside } else { Cluster::shared().database() };
    blobgate_testkit::inbox::migrate(PROGRAM, &narrow_at);
    std::thread::scope(|scope| {
        scope.spawn(|| beside_failing(at, &[], &failures()));
        scope.spawn(|| beside_failing(&narrow_at, &["--concurrency", "4"], &failures_with_concurrency_4()));
    });
}

/// A healthy event, and the time at which it was stored.
struct WaitingEvent {
    hook: &'static str,
    what: &'static str,
    generation: String,
    at: Instant,
}

#[track_caller]
fn beside_failing(at: &str, more: &[&str], failures: &[(&'static str, Reply, usize)]) {
    let service = Upstream::start();
    let answers = ServiceAnswers::of(&service);
    let inbox = InboxProcess::start(PROGRAM, at, service.port, more).ready();
    for (hook, reply, count) in failures {
        let generations: Vec<_> = (0..*count).map(|_| fresh_generation()).collect();
        generations.iter().for_each(|generation| answers.set(generation, reply.clone()));
        store(&inbox, generations.iter().map(|generation| of_hook(hook, "completed", generation)));
    }
    let (started, mut sent) = (Instant::now(), Vec::new());
    let mut send = |hook, what, event, generation: &str| {
        let at = Instant::now();
        store(&inbox, [of_hook(hook, event, generation)]);
        sent.push(WaitingEvent { hook, what, generation: generation.to_owned(), at });
    };
    // The failure is never answered, and blocks its generation meanwhile.
    let busy = fresh_generation();
    answers.set(&busy, Reply::Hang);
    store(&inbox, [of_hook("busy", "failed", &busy)]);
    eventually("attempt at the failure", || arrived(&service, &busy).first().copied());
    answers.set(&busy, Reply::status(200));
    send("busy", "of a busy generation", "completed", &busy);
    for second in HEALTHY_AT {
        pause((started + Duration::from_secs(second)).saturating_duration_since(Instant::now()));
        for (hook, ..) in failures {
            send(hook, "healthy", "completed", &fresh_generation());
        }
    }
    // Replay the delivered events behind the failing ones.
    for (hook, ..) in failures {
        let replayed = inbox.command(&["replay", "--hook", hook, "--state", "delivered", "--yes"]);
        assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
    }
    let replayed_at = Instant::now();
    let late: Vec<_> = sent.iter().filter_map(|sent| late(&service, sent)).collect();
    assert!(late.is_empty(), "{late:#?}");
    for (hook, ..) in failures {
        let again = || {
            service.arrivals().into_iter().find(|arrival| {
                arrival.header(header::HOOK).as_deref() == Some(*hook)
                    && arrival.header(header::REDELIVERY).is_some()
            })
        };
        let again = until(replayed_at + MAX_DELIVERY_TIME, again);
        assert!(again.is_some_and(|again| again.at < replayed_at + MAX_DELIVERY_TIME), "replayed on {hook}");
    }
}

/// A description of an event that was not delivered in time.
fn late(service: &Upstream, sent: &WaitingEvent) -> Option<String> {
    let completed = || {
        let arrivals = service.arrivals().into_iter();
        let mut its = arrivals.filter(|arrival| {
            arrival.header(header::GENERATION_ID).as_deref() == Some(&sent.generation)
                && arrival.header(header::EVENT).as_deref() == Some(Kind::Completed.name())
        });
        its.next()
    };
    let took = until(sent.at + MAX_DELIVERY_TIME, completed).map(|arrival| arrival.at - sent.at);
    took.is_none_or(|took| took > MAX_DELIVERY_TIME).then(|| format!("{} {}: {took:?}", sent.hook, sent.what))
}

/// Calls `probe` until it returns a value or this time has come.
fn until<T>(end: Instant, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    loop {
        if let Some(found) = probe() {
            return Some(found);
        }
        if Instant::now() > end {
            return None;
        }
        pause(Duration::from_millis(50));
    }
}

/// The times of the attempts for a generation.
fn arrived(service: &Upstream, generation: &str) -> Vec<Instant> {
    let arrivals = service.arrivals().into_iter();
    let its = arrivals.filter(|arrival| arrival.header(header::GENERATION_ID).as_deref() == Some(generation));
    its.map(|arrival| arrival.at).collect()
}

fn events_die_only_if_others_succeed(at: &str) {
    let service = Upstream::start();
    let answers = ServiceAnswers::of(&service);
    let inbox = InboxProcess::start(PROGRAM, at, service.port, &[]).ready();
    // One failing event does not make the route down, so each due attempt is made.
    let failing = fresh_generation();
    let attempts = |count: usize| {
        eventually("attempts", || (arrived(&service, &failing).len() >= count).then_some(()));
        // The results are stored too.
        let waiting = format!("SELECT count(*) FROM entry WHERE state = 'waiting' AND attempts >= {count}");
        eventually("stored attempts", || (sql(at, &waiting) == "1").then_some(()));
    };
    answers.set(&failing, Reply::status(503));
    store(&inbox, [of_hook("veo3", "completed", &failing)]);
    attempts(1);
    // Nothing has succeeded, so after 72 h and many attempts the event is not dead.
    let (mut tries, worn_out) = (1, "tried = (72 * 3600 - 1) * 1000000::bigint, attempts = attempts + 10");
    let worn_out = if at.starts_with("sqlite:") { worn_out.replace("::bigint", "") } else { worn_out.into() };
    sql(at, &format!("UPDATE entry SET {worn_out}, due_at = 0 WHERE state = 'waiting'"));
    for _ in 0..2 {
        tries += 1;
        attempts(tries);
        sql(at, "UPDATE entry SET due_at = 0 WHERE state = 'waiting'");
    }
    attempts(tries + 1);
    // A success on another route does not count.
    let other = fresh_generation();
    store(&inbox, [of_hook("other", "completed", &other)]);
    eventually("the other route's event", || arrived(&service, &other).first().copied());
    sql(at, "UPDATE entry SET due_at = 0 WHERE state = 'waiting'");
    attempts(tries + 2);
    assert_eq!(sql(at, "SELECT count(*) FROM entry WHERE state = 'dead'"), "0");
    // After a success on this route the next failure makes the event dead.
    let healthy = fresh_generation();
    store(&inbox, [of_hook("veo3", "completed", &healthy)]);
    let delivered = "SELECT count(*) FROM entry WHERE state = 'delivered'";
    eventually("delivery", || (sql(at, delivered) == "2").then_some(()));
    sql(at, "UPDATE entry SET due_at = 0 WHERE state = 'waiting'");
    let dead = "SELECT count(*) FROM entry WHERE state = 'dead'";
    eventually("dead event", || (sql(at, dead) == "1").then_some(()));
}
