//! Expectations, the calls that they lead to, and who is first where two come at once.

#![allow(clippy::arithmetic_side_effects, reason = "a test may panic: that is how it fails")]

use super::*;

const AFTER: i64 = 780_000_000;
const MINUTE: i64 = 60_000_000;
const ALLOWED: CallBudget = CallBudget { per_minute: 1_000_000, retry_after: MINUTE };
/// So many rounds of a race at a time.
const WORKERS: usize = 8;

/// Of each race.
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

impl TestStore {
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

    async fn next(&mut self) -> NextCall {
        self.driver().next_call(ALLOWED).await.unwrap()
    }

    /// The generation that is asked about next, if any.
    async fn asks(&mut self) -> Option<StatusCall> {
        match self.next().await {
            NextCall::Call(question) => Some(question),
            NextCall::Idle => None,
            NextCall::Spent => panic!("there is no limit"),
        }
    }

    async fn answered(&mut self, question: &StatusCall, missing: i64, state: Option<ExpectationState>) {
        let kept = self.driver().unconfirmed_of(&question.hook, &question.generation).await.unwrap();
        self.answered_about(question, missing, state, &kept).await;
    }

    /// What these are, and they stay.
    async fn answered_about(
        &mut self,
        question: &StatusCall,
        missing: i64,
        state: Option<ExpectationState>,
        left: &[i64],
    ) {
        let answered = StatusAnswer { answer: "a-word", missing, state };
        self.driver().record_answer(question, &answered, left).await.unwrap();
    }

    fn another(&self) -> StoreHandle {
        self.store.clone().unwrap()
    }

    /// Runs a race so many times, each about a generation of its own. A round gives its two sessions back.
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

    /// Of each generation one event waits, and nothing is kept.
    async fn is_once_each(&self) {
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
    async fn an_expectation_is_once(site: &mut TestStore) {
        let first = site.expect_of(ONE, "j").await;
        assert_eq!((first.state.name(), first.job.as_deref(), first.asked), ("expected", Some("j"), 0));
        assert_eq!(first.ask_at - first.expected_at, AFTER);
        let again = site.expect_of(ONE, "j").await;
        assert_eq!((again.expected_at, again.state.name()), (first.expected_at, "expected"));
        let other = site.driver().expect(&expected(ONE, "k"), AFTER).await.unwrap();
        assert!(matches!(other, AnnouncementOutcome::OtherJob(job) if job == "j"));
        site.reopen().await;
        assert_eq!(site.expect_of(ONE, "j").await.expected_at, first.expected_at);
        assert_eq!(site.driver().count_expected(AFTER).await.unwrap(), (1, 0));
        assert_eq!(site.driver().count_expected(-1).await.unwrap(), (1, 1));
        site.store(&[completed("a")]).await;
        assert_eq!(site.expect_of(ONE, "j").await.state, ExpectationState::Arrived);
        assert_eq!(site.driver().count_expected(-1).await.unwrap(), (0, 0));
    }

    async fn an_expectation_beats_first_use(site: &mut TestStore) {
        site.expect_of(ONE, "j").await;
        let (own, wrong) = (of_job("t", "j", completed("a")), of_job("u", "k", completed("a")));
        let batch = [wrong.clone(), own.clone(), wrong.clone(), own.clone()];
        let expected = [kept("token-conflict"), waits(COMPLETED), ArrivalOutcome::Repeated, ArrivalOutcome::Repeated];
        assert_eq!(site.store(&batch).await, expected);
        site.expect(&[("quarantined", 2), ("waiting", 2)]).await;
        assert_eq!(site.state(ONE).await, Some("arrived"));
        assert_eq!(site.store(&[wrong.of(TWO)]).await, [waits(COMPLETED)], "what was kept has bound nothing");
    }

    async fn an_expectation_explains_what_was_kept(site: &mut TestStore) {
        let early = of_job("t", "j", completed("a"));
        site.store(&[early.clone().of(TWO)]).await;
        assert_eq!(site.store(std::slice::from_ref(&early)).await, [kept("token-reused")]);
        let stranger = of_job("u", "k", completed("b"));
        site.store(&[of_job("w", "j", failed("X")), stranger.clone()]).await;
        // A failure is there: it is of the same job, and the completion is what supersedes it.
        let expectation = site.expect_of(ONE, "j").await;
        assert_eq!((expectation.state.name(), expectation.mismatch_id), ("arrived", None));
        let explained = site.driver().explained(&super::expect::expected(ONE, "j")).await.unwrap();
        assert_eq!(explained.len(), 1, "and not the stranger's");
        assert_eq!(site.driver().preview_release(explained[0], &early).await.unwrap(), Some(waits(COMPLETED)));
        assert_eq!(site.driver().release(explained[0], &early, "released").await.unwrap(), Some(waits(COMPLETED)));
        assert_eq!(site.driver().release(explained[0], &early, "released").await.unwrap(), None);
        assert_eq!(site.driver().explained(&super::expect::expected(ONE, "j")).await.unwrap(), NONE);
        assert_eq!(site.store(&[early]).await, [ArrivalOutcome::Repeated]);
        site.expect(&[("waiting", 1), ("superseded", 1), ("superseded", 1), ("quarantined", 1), ("waiting", 2)]).await;
    }

    async fn a_token_keeps_twenty_bodies_of_each_generation_that_is_expected_of_its_job(site: &mut TestStore) {
        site.store(&[completed("a"), completed("a").of(TWO)]).await;
        let of = |generation: &'static str, number: i64| {
            of_job("t", "j", completed(&format!("{generation} {number}")).of(generation))
        };
        let stray: Vec<_> = (1..=20).map(|number| of(TWO, number)).collect();
        assert_eq!(site.store(&stray).await, vec![kept("event-conflict"); 20]);
        let bodies: Vec<_> = (1..=21).map(|number| of(ONE, number)).collect();
        assert_eq!(site.store(&bodies[..1]).await, [ArrivalOutcome::TokenFull]);
        site.expect_of(ONE, "j").await;
        let expected = [vec![kept("event-conflict"); 20], vec![ArrivalOutcome::TokenFull]].concat();
        assert_eq!(site.store(&bodies).await, expected);
    }

