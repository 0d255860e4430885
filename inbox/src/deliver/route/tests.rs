#![allow(clippy::arithmetic_side_effects, reason = "a test may panic: that is how it fails")]

use super::*;
use crate::deliver::AttemptOutcome;
use crate::request_ids::RequestIds;
use crate::store::Pause;
use axum::http::StatusCode;
use std::num::NonZeroU32;

const SECOND: Duration = Duration::from_secs(1);

/// A route with a clock that the test moves.
struct TestRoute {
    route: Route,
    now: Instant,
}

impl TestRoute {
    fn new(concurrency: usize, drain: u32) -> Self {
        let pace = DeliveryPace {
            concurrency,
            drain: NonZeroU32::new(drain).unwrap(),
            lease: Duration::from_secs(30),
        };
        let now = Instant::now();
        Self { route: Route::new(pace, now), now }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    fn begin(&mut self, id: i64) -> Flight {
        self.route.begin(&entry(id, 1, false), self.now)
    }

    /// An entry that failed before. `beside`: another succeeded since.
    fn begin_again(&mut self, id: i64, beside: bool) -> Flight {
        self.route.begin(&entry(id, 2, beside), self.now)
    }

    fn end(&mut self, id: i64, flight: Flight, outcome: &AttemptOutcome) -> Option<&'static str> {
        let change = self.route.note(id, flight, outcome, self.now);
        self.route.finish(id, flight);
        change
    }

    /// First attempts, one after the other. Returns the last change of health.
    fn attempts(&mut self, count: i64, outcome: &AttemptOutcome) -> Option<&'static str> {
        let mut change = None;
        for id in 0..count {
            let flight = self.begin(id);
            change = self.end(id, flight, outcome).or(change);
        }
        change
    }

    fn go_down(&mut self) {
        assert_eq!(self.attempts(5, &refused()), Some("down"));
    }

    /// The attempts of any class that may start.
    fn room(&mut self) -> usize {
        self.route.wanted(self.now).map_or(0, |wanted| wanted.room)
    }

    /// Whether each slot may start a probe.
    fn probes(&mut self) -> (bool, bool) {
        self.route.wanted(self.now).map_or((false, false), |wanted| (wanted.first > 0, wanted.again > 0))
    }

    /// Makes first attempts for a time, as many as there is room for. Returns their number.
    fn drain(&mut self, time: Duration, mut answer: impl FnMut(i64) -> AttemptOutcome) -> i64 {
        let until = self.now + time;
        let mut count = 0;
        while self.now < until {
            let room = self.room();
            let entries: Vec<_> = (0..room).map(|_| entry(count, 1, false)).collect();
            self.route.claimed(&ClaimedBatch { entries, all: false }, self.now);
            for _ in 0..room {
                let flight = self.begin(count);
                self.end(count, flight, &answer(count));
                count += 1;
            }
            self.pass(Duration::from_millis(10));
        }
        count
    }
}

fn entry(id: i64, attempts: i64, beside_success: bool) -> ClaimedEntry {
    ClaimedEntry {
        id,
        generation: None,
        ids: RequestIds::default(),
        event: None,
        supersedes: None,
        overrides: None,
        redelivery: 0,
        attempts,
        lease: 1,
        beside_success,
        path: Vec::new(),
        headers: Vec::new(),
        body: Vec::new(),
    }
}

fn answer(status: u16) -> AttemptOutcome {
    AttemptOutcome::Answered(StatusCode::from_u16(status).unwrap(), String::new())
}

fn refused() -> AttemptOutcome {
    AttemptOutcome::Unanswered("connection refused".to_owned())
}

#[test]
fn bounds_attempts_in_flight() {
    let mut test = TestRoute::new(8, 3);
    assert_eq!(test.room(), 8);
    let flights: Vec<_> = (1..=5).map(|id| test.begin(id)).collect();
    assert_eq!(test.room(), 3);
    test.route.finish(1, flights[0]);
    assert_eq!(test.room(), 4);
    test.route.paused = true;
    assert_eq!(test.room(), 0);
}

#[test]
fn goes_down_only_after_unanswered_attempts_of_several_entries() {
    for (count, outcome, expected) in [
        (4, refused(), None),
        (5, refused(), Some("down")),
        (5, answer(503), Some("down")),
        (5, answer(502), Some("down")),
        (5, answer(504), Some("down")),
        (9, answer(500), None),
        (9, answer(410), None),
        (9, AttemptOutcome::LeaseLost, None),
    ] {
        assert_eq!(TestRoute::new(8, 3).attempts(count, &outcome), expected, "{count} {outcome:?}");
    }
    let mut one_event = TestRoute::new(8, 3);
    for _ in 0..20 {
        let flight = one_event.begin(7);
        assert_eq!(one_event.end(7, flight, &refused()), None);
    }
    let mut between = TestRoute::new(8, 3);
    between.attempts(4, &refused());
    between.attempts(1, &answer(200));
    assert_eq!(between.attempts(4, &refused()), None);
}

