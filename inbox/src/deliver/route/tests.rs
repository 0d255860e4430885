#![allow(clippy::arithmetic_side_effects, reason = "a test may panic: that is how it fails")]

use super::*;
use crate::deliver::AttemptOutcome;
use crate::store::Pause;
use axum::http::StatusCode;
use std::num::NonZeroU32;

const SECOND: Duration = Duration::from_secs(1);

/// A route, a clock that stands, and attempts at its entries.
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

    /// An entry that failed before; `beside` another that succeeded since.
    fn begin_again(&mut self, id: i64, beside: bool) -> Flight {
        self.route.begin(&entry(id, 2, beside), self.now)
    }

    fn end(&mut self, id: i64, flight: Flight, outcome: &AttemptOutcome) -> Option<&'static str> {
        let change = self.route.note(id, flight, outcome, self.now);
        self.route.let_go(id, flight);
        change
    }

    /// So many attempts one after the other, each at an entry never tried. Returns the last news.
    fn attempts(&mut self, count: i64, outcome: &AttemptOutcome) -> Option<&'static str> {
        let mut news = None;
        for id in 0..count {
            let flight = self.begin(id);
            news = self.end(id, flight, outcome).or(news);
        }
        news
    }

    fn go_down(&mut self) {
        assert_eq!(self.attempts(5, &nobody()), Some("down"));
    }

    /// How many may start, whatever their class.
    fn room(&mut self) -> usize {
        self.route.wanted(self.now).map_or(0, |wanted| wanted.room)
    }

    /// Whether each slot would start a probe.
    fn probes(&mut self) -> (bool, bool) {
        self.route.wanted(self.now).map_or((false, false), |wanted| (wanted.first > 0, wanted.again > 0))
    }

    /// Starts all that may start at entries never tried, as often as there is room, for so long. Returns how many.
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

fn nobody() -> AttemptOutcome {
    AttemptOutcome::Unanswered("connection refused".to_owned())
}

#[test]
fn a_route_has_so_much_room() {
    let mut road = TestRoute::new(8, 3);
    assert_eq!(road.room(), 8);
    let flights: Vec<_> = (1..=5).map(|id| road.begin(id)).collect();
    assert_eq!(road.room(), 3);
    road.route.let_go(1, flights[0]);
    assert_eq!(road.room(), 4);
    road.route.paused = true;
    assert_eq!(road.room(), 0);
}

#[test]
fn only_many_events_that_nobody_answers_take_a_route_down() {
    for (count, outcome, expected) in [
        (4, nobody(), None),
        (5, nobody(), Some("down")),
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
        assert_eq!(one_event.end(7, flight, &nobody()), None);
    }
    let mut between = TestRoute::new(8, 3);
    between.attempts(4, &nobody());
    between.attempts(1, &answer(200));
    assert_eq!(between.attempts(4, &nobody()), None);
}

#[test]
fn what_fails_beside_a_success_takes_no_route_down() {
    let mut road = TestRoute::new(64, 3);
    for id in 0..40 {
        let flight = road.begin_again(id, true);
        assert!(road.route.is_its_own(flight));
        assert_eq!(road.end(id, flight, &answer(503)), None);
    }
    // A success while they were under way tells as much.
    let flights: Vec<_> = (0..40).map(|id| road.begin(id)).collect();
    road.pass(SECOND);
    road.attempts(1, &answer(200));
    road.pass(SECOND);
    for (id, flight) in (0..).zip(flights) {
        assert!(road.route.is_its_own(flight));
        assert_eq!(road.end(id, flight, &nobody()), None);
    }
    // And a success before they were tried tells nothing.
    for id in 0..5 {
        let flight = road.begin_again(id, false);
        assert!(!road.route.is_its_own(flight));
        road.end(id, flight, &nobody());
    }
    assert!(road.route.is_down());
}

