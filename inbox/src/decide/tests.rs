//! Tables of arrivals and decisions.

use super::*;
use crate::request_ids::RequestIds;
use QuarantineReason::{EventConflict, TokenConflict, TokenReused};
use blobgate::Reason;
use blobgate::contract::is_detail;
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
        detail: None,
        client: None,
        token: None,
        job: None,
        ids: RequestIds::default(),
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

    fn with_verdict(self, verdict: Verdict, reason: Option<&str>) -> Self {
        Self { verdict, reason: reason.map(QuarantineReason::parse), ..self }
    }
}

const NEW: ArrivalDecision = ArrivalDecision::Deliver { supersedes: None, retires: None };

fn supersede(id: i64, what: Superseded) -> ArrivalDecision {
    ArrivalDecision::Deliver { supersedes: Some(what), retires: Some(id) }
}

fn repeat(of: i64) -> ArrivalDecision {
    ArrivalDecision::Repeat { of }
}

fn quarantine(reason: QuarantineReason) -> ArrivalDecision {
    ArrivalDecision::Quarantine(QuarantineCause { reason, detail: None })
}

fn without_detail(decision: ArrivalDecision) -> ArrivalDecision {
    match decision {
        ArrivalDecision::Quarantine(cause) => quarantine(cause.reason),
        other => other,
    }
}

/// Checks the detail of the second arrival's quarantine.
#[track_caller]
fn detail(state: &mut BatchState, first: &Arrival, second: &Arrival, expected: &str) {
    assert!(!matches!(state.decide(first, 1), ArrivalDecision::Quarantine(_)));
    let ArrivalDecision::Quarantine(cause) = state.decide(second, 2) else { panic!("{expected}") };
    assert_eq!(cause.detail.as_deref(), Some(expected));
    assert!(is_detail(expected) && expected.contains(", expected "), "{expected}");
}

#[test]
fn names_the_difference_of_a_conflict() {
    let row = |first: Arrival, second: Arrival, expected: &str| {
        detail(&mut BatchState::default(), &first, &second, expected);
    };
    row(
        completed("a"),
        completed("b"),
        "video_url: differs from the stored completion, expected the same URL",
    );
    row(completed("a"), failed("X"), "event: is failed after completed, expected completed");
    row(completed("a"), timeout(), "event: is timeout after completed, expected completed");
    row(failed("X"), failed("Y"), "error: code differs from the stored failure, expected the same code");
    row(failed("X"), timeout(), "event: is timeout after failed, expected failed or completed");
    row(timeout(), failed("X"), "event: is failed after timeout, expected timeout or completed");
    let unauthenticated = completed("a").unauthenticated();
    let missing = "trust: no proof is there, expected a proof, as the stored failure has one";
    row(failed("X"), unauthenticated.clone(), missing);
    row(timeout(), unauthenticated, missing);
    let other = "generation_id: differs from the generation of the token, expected one generation a token";
    row(completed("a").with_token("t"), completed("a").of(TWO).with_token("t"), other);
    let other = "token: differs from the token of the generation, expected one token a generation";
    row(completed("a").with_token("t"), completed("a").with_token("u"), other);
}

#[test]
fn names_the_announced_job_as_expected() {
    let key = GenerationKey { hook: "veo3".to_owned(), generation: ONE.to_owned() };
    let expecting = GenerationState { expected: Some("j".to_owned()), ..GenerationState::default() };
    let mut state = BatchState { generations: BTreeMap::from([(key, expecting)]), ..BatchState::default() };
    let of = |token: &str, job: &str| completed("a").with_token(token).of_job(job);
    let other = "job: differs from the announced job, expected the announced job";
    detail(&mut state, &of("t", "j"), &of("u", "k"), other);
}

#[test]
fn keeps_the_detail_of_the_gate() {
    let detail = Some("seed: is a text, expected a number".to_owned());
    let arrival = completed("a").with_verdict(Verdict::Quarantined, Some("schema-invalid"));
    let arrival = Arrival { detail: detail.clone(), ..arrival };
    let ArrivalDecision::Quarantine(cause) = BatchState::default().decide(&arrival, 1) else { panic!() };
    assert_eq!(cause.detail.as_deref(), detail.as_deref());
}

/// Checks the decision on each arrival in turn. Ids count from 1.
#[track_caller]
fn row(arrivals: &[(Arrival, ArrivalDecision)]) {
    let mut state = BatchState::default();
    for (id, (arrival, expected)) in (1..).zip(arrivals) {
        assert_eq!(without_detail(state.decide(arrival, id)), *expected, "entry {id}");
    }
}

/// Like [`row`], after an announcement of the job of [`ONE`].
#[track_caller]
fn row_expecting(job: &str, arrivals: &[(Arrival, ArrivalDecision)]) -> BatchState {
    let mut state = BatchState::default();
    let key = GenerationKey { hook: "veo3".to_owned(), generation: ONE.to_owned() };
    state
        .generations
        .insert(key, GenerationState { expected: Some(job.to_owned()), ..GenerationState::default() });
    for (id, (arrival, expected)) in (1..).zip(arrivals) {
        assert_eq!(without_detail(state.decide(arrival, id)), *expected, "entry {id}");
    }
    state
}

