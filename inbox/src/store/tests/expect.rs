//! Expectations, status calls, and races between two inboxes.

#![allow(clippy::arithmetic_side_effects, reason = "a test may panic: that is how it fails")]

use super::*;

const AFTER: i64 = 780_000_000;
const MINUTE: i64 = 60_000_000;
const ALLOWED: CallBudget = CallBudget { per_minute: 1_000_000, retry_after: MINUTE };
/// The rounds of a race that run at once.
const WORKERS: usize = 8;

/// The rounds of each race.
const ROUNDS: usize = 1_000;

fn expected(generation: &str, job: &str) -> Announcement {
    Announcement { hook: "veo3".to_owned(), generation: generation.to_owned(), job: job.to_owned() }
}

fn of_job(token: &str, job: &str, arrival: Arrival) -> Arrival {
    let token = Some(ArrivalToken { id: token.to_owned(), binds: true });
    Arrival { token, job: Some(job.to_owned()), ..arrival }
}

fn generation(number: usize) -> String {
    format!("00000000-0000-4000-9000-{number:012x}")
}

impl DriverStore {
    async fn expect_of(&mut self, generation: &str, job: &str) -> Expectation {
        match self.driver().expect(&expected(generation, job), AFTER).await.unwrap() {
            AnnouncementOutcome::Recorded { expectation, .. } => expectation,
            other @ AnnouncementOutcome::OtherJob(_) => panic!("{other:?}"),
        }
    }