#[test]
fn each_class_has_a_probe_of_its_own() {
    let mut road = TestRoute::new(8, 3);
    road.go_down();
    assert_eq!(road.probes(), (false, false));
    road.pass(SECOND);
    for pause in [2, 4, 8, 16, 30, 30].map(Duration::from_secs) {
        assert_eq!(road.probes(), (true, true));
        let flight = road.begin_again(9, false);
        assert_eq!(road.probes(), (true, false), "one at a time");
        road.end(9, flight, &nobody());
        road.pass(pause - Duration::from_millis(1));
        assert_eq!(road.probes(), (true, false), "{pause:?}");
        road.pass(Duration::from_millis(1));
    }
    // With an entry never tried it asks more often.
    for pause in [2, 4, 5, 5].map(Duration::from_secs) {
        assert_eq!(road.probes(), (true, true));
        let flight = road.begin(9);
        road.end(9, flight, &nobody());
        road.pass(pause - Duration::from_millis(1));
        assert_eq!(road.probes(), (false, true), "{pause:?}");
        road.pass(Duration::from_millis(1));
    }
    // One whose lease was lost says nothing, and the next may try.
    let flight = road.begin(9);
    assert_eq!(road.end(9, flight, &AttemptOutcome::LeaseLost), None);
    assert_eq!((road.route.is_down(), road.probes()), (true, (true, true)));
}

#[test]
fn a_probe_without_an_answer_does_not_hold_its_slot() {
    let mut road = TestRoute::new(8, 3);
    road.go_down();
    road.pass(SECOND);
    let hangs = road.begin(1);
    road.pass(Duration::from_secs(5) - Duration::from_millis(1));
    assert_eq!(road.probes(), (false, true));
    road.pass(Duration::from_millis(1));
    assert_eq!(road.probes(), (true, true));
    road.begin(2);
    assert_eq!(road.probes(), (false, true));
    // Late, and an answer all the same.
    assert_eq!(road.end(1, hangs, &answer(200)), Some("up again"));
}

#[test]
fn probes_are_frequent_while_the_last_success_is_recent() {
    let mut road = TestRoute::new(8, 3);
    road.attempts(1, &answer(200));
    road.pass(SECOND);
    road.go_down();
    road.pass(SECOND);
    for _ in 0..100 {
        assert_eq!(road.probes(), (true, true));
        let (first, again) = (road.begin(9), road.begin_again(8, false));
        road.end(9, first, &nobody());
        road.end(8, again, &nobody());
        road.pass(SECOND * 2);
    }
    road.pass(RECENTLY);
    let again = road.begin_again(8, false);
    road.end(8, again, &nobody());
    road.pass(SECOND * 3);
    assert_eq!(road.probes(), (true, false));
}

#[test]
fn entries_that_always_fail_do_not_lengthen_the_pauses() {
    let mut road = TestRoute::new(8, 3);
    road.go_down();
    for id in 0..40 {
        road.pass(SECOND);
        assert_eq!(road.probes(), (true, true), "{id}");
        let flight = road.begin_again(id, true);
        road.end(id, flight, &answer(503));
    }
}

#[test]
fn probes_take_either_end_in_turn() {
    let mut road = TestRoute::new(8, 3);
    road.go_down();
    let mut picks = Vec::new();
    for id in 0..4 {
        road.pass(LAST_PROBE);
        picks.push(road.route.wanted(road.now).unwrap().picks[0].0);
        let flight = road.begin(id);
        road.end(id, flight, &nobody());
    }
    let (newest, oldest) = (Pick::Newest(AttemptClass::First), Pick::Oldest(AttemptClass::First));
    assert_eq!(picks, [newest, oldest, newest, oldest]);
}

#[test]
fn an_old_answer_ends_nothing() {
    let mut road = TestRoute::new(64, 100);
    let old: Vec<_> = (10..30).map(|id| (id, road.begin(id))).collect();
    road.go_down();
    let (id, flight) = old[0];
    assert_eq!(road.end(id, flight, &answer(200)), None, "sent before the service went away");
    assert!(road.route.is_down());
    road.pass(SECOND);
    let (one, other) = (road.begin(40), road.begin_again(41, false));
    assert_eq!(road.end(40, one, &answer(200)), Some("up again"));
    // Neither the other probe nor what was under way before takes it down again.
    assert_eq!(road.end(41, other, &nobody()), None);
    for (id, flight) in old.into_iter().skip(1) {
        assert_eq!(road.end(id, flight, &nobody()), None);
    }
    assert!(!road.route.is_down());
}

