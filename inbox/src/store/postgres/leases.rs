//! Finds leases that have ended.

use super::deliveries::{RELEASE_GENERATIONS, lock_generations_of};
use super::{NOW, Postgres};
use crate::store::{MAX_DELAY, NO_RESULT, Result};
use sqlx::{query, query_as, query_scalar};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Observations of the database's clock and of other inboxes' leases.
#[derive(Debug, Default)]
pub(super) struct Leases {
    pub(super) clock: Option<ClockReading>,
    /// The leases of other inboxes, by entry.
    pub(super) watched: BTreeMap<i64, WatchedLease>,
}

/// A reading of the database's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClockReading {
    asked: Instant,
    answered: Instant,
    /// Microseconds since 1970.
    now: i64,
}

/// A lease of another inbox, unchanged since `since`.
#[derive(Debug)]
pub(super) struct WatchedLease {
    number: i64,
    until: i64,
    since: Instant,
}

/// A clock that falls behind by less was not stepped back.
const MIN_STEP: i64 = 5_000_000;
impl Postgres {
    /// Releases leases that their inbox did not renew for the time of a lease. No clock decides: this inbox measures the time.
    pub(super) async fn release_unrenewed(
        &self,
        watched: &mut BTreeMap<i64, WatchedLease>,
        held: &[i64],
        lease: i64,
    ) -> Result<usize> {
        const LEASES_OF_OTHERS: &str = "
            SELECT id, lease, lease_until FROM entry WHERE state = 'in_flight' AND lease_until IS NOT NULL AND id <> ALL($1)
            ORDER BY lease_until, id LIMIT 10000";
        /// Also records the attempts.
        const RELEASE_EXPIRED: &str = "
            WITH released AS (
                UPDATE entry e SET state = CASE WHEN e.retired THEN 'superseded' ELSE 'waiting' END,
                    ended_at = CASE WHEN e.retired THEN inbox_now() END, due_at = inbox_now(), lease_until = NULL
                FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS k (id, lease, lease_until)
                WHERE e.id = k.id AND e.state = 'in_flight' AND e.lease = k.lease AND e.lease_until = k.lease_until
                RETURNING e.id, e.lease, e.size
            ), recorded AS (
                INSERT INTO attempt (entry_id, number, at, answer)
                SELECT id, lease, inbox_now(), $4 FROM released WHERE size > 0
                ON CONFLICT (entry_id, number) DO NOTHING
            )
            DELETE FROM attempt a USING released
            WHERE a.entry_id = released.id AND a.number > 3 AND a.number <= released.lease - 17";
        let rows: Vec<(i64, i64, i64)> = transaction!(self, |connection| {
            query_as(LEASES_OF_OTHERS).bind(held).fetch_all(&mut *connection).await?
        })?;
        let now = Instant::now();
        let before = std::mem::take(watched);
        *watched = rows
            .into_iter()
            .map(|(id, number, until)| {
                let same = before.get(&id).filter(|before| (before.number, before.until) == (number, until));
                (id, WatchedLease { number, until, since: same.map_or(now, |before| before.since) })
            })
            .collect();
        let lease = Duration::from_micros(u64::try_from(lease).unwrap_or_default());
        let expired = watched.iter().filter(|(_, watched)| now.duration_since(watched.since) >= lease);
        let (ids, leases): (Vec<i64>, Vec<(i64, i64)>) =
            expired.map(|(id, watched)| (*id, (watched.number, watched.until))).unzip();
        if ids.is_empty() {
            return Ok(0);
        }
        let (numbers, untils): (Vec<i64>, Vec<i64>) = leases.into_iter().unzip();
        transaction!(self, |connection| {
            lock_generations_of(connection, &ids).await?;
            let released = query(RELEASE_EXPIRED).bind(&ids).bind(&numbers).bind(&untils).bind(NO_RESULT);
            released.execute(&mut *connection).await?;
            query(RELEASE_GENERATIONS).bind(&ids).execute(&mut *connection).await?;
        })?;
        Ok(ids.len())
    }