#[test]
fn stays_up_when_entries_fail_beside_a_success() {
    let mut test = TestRoute::new(64, 3);
    for id in 0..40 {
        let flight = test.begin_again(id, true);
        assert!(test.route.is_own_failure(flight));
        assert_eq!(test.end(id, flight, &answer(503)), None);
    }
    // A success while they are in flight counts too.
    let flights: Vec<_> = (0..40).map(|id| test.begin(id)).collect();
    test.pass(SECOND);
    test.attempts(1, &answer(200));
    test.pass(SECOND);
    for (id, flight) in (0..).zip(flights) {
        assert!(test.route.is_own_failure(flight));
        assert_eq!(test.end(id, flight, &refused()), None);
    }
    // A success before their attempts does not count.
    for id in 0..5 {
        let flight = test.begin_again(id, false);
        assert!(!test.route.is_own_failure(flight));
        test.end(id, flight, &refused());
    }
    assert!(test.route.is_down());
}

#[test]
fn probes_each_class_separately() {
    let mut test = TestRoute::new(8, 3);
    test.go_down();
    assert_eq!(test.probes(), (false, false));
    test.pass(SECOND);
    for pause in [2, 4, 8, 16, 30, 30].map(Duration::from_secs) {
        assert_eq!(test.probes(), (true, true));
        let flight = test.begin_again(9, false);
        assert_eq!(test.probes(), (true, false), "one at a time");
        test.end(9, flight, &refused());
        test.pass(pause - Duration::from_millis(1));
        assert_eq!(test.probes(), (true, false), "{pause:?}");
        test.pass(Duration::from_millis(1));
    }
    // First attempts probe more often.
    for pause in [2, 4, 5, 5].map(Duration::from_secs) {
        assert_eq!(test.probes(), (true, true));
        let flight = test.begin(9);
        test.end(9, flight, &refused());
        test.pass(pause - Duration::from_millis(1));
        assert_eq!(test.probes(), (false, true), "{pause:?}");
        test.pass(Duration::from_millis(1));
    }
    // After a lost lease the next probe may start.
    let flight = test.begin(9);
    assert_eq!(test.end(9, flight, &AttemptOutcome::LeaseLost), None);
    assert_eq!((test.route.is_down(), test.probes()), (true, (true, true)));
}

#[test]
fn starts_the_next_probe_beside_one_without_an_answer() {
    let mut test = TestRoute::new(8, 3);
    test.go_down();
    test.pass(SECOND);
    let silent = test.begin(1);
    test.pass(Duration::from_secs(5) - Duration::from_millis(1));
    assert_eq!(test.probes(), (false, true));
    test.pass(Duration::from_millis(1));
    assert_eq!(test.probes(), (true, true));
    test.begin(2);
    assert_eq!(test.probes(), (false, true));
    // A late answer counts.
    assert_eq!(test.end(1, silent, &answer(200)), Some("up again"));
}

#[test]
fn probes_often_after_a_recent_success() {
    let mut test = TestRoute::new(8, 3);
    test.attempts(1, &answer(200));
    test.pass(SECOND);
    test.go_down();
    test.pass(SECOND);
    for _ in 0..100 {
        assert_eq!(test.probes(), (true, true));
        let (first, again) = (test.begin(9), test.begin_again(8, false));
        test.end(9, first, &refused());
        test.end(8, again, &refused());
        test.pass(SECOND * 2);
    }
    test.pass(RECENTLY);
    let again = test.begin_again(8, false);
    test.end(8, again, &refused());
    test.pass(SECOND * 3);
    assert_eq!(test.probes(), (true, false));
}

#[test]
fn own_failures_do_not_lengthen_pauses() {
    let mut test = TestRoute::new(8, 3);
    test.go_down();
    for id in 0..40 {
        test.pass(SECOND);
        assert_eq!(test.probes(), (true, true), "{id}");
        let flight = test.begin_again(id, true);
        test.end(id, flight, &answer(503));
    }
}

#[test]
fn probes_the_newest_and_the_oldest_in_turn() {
    let mut test = TestRoute::new(8, 3);
    test.go_down();
    let mut picks = Vec::new();
    for id in 0..4 {
        test.pass(MAX_PAUSE);
        picks.push(test.route.wanted(test.now).unwrap().picks[0].0);
        let flight = test.begin(id);
        test.end(id, flight, &refused());
    }
    let (newest, oldest) = (Pick::Newest(AttemptClass::First), Pick::Oldest(AttemptClass::First));
    assert_eq!(picks, [newest, oldest, newest, oldest]);
}

#[test]
fn ignores_answers_of_an_earlier_epoch() {
    let mut test = TestRoute::new(64, 100);
    let old: Vec<_> = (10..30).map(|id| (id, test.begin(id))).collect();
    test.go_down();
    let (id, flight) = old[0];
    assert_eq!(test.end(id, flight, &answer(200)), None, "sent before the service went down");
    assert!(test.route.is_down());
    test.pass(SECOND);
    let (one, other) = (test.begin(40), test.begin_again(41, false));
    assert_eq!(test.end(40, one, &answer(200)), Some("up again"));
    // Neither the other probe nor earlier attempts take it down again.
    assert_eq!(test.end(41, other, &refused()), None);
    for (id, flight) in old.into_iter().skip(1) {
        assert_eq!(test.end(id, flight, &refused()), None);
    }
    assert!(!test.route.is_down());
}

