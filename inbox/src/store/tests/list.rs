//! Lists, previews and pieces of a change read a bounded number of rows, and miss none.

use super::super::read::scan::MAX_EXAMINED;
use super::*;
use crate::entry::Lane;

/// 45,000 delivered entries: two windows and a quarter. One entry of each 9,000 belongs to another hook.
const MANY: &str = "
INSERT INTO entry (id, lane, state, hook, generation, event, authenticated, digest, size, route, received_at, seen, seen_at, due_at, ended_at)
WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 45000)
SELECT n, 'deliver', 'delivered', CASE n % 9000 WHEN 5 THEN 'rare' ELSE 'veo3' END, 'g' || n, 'completed', true, '', 1, 'veo3/completed',
    CAST(n AS bigint) * 1000000, 1, n, n, n FROM n";

fn of_hook(hook: &str) -> Filter {
    Filter { hook: Some(hook.to_owned()), ..Filter::default() }
}

fn in_state(state: EntryState) -> Filter {
    Filter { state: Some(state), ..Filter::default() }
}

impl DriverStore {
    async fn page(&self, filter: &Filter, before: Option<i64>, limit: i64) -> (Vec<i64>, Option<i64>) {
        let listed = self.driver().list(filter, before, limit).await.unwrap();
        (listed.entries.iter().map(|entry| entry.id).collect(), listed.next)
    }