    /// Moves due times back after the database's clock was stepped back.
    pub(super) async fn follow_clock(&self, clock: &mut Option<ClockReading>) {
        let asked = Instant::now();
        let Ok(now) = self.clock_now().await else { return };
        let reading = ClockReading { asked, answered: Instant::now(), now };
        // One try, even if the update exceeds the statement timeout: leases must not wait for it.
        let effect = match clock.replace(reading) {
            None => "the inbox cannot look for due times from before a step of the database's clock",
            Some(before) if reading.was_stepped_back_since(before) => {
                "the database's clock was stepped back, so due entries wait longer"
            }
            Some(_) => return,
        };
        if let Err(error) = self.move_due_times().await {
            tracing::error!("{effect}: {error}");
        }
    }

    async fn move_due_times(&self) -> Result<()> {
        /// After n attempts an entry is due within 2^n seconds and within the longest delay. Goes route by route, and reads only
        /// entries that are due in more than a second.
        const DUE_IN_TIME: &str = "
            UPDATE entry SET due_at = inbox_now() WHERE id IN (
                WITH RECURSIVE routes (route) AS (
                    SELECT min(route) FROM entry WHERE state = 'waiting'
                    UNION ALL
                    SELECT (SELECT min(e.route) FROM entry e WHERE e.state = 'waiting' AND e.route > routes.route)
                    FROM routes WHERE routes.route IS NOT NULL
                )
                SELECT e.id FROM routes CROSS JOIN (VALUES (false), (true)) AS k (behind) JOIN entry e
                ON e.state = 'waiting' AND e.route = routes.route AND e.behind = k.behind AND e.due_at > inbox_now() + least($1, 1000000)
                WHERE e.due_at > inbox_now() + least($1, 1000000::bigint << least(e.attempts, 12)::int))";
        transaction!(self, |connection| {
            query(DUE_IN_TIME).bind(MAX_DELAY).execute(&mut *connection).await?;
        })
    }

    async fn clock_now(&self) -> Result<i64> {
        transaction!(self, |connection| query_scalar(NOW).fetch_one(&mut *connection).await?)
    }
}

impl ClockReading {
    /// Whether the clock was stepped back since an earlier reading: it shows less than the shortest time between the two. An answer
    /// can lie in the socket for as long as this process is stopped.
    fn was_stepped_back_since(self, before: Self) -> bool {
        let shortest = self.asked.saturating_duration_since(before.answered);
        let shortest = i64::try_from(shortest.as_micros()).unwrap_or(i64::MAX);
        self.now.saturating_add(MIN_STEP) < before.now.saturating_add(shortest)
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test may panic: that is how it fails")]
mod tests {
    use super::*;

    /// Two readings, each with the seconds of its question and its answer, and of the database's clock.
    #[track_caller]
    fn row(first: [u64; 3], second: [u64; 3], expected: bool) {
        let start = Instant::now();
        let reading = |[asked, answered, now]: [u64; 3]| ClockReading {
            asked: start + Duration::from_secs(asked),
            answered: start + Duration::from_secs(answered),
            now: i64::try_from(now * 1_000_000).unwrap(),
        };
        assert_eq!(reading(second).was_stepped_back_since(reading(first)), expected, "{first:?} {second:?}");
    }

    #[test]
    fn tells_a_step_from_a_slow_answer() {
        row([0, 0, 1_000], [10, 10, 1_010], false);
        row([0, 0, 1_000], [10, 10, 1_001], true);
        row([0, 0, 1_000], [10, 10, 900], true);
        row([0, 0, 1_000], [10, 10, 5_000], false);
        // The process was stopped between the question and the answer.
        row([0, 0, 1_000], [10, 50, 1_010], false);
        row([0, 40, 1_000], [50, 50, 1_050], false);
        row([0, 40, 1_000], [41, 41, 1_041], false);
    }
}