#[test]
fn catches_up_at_a_bounded_rate() {
    for rate in [1_u32, 10, 100, 1_000] {
        let mut test = TestRoute::new(10_000, rate);
        test.go_down();
        test.pass(SECOND * 60);
        let flight = test.begin(1);
        assert_eq!(test.end(1, flight, &answer(200)), Some("up again"));
        let most = i64::from(rate) * 12 / 10 + 1;
        let first = test.drain(SECOND, |_| answer(200));
        assert!((i64::from(rate)..=most).contains(&first), "{rate}: {first}");
        let next = test.drain(SECOND * 8, |_| answer(200));
        assert!((i64::from(rate) * 7..=i64::from(rate) * 9).contains(&next), "{rate}: {next}");
        // The rate doubles.
        test.pass(SECOND);
        test.drain(SECOND, |_| answer(200));
        let doubled = test.drain(SECOND * 8, |_| answer(200));
        assert!((i64::from(rate) * 15..=i64::from(rate) * 17).contains(&doubled), "{rate}: {doubled}");
    }
}

#[test]
fn catches_up_despite_one_failure_in_a_hundred() {
    let mut test = TestRoute::new(64, 100);
    test.go_down();
    test.pass(SECOND);
    let flight = test.begin(1);
    test.end(1, flight, &answer(200));
    let out = test.drain(SECOND * 9, |id| answer(if id % 100 == 0 { 503 } else { 200 }));
    assert!((720..=1_200).contains(&out), "{out}");
    // Five in a row still take it down.
    test.pass(SECOND);
    assert_eq!(test.attempts(4, &refused()), None);
    assert_eq!(test.attempts(5, &refused()), Some("down"));
}

#[test]
fn a_flapping_service_gets_no_new_burst() {
    let mut test = TestRoute::new(64, 100);
    let mut out = 0;
    for _ in 0..20 {
        test.go_down();
        test.pass(SECOND);
        let flight = test.begin(1);
        test.end(1, flight, &answer(200));
        out += test.drain(Duration::from_millis(10), |_| answer(200));
    }
    assert!(out <= 20 * 10, "a burst of a tenth of a second each: {out}");
}

#[test]
fn has_no_limit_once_caught_up() {
    let mut test = TestRoute::new(8, 30);
    test.go_down();
    test.pass(SECOND);
    let flight = test.begin(1);
    test.end(1, flight, &answer(200));
    assert_eq!(test.room(), 3, "the burst");
    test.route.claimed(&ClaimedBatch { entries: vec![entry(7, 1, false)], all: true }, test.now);
    assert_eq!(test.room(), 8);
    assert_eq!(test.route.claims_again_at(test.now), None);
}

#[test]
fn reserves_slots_for_each_class() {
    let mut test = TestRoute::new(64, 100);
    assert_eq!(test.route.wanted(test.now), Some(ClaimRequest::due(64)), "nothing has failed");
    test.attempts(1, &answer(500));
    for id in 0..48 {
        test.begin_again(id, true);
    }
    let wanted = test.route.wanted(test.now).unwrap();
    assert_eq!((wanted.room, wanted.first, wanted.again), (16, 48, 0));
    test.pass(TROUBLED);
    assert_eq!(test.route.wanted(test.now), Some(ClaimRequest::due(16)), "nothing has failed for a while");
    // A single slot belongs to no class, and each pick gets it in turn.
    let mut single = TestRoute::new(1, 100);
    single.attempts(1, &answer(500));
    let mut firsts = Vec::new();
    for _ in 0..4 {
        firsts.push(single.route.wanted(single.now).unwrap().picks[0].0);
    }
    for class in [AttemptClass::First, AttemptClass::Again] {
        for pick in [Pick::Newest(class), Pick::Oldest(class)] {
            assert!(firsts.contains(&pick), "{pick:?} in {firsts:?}");
        }
    }
}

#[test]
fn a_pause_covers_a_hook_an_event_or_both() {
    #[track_caller]
    fn covers(hook: &str, event: &str, route: &str, expected: bool) {
        let pause = Pause { hook: hook.to_owned(), event: event.to_owned() };
        assert_eq!(pause.holds(route), expected, "{pause:?} {route}");
    }
    covers("veo3", "", "veo3/completed", true);
    covers("veo3", "", "veo3/observed/failed", true);
    covers("veo3", "", "veo3-token/completed", false);
    covers("", "completed", "veo3/completed", true);
    covers("", "completed", "veo3/observed/completed", true);
    covers("", "completed", "veo3/failed", false);
    covers("veo3", "failed", "veo3/failed", true);
    covers("veo3", "failed", "veo3/completed", false);
}