    async fn another_job_than_it_was_accepted_with_is_a_mismatch(site: &mut TestStore) {
        site.store(&[of_job("u", "k", completed("a"))]).await;
        let expectation = site.expect_of(ONE, "j").await;
        assert_eq!((expectation.state.name(), expectation.mismatch_job.as_deref()), ("arrived", Some("k")));
        assert!(expectation.mismatch_id.is_some());
        assert_eq!(site.expect_of(ONE, "j").await.mismatch_id, expectation.mismatch_id);
        site.store(&[of_job("t", "j", completed("a")).of(TWO)]).await;
        assert_eq!(site.expect_of(TWO, "j").await.mismatch_id, None);
    }

    async fn the_oldest_is_asked_about_first_and_then_later_and_later(site: &mut TestStore) {
        site.expect_of(ONE, "j").await;
        site.expect_of(TWO, "k").await;
        assert!(site.asks().await.is_none(), "it has its time");
        site.sql("UPDATE expectation SET ask_at = 0").await;
        for generation in [ONE, TWO] {
            let question = site.asks().await.unwrap();
            assert_eq!((question.generation.as_str(), question.asked, question.missing), (generation, 0, 0));
            site.answered(&question, 0, None).await;
        }
        assert!(site.asks().await.is_none(), "not again at once");
        let store = site.store.clone().unwrap();
        for asked in 1..=13 {
            let before = store.open_expectations(1).await.unwrap().remove(0);
            assert_eq!(before.asked, asked);
            let (wait, now) = (before.ask_at, store.now().await.unwrap());
            let expected = (MINUTE << (asked - 1)).min(24 * 60 * MINUTE);
            assert!((wait - now - expected).abs() < 30_000_000, "after {asked}: {} s", (wait - now) / 1_000_000);
            site.sql("UPDATE expectation SET ask_at = 0 WHERE job = 'j'").await;
            site.asks().await.unwrap();
        }
        assert_eq!(site.driver().call_now(AFTER).await.unwrap(), 2, "what was asked about before");
        let question = site.asks().await.unwrap();
        site.answered(&question, 3, Some(ExpectationState::Unknown)).await;
        assert_eq!(site.state(ONE).await, Some("unknown"));
        assert_eq!(site.asks().await.unwrap().generation, TWO);
        assert!(site.asks().await.is_none());
        // It comes after all.
        site.store(&[completed("a")]).await;
        assert_eq!(site.state(ONE).await, Some("arrived"));
    }

