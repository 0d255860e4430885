use super::*;
use crate::deliver::Outcome;
use axum::http::StatusCode;
use std::num::NonZeroU32;

fn route() -> Route {
    Route::new(Pace { concurrency: 8, drain: NonZeroU32::new(3).unwrap(), lease: Duration::from_secs(30) })
}

fn answer(status: u16) -> Outcome {
    Outcome::Answered(StatusCode::from_u16(status).unwrap(), String::new())
}

fn nobody() -> Outcome {
    Outcome::Unanswered("connection refused".to_owned())
}

/// Notes so many deliveries, each of another event, that ended so.
fn note(route: &mut Route, count: i64, outcome: &Outcome, now: Instant) -> Option<&'static str> {
    (0..count).filter_map(|id| route.note(id, outcome, now)).last()
}

#[test]
fn a_route_has_so_much_room() {
    let (mut route, now) = (route(), Instant::now());
    assert_eq!(route.room(now), 8);
    route.claimed(&[1, 2, 3, 4, 5], 8);
    assert_eq!(route.room(now), 3);
    route.let_go(1);
    assert_eq!(route.room(now), 4);
    route.paused = true;
    assert_eq!(route.room(now), 0);
}

#[test]
fn only_many_events_that_nobody_answers_take_a_route_down() {
    let now = Instant::now();
    for (count, outcome, expected) in [
        (4, nobody(), None),
        (5, nobody(), Some("down")),
        (5, answer(503), Some("down")),
        (5, answer(502), Some("down")),
        (5, answer(504), Some("down")),
        (9, answer(500), None),
        (9, answer(410), None),
        (9, Outcome::LeaseLost, None),
    ] {
        assert_eq!(note(&mut route(), count, &outcome, now), expected, "{count} {outcome:?}");
    }
    let mut one_event = route();
    assert!((0..20).all(|_| one_event.note(7, &nobody(), now).is_none()));
    let mut between = route();
    note(&mut between, 4, &nobody(), now);
    note(&mut between, 1, &answer(200), now);
    assert_eq!(note(&mut between, 4, &nobody(), now), None);
}

#[test]
fn one_delivery_at_a_time_finds_out_whether_it_is_back() {
    let (mut route, now) = (route(), Instant::now());
    route.claimed(&[0, 1, 2, 3, 4, 5, 6, 7], 8);
    note(&mut route, 5, &nobody(), now);
    assert_eq!(route.room(now), 0);
    // What was under way when it went down puts nothing off.
    note(&mut route, 8, &nobody(), now);
    let mut probe_at = now + FIRST_PROBE;
    for pause in [2, 4, 8, 16, 30, 30].map(Duration::from_secs) {
        assert_eq!((route.room(probe_at - Duration::from_millis(1)), route.room(probe_at)), (0, 1));
        route.claimed(&[9], 1);
        assert_eq!(route.room(probe_at + LAST_PROBE), 0, "one at a time");
        route.note(9, &nobody(), probe_at);
        route.let_go(9);
        probe_at += pause;
    }
    // One whose lease was lost says nothing, and the next may try.
    route.claimed(&[9], 1);
    assert_eq!(route.note(9, &Outcome::LeaseLost, probe_at), None);
    route.let_go(9);
    assert_eq!((route.is_down(), route.room(probe_at)), (true, 1));
}

#[test]
fn what_has_waited_goes_out_at_a_bounded_rate() {
    let (mut route, now) = (route(), Instant::now());
    note(&mut route, 5, &nobody(), now);
    assert_eq!(route.note(1, &answer(200), now), Some("up again"));
    assert_eq!(route.room(now), 3, "the drain rate");
    route.claimed(&[7, 8, 9], 3);
    assert_eq!(route.room(now), 0);
    // An answer is an answer: a service that says 500 is there.
    assert_eq!(route.note(1, &answer(500), now), None);
    assert_eq!(route.note(1, &nobody(), now), Some("down again"));
}

#[test]
fn a_route_that_has_caught_up_has_all_its_room() {
    let (mut route, now) = (route(), Instant::now());
    note(&mut route, 5, &nobody(), now);
    route.note(1, &answer(200), now);
    let room = route.room(now);
    route.claimed(&[7, 8], room);
    assert_eq!((room, route.room(now)), (3, 6));
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
