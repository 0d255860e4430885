//! The audit has one row for each action, in the transaction of its change.

use super::*;

impl DriverStore {
    // The actions, the oldest first.
    async fn actions(&self) -> Vec<ActionRow> {
        let mut actions = self.driver().actions(None, 100, None).await.unwrap();
        actions.reverse();
        actions
    }

    // The kinds, numbers of entries and ids of the actions.
    async fn noted(&self) -> Vec<(String, i64, Vec<i64>)> {
        self.actions().await.into_iter().map(|row| (row.action.clone(), row.entries, row.ids())).collect()
    }

    async fn change(&self, change: Change, ids: &[i64], action: &NewAction) -> ChangeResult {
        self.driver().change(change, &ids.iter().copied().collect(), action).await.unwrap()
    }

    async fn is_paused(&self) -> bool {
        !self.driver().pauses().await.unwrap().is_empty()
    }

    // Stores a quarantined event that a call of the status API can confirm. Returns its id.
    async fn store_unconfirmed(&mut self, generation: &str) -> i64 {
        let reason = Some(QuarantineReason::parse("confirm-unavailable"));
        let digest = Sha256::digest(generation).into();
        let early = arrival(Verdict::Quarantined, at("a"), "a").of(generation);
        self.store(&[Arrival { reason, digest, ..early }]).await;
        *self.ids().await.last().unwrap()
    }
}

fn by(who: &str, kind: ActionKind) -> NewAction {
    NewAction { who: Some(who.to_owned()), ..NewAction::of(kind) }
}

fn noted(action: &str, entries: i64, ids: &[i64]) -> (String, i64, Vec<i64>) {
    (action.to_owned(), entries, ids.to_vec())
}

