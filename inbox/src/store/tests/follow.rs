//! A reader with a cursor misses no entry.

use super::*;

#[tokio::test]
async fn follows_the_order_of_commits_in_sqlite() {
    follow_in_commit_order(DriverStore::sqlite().await).await;
}

#[needs(Postgres)]
#[tokio::test]
async fn follows_the_order_of_commits_in_postgres() {
    follow_in_commit_order(DriverStore::postgres_alone().await).await;
}

async fn follow_in_commit_order(mut test: DriverStore) {
    let start = test.end().await;
    assert_eq!(test.follow(start, None, 10).await, (vec![], start));
    test.store(&[completed("a"), failed("X").of(TWO)]).await;
    let (all, end) = test.follow(start, None, 10).await;
    assert_eq!(all.len(), 2);
    assert!(all[0].1 < all[1].1, "{all:?}");
    // One entry for each page.
    let (first, after) = test.follow(start, None, 1).await;
    assert_eq!((&first[..], after), (&all[..1], all[0].0));
    let (second, after) = test.follow(after, None, 1).await;
    assert_eq!((&second[..], after), (&all[1..], all[1].0));
    assert_eq!(test.follow(after, None, 1).await.0, []);
    // A later entry comes after `end`, and `until` excludes it.
    test.store(&[observed("c")]).await;
    assert_eq!(test.follow(start, Some(end), 10).await, (all, end));
    assert_eq!(test.follow(end, None, 10).await.0.len(), 1);
    // A repeat is no new entry.
    let end = test.end().await;
    test.store(&[completed("a")]).await;
    assert_eq!(test.follow(end, None, 10).await.0, []);
}

#[tokio::test]
async fn advances_the_cursor_without_matches_in_sqlite() {
    advance_without_matches(DriverStore::sqlite().await).await;
}

#[needs(Postgres)]
#[tokio::test]
async fn advances_the_cursor_without_matches_in_postgres() {
    advance_without_matches(DriverStore::postgres_alone().await).await;
}

async fn advance_without_matches(mut test: DriverStore) {
    let start = test.end().await;
    test.store(&[completed("a")]).await;
    let other = Filter { hook: Some("other".to_owned()), ..Filter::default() };
    let followed = test.store.as_ref().unwrap().follow(&other, start, None, 10).await.unwrap();
    assert!(followed.entries.is_empty() && followed.next > start, "{followed:?}");
    assert_eq!(test.follow(followed.next, None, 10).await.0, []);
}

/// The slow writer has the lower id.
#[needs(Postgres)]
#[tokio::test]
async fn follows_a_slow_writer_without_a_gap() {
    let mut test = DriverStore::postgres_alone().await;
    let start = test.end().await;
    let Place::Postgres(url) = &test.place else { return };
    let options = crate::store::postgres::options(url).unwrap();
    let mut slow =
        crate::store::postgres::connect(&options, &crate::store::postgres::SETTINGS).await.unwrap();
    sqlx::raw_sql(
        "BEGIN; INSERT INTO entry (id, lane, state, hook, authenticated, digest, size, received_at, seen, seen_at, due_at)
         VALUES (nextval('entry_id'), 'observed', 'waiting', 'slow', true, '', 1, 0, 1, 0, 0)",
    )
    .execute(&mut slow)
    .await
    .unwrap();
    test.store(&[completed("a")]).await;
    assert_eq!(test.states().await.len(), 1, "committed, and listed");
    let (found, place) = test.follow(start, None, 10).await;
    assert_eq!(found, [], "a lower id may follow");
    sqlx::raw_sql("COMMIT").execute(&mut slow).await.unwrap();
    let (found, _) = test.follow(place, None, 10).await;
    let ids: Vec<_> = found.iter().map(|(_, id)| *id).collect();
    assert_eq!(ids, test.ids().await, "both, in the order of transactions");
    slow.close().await.unwrap();
}

#[needs(Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn follows_many_writers_and_reads_each_entry_once() {
    const WRITERS: usize = 4;
    const EACH: usize = 50;
    let test = DriverStore::postgres_alone().await;
    let mut place = test.end().await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let session = test.store.clone().unwrap();
            tokio::spawn(async move {
                for number in 0..EACH {
                    let one = observed(&format!("{writer} {number}"));
                    session.store(&[&one], QuarantineRoom::UNLIMITED).await.unwrap();
                }
            })
        })
        .collect();
    let (mut seen, started) = (Vec::new(), std::time::Instant::now());
    loop {
        assert!(started.elapsed() < DEADLINE, "{} are seen", seen.len());
        let ended = writers.iter().all(tokio::task::JoinHandle::is_finished);
        let (found, next) = test.follow(place, None, 7).await;
        let idle = found.is_empty();
        seen.extend(found.into_iter().map(|(_, id)| id));
        place = next;
        if ended && idle && seen.len() >= WRITERS * EACH {
            break;
        }
        assert!(seen.len() <= WRITERS * EACH);
    }
    for writer in writers {
        writer.await.unwrap();
    }
    seen.sort_unstable();
    assert_eq!(seen, test.ids().await);
}

/// A dump of another cluster contains transaction numbers of this cluster's future.
#[needs(Postgres)]
#[tokio::test]
async fn a_restored_dump_is_not_followed_as_new() {
    let mut test = DriverStore::postgres_alone().await;
    test.store(&[completed("a")]).await;
    test.sql("UPDATE entry SET written = '999999999'").await;
    let before = test.end().await;
    test.place.migrate().await.unwrap();
    test.store(&[failed("X").of(TWO)]).await;
    assert_eq!(test.follow("0.0".parse().unwrap(), None, 10).await.0.len(), 2);
    assert_eq!(test.follow(before, None, 10).await.0.len(), 1);
}