#[track_caller]
fn met(state: &BatchState, expected: Option<ExpectationState>) {
    assert_eq!(state.generations.values().find_map(|generation| generation.expectation_state), expected);
}

#[test]
fn an_expectation_has_precedence_over_first_use() {
    let with = |generation: &str, token: &str, job: &str| {
        completed("a").of(generation).with_token(token).of_job(job)
    };
    // A token of another job binds nothing, even as the first. It stays free for its own generation.
    let state = row_expecting(
        "j",
        &[
            (with(ONE, "u", "k"), quarantine(TokenConflict)),
            (with(ONE, "t", "j"), NEW),
            (with(ONE, "u", "k"), quarantine(TokenConflict)),
            (with(TWO, "u", "k"), NEW),
        ],
    );
    met(&state, Some(ExpectationState::Arrived));
    // Both tokens of the job are accepted, and the last one is bound.
    row_expecting("j", &[(with(ONE, "t", "j"), NEW), (with(ONE, "u", "j"), repeat(1))]);
    // A token of the job is accepted even after its use for another generation.
    row_expecting(
        "j",
        &[
            (with(TWO, "t", "j"), NEW),
            (with(ONE, "t", "j"), NEW),
            (with(TWO, "t", "j"), quarantine(TokenReused)),
            (with(ONE, "t", "j"), repeat(2)),
        ],
    );
    // First use binds a token without a job, until a token of the job comes.
    let nameless = completed("a").with_token("n");
    row_expecting(
        "j",
        &[(nameless.clone(), NEW), (with(ONE, "t", "j"), repeat(1)), (nameless, quarantine(TokenConflict))],
    );
    // An arrival without a token is accepted, and a contradicting one is quarantined.
    row_expecting(
        "j",
        &[(completed("a"), NEW), (failed("X").with_token("t").of_job("j"), quarantine(EventConflict))],
    );
    // A quarantined arrival does not meet the expectation.
    let state = row_expecting("j", &[(with(ONE, "u", "k"), quarantine(TokenConflict))]);
    met(&state, None);
}

#[test]
fn a_reconciled_event_never_blocks_a_webhook() {
    let reconciled = |place: &str| completed(place).reconciled();
    met(
        &row_expecting("j", &[(reconciled("a"), NEW), (reconciled("b"), repeat(1))]),
        Some(ExpectationState::Reconciled),
    );
    // The webhook comes later with any URL. Later events are compared with it.
    row(&[
        (reconciled("a"), NEW),
        (completed("a"), repeat(1)),
        (completed("a"), repeat(1)),
        (completed("b"), quarantine(EventConflict)),
    ]);
    row(&[
        (reconciled("a"), NEW),
        (completed("b"), repeat(1)),
        (reconciled("a"), repeat(1)),
        (completed("b"), repeat(1)),
        (completed("a"), quarantine(EventConflict)),
    ]);
    row(&[
        (reconciled("a"), NEW),
        (completed("x").unauthenticated(), repeat(1)),
        (completed("b"), repeat(1)),
    ]);
    row(&[(completed("a"), NEW), (reconciled("b"), repeat(1)), (completed("b"), quarantine(EventConflict))]);
    row(&[(failed("X").reconciled(), NEW), (failed("Y"), repeat(1)), (timeout(), quarantine(EventConflict))]);
    row(&[(failed("X"), NEW), (failed("Y").reconciled(), repeat(1))]);
    row(&[(timeout(), NEW), (timeout().reconciled(), repeat(1))]);
    // A reconciled event supersedes an unauthenticated one.
    row(&[
        (completed("x").unauthenticated(), NEW),
        (reconciled("a"), supersede(1, Superseded::Unauthenticated)),
    ]);
    row(&[(failed("X").reconciled(), NEW), (completed("a"), supersede(1, Superseded::Failed))]);
    row(&[(timeout().reconciled(), NEW), (completed("a"), supersede(1, Superseded::Timeout))]);
    row(&[(failed("X"), NEW), (reconciled("a"), supersede(1, Superseded::Failed))]);
    row(&[(completed("a"), NEW), (failed("X").reconciled(), quarantine(EventConflict))]);
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
    row(&[
        (failed("X"), NEW),
        (completed("a"), supersede(1, Superseded::Failed)),
        (completed("a"), repeat(2)),
    ]);
    row(&[(timeout(), NEW), (completed("a"), supersede(1, Superseded::Timeout)), (timeout(), repeat(1))]);
}