    async fn state(&self, generation: &str) -> Option<&'static str> {
        let store = self.store.as_ref().unwrap();
        store.expectation("veo3", generation).await.unwrap().map(|expectation| expectation.state.name())
    }

    async fn next_or_spent(&mut self) -> NextCall {
        self.driver().next_call(ALLOWED).await.unwrap()
    }

    /// The next call, if one is due.
    async fn next_call(&mut self) -> Option<StatusCall> {
        match self.next_or_spent().await {
            NextCall::Call(call) => Some(call),
            NextCall::Idle => None,
            NextCall::Spent => panic!("there is no limit"),
        }
    }

    async fn answered(&mut self, call: &StatusCall, missing: i64, state: Option<ExpectationState>) {
        let entries = self.driver().unconfirmed_of(&call.hook, &call.generation).await.unwrap();
        self.answered_about(call, missing, state, &entries).await;
    }

    /// Records an answer that leaves the entries `left` in quarantine.
    async fn answered_about(
        &mut self,
        call: &StatusCall,
        missing: i64,
        state: Option<ExpectationState>,
        left: &[i64],
    ) {
        let answer = StatusAnswer { answer: "a-word", missing, state };
        self.driver().record_answer(call, &answer, left).await.unwrap();
    }

    /// Sets the age of all counted calls, in seconds.
    async fn set_age_of_calls(&self, seconds: i64) {
        let at = self.driver().now().await.unwrap() - seconds * 1_000_000;
        let sql = format!("UPDATE provider_call SET at = {at}");
        rows!(self, |connection| {
            sqlx::query(sqlx::AssertSqlSafe(sql)).execute(connection).await.map(|_| ()).unwrap()
        });
    }

    fn another(&self) -> StoreHandle {
        self.store.clone().unwrap()
    }

    /// Runs a race in rounds, each about another generation. A round returns its two store handles.
    async fn race<F>(&self, one: impl Fn(StoreHandle, StoreHandle, String) -> F + Clone + Send + 'static)
    where
        F: Future<Output = (StoreHandle, StoreHandle)> + Send,
    {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let (mut here, mut there, one) = (self.another(), self.another(), one.clone());
                tokio::spawn(async move {
                    for number in (worker..ROUNDS).step_by(WORKERS) {
                        (here, there) = one(here, there, generation(number)).await;
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.await.unwrap();
        }
    }

    /// Checks that one entry of each generation waits, and none is quarantined.
    async fn expect_one_each(&self) {
        let mut states = self.states().await;
        states.retain(|(state, _)| state != "superseded");
        assert_eq!(states.len(), ROUNDS);
        assert!(
            states.iter().all(|(state, _)| state == "waiting"),
            "{:?}",
            states.iter().find(|(state, _)| state != "waiting")
        );
    }
}

in_both! {
    async fn stores_an_expectation_once(test: &mut DriverStore) {
        let first = test.expect_of(ONE, "j").await;
        assert_eq!((first.state.name(), first.job.as_deref(), first.asked), ("expected", Some("j"), 0));
        assert_eq!(first.ask_at - first.expected_at, AFTER);
        let again = test.expect_of(ONE, "j").await;
        assert_eq!((again.expected_at, again.state.name()), (first.expected_at, "expected"));
        let other = test.driver().expect(&expected(ONE, "k"), AFTER).await.unwrap();
        assert!(matches!(other, AnnouncementOutcome::OtherJob(job) if job == "j"));
        test.reopen().await;
        assert_eq!(test.expect_of(ONE, "j").await.expected_at, first.expected_at);
        assert_eq!(test.driver().count_expected(AFTER).await.unwrap(), (1, 0));
        assert_eq!(test.driver().count_expected(-1).await.unwrap(), (1, 1));
        test.store(&[completed("a")]).await;
        assert_eq!(test.expect_of(ONE, "j").await.state, ExpectationState::Arrived);
        assert_eq!(test.driver().count_expected(-1).await.unwrap(), (0, 0));
    }

    async fn an_expectation_has_precedence_over_first_use(test: &mut DriverStore) {
        test.expect_of(ONE, "j").await;
        let (own, wrong) = (of_job("t", "j", completed("a")), of_job("u", "k", completed("a")));
        let batch = [wrong.clone(), own.clone(), wrong.clone(), own.clone()];
        let expected = [in_quarantine("token-conflict"), waits(COMPLETED), ArrivalOutcome::Repeated, ArrivalOutcome::Repeated];
        assert_eq!(test.store(&batch).await, expected);
        test.expect(&[("quarantined", 2), ("waiting", 2)]).await;
        assert_eq!(test.state(ONE).await, Some("arrived"));
        assert_eq!(test.store(&[wrong.of(TWO)]).await, [waits(COMPLETED)], "a quarantined event binds nothing");
    }

    async fn an_expectation_explains_quarantined_entries(test: &mut DriverStore) {
        let early = of_job("t", "j", completed("a"));
        test.store(&[early.clone().of(TWO)]).await;
        assert_eq!(test.store(std::slice::from_ref(&early)).await, [in_quarantine("token-reused")]);
        let other_job = of_job("u", "k", completed("b"));
        test.store(&[of_job("w", "j", failed("X")), other_job.clone()]).await;
        // The failure has the same job. The completion supersedes it.
        let expectation = test.expect_of(ONE, "j").await;
        assert_eq!((expectation.state.name(), expectation.mismatch_id), ("arrived", None));
        let explained = test.driver().explained(&super::expect::expected(ONE, "j")).await.unwrap();
        assert_eq!(explained.len(), 1, "not the other job's");
        assert_eq!(test.driver().preview_release(explained[0], &early).await.unwrap(), Some(waits(COMPLETED)));
        assert_eq!(test.driver().release(explained[0], &early, "released", None).await.unwrap().map(outcome), Some(waits(COMPLETED)));
        assert_eq!(test.driver().release(explained[0], &early, "released", None).await.unwrap().map(outcome), None);
        assert_eq!(test.driver().explained(&super::expect::expected(ONE, "j")).await.unwrap(), NONE);
        assert_eq!(test.store(&[early]).await, [ArrivalOutcome::Repeated]);
        test.expect(&[("waiting", 1), ("superseded", 1), ("superseded", 1), ("quarantined", 1), ("waiting", 2)]).await;
    }

    async fn quarantines_twenty_bodies_of_each_generation_of_the_job(test: &mut DriverStore) {
        test.store(&[completed("a"), completed("a").of(TWO)]).await;
        let of = |generation: &'static str, number: i64| {
            of_job("t", "j", completed(&format!("{generation} {number}")).of(generation))
        };
        let stray: Vec<_> = (1..=20).map(|number| of(TWO, number)).collect();
        assert_eq!(test.store(&stray).await, vec![in_quarantine("event-conflict"); 20]);
        let bodies: Vec<_> = (1..=21).map(|number| of(ONE, number)).collect();
        assert_eq!(test.store(&bodies[..1]).await, [ArrivalOutcome::TokenFull]);
        test.expect_of(ONE, "j").await;
        let expected = [vec![in_quarantine("event-conflict"); 20], vec![ArrivalOutcome::TokenFull]].concat();
        assert_eq!(test.store(&bodies).await, expected);
    }

    async fn notes_an_accepted_entry_of_another_job(test: &mut DriverStore) {
        test.store(&[of_job("u", "k", completed("a"))]).await;
        let expectation = test.expect_of(ONE, "j").await;
        assert_eq!((expectation.state.name(), expectation.mismatch_job.as_deref()), ("arrived", Some("k")));
        assert!(expectation.mismatch_id.is_some());
        assert_eq!(test.expect_of(ONE, "j").await.mismatch_id, expectation.mismatch_id);
        test.store(&[of_job("t", "j", completed("a")).of(TWO)]).await;
        assert_eq!(test.expect_of(TWO, "j").await.mismatch_id, None);
    }

    async fn calls_for_the_oldest_first_and_backs_off(test: &mut DriverStore) {
        test.expect_of(ONE, "j").await;
        test.expect_of(TWO, "k").await;
        assert!(test.next_call().await.is_none(), "not due yet");
        test.sql("UPDATE expectation SET ask_at = 0").await;
        for generation in [ONE, TWO] {
            let call = test.next_call().await.unwrap();
            assert_eq!((call.generation.as_str(), call.asked, call.missing), (generation, 0, 0));
            test.answered(&call, 0, None).await;
        }
        assert!(test.next_call().await.is_none(), "not due again");
        let store = test.store.clone().unwrap();
        for asked in 1..=13 {
            let before = store.open_expectations(1).await.unwrap().remove(0);
            assert_eq!(before.asked, asked);
            let (wait, now) = (before.ask_at, store.now().await.unwrap());
            let expected = (MINUTE << (asked - 1)).min(24 * 60 * MINUTE);
            assert!((wait - now - expected).abs() < 30_000_000, "after {asked}: {} s", (wait - now) / 1_000_000);
            test.sql("UPDATE expectation SET ask_at = 0 WHERE job = 'j'").await;
            test.next_call().await.unwrap();
        }
        assert_eq!(test.driver().call_now(AFTER, &NewAction::of(ActionKind::Reconcile)).await.unwrap().0, 2, "both had calls before");
        let call = test.next_call().await.unwrap();
        test.answered(&call, 3, Some(ExpectationState::Unknown)).await;
        assert_eq!(test.state(ONE).await, Some("unknown"));
        assert_eq!(test.next_call().await.unwrap().generation, TWO);
        assert!(test.next_call().await.is_none());
        // The webhook still comes.
        test.store(&[completed("a")]).await;
        assert_eq!(test.state(ONE).await, Some("arrived"));
    }

    async fn a_late_answer_changes_nothing(test: &mut DriverStore) {
        test.expect_of(ONE, "j").await;
        test.sql("UPDATE expectation SET ask_at = 0").await;
        let call = test.next_call().await.unwrap();
        test.store(&[completed("a")]).await;
        test.answered(&call, 3, Some(ExpectationState::Unknown)).await;
        assert_eq!(test.state(ONE).await, Some("arrived"));
    }

    async fn calls_for_unconfirmed_entries(test: &mut DriverStore) {
        let reason = Some(QuarantineReason::parse("confirm-unavailable"));
        let unconfirmed = Arrival { reason, ..arrival(Verdict::Quarantined, at("a"), "a") };
        test.store(&[unconfirmed.clone(), Arrival { generation: Some(TWO.to_owned()), ..unconfirmed.clone() }]).await;
        assert_eq!(test.driver().unconfirmed(10).await.unwrap().len(), 1, "one body, one entry");
        test.expect_of(TWO, "k").await;
        let other = Arrival { digest: [7; 32], generation: Some(TWO.to_owned()), ..unconfirmed };
        test.store(&[other]).await;
        let mut open = test.driver().unconfirmed(10).await.unwrap();
        open.sort();
        assert_eq!(open.iter().map(|(_, generation)| generation.as_str()).collect::<Vec<_>>(), [ONE, TWO]);
        for (hook, generation) in &open {
            test.driver().request_call(hook, generation).await.unwrap();
        }
        assert!(test.driver().unconfirmed(10).await.unwrap().is_empty());
        let mut asked = Vec::new();
        while let Some(call) = test.next_call().await {
            asked.push((call.generation.clone(), call.job.clone()));
            test.answered(&call, 0, Some(ExpectationState::Contradicted)).await;
        }
        asked.sort();
        assert_eq!(asked, [(ONE.to_owned(), None), (TWO.to_owned(), Some("k".to_owned()))]);
        assert_eq!(test.driver().unconfirmed_of("veo3", ONE).await.unwrap().len(), 1);
        assert!(test.driver().unconfirmed(10).await.unwrap().is_empty(), "once");
        assert_eq!(test.expect_of(ONE, "j").await.state, ExpectationState::Expected);
    }

    async fn a_release_that_would_be_quarantined_changes_nothing(test: &mut DriverStore) {
        test.store(&[completed("a")]).await;
        assert_eq!(test.store(&[completed("b")]).await, [in_quarantine("event-conflict")]);
        let id = test.ids().await[1];
        for _ in 0..2 {
            let again = test.driver().release(id, &completed("b"), "released", None).await.unwrap().map(outcome).map(without_detail);
            assert_eq!(again, Some(in_quarantine("event-conflict")), "not its own repeat");
        }
        test.expect(&[("waiting", 1), ("quarantined", 1)]).await;
        // A release locks the generation, and leaves no empty row.
        assert_eq!(test.driver().release(id + 1, &completed("c").of(TWO), "released", None).await.unwrap().map(outcome), None);
        assert_eq!(test.driver().release(id, &completed("c").of(TWO), "released", None).await.unwrap().map(outcome), Some(waits(COMPLETED)));
        test.expect(&[("waiting", 1), ("superseded", 1), ("waiting", 1)]).await;
    }

    async fn calls_again_for_entries_that_arrive_during_a_call(test: &mut DriverStore) {
        let unconfirmed = |digest| Arrival {
            reason: Some(QuarantineReason::parse("confirm-unavailable")),
            digest: [digest; 32],
            ..arrival(Verdict::Quarantined, at("a"), "a")
        };
        test.store(&[unconfirmed(1)]).await;
        let first = test.ids().await;
        test.driver().request_call("veo3", ONE).await.unwrap();
        let call = test.next_call().await.unwrap();
        test.store(&[unconfirmed(2)]).await;
        test.answered_about(&call, 0, Some(ExpectationState::Contradicted), &first).await;
        assert_eq!(test.driver().unconfirmed(10).await.unwrap().len(), 1);
        test.driver().request_call("veo3", ONE).await.unwrap();
        assert!(test.driver().unconfirmed(10).await.unwrap().is_empty());
        let call = test.next_call().await.unwrap();
        // A reevaluation during the call.
        assert!(test.driver().request_call_for(first[0], "veo3", ONE, b"a: b", &NewAction::of(ActionKind::Reevaluate)).await.unwrap().is_some());
        test.answered(&call, 0, Some(ExpectationState::Contradicted)).await;
        let reevaluated = test.store.as_ref().unwrap().quarantined(first[0]).await.unwrap().unwrap().reevaluated;
        assert_eq!(reevaluated.as_deref(), Some(&b"a: b"[..]), "the call was made before");
        let call = test.next_call().await.expect("another call");
        test.answered(&call, 0, Some(ExpectationState::Contradicted)).await;
        assert!(test.store.as_ref().unwrap().quarantined(first[0]).await.unwrap().unwrap().reevaluated.is_none());
        assert!(test.next_call().await.is_none() && test.driver().unconfirmed(10).await.unwrap().is_empty());
        // A dropped entry needs no call.
        test.driver().change(Change::Drop, &first.iter().copied().collect(), &action(Change::Drop)).await.unwrap();
        assert_eq!(test.driver().request_call_for(first[0], "veo3", ONE, b"a: b", &NewAction::of(ActionKind::Reevaluate)).await.unwrap(), None);
        assert!(test.next_call().await.is_none());
    }

    async fn an_answer_applies_only_to_the_expectation_of_its_call(test: &mut DriverStore) {
        test.driver().request_call("veo3", ONE).await.unwrap();
        for state in [ExpectationState::Contradicted, ExpectationState::Unknown] {
            let call = test.next_call().await.unwrap();
            // An announcement during the call.
            assert_eq!(test.expect_of(ONE, "j").await.state, ExpectationState::Expected);
            test.answered(&call, 2, Some(state)).await;
            let expectation = test.expect_of(ONE, "j").await;
            assert_eq!((expectation.state.name(), expectation.missing, expectation.wanted), ("expected", 0, None));
            test.sql("UPDATE expectation SET job = NULL, state = 'quarantined', wanted = 1, ask_at = 1; UPDATE generation SET expected_job = NULL").await;
        }
    }

    async fn a_running_call_does_not_answer_a_later_request(test: &mut DriverStore) {
        test.driver().request_call("veo3", ONE).await.unwrap();
        test.store(&[arrival(Verdict::Quarantined, at("a"), "a")]).await;
        let id = test.ids().await[0];
        let call = test.next_call().await.unwrap();
        // The transaction of the call began before the request, and ends after it.
        test.sql("UPDATE expectation SET asked_at = asked_at + 60000000").await;
        let call = StatusCall { asked_at: call.asked_at + 60_000_000, ..call };
        assert!(test.driver().request_call_for(id, "veo3", ONE, b"a: b", &NewAction::of(ActionKind::Reevaluate)).await.unwrap().is_some());
        test.answered(&call, 0, Some(ExpectationState::Contradicted)).await;
        assert!(test.next_call().await.is_some());
    }

    async fn an_arrived_expectation_stays_arrived(test: &mut DriverStore) {
        test.expect_of(ONE, "j").await;
        test.store(&[completed("a")]).await;
        test.driver().request_call("veo3", ONE).await.unwrap();
        for missing in 1..=3 {
            test.sql("UPDATE expectation SET ask_at = 0").await;
            let call = test.next_call().await.unwrap();
            assert_eq!((call.state.name(), call.missing), ("arrived", missing - 1));
            test.answered(&call, missing, (missing == 3).then_some(ExpectationState::Unknown)).await;
        }
        assert_eq!(test.state(ONE).await, Some("arrived"));
        assert!(test.next_call().await.is_none());
    }

    async fn an_announcement_resets_earlier_calls(test: &mut DriverStore) {
        test.driver().request_call("veo3", ONE).await.unwrap();
        let call = test.next_call().await.unwrap();
        test.answered(&call, 3, Some(ExpectationState::Unknown)).await;
        let expectation = test.expect_of(ONE, "j").await;
        assert_eq!((expectation.state.name(), expectation.asked, expectation.missing), ("expected", 0, 0));
        assert_eq!(expectation.ask_at - expectation.expected_at, AFTER);
        assert!(test.next_call().await.is_none());
    }

    async fn limits_the_calls_of_all_inboxes_in_a_minute(test: &mut DriverStore) {
        const PER_MINUTE: i64 = 10;
        for number in 0..60 {
            test.expect_of(&generation(number), "j").await;
        }
        test.sql("UPDATE expectation SET ask_at = 0").await;
        let all = async |test: &DriverStore| {
            let sessions: Vec<_> = (0..8).map(|_| test.another()).collect();
            let asking: Vec<_> = sessions.into_iter().map(|session| tokio::spawn(async move {
                let mut asked = Vec::new();
                for _ in 0..20 {
                    match session.next_call(CallBudget { per_minute: PER_MINUTE, retry_after: MINUTE }).await.unwrap() {
                        NextCall::Call(call) => asked.push(call.generation),
                        NextCall::Idle => panic!("60 calls are due"),
                        NextCall::Spent => {}
                    }
                }
                asked
            })).collect();
            let mut asked = Vec::new();
            for one in asking {
                asked.extend(one.await.unwrap());
            }
            asked
        };
        let mut first = all(test).await;
        first.sort();
        assert_eq!(first, (0..10).map(generation).collect::<Vec<_>>(), "the oldest, each once");
        assert_eq!(all(test).await.len(), 0);
        test.set_age_of_calls(61).await;
        let next = test.driver().next_call(CallBudget { per_minute: PER_MINUTE, retry_after: MINUTE }).await;
        assert!(matches!(next.unwrap(), NextCall::Spent), "a call may take 5 s");
        test.set_age_of_calls(67).await;
        assert_eq!(all(test).await.len(), 10);
        test.sql("UPDATE provider_call SET at = at + 600000000").await;
        assert_eq!(all(test).await.len(), 10, "calls of the future do not count");
    }

    async fn purges_old_expectations(test: &mut DriverStore) {
        test.expect_of(ONE, "j").await;
        test.expect_of(TWO, "j").await;
        test.store(&[completed("a")]).await;
        assert_eq!(test.driver().purge_expectations(MINUTE, 10).await.unwrap(), 0);
        assert_eq!(test.driver().purge_expectations(-1, 10).await.unwrap(), 2);
        assert_eq!(test.driver().purge_expectations(-1, 10).await.unwrap(), 0);
        assert_eq!(test.store(&[completed("a")]).await, [ArrivalOutcome::Repeated], "a repeat");
        assert_eq!(test.expect_of(TWO, "k").await.state, ExpectationState::Expected, "its generation is deleted");
    }

    async fn a_concurrent_webhook_meets_its_expectation(test: &mut DriverStore) {
        // Each token was used for another generation before.
        test.race(async |one: StoreHandle, other: StoreHandle, generation: String| {
            let (token, expected) = (generation.clone(), expected(&generation, "j"));
            let elsewhere = of_job(&token, "j", completed("e")).of(&generation.replace("-9000-", "-a000-"));
            one.store(&[&elsewhere], QuarantineRoom::UNLIMITED).await.unwrap();
            let webhook = of_job(&token, "j", completed("a")).of(&generation);
            let batch = [&webhook];
            let (noted, stored) = tokio::join!(one.expect(&expected, AFTER), other.store(&batch, QuarantineRoom::UNLIMITED));
            assert!(matches!(noted.unwrap(), AnnouncementOutcome::Recorded { is_new: true, .. }));
            let explained = one.explained(&expected).await.unwrap();
            match stored.unwrap().outcomes.remove(0) {
                ArrivalOutcome::Waits(_) => assert_eq!(explained, NONE),
                ArrivalOutcome::Quarantined(_) => {
                    assert_eq!(explained.len(), 1);
                    let released = one.release(explained[0], &webhook, "released", None).await.unwrap();
                    assert_eq!(released.map(outcome), Some(waits(COMPLETED)));
                }
                outcome => panic!("{outcome:?}"),
            }
            let AnnouncementOutcome::Recorded { expectation, .. } = one.expect(&expected, AFTER).await.unwrap() else { panic!() };
            assert_eq!(expectation.state, ExpectationState::Arrived);
            (one, other)
        })
        .await;
        let mut states = test.states().await;
        states.retain(|(state, _)| state != "superseded");
        assert_eq!((states.len(), states.iter().filter(|(state, _)| state == "waiting").count()), (2 * ROUNDS, 2 * ROUNDS));
    }

    async fn a_concurrent_release_and_change_deliver_once(test: &mut DriverStore) {
        test.race(async |one: StoreHandle, other: StoreHandle, generation: String| {
            let reason = Some(QuarantineReason::parse("confirm-unavailable"));
            let digest = Sha256::digest(&generation).into();
            let early = arrival(Verdict::Quarantined, at("a"), "a").of(&generation);
            one.store(&[&Arrival { reason, digest, ..early }], QuarantineRoom::UNLIMITED).await.unwrap();
            one.request_call("veo3", &generation).await.unwrap();
            let id = one.unconfirmed_of("veo3", &generation).await.unwrap()[0];
            let (webhook, ids) = (completed("a").of(&generation), [id].into_iter().collect());
            let action = action(Change::Release);
            let (released, replayed) =
                tokio::join!(one.release(id, &webhook, "released", None), other.change(Change::Release, &ids, &action));
            match (released.unwrap().map(outcome), replayed.unwrap().refused.get(&id)) {
                (Some(ArrivalOutcome::Waits(_)), Some(refusal)) => assert_eq!(*refusal, ChangeRefusal::Released),
                (None, None) => {}
                outcome => panic!("{outcome:?}"),
            }
            (one, other)
        })
        .await;
        test.expect_one_each().await;
    }

    async fn a_concurrent_reconciliation_and_webhook_deliver_once(test: &mut DriverStore) {
        test.race(async |one: StoreHandle, other: StoreHandle, generation: String| {
            one.expect(&expected(&generation, "j"), AFTER).await.unwrap();
            let reconciled = completed("https://cdn.runblob.io/a").of(&generation).reconciled();
            let webhook = of_job(&generation, "j", completed("https://cdn.runblob.io/b")).of(&generation);
            let (a, b) = ([&reconciled], [&webhook]);
            let (reconciled, webhook) = tokio::join!(one.store(&a, QuarantineRoom::UNLIMITED), other.store(&b, QuarantineRoom::UNLIMITED));
            let (reconciled, webhook) = (reconciled.unwrap().outcomes.remove(0), webhook.unwrap().outcomes.remove(0));
            let AnnouncementOutcome::Recorded { expectation, .. } = one.expect(&expected(&generation, "j"), AFTER).await.unwrap() else { panic!() };
            match (reconciled, webhook) {
                (ArrivalOutcome::Waits(_), ArrivalOutcome::Repeated) => assert_eq!(expectation.state, ExpectationState::Reconciled),
                (ArrivalOutcome::Repeated, ArrivalOutcome::Waits(_)) => assert_eq!(expectation.state, ExpectationState::Arrived),
                outcomes => panic!("{outcomes:?}"),
            }
            (one, other)
        })
        .await;
        test.expect_one_each().await;
    }

    async fn two_concurrent_reconciliations_deliver_once(test: &mut DriverStore) {
        test.race(async |one: StoreHandle, other: StoreHandle, generation: String| {
            let overdue = -MINUTE;
            one.expect(&expected(&generation, "j"), overdue).await.unwrap();
            let (a, b) = (completed("a").of(&generation).reconciled(), completed("b").of(&generation).reconciled());
            let (a, b) = ([&a], [&b]);
            let (first, second) = tokio::join!(one.store(&a, QuarantineRoom::UNLIMITED), other.store(&b, QuarantineRoom::UNLIMITED));
            let mut outcomes = [first.unwrap().outcomes.remove(0), second.unwrap().outcomes.remove(0)];
            outcomes.sort_by_key(|outcome| *outcome == ArrivalOutcome::Repeated);
            assert_eq!(outcomes, [waits(COMPLETED), ArrivalOutcome::Repeated]);
            (one, other)
        })
        .await;
        test.expect_one_each().await;
    }
}
