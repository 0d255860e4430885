//! `completed` and `failed` of one generation at the same time, through two inboxes on one PostgreSQL.

use crate::chance::Chance;
use crate::check::{CheckList, unless};
use crate::judge::LogJudge;
use crate::load::{CustomerOrder, Message, MessageOutcome};
use crate::log::now;
use crate::sender::{HangUp, SendResult, attempt};
use crate::site::{KillSite, drain};
use crate::store::{CopyRow, POSTGRES};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::Ordering;
use std::thread;

const TIMES: usize = 1_000;
const LANES: usize = 20;
/// The attempts of a sender before the test fails.
const MAX_ATTEMPTS: usize = 20;

pub(crate) fn run(program: &Path, seed: u64, checks: &mut CheckList) {
    let site = KillSite::new(program);
    let store = site.store(POSTGRES);
    site.receiver.behaviour.fails.store(0, Ordering::Relaxed);
    let starter = site.starter();
    let inboxes = vec![starter.start(&store).ready(), starter.start(&store).ready()];
    let targets = [inboxes[0].receive, inboxes[1].receive];
    let pairs = thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES)
            .map(|lane| {
                let site = &site;
                scope.spawn(move || send_pairs(site, targets, seed + u64::try_from(lane).unwrap()))
            })
            .collect();
        lanes.into_iter().flat_map(|lane| lane.join().unwrap()).collect::<Vec<_>>()
    });
    let mut judge = site.judge();
    let rows = drain(&store, &starter, &mut judge, inboxes);
    judge.check(rows.clone(), now());
    judge.conclude();
    checks.row(
        "race: no event is lost, delivered twice, or delivered by two inboxes at once",
        judge.figures.problem(),
    );

    let rows: HashMap<_, _> = rows.into_iter().map(|row| (row.digest.clone(), row)).collect();
    let (mut ends, mut wrong) = (HashMap::<&str, usize>::new(), Vec::new());
    for [completed, failed] in &pairs {
        match end(&judge, &rows, completed, failed) {
            Ok(end) => *ends.entry(end).or_default() += 1,
            Err(problem) => wrong.push(format!("{}: {problem}", completed.generation)),
        }
    }
    println!("race: {} pairs: {ends:?}", pairs.len());
    let both = pairs.len() == TIMES && ends.len() >= 2;
    checks.row("race: both orders occurred", unless(both, || format!("{} pairs: {ends:?}", pairs.len())));
    let problem = || format!("{} of {}: {:?}", wrong.len(), pairs.len(), &wrong[..wrong.len().min(3)]);
    checks.row(
        "race: entries, deliveries and gate headers agree on one order",
        unless(wrong.is_empty(), problem),
    );
}

fn send_pairs(site: &KillSite, targets: [SocketAddr; 2], seed: u64) -> Vec<[Message; 2]> {
    let mut chance = Chance::new(seed);
    let pair = |turn: usize| {
        let order = CustomerOrder::new(&mut chance);
        let pair = [order.completed("a", ""), order.failed("failed", "UNSAFE_CONTENT")]
            .map(|message| message.but(MessageOutcome::ByTheRace));
        // Each inbox gets both kinds, and each kind is sometimes the first.
        let (first, second) = if turn.is_multiple_of(2) { (0, 1) } else { (1, 0) };
        let barrier = Barrier::new(2);
        thread::scope(|scope| {
            for (message, target) in [(&pair[first], targets[0]), (&pair[second], targets[1])] {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    let acknowledged = (0..MAX_ATTEMPTS).any(|_| {
                        attempt(&site.sent, target, message, HangUp::Never) == SendResult::Status(200)
                    });
                    assert!(acknowledged, "never acknowledged");
                });
            }
        });
        pair
    };
    (0..TIMES / LANES).map(pair).collect()
}

/// The order in which the store took the two events. An error if something disagrees with it.
fn end(
    judge: &LogJudge,
    rows: &HashMap<String, CopyRow>,
    completed: &Message,
    failed: &Message,
) -> Result<&'static str, String> {
    let (c, f) = (&rows[&completed.digest], &rows[&failed.digest]);
    let (completions, failures) = (judge.arrivals_of(&completed.digest), judge.arrivals_of(&failed.digest));
    let shown = || {
        let show = |row: &CopyRow| format!("{} {} {} {}", row.lane, row.state, row.reason, row.supersedes);
        format!("completed {}, failed {}", show(c), show(f))
    };
    let ok = c.lane == "deliver"
        && c.state == "delivered"
        && completions.len() == 1
        && completions
            .iter()
            .all(|arrival| arrival.supersedes == c.supersedes && arrival.answered().is_some());
    if !ok {
        return Err(format!("the completion did not arrive exactly once, as stored: {}", shown()));
    }
    let before = failures.iter().all(|failure| {
        failure.supersedes == "-" && failure.end.is_some_and(|(end, _)| end <= completions[0].begin)
    });
    match (c.supersedes.as_str(), f.lane.as_str(), f.state.as_str(), failures.len()) {
        ("-", "quarantine", "quarantined", 0) if f.reason == "event-conflict" => {
            Ok("completed first, failed quarantined")
        }
        ("failed", "deliver", "superseded", 0) => Ok("failed first, superseded"),
        ("failed", "deliver", "delivered", 1) if before => Ok("failed first, delivered before"),
        _ => Err(format!("{}, {} arrivals of the failure", shown(), failures.len())),
    }
}