#[test]
fn a_backlog_goes_out_at_a_bounded_rate() {
    for rate in [1_u32, 10, 100, 1_000] {
        let mut road = TestRoute::new(10_000, rate);
        road.go_down();
        road.pass(SECOND * 60);
        let flight = road.begin(1);
        assert_eq!(road.end(1, flight, &answer(200)), Some("up again"));
        let most = i64::from(rate) * 12 / 10 + 1;
        let first = road.drain(SECOND, |_| answer(200));
        assert!((i64::from(rate)..=most).contains(&first), "{rate}: {first}");
        let next = road.drain(SECOND * 8, |_| answer(200));
        assert!((i64::from(rate) * 7..=i64::from(rate) * 9).contains(&next), "{rate}: {next}");
        // And doubles.
        road.pass(SECOND);
        road.drain(SECOND, |_| answer(200));
        let doubled = road.drain(SECOND * 8, |_| answer(200));
        assert!((i64::from(rate) * 15..=i64::from(rate) * 17).contains(&doubled), "{rate}: {doubled}");
    }
}

#[test]
fn one_failure_in_a_hundred_does_not_stop_a_backlog() {
    let mut road = TestRoute::new(64, 100);
    road.go_down();
    road.pass(SECOND);
    let flight = road.begin(1);
    road.end(1, flight, &answer(200));
    let out = road.drain(SECOND * 9, |id| answer(if id % 100 == 0 { 503 } else { 200 }));
    assert!((720..=1_200).contains(&out), "{out}");
    // As many in a row as ever take it down.
    road.pass(SECOND);
    assert_eq!(road.attempts(4, &nobody()), None);
    assert_eq!(road.attempts(5, &nobody()), Some("down"));
}

#[test]
fn a_service_that_comes_and_goes_gets_no_new_burst() {
    let mut road = TestRoute::new(64, 100);
    let mut out = 0;
    for _ in 0..20 {
        road.go_down();
        road.pass(SECOND);
        let flight = road.begin(1);
        road.end(1, flight, &answer(200));
        out += road.drain(Duration::from_millis(10), |_| answer(200));
    }
    assert!(out <= 20 * 10, "a burst of a tenth of a second each: {out}");
}

#[test]
fn a_route_that_has_caught_up_has_all_its_room() {
    let mut road = TestRoute::new(8, 30);
    road.go_down();
    road.pass(SECOND);
    let flight = road.begin(1);
    road.end(1, flight, &answer(200));
    assert_eq!(road.room(), 3, "the burst");
    road.route.claimed(&ClaimedBatch { entries: vec![entry(7, 1, false)], all: true }, road.now);
    assert_eq!(road.room(), 8);
    assert_eq!(road.route.claims_again_at(road.now), None);
}

#[test]
fn neither_class_takes_all_places() {
    let mut road = TestRoute::new(64, 100);
    assert_eq!(road.route.wanted(road.now), Some(ClaimRequest::due(64)), "nothing has failed");
    road.attempts(1, &answer(500));
    for id in 0..48 {
        road.begin_again(id, true);
    }
    let wanted = road.route.wanted(road.now).unwrap();
    assert_eq!((wanted.room, wanted.first, wanted.again), (16, 48, 0));
    road.pass(TROUBLED);
    assert_eq!(road.route.wanted(road.now), Some(ClaimRequest::due(16)), "nothing has failed for a while");
    // One place is nobody's own, and each end has it in turn.
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
fn a_pause_is_of_a_hook_an_event_or_both() {
    #[track_caller]
    fn holds(hook: &str, event: &str, route: &str, expected: bool) {
        let pause = Pause { hook: hook.to_owned(), event: event.to_owned() };
        assert_eq!(pause.holds(route), expected, "{pause:?} {route}");
    }
    holds("veo3", "", "veo3/completed", true);
    holds("veo3", "", "veo3/observed/failed", true);
    holds("veo3", "", "veo3-token/completed", false);
    holds("", "completed", "veo3/completed", true);
    holds("", "completed", "veo3/observed/completed", true);
    holds("", "completed", "veo3/failed", false);
    holds("veo3", "failed", "veo3/failed", true);
    holds("veo3", "failed", "veo3/completed", false);
}
