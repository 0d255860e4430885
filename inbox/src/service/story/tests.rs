//! Stories of stored facts: their order, words and next steps.

#![allow(clippy::arithmetic_side_effects, clippy::string_slice, reason = "a panic fails the test")]

use super::facts::{AskedStatus, RouteTrouble, StoryEntry, StoryFacts};
use super::words::{call_answer, quoted, span};
use super::{ComparedVerdict, GenerationStory, StoryEvent, StoryRequest, StoryStep, next};
use crate::entry::{EntryState, ExpectationState, Lane, QuarantineReason, Superseded};
use crate::request_ids::RequestIds;
use crate::service::error::BadRequest;
use crate::store::{AttemptRow, DatedPause, EntryRow, Expectation};
use std::collections::{BTreeMap, BTreeSet};

const ID: &str = "ffd473d5-5bef-4e14-bf22-8d559be3c19f";
const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
/// 2026-01-31T12:00:00Z.
const NOON: i64 = 1_769_860_800 * SECOND;

/// An entry that waits for its first attempt.
fn row(id: i64, event: &str, at: i64) -> EntryRow {
    EntryRow {
        id,
        lane: Lane::Deliver,
        state: EntryState::Waiting,
        hook: "veo3".to_owned(),
        generation: Some(ID.to_owned()),
        event: Some(event.to_owned()),
        reason: None,
        detail: None,
        client: None,
        token_id: None,
        job: Some("order-17".to_owned()),
        ids: RequestIds::default(),
        authenticated: true,
        digest: Vec::new(),
        size: 10,
        route: Some(format!("veo3/{event}")),
        supersedes: None,
        superseded_by: None,
        overrides: None,
        redelivery: 0,
        redelivered_at: None,
        received_at: NOON + at,
        seen: 1,
        seen_at: NOON + at,
        due_at: NOON + at,
        attempts: 0,
        lease_until: None,
        status: None,
        answer: None,
        ended_at: None,
    }
}

fn quarantined(id: i64, reason: &str, at: i64) -> EntryRow {
    EntryRow {
        lane: Lane::Quarantine,
        state: EntryState::Quarantined,
        reason: Some(QuarantineReason::parse(reason)),
        client: Some("203.0.113.9".to_owned()),
        route: None,
        ..row(id, "completed", at)
    }
}

fn delivered(row: EntryRow, at: i64) -> EntryRow {
    let ended_at = Some(NOON + at);
    EntryRow { state: EntryState::Delivered, ended_at, attempts: 1, status: Some(200), ..row }
}

fn attempt(number: i64, at: i64, status: Option<i64>, answer: &str) -> AttemptRow {
    AttemptRow { number, at: NOON + at, duration: Some(1_200_000), status, answer: answer.to_owned() }
}

fn expectation(state: ExpectationState) -> Expectation {
    Expectation {
        hook: "veo3".to_owned(),
        generation: ID.to_owned(),
        job: Some("order-17".to_owned()),
        state,
        expected_at: NOON,
        ask_at: NOON + 13 * MINUTE,
        asked: 0,
        asked_at: None,
        missing: 0,
        answer: None,
        wanted: None,
        mismatch_id: None,
        mismatch_job: None,
    }
}

fn facts(entries: Vec<(EntryRow, Vec<AttemptRow>)>, expectation: Option<Expectation>) -> StoryFacts {
    let entries = entries.into_iter().map(|(row, attempts)| StoryEntry {
        row,
        attempts,
        is_reconciled: false,
        actors: BTreeMap::new(),
    });
    StoryFacts {
        hook: "veo3".to_owned(),
        generation: Some(ID.to_owned()),
        now: NOON + 60 * MINUTE,
        entries: entries.collect(),
        more_entries: 0,
        expectation,
        all_pauses: Vec::new(),
        troubles: Vec::new(),
        reconcile_after: 13 * MINUTE,
        reconciles: true,
        asked: None,
    }
}

/// Each line as `12:13 text`.
fn told(story: &GenerationStory) -> Vec<String> {
    let line = |at: &Option<String>| at.as_deref().map_or("-", |at| &at[11..16]).to_owned();
    story.lines.iter().map(|told| format!("{} {}", line(&told.at), told.text)).collect()
}

fn commands(story: &GenerationStory) -> Vec<&str> {
    story.next.iter().filter_map(|step| step.command.as_deref()).collect()
}