    // Lists all entries by pages, and runs `meanwhile` before each of the later ones.
    async fn list_all(&self, filter: &Filter, meanwhile: &[&'static str]) -> Vec<i64> {
        let (mut all, mut before, mut meanwhile) = (Vec::new(), None, meanwhile.iter());
        loop {
            let (ids, next) = self.page(filter, before, 100).await;
            let is_full = ids.len() == 100;
            before = if is_full { ids.last().copied() } else { next };
            all.extend(ids);
            if before.is_none() {
                return all;
            }
            if let Some(sql) = meanwhile.next() {
                self.sql(sql).await;
            }
        }
    }

    // The selected ids of a change, piece by piece, and the number of pieces.
    async fn select_all(&self, filter: &Filter, restriction: Restriction, limit: i64) -> (Vec<i64>, usize) {
        let (mut all, mut after, mut pieces) = (Vec::new(), 0, 0_usize);
        loop {
            let selected = self.driver().ids(filter, restriction, after, i64::MAX, limit).await.unwrap();
            all.extend(selected.ids);
            pieces = pieces.saturating_add(1);
            let Some(next) = selected.next else { return (all, pieces) };
            assert!(next > after, "{next}");
            after = next;
        }
    }
}

in_both! {
    async fn a_page_examines_so_many_rows(test: &mut DriverStore) {
        test.sql(MANY).await;
        let rare = of_hook("rare");
        assert_eq!(MAX_EXAMINED, 20_000);
        assert_eq!(test.page(&rare, None, 10).await, (vec![36_005, 27_005], Some(25_001)));
        assert_eq!(test.page(&rare, Some(25_001), 10).await, (vec![18_005, 9_005], Some(5_001)));
        assert_eq!(test.page(&rare, Some(5_001), 10).await, (vec![5], None));
        assert_eq!(test.page(&rare, None, 1).await, (vec![36_005], None), "a full page continues behind its last entry");
        assert_eq!(test.page(&of_hook("none"), Some(20_001), 10).await, (NONE.to_vec(), Some(1)), "exactly so many rows");
        assert_eq!(test.page(&of_hook("none"), Some(20_000), 10).await, (NONE.to_vec(), None));
        assert_eq!(test.page(&Filter::default(), None, 3).await, (vec![45_000, 44_999, 44_998], None));
        assert_eq!(test.list_all(&rare, &[]).await, [36_005, 27_005, 18_005, 9_005, 5]);
    }

    async fn a_state_with_few_entries_is_complete_at_once(test: &mut DriverStore) {
        test.sql(MANY).await;
        test.sql("
            UPDATE entry SET state = 'waiting' WHERE id IN (7, 30000);
            UPDATE entry SET state = 'in_flight', lease_until = 1 WHERE id IN (8, 30001);
            UPDATE entry SET state = 'dead' WHERE id IN (9, 30002);
            UPDATE entry SET state = 'quarantined', lane = 'quarantine', reason = 'r' || id WHERE id IN (10, 30003);
            UPDATE entry SET state = 'delivered', lane = 'observed' WHERE id IN (11, 30004);
            UPDATE entry SET state = 'dropped' WHERE id IN (12, 30005)").await;
        for (state, ids) in [
            (EntryState::Waiting, [30_000, 7]), (EntryState::InFlight, [30_001, 8]), (EntryState::Dead, [30_002, 9]),
            (EntryState::Quarantined, [30_003, 10]),
        ] {
            assert_eq!(test.page(&in_state(state), None, 10).await, (ids.to_vec(), None), "{state}");
            let of_hook = Filter { hook: Some("veo3".to_owned()), ..in_state(state) };
            assert_eq!(test.page(&of_hook, None, 10).await, (ids.to_vec(), None), "{state}");
            assert_eq!(test.page(&of_hook, Some(ids[0]), 10).await, (ids[1..].to_vec(), None), "{state}");
            assert_eq!(test.page(&of_hook, None, 1).await, (ids[..1].to_vec(), None), "{state}");
        }
        for (lane, ids) in [(Lane::Quarantine, [30_003, 10]), (Lane::Observed, [30_004, 11])] {
            let in_lane = Filter { lane: Some(lane), ..Filter::default() };
            assert_eq!(test.page(&in_lane, None, 10).await, (ids.to_vec(), None), "{lane:?}");
            let of_job = Filter { job: Some("none".to_owned()), ..in_lane };
            assert_eq!(test.page(&of_job, None, 10).await, (NONE.to_vec(), None), "{lane:?}");
        }
        // No index has dropped entries.
        assert_eq!(test.page(&in_state(EntryState::Dropped), None, 10).await, (vec![30_005], Some(25_001)));
        assert_eq!(test.list_all(&in_state(EntryState::Dropped), &[]).await, [30_005, 12]);
        let of_generation = Filter { generation: Some("g12".to_owned()), ..Filter::default() };
        assert_eq!(test.page(&of_generation, None, 10).await, (vec![12], None));
        let elsewhere = Filter { hook: Some("rare".to_owned()), ..of_generation.clone() };
        assert_eq!(test.page(&elsewhere, None, 10).await, (NONE.to_vec(), None));
        let contradictory = Filter { state: Some(EntryState::Dead), ..of_generation };
        assert_eq!(test.page(&contradictory, None, 10).await, (NONE.to_vec(), None));
    }

    async fn many_waiting_entries_are_examined_in_windows(test: &mut DriverStore) {
        test.sql(MANY).await;
        test.sql("UPDATE entry SET state = 'waiting', ended_at = NULL WHERE id % 2 = 0").await;
        let rare = Filter { hook: Some("rare".to_owned()), ..in_state(EntryState::Waiting) };
        // Of the rare entries 5, 9005, 18005, 27005 and 36005, none has an even id.
        assert_eq!(test.page(&rare, None, 10).await, (NONE.to_vec(), Some(25_001)));
        test.sql("UPDATE entry SET state = 'waiting', ended_at = NULL WHERE id IN (5, 27005)").await;
        assert_eq!(test.list_all(&rare, &[]).await, [27_005, 5]);
        let (all, pieces) = test.select_all(&in_state(EntryState::Waiting), Restriction::All, 500).await;
        assert_eq!((all.len(), pieces), (22_502, 46));
        // Dead entries are in the order of their index, so a window has no other ones.
        test.sql("UPDATE entry SET state = 'dead' WHERE state = 'waiting'").await;
        let dead = Filter { hook: Some("rare".to_owned()), ..in_state(EntryState::Dead) };
        let (ids, next) = test.page(&dead, None, 10).await;
        assert_eq!((ids, next), (vec![27_005], Some(5_004)), "22,502 dead entries are a window and a rest");
        assert_eq!(test.list_all(&dead, &[]).await, [27_005, 5]);
    }

    // Events arrive, change their state and are purged between two pages.
    async fn pages_neither_repeat_nor_skip_an_entry(test: &mut DriverStore) {
        test.sql(MANY).await;
        test.sql("UPDATE entry SET state = CASE id % 5 WHEN 0 THEN 'dead' WHEN 1 THEN 'waiting' WHEN 2 THEN 'superseded' ELSE state END
            WHERE id % 100 < 10").await;
        let meanwhile = [
            "INSERT INTO entry (id, lane, state, hook, generation, event, authenticated, digest, size, route, received_at, seen, seen_at, due_at)
                SELECT id + 100000, lane, state, hook, 'n' || id, event, authenticated, digest, size, route, received_at, seen, seen_at, due_at
                FROM entry WHERE id % 10 < 3",
            "UPDATE entry SET state = 'delivered' WHERE id % 100 IN (0, 1, 2) AND id % 1000 < 300",
            "DELETE FROM entry WHERE id % 100 IN (5, 6, 7) AND id % 1000 < 300",
            "UPDATE entry SET state = 'dead' WHERE id % 100 = 8 AND id % 1000 < 300",
        ];
        for state in [EntryState::Dead, EntryState::Waiting, EntryState::Superseded] {
            let filter = in_state(state);
            let ids = |rows: Vec<i64>| rows.into_iter().collect::<BTreeSet<_>>();
            let before = ids(test.list_all(&filter, &[]).await);
            let seen = test.list_all(&filter, &meanwhile).await;
            let after = ids(test.list_all(&filter, &[]).await);
            let there_all_the_time: Vec<_> = before.intersection(&after).collect();
            assert!(!there_all_the_time.is_empty(), "{state}");
            assert_eq!(ids(seen.clone()).len(), seen.len(), "{state}: an entry is on two pages");
            let missed: Vec<_> = there_all_the_time.into_iter().filter(|id| !seen.contains(id)).collect();
            assert!(missed.is_empty(), "{state}: no page has {missed:?}");
            assert!(seen.windows(2).all(|pair| pair[0] > pair[1]), "{state}: the newest first");
            test.sql("DELETE FROM entry WHERE id > 100000").await;
        }
    }

    async fn a_time_ends_the_windows(test: &mut DriverStore) {
        test.sql(MANY).await;
        // An entry a second: the window's last entry is the 25,001st.
        let since = |seconds: i64| Filter { since: Some(seconds.saturating_mul(1_000_000)), ..of_hook("rare") };
        assert_eq!(test.page(&since(27_005), None, 10).await, (vec![36_005, 27_005], Some(25_001)), "within an hour");
        assert_eq!(test.page(&since(28_602), None, 10).await, (vec![36_005], None), "no older entry can match");
        assert_eq!(test.page(&since(50_000), None, 10).await, (NONE.to_vec(), None));
    }

    async fn pieces_of_a_change_reach_each_entry(test: &mut DriverStore) {
        test.sql(MANY).await;
        let replay = Restriction::Applicable(Change::Replay);
        let (ids, pieces) = test.select_all(&of_hook("rare"), replay, 500).await;
        assert_eq!((ids, pieces), (vec![5, 9_005, 18_005, 27_005, 36_005], 3));
        let (ids, pieces) = test.select_all(&of_hook("rare"), replay, 2).await;
        assert_eq!((ids, pieces), (vec![5, 9_005, 18_005, 27_005, 36_005], 3));
        assert_eq!(test.select_all(&of_hook("veo3"), replay, 500).await.0.len(), 44_995);
        assert_eq!(test.select_all(&of_hook("veo3"), Restriction::Applicable(Change::Release), 500).await, (NONE.to_vec(), 1));
        let of_generation = Filter { generation: Some("g7".to_owned()), ..Filter::default() };
        assert_eq!(test.select_all(&of_generation, replay, 500).await, (vec![7], 1));
        let selected = test.driver().ids(&of_hook("rare"), replay, 5, 30_000, 500).await.unwrap();
        assert_eq!((selected.ids, selected.next), (vec![9_005, 18_005], Some(20_005)));
        let rest = test.driver().ids(&of_hook("rare"), replay, 20_005, 30_000, 500).await.unwrap();
        assert_eq!((rest.ids, rest.next), (vec![27_005], None), "not beyond the last entry of the preview");
    }

    async fn counts_so_many_rows_at_a_time(test: &mut DriverStore) {
        test.sql(MANY).await;
        test.sql("INSERT INTO entry (id, lane, state, hook, generation, event, authenticated, digest, size, route, received_at, seen, seen_at,
                due_at)
            SELECT id + 45000, lane, 'superseded', hook, 'n' || id, event, authenticated, digest, size, route, received_at, seen, seen_at, due_at
            FROM entry").await;
        assert_eq!(test.driver().newest().await.unwrap(), Some(90_000));
        let of_veo3 = EntrySelection::All(of_hook("veo3"));
        let count = async |selection: &EntrySelection, after, until| {
            let counted = test.driver().count(selection, after, until).await.unwrap();
            let mut groups: Vec<_> = counted.groups.iter().map(|group| (group.state, group.count)).collect();
            groups.sort_unstable();
            (groups, counted.next)
        };
        let (delivered, superseded) = (EntryState::Delivered, EntryState::Superseded);
        assert_eq!(count(&of_veo3, 0, 90_000).await, (vec![(delivered, 19_997)], Some(20_000)));
        assert_eq!(count(&of_veo3, 40_000, 90_000).await, (vec![(delivered, 5_000), (superseded, 14_998)], Some(60_000)));
        assert_eq!(count(&of_veo3, 70_000, 90_000).await, (vec![(superseded, 19_998)], None), "exactly so many rows");
        assert_eq!(count(&EntrySelection::Ids([1, 45_001, 99_999].into()), 0, i64::MAX).await, (vec![(delivered, 1), (superseded, 1)], None));
        let of_generation = EntrySelection::All(Filter { generation: Some("n7".to_owned()), ..Filter::default() });
        assert_eq!(count(&of_generation, 0, 90_000).await, (vec![(superseded, 1)], None));
    }
}