in_both! {
    async fn writes_an_action_with_all_its_facts(test: &mut DriverStore) {
        test.store(&[quarantined("a", "t"), quarantined("b", "u")]).await;
        let ids = test.ids().await;
        let filter = r#"{"state":"quarantined"}"#.to_owned();
        let action = NewAction { filter: Some(filter.clone()), target: Some("t".to_owned()), ..by("anna", ActionKind::Drop) };
        let before = test.driver().now().await.unwrap();
        let changed = test.change(Change::Drop, &ids, &action).await;
        let rows = test.actions().await;
        let [row] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!(changed.action, Some(row.id));
        assert_eq!((row.who.as_deref(), row.action.as_str(), row.target.as_deref()), (Some("anna"), "drop", Some("t")));
        assert_eq!((row.filter.as_ref(), row.note.as_deref(), row.entries, row.ids()), (Some(&filter), None, 2, ids));
        assert!((before..=test.driver().now().await.unwrap()).contains(&row.at), "{before} {row:?}");
        let alone = test.driver().action(row.id).await.unwrap().unwrap();
        assert_eq!((alone.id, alone.at, &alone.who, alone.ids()), (row.id, row.at, &row.who, NONE.to_vec()));
        assert_eq!(test.driver().action(row.id.saturating_add(1)).await.unwrap(), None);
    }

    async fn writes_each_kind_of_change(test: &mut DriverStore) {
        test.store(&[completed("a"), quarantined("b", "t")]).await;
        let [sent, held] = test.ids().await[..] else { panic!() };
        let changes = [Change::Retry(RetryPace { rate: std::num::NonZeroU32::MIN, before: 0, elapsed: 0 }), Change::Drop, Change::Replay, Change::Drop, Change::Purge];
        for change in changes {
            test.change(change, &[sent], &action(change)).await;
        }
        test.change(Change::Release, &[held, sent], &action(Change::Release)).await;
        let names = ["retry", "drop", "replay", "drop", "purge"].map(|name| noted(name, 1, &[sent]));
        let expected = [&names[..], &[]].concat();
        // An entry without an event is not released, and the refusal of both leaves no row.
        assert_eq!(test.noted().await, expected);
    }

    async fn adds_each_piece_to_the_row_of_its_action(test: &mut DriverStore) {
        let events: Vec<_> = (0..4).map(|number| completed("a").of(&format!("00000000-0000-4000-8000-{number:012x}"))).collect();
        test.store(&events).await;
        let ids = test.ids().await;
        let first = test.change(Change::Drop, &ids[..2], &by("anna", ActionKind::Drop)).await;
        // The inbox ends between two pieces, and the row has what has changed so far.
        test.reopen().await;
        assert_eq!(test.noted().await, [noted("drop", 2, &ids[..2])]);
        let second = NewAction { row: first.action, ..by("anna", ActionKind::Drop) };
        assert_eq!(test.change(Change::Drop, &ids[2..3], &second).await.action, first.action);
        assert_eq!(test.change(Change::Drop, &ids[..2], &second).await.action, None, "they are dropped already");
        assert_eq!(test.noted().await, [noted("drop", 3, &ids[..3])]);
        // A row that is gone: the rest of the action is written all the same.
        let lost = NewAction { row: Some(1_000_000), ..by("anna", ActionKind::Drop) };
        let rest = test.change(Change::Drop, &ids[3..], &lost).await;
        assert!(rest.action.is_some() && rest.action != first.action, "{rest:?}");
        assert_eq!(test.noted().await[1], noted("drop", 1, &ids[3..]));
    }

    async fn a_change_of_nothing_leaves_no_row(test: &mut DriverStore) {
        test.store(&[completed("a")]).await;
        let ids = test.ids().await;
        assert_eq!(test.change(Change::Replay, &ids, &action(Change::Replay)).await.action, None);
        assert_eq!(test.change(Change::Drop, &[1_000_000], &action(Change::Drop)).await.action, None);
        let reconcile = NewAction::of(ActionKind::Reconcile);
        assert_eq!(test.driver().call_now(1, &reconcile).await.unwrap(), (0, None));
        let resume = NewAction::of(ActionKind::Resume);
        assert_eq!(test.driver().resume("veo3", "", &resume).await.unwrap(), None);
        assert_eq!(test.noted().await, []);
        let pause = by("anna", ActionKind::Pause);
        let paused = test.driver().pause("veo3", "", &pause).await.unwrap();
        assert!(paused.is_some());
        assert_eq!(test.driver().pause("veo3", "", &pause).await.unwrap(), None);
        assert!(test.driver().resume("veo3", "", &resume).await.unwrap() > paused);
        assert_eq!(test.noted().await, [noted("pause", 0, &[]), noted("resume", 0, &[])]);
    }

    async fn writes_a_release_with_the_decision(test: &mut DriverStore) {
        let id = test.store_unconfirmed(ONE).await;
        test.store(&[completed("a").of(TWO)]).await;
        let action = by("anna", ActionKind::ReleaseAs);
        test.driver().preview_release(id, &completed("a")).await.unwrap();
        // Another completion of the generation: the entry stays in quarantine.
        let refused = test.driver().release(id, &completed("b").of(TWO), "released", Some(&action)).await.unwrap().unwrap();
        assert_eq!((without_detail(refused.outcome), refused.action), (in_quarantine("event-conflict"), None));
        assert_eq!(test.noted().await, []);
        let released = test.driver().release(id, &completed("a"), "released", Some(&action)).await.unwrap().unwrap();
        assert_eq!(released.outcome, waits(COMPLETED));
        assert_eq!(released.action, test.actions().await.last().map(|row| row.id));
        assert_eq!(test.noted().await, [noted("release-as", 1, &[id])]);
        assert_eq!(test.driver().release(id, &completed("a"), "released", Some(&action)).await.unwrap(), None);
        // The reconciler is no operator.
        let other = test.store_unconfirmed("00000000-0000-4000-8000-000000000003").await;
        let event = completed("a").of("00000000-0000-4000-8000-000000000003");
        let confirmed = test.driver().release(other, &event, "confirmed", None).await.unwrap().unwrap();
        assert_eq!((confirmed.outcome, confirmed.action), (waits(COMPLETED), None));
        assert_eq!(test.noted().await.len(), 1);
    }

    async fn one_row_has_all_entries_of_a_reevaluation(test: &mut DriverStore) {
        let first = test.store_unconfirmed(ONE).await;
        let second = test.store_unconfirmed(TWO).await;
        let action = by("anna", ActionKind::Reevaluate);
        let row = test.driver().request_call_for(first, "veo3", ONE, b"", &action).await.unwrap();
        assert!(row.is_some());
        let next = NewAction { row, ..action };
        let released = test.driver().release(second, &completed("a").of(TWO), "released", Some(&next)).await.unwrap().unwrap();
        assert_eq!(released.action, row);
        assert_eq!(test.noted().await, [noted("reevaluate", 2, &[first, second])]);
        assert_eq!(test.driver().request_call_for(second, "veo3", TWO, b"", &next).await.unwrap(), None);
        let due = test.driver().call_now(0, &by("bert", ActionKind::Reconcile)).await.unwrap();
        assert_eq!((due.0, due.1.is_some()), (1, true));
        let rows = test.actions().await;
        assert_eq!((rows[1].who.as_deref(), rows[1].note.as_deref()), (Some("bert"), Some("1 status call")));
    }

    // A change without its action would be an unaudited one.
    async fn an_action_that_cannot_be_written_undoes_its_change(test: &mut DriverStore) {
        test.store(&[completed("a")]).await;
        let held = test.store_unconfirmed(TWO).await;
        let sent = test.ids().await[0];
        test.sql("ALTER TABLE action_entry RENAME TO gone").await;
        let drop = test.driver().change(Change::Drop, &[sent].into(), &action(Change::Drop)).await;
        let release = test.driver().release(held, &completed("a").of(TWO), "", Some(&NewAction::of(ActionKind::ReleaseAs))).await;
        let call = test.driver().request_call_for(held, "veo3", TWO, b"", &NewAction::of(ActionKind::Reevaluate)).await;
        assert!(drop.unwrap_err().to_string().contains("action_entry"));
        assert!(release.unwrap_err().to_string().contains("action_entry"));
        assert!(call.unwrap_err().to_string().contains("action_entry"));
        test.expect(&[("waiting", 1), ("quarantined", 1)]).await;
        test.sql("ALTER TABLE gone RENAME TO action_entry").await;
        assert_eq!(test.noted().await, [], "the row of the action is undone too");
        test.sql("ALTER TABLE action RENAME TO gone").await;
        let pause = test.driver().pause("veo3", "", &NewAction::of(ActionKind::Pause)).await;
        assert!(pause.unwrap_err().to_string().contains("action"));
        assert!(!test.is_paused().await);
        test.sql("ALTER TABLE gone RENAME TO action").await;
        assert_eq!(test.change(Change::Drop, &[sent], &action(Change::Drop)).await.changed.len(), 1);
        assert_eq!(test.noted().await, [noted("drop", 1, &[sent])]);
    }

    async fn pages_through_the_actions_on_an_entry(test: &mut DriverStore) {
        test.store(&[completed("a"), completed("a").of(TWO)]).await;
        let [one, two] = test.ids().await[..] else { panic!() };
        for change in [Change::Drop, Change::Replay, Change::Drop] {
            test.change(change, &[one], &action(change)).await;
        }
        test.change(Change::Drop, &[two], &action(Change::Drop)).await;
        let all: Vec<_> = test.actions().await.iter().map(|row| row.id).collect();
        let page = async |before, limit, entry| {
            let rows = test.driver().actions(before, limit, entry).await.unwrap();
            rows.iter().map(|row| row.id).collect::<Vec<_>>()
        };
        assert_eq!(page(None, 2, None).await, [all[3], all[2]]);
        assert_eq!(page(Some(all[2]), 2, None).await, [all[1], all[0]]);
        assert_eq!(page(Some(all[0]), 2, None).await, NONE);
        assert_eq!(page(None, 2, Some(one)).await, [all[2], all[1]]);
        assert_eq!(page(Some(all[1]), 2, Some(one)).await, [all[0]]);
        assert_eq!(page(None, 9, Some(two)).await, [all[3]]);
        assert_eq!(page(None, 9, Some(3_000_000)).await, NONE);
        let on = test.driver().actions_on(&[one, two].into()).await.unwrap();
        let mut on: Vec<_> = on.iter().map(|action| (action.entry_id, action.action.as_str())).collect();
        on.sort_by_key(|(entry, _)| *entry);
        assert_eq!(on, [(one, "drop"), (one, "replay"), (one, "drop"), (two, "drop")], "the oldest first");
    }

    async fn shows_the_first_500_ids_and_finds_all(test: &mut DriverStore) {
        let events: Vec<_> = (0..600).map(|number| completed("a").of(&format!("00000000-0000-4000-8000-{number:012x}"))).collect();
        for events in events.chunks(100) {
            test.store(events).await;
        }
        let ids = test.ids().await;
        let first = test.change(Change::Drop, &ids[..300], &action(Change::Drop)).await;
        test.change(Change::Drop, &ids[300..], &NewAction { row: first.action, ..action(Change::Drop) }).await;
        assert_eq!(test.noted().await, [noted("drop", 600, &ids[..500])]);
        let of_last = test.driver().actions(None, 9, ids.last().copied()).await.unwrap();
        assert_eq!(of_last.len(), 1, "the audit knows each entry of an action");
    }

    async fn retention_deletes_old_actions(test: &mut DriverStore) {
        test.store(&[completed("a"), completed("a").of(TWO)]).await;
        let ids = test.ids().await;
        test.change(Change::Drop, &ids, &action(Change::Drop)).await;
        test.driver().pause("veo3", "", &NewAction::of(ActionKind::Pause)).await.unwrap();
        test.sql("UPDATE action SET at = at - 34560000000000").await;
        test.change(Change::Replay, &ids[..1], &action(Change::Replay)).await;
        assert_eq!(test.driver().purge_actions(crate::retention::ACTION_AGE + 3_600_000_000, 10).await.unwrap(), 0, "not yet");
        // One entry and one action at a time.
        let mut deleted = Vec::new();
        while deleted.last() != Some(&0) {
            deleted.push(test.driver().purge_actions(crate::retention::ACTION_AGE, 1).await.unwrap());
        }
        assert_eq!(deleted.iter().sum::<u64>(), 4, "two actions and two entries: {deleted:?}");
        assert_eq!(test.noted().await, [noted("replay", 1, &ids[..1])]);
        assert_eq!(test.count_rows("SELECT count(*) FROM action_entry").await, 1);
    }

    // Operators at the same time: each change is in exactly one action, and no action waits for another one's entries.
    async fn concurrent_actions_share_no_entry(test: &mut DriverStore) {
        let events: Vec<_> = (0..200).map(|number| completed("a").of(&format!("00000000-0000-4000-8000-{number:012x}"))).collect();
        test.store(&events).await;
        let ids = test.ids().await;
        let store = test.store.clone().unwrap();
        let dropping: Vec<_> = ["anna", "bert", "cleo"].into_iter().map(|who| {
            let (store, ids) = (Arc::clone(&store), ids.clone());
            tokio::spawn(async move {
                let mut action = by(who, ActionKind::Drop);
                for piece in ids.chunks(20) {
                    let changed = store.change(Change::Drop, &piece.iter().copied().collect(), &action).await.unwrap();
                    action.row = changed.action.or(action.row);
                }
            })
        }).collect();
        for task in dropping {
            task.await.unwrap();
        }
        let mut all: Vec<_> = test.noted().await.into_iter().flat_map(|(_, entries, ids)| {
            assert_eq!(usize::try_from(entries).unwrap(), ids.len());
            ids
        }).collect();
        all.sort_unstable();
        assert_eq!(all, ids, "each entry is in one action");
    }
}