#[test]
fn tells_of_a_late_event_that_was_quarantined_released_and_delivered() {
    let mut held = quarantined(17, "token-expired", 14 * MINUTE);
    held.detail = Some("token: exp is in the past, expected a time to come".to_owned());
    held.ids.request_id = Some("5f1c-1".to_owned());
    held.override_as_released(20 * MINUTE);
    let held = delivered(held, 20 * MINUTE + 4 * SECOND);
    let attempts = vec![
        attempt(1, 20 * MINUTE + SECOND, Some(503), "busy"),
        attempt(2, 20 * MINUTE + 4 * SECOND, Some(200), "ok"),
    ];
    let story = facts(vec![(held, attempts)], Some(expectation(ExpectationState::Expected))).story();
    assert_eq!(
        told(&story),
        [
            "12:00 announced with job order-17",
            "12:13 overdue: no event was accepted within 13m",
            "12:14 completed received from 203.0.113.9 and quarantined: entry 17, request 5f1c-1. token-expired: The \
             token's signature is valid, but the token has expired or is not valid yet (token: exp is in the past, \
             expected a time to come)",
            "12:20 entry 17 released by a person, as the event that it claims: completed",
            "12:20 attempt 1 of entry 17: 503 after 1.2s: busy",
            "12:20 attempt 2 of entry 17: delivered, 200 after 1.2s: ok",
            // It was due at 12:13, and is still to come.
            "13:00 next status call",
        ]
    );
    assert_eq!(
        story.lines[2].remedy.as_deref(),
        Some(
            "Compare the clocks. Give tokens a lifetime longer than generation plus retries. Release genuine entries."
        )
    );
    assert_eq!((story.state.as_str(), story.job.as_deref()), ("delivered", Some("order-17")));
    assert!(
        story.next[0]
            .why
            .starts_with("nothing: entry 17 is delivered. At 2026-01-31T12:13:00.000Z the inbox ")
    );
}

impl EntryRow {
    /// Released once, as the event that it claims.
    fn override_as_released(&mut self, at: i64) {
        self.redelivery = 1;
        self.redelivered_at = Some(NOON + at);
        self.state = EntryState::Waiting;
        self.route = Some("veo3/completed".to_owned());
        self.overrides = self.reason.as_ref().map(ToString::to_string);
    }
}

#[test]
fn tells_which_entry_a_release_made() {
    let mut held = quarantined(17, "token-reused", 0);
    (held.state, held.ended_at) = (EntryState::Superseded, Some(NOON + MINUTE));
    (held.superseded_by, held.answer) =
        (Some(18), Some("released: its generation is announced with its job".to_owned()));
    let made = delivered(row(18, "completed", MINUTE), 2 * MINUTE);
    let story = facts(vec![(held.clone(), vec![]), (made, vec![])], None).story();
    assert_eq!(
        told(&story)[1..],
        [
            "12:01 entry 17 released: its generation is announced with its job. Its event is entry 18",
            "12:02 entry 18 delivered to veo3/completed: the service answered 200",
        ]
    );
    assert_eq!(story.state, "delivered");
    // The event was there before.
    let made = delivered(row(18, "completed", 0), MINUTE);
    let story = facts(vec![(held, vec![]), (made, vec![])], None).story();
    let expected =
        "12:01 entry 17 released: its generation is announced with its job. It repeats the event of entry 18";
    assert!(told(&story).contains(&expected.to_owned()), "{:?}", told(&story));
}

#[test]
fn tells_which_entry_superseded_which() {
    let mut timeout = row(1, "timeout", 0);
    (timeout.state, timeout.ended_at, timeout.superseded_by) =
        (EntryState::Superseded, Some(NOON + MINUTE), Some(2));
    let mut completed = delivered(row(2, "completed", MINUTE), 2 * MINUTE);
    completed.supersedes = Some(Superseded::Timeout);
    let story = facts(vec![(timeout.clone(), vec![]), (completed, vec![])], None).story();
    assert_eq!(
        told(&story),
        [
            "12:00 timeout received: entry 1",
            "12:01 completed received: entry 2. It supersedes a timeout",
            "12:01 entry 1 superseded by entry 2",
            "12:02 entry 2 delivered to veo3/completed: the service answered 200",
        ]
    );
    // The other entry is past its retention.
    let alone = facts(vec![(timeout, vec![])], None).story();
    assert_eq!(told(&alone)[1..], ["12:01 entry 1 superseded by another event"]);
    assert_eq!(alone.next[0].command, None);
}