    async fn an_answer_that_comes_late_changes_nothing(site: &mut TestStore) {
        site.expect_of(ONE, "j").await;
        site.sql("UPDATE expectation SET ask_at = 0").await;
        let question = site.asks().await.unwrap();
        site.store(&[completed("a")]).await;
        site.answered(&question, 3, Some(ExpectationState::Unknown)).await;
        assert_eq!(site.state(ONE).await, Some("arrived"));
    }

    async fn what_is_kept_unconfirmed_is_asked_about(site: &mut TestStore) {
        let reason = Some(QuarantineReason::parse("confirm-unavailable"));
        let unconfirmed = Arrival { reason, ..arrival(Verdict::Quarantined, at("a"), "a") };
        site.store(&[unconfirmed.clone(), Arrival { generation: Some(TWO.to_owned()), ..unconfirmed.clone() }]).await;
        assert_eq!(site.driver().unconfirmed(10).await.unwrap().len(), 1, "one body is kept once");
        site.expect_of(TWO, "k").await;
        let other = Arrival { digest: [7; 32], generation: Some(TWO.to_owned()), ..unconfirmed };
        site.store(&[other]).await;
        let mut open = site.driver().unconfirmed(10).await.unwrap();
        open.sort();
        assert_eq!(open.iter().map(|(_, generation)| generation.as_str()).collect::<Vec<_>>(), [ONE, TWO]);
        for (hook, generation) in &open {
            site.driver().request_call(hook, generation).await.unwrap();
        }
        assert!(site.driver().unconfirmed(10).await.unwrap().is_empty());
        let mut asked = Vec::new();
        while let Some(question) = site.asks().await {
            asked.push((question.generation.clone(), question.job.clone()));
            site.answered(&question, 0, Some(ExpectationState::Contradicted)).await;
        }
        asked.sort();
        assert_eq!(asked, [(ONE.to_owned(), None), (TWO.to_owned(), Some("k".to_owned()))]);
        assert_eq!(site.driver().unconfirmed_of("veo3", ONE).await.unwrap().len(), 1);
        assert!(site.driver().unconfirmed(10).await.unwrap().is_empty(), "once");
        assert_eq!(site.expect_of(ONE, "j").await.state, ExpectationState::Expected);
    }

    async fn what_would_be_kept_again_stays_as_it_is(site: &mut TestStore) {
        site.store(&[completed("a")]).await;
        assert_eq!(site.store(&[completed("b")]).await, [kept("event-conflict")]);
        let id = site.ids().await[1];
        for _ in 0..2 {
            let again = site.driver().release(id, &completed("b"), "released").await.unwrap();
            assert_eq!(again, Some(kept("event-conflict")), "and is not its own repeat");
        }
        site.expect(&[("waiting", 1), ("quarantined", 1)]).await;
        // Its generation is locked, and nothing of it stays where nothing is known of it.
        assert_eq!(site.driver().release(id + 1, &completed("c").of(TWO), "released").await.unwrap(), None);
        assert_eq!(site.driver().release(id, &completed("c").of(TWO), "released").await.unwrap(), Some(waits(COMPLETED)));
        site.expect(&[("waiting", 1), ("superseded", 1), ("waiting", 1)]).await;
    }

    async fn what_comes_unconfirmed_while_it_is_asked_is_asked_about_too(site: &mut TestStore) {
        let kept = |digest| Arrival {
            reason: Some(QuarantineReason::parse("confirm-unavailable")),
            digest: [digest; 32],
            ..arrival(Verdict::Quarantined, at("a"), "a")
        };
        site.store(&[kept(1)]).await;
        let first = site.ids().await;
        site.driver().request_call("veo3", ONE).await.unwrap();
        let question = site.asks().await.unwrap();
        site.store(&[kept(2)]).await;
        site.answered_about(&question, 0, Some(ExpectationState::Contradicted), &first).await;
        assert_eq!(site.driver().unconfirmed(10).await.unwrap().len(), 1);
        site.driver().request_call("veo3", ONE).await.unwrap();
        assert!(site.driver().unconfirmed(10).await.unwrap().is_empty());
        let question = site.asks().await.unwrap();
        // Meanwhile one is judged again.
        assert!(site.driver().request_call_for(first[0], "veo3", ONE, b"a: b").await.unwrap());
        site.answered(&question, 0, Some(ExpectationState::Contradicted)).await;
        let reevaluated = site.store.as_ref().unwrap().quarantined(first[0]).await.unwrap().unwrap().reevaluated;
        assert_eq!(reevaluated.as_deref(), Some(&b"a: b"[..]), "nobody has answered that yet");
        let question = site.asks().await.expect("it is asked again");
        site.answered(&question, 0, Some(ExpectationState::Contradicted)).await;
        assert!(site.store.as_ref().unwrap().quarantined(first[0]).await.unwrap().unwrap().reevaluated.is_none());
        assert!(site.asks().await.is_none() && site.driver().unconfirmed(10).await.unwrap().is_empty());
        // What is gone is not wanted.
        site.driver().change(Change::Drop, &first.iter().copied().collect()).await.unwrap();
        assert!(!site.driver().request_call_for(first[0], "veo3", ONE, b"a: b").await.unwrap());
        assert!(site.asks().await.is_none());
    }

