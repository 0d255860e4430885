//! The rate at which a route catches up: a token bucket. It lasts as long as the route, so that a flapping service does not get
//! a new burst each time.

use std::num::NonZeroU32;
use std::time::Duration;
use tokio::time::Instant;

/// The time in which the rate doubles. At a fixed rate, a route with more arrivals than that would never catch up.
const DOUBLE_EVERY: Duration = Duration::from_secs(10);
/// After 20 doublings the rate is above what one process can deliver.
const MAX_DOUBLINGS: u32 = 20;
/// In the first second the bucket has the tokens of a tenth of a second, and at least one. So the service gets at most 1.1
/// times the rate.
const BURSTS_A_SECOND: i64 = 10;
/// Later it has those of half a second. On a busy machine a claim and its commit take longer than a tenth, and a full bucket
/// loses tokens.
const LATER_BURSTS_A_SECOND: i64 = 2;
const FIRST_SECOND: Duration = Duration::from_secs(1);
/// The debt of two probes: they start without a token.
const MAX_DEBT: i64 = 2 * TOKEN;
/// The units of a token: a rate of 1 a second adds one unit in a microsecond.
const TOKEN: i64 = 1_000_000;

#[derive(Debug)]
pub(super) struct Drain {
    rate: i64,
    tokens: i64,
    filled_at: Instant,
    /// The start of the catching up; `None` if the route does not catch up.
    since: Option<Instant>,
}

impl Drain {
    pub(super) fn new(rate: NonZeroU32, now: Instant) -> Self {
        let mut drain = Self { rate: i64::from(rate.get()), tokens: 0, filled_at: now, since: None };
        drain.tokens = drain.burst(now);
        drain
    }

    pub(super) fn is_on(&self) -> bool {
        self.since.is_some()
    }

    /// Starts to catch up, slowly at first.
    pub(super) fn begin(&mut self, now: Instant) {
        self.since = None;
        self.fill(now);
        self.since = Some(now);
    }

    pub(super) fn end(&mut self) {
        self.since = None;
    }

    /// The attempts that may start now. 0 until there are enough for a transaction.
    pub(super) fn room(&mut self, now: Instant) -> usize {
        if !self.is_on() {
            return usize::MAX;
        }
        self.fill(now);
        if self.tokens < self.worth_a_claim(now) {
            return 0;
        }
        usize::try_from(self.tokens.checked_div(TOKEN).unwrap_or_default()).unwrap_or_default()
    }

    /// Takes the tokens of attempts that have started.
    pub(super) fn take(&mut self, count: usize, now: Instant) {
        self.fill(now);
        let taken = i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(TOKEN);
        self.tokens = self.tokens.saturating_sub(taken).max(MAX_DEBT.saturating_neg());
    }

    /// The time at which there is room again; `None` while the rate is unbounded.
    pub(super) fn has_room_at(&self, now: Instant) -> Option<Instant> {
        self.since?;
        let missing = self.worth_a_claim(now).saturating_sub(self.tokens).max(0);
        // Rounded up: one microsecond too early there is no token.
        let wait = missing.checked_div(self.rate(now)).unwrap_or_default().saturating_add(1);
        self.filled_at.checked_add(Duration::from_micros(u64::try_from(wait).unwrap_or_default()))
    }

    fn fill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.filled_at);
        let elapsed = i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX);
        let filled = self.tokens.saturating_add(elapsed.saturating_mul(self.rate(now)));
        self.tokens = filled.min(self.burst(now));
        self.filled_at = self.filled_at.max(now);
    }

    /// The fewest tokens of a claim: half of the first bucket. At any rate, twenty claims a second then take all tokens.
    fn worth_a_claim(&self, now: Instant) -> i64 {
        self.bucket(BURSTS_A_SECOND, now).checked_div(2).unwrap_or_default().max(TOKEN)
    }

    fn burst(&self, now: Instant) -> i64 {
        let later = self.since.is_some_and(|since| now.saturating_duration_since(since) > FIRST_SECOND);
        self.bucket(if later { LATER_BURSTS_A_SECOND } else { BURSTS_A_SECOND }, now)
    }

    fn bucket(&self, bursts_a_second: i64, now: Instant) -> i64 {
        let tokens = self.rate(now).checked_div(bursts_a_second).unwrap_or_default().max(1);
        tokens.saturating_mul(TOKEN)
    }

    /// Tokens a second.
    fn rate(&self, now: Instant) -> i64 {
        let elapsed = self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let doublings = elapsed.as_secs().checked_div(DOUBLE_EVERY.as_secs()).unwrap_or_default();
        let doublings = u32::try_from(doublings).unwrap_or(u32::MAX).min(MAX_DOUBLINGS);
        self.rate.saturating_mul(1_i64.checked_shl(doublings).unwrap_or(i64::MAX))
    }
}