#[test]
fn tells_of_repeats_gaps_and_deleted_bodies() {
    let mut entry = row(3, "failed", 0);
    (entry.seen, entry.seen_at, entry.attempts, entry.size) = (4, NOON + 9 * MINUTE, 30, 0);
    (entry.state, entry.ended_at) = (EntryState::Dead, Some(NOON + 10 * MINUTE));
    let attempts =
        vec![attempt(1, SECOND, None, "connection refused"), attempt(30, 9 * MINUTE, Some(500), "")];
    let story = facts(vec![(entry, attempts)], None).story();
    assert_eq!(
        told(&story),
        [
            "12:00 failed received: entry 3",
            "12:00 attempt 1 of entry 3: no answer after 1.2s: connection refused",
            "12:09 entry 3: 3 more deliveries of the same event so far, the last one at this time",
            "12:09 attempt 30 of entry 3: 500 after 1.2s (28 attempts before it not recorded)",
            "12:10 entry 3 dead: 72 hours of attempts failed, 30 attempts",
            "- the body of entry 3 is deleted, by retention or a purge",
        ]
    );
    assert_eq!(story.next[0].command, None, "{:?}", story.next);
}

#[test]
fn tells_of_pauses_and_failing_routes_in_the_way() {
    let mut facts = facts(vec![(row(4, "completed", 0), vec![])], None);
    facts.all_pauses = vec![
        DatedPause { hook: String::new(), event: "completed".to_owned(), since: NOON - MINUTE },
        DatedPause { hook: "other".to_owned(), event: String::new(), since: NOON },
    ];
    let story = facts.story();
    let paused = "12:00 deliveries of completed events are paused, since 2026-01-31T11:59:00.000Z";
    // No attempt is due during a pause.
    assert_eq!(told(&story), ["12:00 completed received: entry 4", paused]);
    assert_eq!(commands(&story), ["blobgate inbox resume --event completed"]);

    facts.all_pauses.clear();
    facts.troubles = vec![RouteTrouble {
        route: "veo3/completed".to_owned(),
        is_down: true,
        outcome: "its attempts get no answer".to_owned(),
        since: Some(NOON + MINUTE),
    }];
    // The attempt that failed stands before the failing route.
    facts.entries[0].attempts = vec![attempt(1, MINUTE + SECOND / 10, None, "connection refused")];
    let story = facts.story();
    assert_eq!(
        story.lines.iter().map(|line| line.what).collect::<Vec<_>>(),
        [StoryEvent::Received, StoryEvent::Attempt, StoryEvent::RouteFails, StoryEvent::Due]
    );
    assert!(
        told(&story).contains(
            &"12:01 route veo3/completed is down: its attempts get no answer, since 2026-01-31T12:01:00.000Z"
                .to_owned()
        )
    );
    assert_eq!(commands(&story), ["blobgate inbox retry 4"]);
}

#[test]
fn an_expectation_without_an_event_has_next_steps() {
    let open = || expectation(ExpectationState::Expected);
    // Its webhook is not due yet.
    let mut early = facts(vec![], Some(open()));
    early.now = NOON + MINUTE;
    let story = early.story();
    assert_eq!(told(&story), ["12:00 announced with job order-17", "12:13 next status call"]);
    assert_eq!((story.state.as_str(), commands(&story).len()), ("expected", 0));
    // It is overdue, and the last call found it in progress.
    let called = Expectation {
        asked: 2,
        asked_at: Some(NOON + 20 * MINUTE),
        ask_at: NOON + 80 * MINUTE,
        answer: Some("still-working".to_owned()),
        ..open()
    };
    let story = facts(vec![], Some(called)).story();
    assert_eq!(
        told(&story)[2..],
        ["12:20 status call 2, the newest: the generation is in progress", "13:20 next status call"]
    );
    assert_eq!((story.state.as_str(), commands(&story)), ("overdue", vec!["blobgate inbox reconcile"]));
    // There is no status API.
    let mut alone = facts(vec![], Some(open()));
    alone.reconciles = false;
    let story = alone.story();
    assert_eq!(commands(&story), [format!("grep -e {ID} -e token- LOG | blobgate explain --line -")]);
    assert!(!told(&story).iter().any(|line| line.ends_with("next status call")));
    // The provider denies it.
    let story = facts(vec![], Some(expectation(ExpectationState::Unknown))).story();
    assert_eq!(
        (story.state.as_str(), commands(&story)),
        ("unknown to the provider", vec![&*format!("blobgate why {ID} --hook veo3 --ask")])
    );
}

