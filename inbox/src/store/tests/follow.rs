//! Whoever follows misses nothing.

use super::*;

#[tokio::test]
async fn entries_follow_in_the_order_of_their_commits_in_sqlite() {
    in_the_order_of_commits(TestStore::sqlite().await).await;
}

#[needs(Postgres)]
#[tokio::test]
async fn entries_follow_in_the_order_of_their_commits_in_postgres() {
    in_the_order_of_commits(TestStore::postgres_alone().await).await;
}

async fn in_the_order_of_commits(mut site: TestStore) {
    let start = site.end().await;
    assert_eq!(site.follow(start, None, 10).await, (vec![], start));
    site.store(&[completed("a"), failed("X").of(TWO)]).await;
    let (all, end) = site.follow(start, None, 10).await;
    assert_eq!(all.len(), 2);
    assert!(all[0].1 < all[1].1, "{all:?}");
    // A page at a time, from each place on.
    let (first, after) = site.follow(start, None, 1).await;
    assert_eq!((&first[..], after), (&all[..1], all[0].0));
    let (second, after) = site.follow(after, None, 1).await;
    assert_eq!((&second[..], after), (&all[1..], all[1].0));
    assert_eq!(site.follow(after, None, 1).await.0, []);
    // What comes later is behind the end, and up to the end it is left out.
    site.store(&[observed("c")]).await;
    assert_eq!(site.follow(start, Some(end), 10).await, (all, end));
    assert_eq!(site.follow(end, None, 10).await.0.len(), 1);
    // A repeat is no new event.
    let end = site.end().await;
    site.store(&[completed("a")]).await;
    assert_eq!(site.follow(end, None, 10).await.0, []);
}

#[tokio::test]
async fn a_place_moves_on_where_nothing_is_found_in_sqlite() {
    where_nothing_is_found(TestStore::sqlite().await).await;
}

#[needs(Postgres)]
#[tokio::test]
async fn a_place_moves_on_where_nothing_is_found_in_postgres() {
    where_nothing_is_found(TestStore::postgres_alone().await).await;
}

async fn where_nothing_is_found(mut site: TestStore) {
    let start = site.end().await;
    site.store(&[completed("a")]).await;
    let other = Filter { hook: Some("other".to_owned()), ..Filter::default() };
    let followed = site.store.as_ref().unwrap().follow(&other, start, None, 10).await.unwrap();
    assert!(followed.entries.is_empty() && followed.next > start, "{followed:?}");
    assert_eq!(site.follow(followed.next, None, 10).await.0, []);
}

/// The slower of two writers has the lower ids.
#[needs(Postgres)]
#[tokio::test]
async fn who_follows_misses_no_slow_writer() {
    let mut site = TestStore::postgres_alone().await;
    let start = site.end().await;
    let Place::Postgres(url) = &site.place else { return };
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
    site.store(&[completed("a")]).await;
    assert_eq!(site.states().await.len(), 1, "committed, and seen by whoever asks for a list");
    let (found, place) = site.follow(start, None, 10).await;
    assert_eq!(found, [], "a lower id may come");
    sqlx::raw_sql("COMMIT").execute(&mut slow).await.unwrap();
    let (found, _) = site.follow(place, None, 10).await;
    let ids: Vec<_> = found.iter().map(|(_, id)| *id).collect();
    assert_eq!(ids, site.ids().await, "both, in the order of their transactions");
    slow.close().await.unwrap();
}

/// What many write at once, read by one who follows: each once.
#[needs(Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn who_follows_many_writers_sees_each_entry_once() {
    const WRITERS: usize = 4;
    const EACH: usize = 50;
    let site = TestStore::postgres_alone().await;
    let mut place = site.end().await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let session = site.store.clone().unwrap();
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
        let (found, next) = site.follow(place, None, 7).await;
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
    assert_eq!(seen, site.ids().await);
}

/// A dump of another cluster has transaction numbers that here lie in the future.
#[needs(Postgres)]
#[tokio::test]
async fn a_restored_dump_is_not_new_one_day() {
    let mut site = TestStore::postgres_alone().await;
    site.store(&[completed("a")]).await;
    site.sql("UPDATE entry SET written = '999999999'").await;
    let before = site.end().await;
    site.place.migrate().await.unwrap();
    site.store(&[failed("X").of(TWO)]).await;
    assert_eq!(site.follow("0.0".parse().unwrap(), None, 10).await.0.len(), 2);
    assert_eq!(site.follow(before, None, 10).await.0.len(), 1);
}