    async fn an_answer_is_about_the_expectation_that_was_asked_about(site: &mut TestStore) {
        site.driver().request_call("veo3", ONE).await.unwrap();
        for state in [ExpectationState::Contradicted, ExpectationState::Unknown] {
            let question = site.asks().await.unwrap();
            // During the call.
            assert_eq!(site.expect_of(ONE, "j").await.state, ExpectationState::Expected);
            site.answered(&question, 2, Some(state)).await;
            let expectation = site.expect_of(ONE, "j").await;
            assert_eq!((expectation.state.name(), expectation.missing, expectation.wanted), ("expected", 0, None));
            site.sql("UPDATE expectation SET job = NULL, state = 'quarantined', wanted = 1, ask_at = 1; UPDATE generation SET expected_job = NULL").await;
        }
    }

    async fn a_call_under_way_is_no_answer_to_what_is_wanted_since(site: &mut TestStore) {
        site.driver().request_call("veo3", ONE).await.unwrap();
        site.store(&[arrival(Verdict::Quarantined, at("a"), "a")]).await;
        let id = site.ids().await[0];
        let question = site.asks().await.unwrap();
        // Its transaction began before the call, and ends after it.
        site.sql("UPDATE expectation SET asked_at = asked_at + 60000000").await;
        let question = StatusCall { asked_at: question.asked_at + 60_000_000, ..question };
        assert!(site.driver().request_call_for(id, "veo3", ONE, b"a: b").await.unwrap());
        site.answered(&question, 0, Some(ExpectationState::Contradicted)).await;
        assert!(site.asks().await.is_some());
    }

    async fn what_has_arrived_stays_so_whatever_is_asked_about_it(site: &mut TestStore) {
        site.expect_of(ONE, "j").await;
        site.store(&[completed("a")]).await;
        site.driver().request_call("veo3", ONE).await.unwrap();
        for missing in 1..=3 {
            site.sql("UPDATE expectation SET ask_at = 0").await;
            let question = site.asks().await.unwrap();
            assert_eq!((question.state.name(), question.missing), ("arrived", missing - 1));
            site.answered(&question, missing, (missing == 3).then_some(ExpectationState::Unknown)).await;
        }
        assert_eq!(site.state(ONE).await, Some("arrived"));
        assert!(site.asks().await.is_none());
    }

    async fn what_was_asked_about_before_it_is_expected_has_its_time(site: &mut TestStore) {
        site.driver().request_call("veo3", ONE).await.unwrap();
        let question = site.asks().await.unwrap();
        site.answered(&question, 3, Some(ExpectationState::Unknown)).await;
        let expectation = site.expect_of(ONE, "j").await;
        assert_eq!((expectation.state.name(), expectation.asked, expectation.missing), ("expected", 0, 0));
        assert_eq!(expectation.ask_at - expectation.expected_at, AFTER);
        assert!(site.asks().await.is_none());
    }