#[test]
fn an_event_in_time_is_not_overdue() {
    let late = |at: i64| {
        let entry = delivered(row(1, "completed", at), at + SECOND);
        let story = facts(vec![(entry, vec![])], Some(expectation(ExpectationState::Arrived))).story();
        story.lines.iter().any(|line| line.what == StoryEvent::Overdue)
    };
    assert!(!late(12 * MINUTE));
    assert!(late(14 * MINUTE));
}

#[test]
fn each_quarantined_entry_has_its_commands() {
    let steps = |row: EntryRow| {
        let story = facts(vec![(row, vec![])], None).story();
        story.next.into_iter().filter_map(|step| step.command).collect::<Vec<_>>()
    };
    assert_eq!(
        steps(quarantined(17, "token-expired", 0)),
        [
            &*format!("blobgate why {ID} --hook veo3 --ask"),
            "blobgate inbox show 17",
            "blobgate inbox release 17",
            "blobgate inbox drop 17"
        ]
    );
    assert_eq!(
        steps(quarantined(17, "source-denied", 0))[0],
        "blobgate inbox reevaluate --config envoy.yaml 17"
    );
    assert_eq!(
        steps(quarantined(17, "token-conflict", 0))[0],
        format!("blobgate inbox expect --hook veo3 --generation {ID} --job order-17")
    );
    assert_eq!(
        steps(quarantined(17, "event-conflict", 0))[0],
        format!("blobgate why {ID} --hook veo3 --ask")
    );
    let unread = EntryRow { event: None, generation: None, ..quarantined(17, "json-invalid", 0) };
    assert_eq!(steps(unread)[1], "blobgate inbox release 17 --as completed --generation ID");
    let purged = EntryRow { size: 0, ..quarantined(17, "json-invalid", 0) };
    assert!(!steps(purged).iter().any(|command| command.contains("release")));
    // A reason of a newer version.
    assert_eq!(steps(quarantined(17, "of-tomorrow", 0))[2], "blobgate inbox release 17");
}

#[test]
fn names_the_steps_of_nothing() {
    let of = |request: &StoryRequest, reconciles| {
        let steps: Vec<StoryStep> = next::nothing_found(request, &BTreeSet::new(), reconciles, None);
        steps.into_iter().filter_map(|step| step.command).collect::<Vec<_>>()
    };
    let generation = StoryRequest { generation: Some(ID.to_uppercase()), ..StoryRequest::default() };
    assert_eq!(of(&generation, true)[0], format!("grep -e {ID} -e token- LOG | blobgate explain --line -"));
    assert_eq!(of(&generation, true).last(), Some(&format!("blobgate why {ID} --ask")));
    assert!(!of(&generation, false).iter().any(|command| command.contains("--ask")));
    let job = StoryRequest {
        job: Some("order-17".to_owned()),
        hook: Some("veo3".to_owned()),
        ..StoryRequest::default()
    };
    assert_eq!(of(&job, true), ["blobgate inbox ls --since 1d --hook veo3"]);
    let request = StoryRequest { request_id: Some("a.b_c-1".to_owned()), ..StoryRequest::default() };
    assert_eq!(of(&request, true)[0], "grep -e a.b_c-1 LOG | blobgate explain --line -");
    // Another hook has it.
    let elsewhere = BTreeSet::from(["veo3".to_owned(), "sora".to_owned()]);
    let steps = next::nothing_found(&job, &elsewhere, true, None);
    let steps: Vec<_> = steps.into_iter().filter_map(|step| step.command).collect();
    assert_eq!(steps, ["blobgate why --job=order-17 --hook sora", "blobgate why --job=order-17 --hook veo3"]);
    // The status API has answered already.
    for (asked, first, count) in [
        (
            AskedStatus::Ended(BTreeMap::new()),
            Some(format!("blobgate inbox expect --hook HOOK --generation {ID} --job JOB")),
            2,
        ),
        (AskedStatus::Unknown, None, 2),
        (AskedStatus::InProgress, None, 2),
        (AskedStatus::Other, Some(format!("grep -e {ID} -e token- LOG | blobgate explain --line -")), 1),
    ] {
        let steps = next::nothing_found(&generation, &BTreeSet::new(), true, Some(&asked));
        assert_eq!((&steps[0].command, steps.len()), (&first, count), "{asked:?}: {steps:?}");
        assert!(
            !steps.iter().any(|step| step.command.as_ref().is_some_and(|command| command.contains("--ask")))
        );
    }
}