/// PostgreSQL ends one of two transactions that wait for each other. The change runs again, and writes its action once.
#[needs(Postgres)]
#[tokio::test]
async fn a_repeated_change_writes_its_action_once() {
    let mut test = DriverStore::postgres_alone().await;
    let Place::Postgres(url) = test.place.clone() else { return };
    let options = super::super::postgres::options(&url).unwrap();
    let settings = super::super::postgres::SETTINGS;
    let mut watch = super::super::postgres::connect(&options, &settings).await.unwrap();
    const DEADLOCKS: &str = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    const WAITING: &str = "SELECT count(*) FROM pg_locks WHERE NOT granted";
    let started = std::time::Instant::now();
    for round in 0_i64.. {
        assert!(started.elapsed() < DEADLINE, "no change met a deadlock");
        test.store(&[quarantined(&format!("a{round}"), "t"), quarantined(&format!("b{round}"), "u")]).await;
        let [.., one, two] = test.ids().await[..] else { panic!() };
        let mut other = super::super::postgres::connect(&options, &settings).await.unwrap();
        sqlx::raw_sql("BEGIN").execute(&mut other).await.unwrap();
        let lock = "UPDATE entry SET seen = seen WHERE id = $1";
        sqlx::query(lock).bind(two).execute(&mut other).await.unwrap();
        let store = test.store.clone().unwrap();
        let changing = tokio::spawn(async move {
            store.change(Change::Drop, &[one, two].into(), &by("anna", ActionKind::Drop)).await
        });
        while sqlx::query_scalar::<_, i64>(WAITING).fetch_one(&mut watch).await.unwrap() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let locked = sqlx::query(lock).bind(one).execute(&mut other).await.is_ok();
        sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
        other.close().await.unwrap();
        assert_eq!(changing.await.unwrap().unwrap().changed.len(), 2);
        let last = test.actions().await.pop().unwrap();
        assert_eq!((last.entries, last.ids()), (2, vec![one, two]));
        assert_eq!(i64::try_from(test.actions().await.len()), Ok(round + 1), "one row for each change");
        // Otherwise the other transaction was the one that the database ended.
        if locked {
            while sqlx::query_scalar::<_, i64>(DEADLOCKS).fetch_one(&mut watch).await.unwrap() == 0 {
                assert!(started.elapsed() < DEADLINE, "the change met no deadlock");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            return;
        }
    }
}
