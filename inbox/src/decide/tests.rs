//! Rows: what is known, what comes, what becomes of it.

use super::*;
use QuarantineReason::{EventConflict, TokenConflict, TokenReused};
use blobgate::Reason;
use bytes::Bytes;

const ONE: &str = "00000000-0000-4000-8000-000000000001";
const TWO: &str = "00000000-0000-4000-8000-000000000002";

/// An accepted event of an authenticated sender.
fn event(fingerprint: Fingerprint) -> Arrival {
    Arrival {
        verdict: Verdict::Accepted,
        hook: "veo3".to_owned(),
        generation: Some(ONE.to_owned()),
        fingerprint: Some(fingerprint),
        origin: Origin::Webhook,
        reason: None,
        token: None,
        job: None,
        authenticated: true,
        digest: [0; 32],
        path: "/hooks/veo3".to_owned(),
        headers: Vec::new(),
        body: Bytes::new(),
    }
}

fn completed(place: &str) -> Arrival {
    event(Fingerprint::Completed(place.to_owned()))
}

fn failed(code: &str) -> Arrival {
    event(Fingerprint::Failed(code.to_owned()))
}

fn timeout() -> Arrival {
    event(Fingerprint::Timeout("TIMEOUT".to_owned()))
}

impl Arrival {
    fn unauthenticated(self) -> Self {
        Self { authenticated: false, ..self }
    }

    pub(crate) fn of(self, generation: &str) -> Self {
        Self { generation: Some(generation.to_owned()), ..self }
    }

    fn with_token(self, id: &str) -> Self {
        Self { token: Some(crate::arrival::ArrivalToken { id: id.to_owned(), binds: true }), ..self }
    }

    fn of_job(self, job: &str) -> Self {
        Self { job: Some(job.to_owned()), ..self }
    }

    fn with_static_token(self, id: &str) -> Self {
        Self { token: Some(crate::arrival::ArrivalToken { id: id.to_owned(), binds: false }), ..self }
    }

    fn judged(self, verdict: Verdict, reason: Option<&str>) -> Self {
        Self { verdict, reason: reason.map(QuarantineReason::parse), ..self }
    }
}

const NEW: ArrivalDecision = ArrivalDecision::Deliver { supersedes: None, retires: None };

fn over(id: i64, what: Superseded) -> ArrivalDecision {
    ArrivalDecision::Deliver { supersedes: Some(what), retires: Some(id) }
}

fn repeat(of: i64) -> ArrivalDecision {
    ArrivalDecision::Repeat { of }
}

fn keep(reason: QuarantineReason) -> ArrivalDecision {
    ArrivalDecision::Quarantine { reason }
}

/// What comes one after the other, each with the next number, and what becomes of it.
#[track_caller]
fn row(comes: &[(Arrival, ArrivalDecision)]) {
    let mut known = BatchState::default();
    for (id, (arrival, expected)) in (1..).zip(comes) {
        assert_eq!(known.decide(arrival, id), *expected, "entry {id}");
    }
}

/// The same where the application has said of which job [`ONE`] is.
#[track_caller]
fn row_expecting(job: &str, comes: &[(Arrival, ArrivalDecision)]) -> BatchState {
    let mut known = BatchState::default();
    let key = GenerationKey { hook: "veo3".to_owned(), generation: ONE.to_owned() };
    known
        .generations
        .insert(key, GenerationState { expected: Some(job.to_owned()), ..GenerationState::default() });
    for (id, (arrival, expected)) in (1..).zip(comes) {
        assert_eq!(known.decide(arrival, id), *expected, "entry {id}");
    }
    known
}

#[track_caller]
fn met(known: &BatchState, expected: Option<ExpectationState>) {
    assert_eq!(known.generations.values().find_map(|generation| generation.expectation_state), expected);
}