#[test]
fn the_answer_of_the_status_api_decides_the_next_steps() {
    let asked = |entries: Vec<EntryRow>, expectation: Option<Expectation>, asked: AskedStatus| {
        let mut facts = facts(entries.into_iter().map(|row| (row, vec![])).collect(), expectation);
        facts.asked = Some(asked);
        let steps = facts.story().next;
        steps.into_iter().map(|step| (step.why, step.command.unwrap_or_default())).collect::<Vec<_>>()
    };
    let owned = |steps: &[(&str, &str)]| -> Vec<(String, String)> {
        steps.iter().map(|(why, command)| ((*why).to_owned(), (*command).to_owned())).collect()
    };
    let done = || delivered(row(9, "completed", 0), SECOND);
    let compared = |id: i64, verdict| AskedStatus::Ended(BTreeMap::from([(id, verdict)]));
    let unknown =
        "the status API has no such generation. Compare the id, and the API key, with those of the order";
    // The sender of a delivered event was an impostor.
    assert_eq!(
        asked(vec![done()], None, AskedStatus::Unknown),
        owned(&[
            (unknown, ""),
            (
                "without such an order, the event of entry 9 is forged, and its service has it",
                "blobgate inbox show 9"
            ),
        ])
    );
    assert_eq!(
        asked(vec![done()], None, AskedStatus::InProgress),
        owned(&[(
            "the generation is in progress, and entry 9 claims completed, and its service has it. Treat it as forged \
             until the status API confirms it",
            "blobgate inbox show 9"
        )])
    );
    assert_eq!(
        asked(vec![done()], None, compared(9, ComparedVerdict::Contradicted)),
        owned(&[(
            "the status API contradicts entry 9, and its service has it. Compare its body with the provider's answer",
            "blobgate inbox show 9 --body"
        )])
    );
    let nothing = [
        ("nothing: entry 9 is delivered", ""),
        ("if its service lost it, deliver it again", "blobgate inbox replay 9"),
    ];
    assert_eq!(asked(vec![done()], None, compared(9, ComparedVerdict::Confirmed)), owned(&nothing));
    assert_eq!(asked(vec![done()], None, AskedStatus::Other), owned(&nothing));
    // A quarantined entry is decided.
    let held = || quarantined(17, "token-audience", 0);
    assert_eq!(
        asked(vec![held()], None, compared(17, ComparedVerdict::Contradicted)),
        owned(&[
            ("the status API contradicts entry 17: treat it as forged", "blobgate inbox drop 17"),
            ("see entry 17", "blobgate inbox show 17"),
        ])
    );
    assert_eq!(
        asked(vec![held()], None, compared(17, ComparedVerdict::Confirmed))[0].1,
        "blobgate inbox release 17"
    );
    assert_eq!(asked(vec![held()], None, AskedStatus::Unknown)[0].0, unknown);
    // No event is here.
    let open = || Some(expectation(ExpectationState::Expected));
    let none = || AskedStatus::Ended(BTreeMap::new());
    assert_eq!(asked(vec![], open(), none())[0].1, "blobgate inbox reconcile");
    assert_eq!(asked(vec![], open(), AskedStatus::Unknown), owned(&[(unknown, "")]));
    let mut early = facts(vec![], open());
    (early.now, early.asked) = (NOON + MINUTE, Some(none()));
    let steps = early.story().next;
    assert_eq!(steps.len(), 1, "{steps:?}");
    assert_eq!(steps[0].command, None, "`reconcile` passes over a generation that is not overdue");
    assert!(
        steps[0].why.contains("From 2026-01-31T12:13:00.000Z on the inbox fetches the result"),
        "{steps:?}"
    );
}

