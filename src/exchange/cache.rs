//! Negative answers of the last seconds. The provider is not asked again for what it has just denied.

use crate::event::{Event, Failure};
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::mem::size_of;
use std::time::Duration;

/// Below the 30 s after which the provider sends an event again.
const LIFETIME: Duration = Duration::from_secs(20);
/// The cache has one entry for each call of [`LIFETIME`] at most. At the default of 40 calls a minute that is 14; more than
/// this takes a `per_minute` above 3,000, and then the oldest entries go first.
const MAX_ENTRIES: usize = 1024;
/// Of SHA-256: to find a claim that has the key of somebody else's takes 2^128 attempts.
const KEY_BYTES: usize = 16;
/// What the cache takes at most on one worker: 1,024 entries of a key (16 bytes) and a time (16 bytes), 32 KiB. No text of a
/// delivery outlives its request.
pub(super) const MAX_BYTES: usize = MAX_ENTRIES * size_of::<Denial>();
/// The bound of everything on one worker that a client can add to and that outlives its request.
const MAX_WORKER_BYTES: usize = 1 << 20;
const _: () = assert!(MAX_BYTES <= MAX_WORKER_BYTES / 16);

/// What the provider has denied.
#[derive(Debug, Default)]
pub(super) struct DenialCache {
    /// In the order of their times.
    entries: VecDeque<Denial>,
}

#[derive(Debug)]
struct Denial {
    key: DenialKey,
    /// Since when, by a clock that never goes back.
    since: Duration,
}

type DenialKey = [u8; KEY_BYTES];

impl DenialCache {
    /// Whether the provider has denied this event, or its generation, shortly before `now`.
    pub(super) fn contains(&self, event: &Event, now: Duration) -> bool {
        if self.entries.iter().all(|entry| entry.is_over(now)) {
            return false;
        }
        let keys = [generation(event), claim(event)];
        self.entries.iter().any(|entry| keys.contains(&entry.key) && !entry.is_over(now))
    }

    /// The provider knows no generation of this id, whatever is said of it.
    pub(super) fn add_generation(&mut self, event: &Event, now: Duration) {
        self.add(generation(event), now);
    }

    /// The provider says something else of the generation. Another claim may be true.
    pub(super) fn add_claim(&mut self, event: &Event, now: Duration) {
        self.add(claim(event), now);
    }

    /// How many bytes it has allocated.
    #[cfg(test)]
    fn allocated(&self) -> usize {
        self.entries.capacity().saturating_mul(size_of::<Denial>())
    }

    fn add(&mut self, key: DenialKey, now: Duration) {
        while self.entries.front().is_some_and(|oldest| oldest.is_over(now)) {
            self.entries.pop_front();
        }
        if self.entries.len() >= MAX_ENTRIES {
            self.entries.pop_front();
        }
        self.entries.push_back(Denial { key, since: now });
    }
}

impl Denial {
    fn is_over(&self, now: Duration) -> bool {
        now.saturating_sub(self.since) >= LIFETIME
    }
}

fn generation(event: &Event) -> DenialKey {
    key(&[event.generation_id.text().as_bytes()])
}

fn claim(event: &Event) -> DenialKey {
    let code = event.failure.as_ref().and_then(|Failure { code, .. }| code.as_deref());
    let (id, url) = (event.generation_id.text(), event.result_url.as_deref());
    key(&[
        id.as_bytes(),
        event.kind.name().as_bytes(),
        url.unwrap_or_default().as_bytes(),
        code.unwrap_or_default().as_bytes(),
    ])
}

/// Each part with its length before it: no two lists of parts are the same bytes.
fn key(parts: &[&[u8]]) -> DenialKey {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    let mut key = DenialKey::default();
    key.iter_mut().zip(hash.finalize()).for_each(|(byte, hashed)| *byte = hashed);
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Class, Drift, GenerationId, Kind};

    const ID: &str = "ffd473d5-5bef-4e14-bf22-8d559be3c19f";
    const OTHER: &str = "00000000-0000-4000-8000-000000000001";

    fn completed(id: &str, url: &str) -> Event {
        Event {
            generation_id: GenerationId::parse(id).unwrap(),
            kind: Kind::Completed,
            failure: None,
            result_url: Some(url.to_owned()),
            drift: Drift::default(),
        }
    }

    fn failed(id: &str, code: &str) -> Event {
        let failure = Failure { code: Some(code.to_owned()), class: Class::Unknown, retryable: None };
        Event { kind: Kind::Failed, failure: Some(failure), result_url: None, ..completed(id, "") }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_denied_claim_is_denied_for_20_s_and_no_other() {
        let mut denied = DenialCache::default();
        let event = completed(ID, "https://a/1");
        denied.add_claim(&event, seconds(5));
        assert!(denied.contains(&event, seconds(5)) && denied.contains(&event, seconds(24)));
        assert!(!denied.contains(&event, seconds(25)));
        for other in [
            completed(ID, "https://a/2"),
            completed(OTHER, "https://a/1"),
            failed(ID, "https://a/1"),
            failed(ID, "completed"),
        ] {
            assert!(!denied.contains(&other, seconds(6)), "{other:?}");
        }
    }

    #[test]
    fn of_an_unknown_generation_every_claim_is_denied() {
        let mut denied = DenialCache::default();
        denied.add_generation(&completed(ID, "https://a/1"), seconds(1));
        assert!(denied.contains(&failed(ID, "TIMEOUT"), seconds(2)));
        assert!(!denied.contains(&failed(OTHER, "TIMEOUT"), seconds(2)));
    }

    #[test]
    fn no_text_of_a_client_sizes_it() {
        let mut denied = DenialCache::default();
        for number in 0..20_000_u64 {
            let url = format!("https://a/{}{number}", "x".repeat(1_000));
            denied.add_claim(&completed(ID, &url), seconds(number / 4_000));
            assert!(denied.allocated() <= MAX_BYTES, "{} after {number}", denied.allocated());
        }
        // The newest are there.
        let last = completed(ID, &format!("https://a/{}19999", "x".repeat(1_000)));
        assert!(denied.contains(&last, seconds(5)));
    }

    #[test]
    fn what_is_over_makes_room_at_each_insert() {
        let mut denied = DenialCache::default();
        for number in 0..10_000 {
            denied.add_claim(&completed(ID, &number.to_string()), seconds(number));
        }
        assert_eq!(denied.entries.len(), 20);
    }
}