#[test]
fn an_expectation_beats_first_use() {
    let with = |generation: &str, token: &str, job: &str| {
        completed("a").of(generation).with_token(token).of_job(job)
    };
    // A token of another job is not bound, not even as the first, and so is free for its own.
    let known = row_expecting(
        "j",
        &[
            (with(ONE, "u", "k"), keep(TokenConflict)),
            (with(ONE, "t", "j"), NEW),
            (with(ONE, "u", "k"), keep(TokenConflict)),
            (with(TWO, "u", "k"), NEW),
        ],
    );
    met(&known, Some(ExpectationState::Arrived));
    // Of two tokens of the job both may speak of it, and the last one is bound.
    row_expecting("j", &[(with(ONE, "t", "j"), NEW), (with(ONE, "u", "j"), repeat(1))]);
    // A token that was used for something else first is here for its own.
    row_expecting(
        "j",
        &[
            (with(TWO, "t", "j"), NEW),
            (with(ONE, "t", "j"), NEW),
            (with(TWO, "t", "j"), keep(TokenReused)),
            (with(ONE, "t", "j"), repeat(2)),
        ],
    );
    // What names no job is bound by first use, until one of the job comes.
    let nameless = completed("a").with_token("n");
    row_expecting(
        "j",
        &[(nameless.clone(), NEW), (with(ONE, "t", "j"), repeat(1)), (nameless, keep(TokenConflict))],
    );
    // What has no token is not asked for one, and what it contradicts is kept as ever.
    row_expecting(
        "j",
        &[(completed("a"), NEW), (failed("X").with_token("t").of_job("j"), keep(EventConflict))],
    );
    // What is kept meets nothing.
    let known = row_expecting("j", &[(with(ONE, "u", "k"), keep(TokenConflict))]);
    met(&known, None);
}

#[test]
fn what_was_asked_for_stands_in_nobody_s_way() {
    let reconciled = |place: &str| completed(place).reconciled();
    met(
        &row_expecting("j", &[(reconciled("a"), NEW), (reconciled("b"), repeat(1))]),
        Some(ExpectationState::Reconciled),
    );
    // The webhook comes in the end, with whatever URL: from then on it is what others are compared with.
    row(&[
        (reconciled("a"), NEW),
        (completed("a"), repeat(1)),
        (completed("a"), repeat(1)),
        (completed("b"), keep(EventConflict)),
    ]);
    row(&[
        (reconciled("a"), NEW),
        (completed("b"), repeat(1)),
        (reconciled("a"), repeat(1)),
        (completed("b"), repeat(1)),
        (completed("a"), keep(EventConflict)),
    ]);
    row(&[
        (reconciled("a"), NEW),
        (completed("x").unauthenticated(), repeat(1)),
        (completed("b"), repeat(1)),
    ]);
    row(&[(completed("a"), NEW), (reconciled("b"), repeat(1)), (completed("b"), keep(EventConflict))]);
    row(&[(failed("X").reconciled(), NEW), (failed("Y"), repeat(1)), (timeout(), keep(EventConflict))]);
    row(&[(failed("X"), NEW), (failed("Y").reconciled(), repeat(1))]);
    row(&[(timeout(), NEW), (timeout().reconciled(), repeat(1))]);
    // But the provider's word counts for more than one who has proven nothing.
    row(&[(completed("x").unauthenticated(), NEW), (reconciled("a"), over(1, Superseded::Unauthenticated))]);
    row(&[(failed("X").reconciled(), NEW), (completed("a"), over(1, Superseded::Failed))]);
    row(&[(timeout().reconciled(), NEW), (completed("a"), over(1, Superseded::Timeout))]);
    row(&[(failed("X"), NEW), (reconciled("a"), over(1, Superseded::Failed))]);
    row(&[(completed("a"), NEW), (failed("X").reconciled(), keep(EventConflict))]);
}

#[test]
fn an_event_is_new_once() {
    row(&[(completed("a"), NEW), (completed("a"), repeat(1)), (completed("a"), repeat(1))]);
    row(&[(failed("X"), NEW), (failed("X"), repeat(1))]);
    row(&[(timeout(), NEW), (timeout(), repeat(1))]);
    row(&[(completed("a"), NEW), (completed("a").of(TWO), NEW)]);
}

#[test]
fn a_completion_supersedes_a_failure() {
    row(&[(failed("X"), NEW), (completed("a"), over(1, Superseded::Failed)), (completed("a"), repeat(2))]);
    row(&[(timeout(), NEW), (completed("a"), over(1, Superseded::Timeout)), (timeout(), repeat(1))]);
}

#[test]
fn what_contradicts_is_kept() {
    row(&[(completed("a"), NEW), (failed("X"), keep(EventConflict)), (completed("b"), keep(EventConflict))]);
    row(&[(failed("X"), NEW), (failed("Y"), keep(EventConflict)), (timeout(), keep(EventConflict))]);
    row(&[
        (failed("X"), NEW),
        (completed("a"), over(1, Superseded::Failed)),
        (failed("Y"), keep(EventConflict)),
        (failed("X"), repeat(1)),
    ]);
}