#[test]
fn a_quarantined_event_beside_an_accepted_one_is_compared_first() {
    let held = quarantined(17, "result-url-denied", MINUTE);
    let story =
        facts(vec![(delivered(row(9, "completed", 0), SECOND), vec![]), (held, vec![])], None).story();
    let steps: Vec<_> = story.next.iter().map(|step| step.why.as_str()).collect();
    assert_eq!(
        steps[..3],
        [
            "if the configuration was wrong: judge entry 17 by the repaired one",
            "entry 9 (completed) of the same generation is delivered. Release entry 17 only if its own event is genuine \
             too",
            "compare the stored events with the status API",
        ]
    );
}

#[test]
fn a_flood_of_quarantined_entries_hides_no_other_step() {
    let mut entries: Vec<_> =
        (1..=20).map(|id| (quarantined(id, "result-url-denied", id * SECOND), vec![])).collect();
    let mut dead = row(21, "completed", 30 * SECOND);
    (dead.state, dead.ended_at) = (EntryState::Dead, Some(NOON + MINUTE));
    entries.push((dead, vec![]));
    let story = facts(entries, None).story();
    let commands = commands(&story);
    assert_eq!(commands[0], "blobgate inbox replay 21");
    assert_eq!(
        commands.last(),
        Some(&&*format!("blobgate inbox ls --hook veo3 --generation {ID} --state quarantined"))
    );
    assert_eq!(story.next.last().unwrap().why, "and 17 more in quarantine");
    assert_eq!(commands.iter().filter(|command| command.ends_with("--ask")).count(), 1, "{commands:?}");
    // Entries of a hook that only observes have no bound by generation.
    let observed = |id: i64| {
        let mut dead = row(id, "completed", id * SECOND);
        (dead.lane, dead.state) = (Lane::Observed, EntryState::Dead);
        (dead, vec![])
    };
    let story = facts((1..=20).map(observed).collect(), None).story();
    assert_eq!(
        (story.next.len(), story.next.last().unwrap().why.as_str()),
        (9, "and 12 more steps, of other entries")
    );
}

#[test]
fn names_no_command_that_the_inbox_refuses() {
    let dropped = |row: EntryRow| {
        let row = EntryRow { state: EntryState::Dropped, ended_at: Some(NOON + MINUTE), ..row };
        facts(vec![(row, vec![])], None).story().next
    };
    let unread = EntryRow { event: None, ..quarantined(25, "schema-invalid", 0) };
    let steps = dropped(unread);
    assert_eq!(
        (steps[0].why.as_str(), &steps[0].command, steps.len()),
        ("nothing can deliver entry 25: it is dropped, and claims no valid event", &None, 1)
    );
    assert_eq!(
        dropped(quarantined(25, "token-expired", 0))[0].command.as_deref(),
        Some("blobgate inbox replay 25")
    );
}

#[test]
fn a_job_mismatch_has_a_step() {
    let mut other = expectation(ExpectationState::Arrived);
    (other.mismatch_id, other.mismatch_job) = (Some(9), Some("order-18".to_owned()));
    let story = facts(vec![(delivered(row(9, "completed", 0), SECOND), vec![])], Some(other)).story();
    assert_eq!(
        story.next,
        [StoryStep {
            why: "find out which job is right: the application announced order-17, and the token of entry 9 has order-18"
                .to_owned(),
            command: Some("blobgate inbox show 9".to_owned()),
        }]
    );
}

#[test]
fn a_replay_keeps_the_release_in_the_story() {
    let mut held = quarantined(26, "token-expired", 0);
    held.override_as_released(20 * MINUTE);
    held.redelivery = 2;
    let attempts =
        vec![attempt(1, 10 * MINUTE, Some(500), ""), attempt(2, 20 * MINUTE + SECOND, Some(200), "")];
    let story = facts(vec![(delivered(held, 21 * MINUTE), attempts)], None).story();
    let kinds: Vec<_> = story.lines.iter().map(|line| line.what).collect();
    use StoryEvent::{Attempt, Delivered, Quarantined, Released, Replayed};
    assert_eq!(kinds, [Quarantined, Released, Attempt, Replayed, Delivered]);
    assert_eq!(
        told(&story)[1],
        "12:10 entry 26 released by a person before this time, as the event that it claims: completed"
    );
}