    async fn a_minute_has_so_many_calls_of_all(site: &mut TestStore) {
        const PER_MINUTE: i64 = 10;
        for number in 0..60 {
            site.expect_of(&generation(number), "j").await;
        }
        site.sql("UPDATE expectation SET ask_at = 0").await;
        let all = async |site: &TestStore| {
            let sessions: Vec<_> = (0..8).map(|_| site.another()).collect();
            let asking: Vec<_> = sessions.into_iter().map(|session| tokio::spawn(async move {
                let mut asked = Vec::new();
                for _ in 0..20 {
                    match session.next_call(CallBudget { per_minute: PER_MINUTE, retry_after: MINUTE }).await.unwrap() {
                        NextCall::Call(question) => asked.push(question.generation),
                        NextCall::Idle => panic!("there is enough to ask about"),
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
        let mut first = all(site).await;
        first.sort();
        assert_eq!(first, (0..10).map(generation).collect::<Vec<_>>(), "the oldest, each once");
        assert_eq!(all(site).await.len(), 0);
        site.sql("UPDATE provider_call SET at = at - 60000000").await;
        assert_eq!(all(site).await.len(), 0, "a call may have been 5 s under way");
        site.sql("UPDATE provider_call SET at = at - 6000000").await;
        assert_eq!(all(site).await.len(), 10);
        site.sql("UPDATE provider_call SET at = at + 600000000").await;
        assert_eq!(all(site).await.len(), 10, "a clock that was set back is not waited for");
    }

    async fn old_expectations_go(site: &mut TestStore) {
        site.expect_of(ONE, "j").await;
        site.expect_of(TWO, "j").await;
        site.store(&[completed("a")]).await;
        assert_eq!(site.driver().purge_expectations(MINUTE, 10).await.unwrap(), 0);
        assert_eq!(site.driver().purge_expectations(-1, 10).await.unwrap(), 2);
        assert_eq!(site.driver().purge_expectations(-1, 10).await.unwrap(), 0);
        assert_eq!(site.store(&[completed("a")]).await, [ArrivalOutcome::Repeated], "a repeat is still one");
        assert_eq!(site.expect_of(TWO, "k").await.state, ExpectationState::Expected, "its generation went with it");
    }

    async fn a_webhook_and_its_expectation_at_once(site: &mut TestStore) {
        // Each token has been used for something else before.
        site.race(async |one: StoreHandle, other: StoreHandle, generation: String| {
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
                    let released = one.release(explained[0], &webhook, "released").await.unwrap();
                    assert_eq!(released, Some(waits(COMPLETED)));
                }
                outcome => panic!("{outcome:?}"),
            }
            let AnnouncementOutcome::Recorded { expectation, .. } = one.expect(&expected, AFTER).await.unwrap() else { panic!() };
            assert_eq!(expectation.state, ExpectationState::Arrived);
            (one, other)
        })
        .await;
        let mut states = site.states().await;
        states.retain(|(state, _)| state != "superseded");
        assert_eq!((states.len(), states.iter().filter(|(state, _)| state == "waiting").count()), (2 * ROUNDS, 2 * ROUNDS));
    }

    async fn a_release_and_a_replay_at_once(site: &mut TestStore) {
        site.race(async |one: StoreHandle, other: StoreHandle, generation: String| {
            let reason = Some(QuarantineReason::parse("confirm-unavailable"));
            let digest = Sha256::digest(&generation).into();
            let early = arrival(Verdict::Quarantined, at("a"), "a").of(&generation);
            one.store(&[&Arrival { reason, digest, ..early }], QuarantineRoom::UNLIMITED).await.unwrap();
            one.request_call("veo3", &generation).await.unwrap();
            let id = one.unconfirmed_of("veo3", &generation).await.unwrap()[0];
            let (webhook, ids) = (completed("a").of(&generation), [id].into_iter().collect());
            let (released, replayed) =
                tokio::join!(one.release(id, &webhook, "released"), other.change(Change::Release, &ids));
            match (released.unwrap(), replayed.unwrap().refused.get(&id)) {
                (Some(ArrivalOutcome::Waits(_)), Some(why)) => assert!(why.starts_with("it was released"), "{why}"),
                (None, None) => {}
                outcome => panic!("{outcome:?}"),
            }
            (one, other)
        })
        .await;
        site.is_once_each().await;
    }

    async fn a_reconcile_and_a_late_webhook_at_once(site: &mut TestStore) {
        site.race(async |one: StoreHandle, other: StoreHandle, generation: String| {
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
        site.is_once_each().await;
    }

    async fn two_reconciles_at_once(site: &mut TestStore) {
        site.race(async |one: StoreHandle, other: StoreHandle, generation: String| {
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
        site.is_once_each().await;
    }
}