#[test]
fn an_unauthenticated_sender_never_blocks_an_authenticated_one() {
    row(&[
        (completed("a").unauthenticated(), NEW),
        (completed("b"), over(1, Superseded::Unauthenticated)),
        (completed("b"), repeat(2)),
    ]);
    row(&[(completed("a").unauthenticated(), NEW), (failed("X"), over(1, Superseded::Unauthenticated))]);
    row(&[
        (failed("X").unauthenticated(), NEW),
        (failed("Y"), over(1, Superseded::Unauthenticated)),
        (completed("a"), over(2, Superseded::Failed)),
    ]);
    row(&[(failed("X").unauthenticated(), NEW), (completed("a"), over(1, Superseded::Unauthenticated))]);
    row(&[
        (completed("a").unauthenticated(), NEW),
        (failed("X"), over(1, Superseded::Unauthenticated)),
        (completed("b"), over(2, Superseded::Failed)),
        (completed("a").unauthenticated(), keep(EventConflict)),
    ]);
    // Not even where it is the other kind that has proven nothing.
    row(&[
        (failed("X").unauthenticated(), NEW),
        (completed("a"), over(1, Superseded::Unauthenticated)),
        (failed("Y"), keep(EventConflict)),
        (completed("a"), repeat(2)),
        (failed("X").unauthenticated(), repeat(1)),
    ]);
    // And the other way round it does not count.
    row(&[(completed("a"), NEW), (completed("b").unauthenticated(), keep(EventConflict))]);
    row(&[(failed("X"), NEW), (completed("a").unauthenticated(), keep(EventConflict))]);
    // The same said once more is a repeat, whoever says it.
    row(&[(completed("a").unauthenticated(), NEW), (completed("a"), repeat(1))]);
    row(&[(completed("a"), NEW), (completed("a").unauthenticated(), repeat(1))]);
}

#[test]
fn a_token_speaks_of_one_generation_and_a_generation_has_one_token() {
    let with = |generation: &str, token: &str| completed("a").of(generation).with_token(token);
    row(&[(with(ONE, "t"), NEW), (with(TWO, "t"), keep(TokenReused)), (with(ONE, "t"), repeat(1))]);
    row(&[(with(ONE, "t"), NEW), (with(ONE, "u"), keep(TokenConflict)), (with(TWO, "u"), NEW)]);
    // A repeat that is the first to have a token binds it.
    row(&[(completed("a"), NEW), (with(ONE, "t"), repeat(1)), (with(TWO, "t"), keep(TokenReused))]);
    // What is kept binds nothing.
    row(&[
        (completed("a"), NEW),
        (completed("b").with_token("t"), keep(EventConflict)),
        (with(TWO, "t"), NEW),
    ]);
    // Another hook's tokens are others.
    let elsewhere = Arrival { hook: "other".to_owned(), ..with(TWO, "t") };
    row(&[(with(ONE, "t"), NEW), (elsewhere, NEW)]);
}

#[test]
fn one_static_url_is_bound_to_nothing() {
    let with = |generation: &str| completed("a").of(generation).with_static_token("s");
    row(&[(with(ONE), NEW), (with(TWO), NEW), (completed("a").with_token("t"), repeat(1))]);
}

#[test]
fn what_is_observed_or_quarantined_decides_nothing() {
    let observed = completed("a").judged(Verdict::Observed, None);
    let quarantined = completed("a").judged(Verdict::Quarantined, Some("token-expired")).with_token("t");
    row(&[
        (observed.clone(), ArrivalDecision::Observe),
        (observed, ArrivalDecision::Observe),
        (quarantined, keep(QuarantineReason::Gate(Reason::TokenExpired))),
        (completed("b"), NEW),
        (completed("c").of(TWO).with_token("t"), NEW),
    ]);
}

#[test]
fn only_what_has_changed_is_written() {
    let mut known = BatchState::default();
    known.decide(&completed("a").with_token("t"), 1);
    let changed = |known: &BatchState| {
        (known.generations.values().any(|row| row.changed), known.tokens.values().any(|row| row.changed))
    };
    assert_eq!(changed(&known), (true, true));
    known.generations.values_mut().for_each(|row| row.changed = false);
    known.tokens.values_mut().for_each(|row| row.changed = false);
    known.decide(&completed("a").with_token("t"), 2);
    known.decide(&completed("b").with_token("t"), 3);
    assert_eq!(changed(&known), (false, false));
}