#[test]
fn an_attempt_without_an_end_has_its_reason() {
    let lost = AttemptRow { duration: None, ..attempt(1, SECOND, None, "no result: the inbox ended") };
    let story = facts(vec![(delivered(row(1, "completed", 0), MINUTE), vec![lost])], None).story();
    assert_eq!(
        told(&story)[1],
        "12:00 attempt 1 of entry 1: no result: the inbox ended, recorded at this time"
    );
}

#[test]
fn a_request_has_one_subject() {
    let read = |pairs: &[(&str, &str)]| {
        let pairs: Vec<_> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        StoryRequest::read(&pairs).and_then(|request| request.check().map(|_| request))
    };
    for pairs in [&[("generation", ID)][..], &[("job", "order-17"), ("hook", "veo3")], &[("entry", "17")]] {
        let request = read(pairs).unwrap();
        let written: Vec<_> = request.pairs();
        let written: Vec<_> = written.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(written, pairs);
    }
    for (pairs, expected) in [
        (&[][..], BadRequest::StorySubject),
        (&[("hook", "veo3")], BadRequest::StorySubject),
        (&[("generation", ID), ("entry", "1")], BadRequest::StorySubject),
        (&[("job", "a"), ("job", "b")], BadRequest::Twice("job")),
        (&[("entry", "1"), ("entry", "1")], BadRequest::Twice("entry")),
        (&[("colour", "red")], BadRequest::NoSuchSubject("colour".to_owned())),
        (&[("generation", "7")], BadRequest::NoGeneration("7".to_owned())),
        (&[("request_id", "a b")], BadRequest::NoRequestId("a b".to_owned())),
        (&[("job", "a/b")], BadRequest::NoJob("a/b".to_owned())),
        (&[("entry", "0")], BadRequest::NoNumber { name: "id", value: "0".to_owned(), max: None }),
    ] {
        assert_eq!(read(pairs), Err(expected), "{pairs:?}");
    }
}

#[test]
fn writes_spans_and_words() {
    for (micros, expected) in [
        (-5, "0ms"),
        (999, "0ms"),
        (40_000, "40ms"),
        (1_250_000, "1.2s"),
        (2 * SECOND, "2s"),
        (59 * SECOND, "59s"),
        (13 * MINUTE, "13m"),
        (65 * SECOND, "1m 5s"),
        (125 * MINUTE, "2h 5m"),
        (76 * 60 * MINUTE, "3d 4h"),
    ] {
        assert_eq!(span(micros), expected);
    }
    assert_eq!(quoted("order-17"), "order-17");
    assert_eq!(quoted("a'b; rm"), "'a'\\''b; rm'");
    assert_eq!(call_answer(Some("of-tomorrow")), "answer of-tomorrow");
}

#[test]
fn names_who_released_replayed_or_dropped_an_entry() {
    let actors = |actions: &[(&str, Option<&str>)]| {
        let named = |(action, who): &(&str, Option<&str>)| ((*action).to_owned(), who.map(str::to_owned));
        actions.iter().map(named).collect::<BTreeMap<_, _>>()
    };
    let mut held = quarantined(26, "token-expired", 0);
    held.override_as_released(20 * MINUTE);
    let ended_at = Some(NOON + 5 * MINUTE);
    let dropped = EntryRow { state: EntryState::Dropped, ended_at, ..row(27, "failed", MINUTE) };
    let purged = EntryRow { state: EntryState::Dropped, ended_at, size: 0, ..row(28, "timeout", MINUTE) };
    let mut story = facts(
        vec![(delivered(held, 21 * MINUTE), Vec::new()), (dropped, Vec::new()), (purged, Vec::new())],
        None,
    );
    story.entries[0].actors = actors(&[("release", Some("anna")), ("retry", Some("cleo"))]);
    story.entries[1].actors = actors(&[("drop", Some("bert"))]);
    story.entries[2].actors = actors(&[("purge", Some("dora"))]);
    let told = told(&story.story());
    for line in [
        "12:20 entry 26 released by anna, as the event that it claims: completed",
        "12:05 entry 27 dropped by bert: no attempt follows",
        "12:05 entry 28 dropped by dora: no attempt follows",
    ] {
        assert!(told.iter().any(|told| told == line), "{line}: {told:#?}");
    }
    // The last drop was without sign-in.
    story.entries[1].actors = actors(&[("drop", None)]);
    assert!(
        self::told(&story.story())
            .contains(&"12:05 entry 27 dropped by a person: no attempt follows".to_owned())
    );
}