#[test]
fn quarantines_a_contradicting_event() {
    row(&[
        (completed("a"), NEW),
        (failed("X"), quarantine(EventConflict)),
        (completed("b"), quarantine(EventConflict)),
    ]);
    row(&[
        (failed("X"), NEW),
        (failed("Y"), quarantine(EventConflict)),
        (timeout(), quarantine(EventConflict)),
    ]);
    row(&[
        (failed("X"), NEW),
        (completed("a"), supersede(1, Superseded::Failed)),
        (failed("Y"), quarantine(EventConflict)),
        (failed("X"), repeat(1)),
    ]);
}

#[test]
fn an_unauthenticated_sender_never_blocks_an_authenticated_one() {
    row(&[
        (completed("a").unauthenticated(), NEW),
        (completed("b"), supersede(1, Superseded::Unauthenticated)),
        (completed("b"), repeat(2)),
    ]);
    row(&[(completed("a").unauthenticated(), NEW), (failed("X"), supersede(1, Superseded::Unauthenticated))]);
    row(&[
        (failed("X").unauthenticated(), NEW),
        (failed("Y"), supersede(1, Superseded::Unauthenticated)),
        (completed("a"), supersede(2, Superseded::Failed)),
    ]);
    row(&[(failed("X").unauthenticated(), NEW), (completed("a"), supersede(1, Superseded::Unauthenticated))]);
    row(&[
        (completed("a").unauthenticated(), NEW),
        (failed("X"), supersede(1, Superseded::Unauthenticated)),
        (completed("b"), supersede(2, Superseded::Failed)),
        (completed("a").unauthenticated(), quarantine(EventConflict)),
    ]);
    // An unauthenticated event of the other kind does not block either.
    row(&[
        (failed("X").unauthenticated(), NEW),
        (completed("a"), supersede(1, Superseded::Unauthenticated)),
        (failed("Y"), quarantine(EventConflict)),
        (completed("a"), repeat(2)),
        (failed("X").unauthenticated(), repeat(1)),
    ]);
    // An unauthenticated event contradicts an authenticated one.
    row(&[(completed("a"), NEW), (completed("b").unauthenticated(), quarantine(EventConflict))]);
    row(&[(failed("X"), NEW), (completed("a").unauthenticated(), quarantine(EventConflict))]);
    // The same event is a repeat from any sender.
    row(&[(completed("a").unauthenticated(), NEW), (completed("a"), repeat(1))]);
    row(&[(completed("a"), NEW), (completed("a").unauthenticated(), repeat(1))]);
}

#[test]
fn binds_a_token_and_a_generation_to_each_other() {
    let with = |generation: &str, token: &str| completed("a").of(generation).with_token(token);
    row(&[(with(ONE, "t"), NEW), (with(TWO, "t"), quarantine(TokenReused)), (with(ONE, "t"), repeat(1))]);
    row(&[(with(ONE, "t"), NEW), (with(ONE, "u"), quarantine(TokenConflict)), (with(TWO, "u"), NEW)]);
    // The first repeat with a token binds it.
    row(&[(completed("a"), NEW), (with(ONE, "t"), repeat(1)), (with(TWO, "t"), quarantine(TokenReused))]);
    // A quarantined arrival binds nothing.
    row(&[
        (completed("a"), NEW),
        (completed("b").with_token("t"), quarantine(EventConflict)),
        (with(TWO, "t"), NEW),
    ]);
    // Tokens of another hook are separate.
    let elsewhere = Arrival { hook: "other".to_owned(), ..with(TWO, "t") };
    row(&[(with(ONE, "t"), NEW), (elsewhere, NEW)]);
}

#[test]
fn a_static_url_binds_nothing() {
    let with = |generation: &str| completed("a").of(generation).with_static_token("s");
    row(&[(with(ONE), NEW), (with(TWO), NEW), (completed("a").with_token("t"), repeat(1))]);
}

#[test]
fn observed_and_quarantined_arrivals_decide_nothing() {
    let observed = completed("a").with_verdict(Verdict::Observed, None);
    let quarantined =
        completed("a").with_verdict(Verdict::Quarantined, Some("token-expired")).with_token("t");
    row(&[
        (observed.clone(), ArrivalDecision::Observe),
        (observed, ArrivalDecision::Observe),
        (quarantined, quarantine(QuarantineReason::Gate(Reason::TokenExpired))),
        (completed("b"), NEW),
        (completed("c").of(TWO).with_token("t"), NEW),
    ]);
}

#[test]
fn marks_only_changed_state() {
    let mut state = BatchState::default();
    state.decide(&completed("a").with_token("t"), 1);
    let changed = |state: &BatchState| {
        (state.generations.values().any(|row| row.changed), state.tokens.values().any(|row| row.changed))
    };
    assert_eq!(changed(&state), (true, true));
    state.generations.values_mut().for_each(|row| row.changed = false);
    state.tokens.values_mut().for_each(|row| row.changed = false);
    state.decide(&completed("a").with_token("t"), 2);
    state.decide(&completed("b").with_token("t"), 3);
    assert_eq!(changed(&state), (false, false));
}
