//! The provider's recent denials. The gate does not call the status API again for a denied event.

use crate::event::{Event, Failure};
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::mem::size_of;
use std::time::Duration;

/// Below 30 s: the provider's shortest time before a retry.
const LIFETIME: Duration = Duration::from_secs(20);
/// Each call of the last 20 s adds at most one denial: 14 at the default of 40 calls a minute. A `per_minute` above 3,000 can
/// exceed this limit. The cache then drops the oldest denials.
const MAX_DENIALS: usize = 1024;
/// The bytes of a SHA-256 in a key. To find a second claim with the same key takes 2^128 attempts.
const KEY_BYTES: usize = 16;
/// The size of the cache on one worker: 1,024 denials of a key (16 bytes) and a time (16 bytes), 32 KiB. It contains no text
/// of a delivery.
pub(super) const MAX_BYTES: usize = MAX_DENIALS * size_of::<Denial>();
/// The limit for everything on one worker that a client can add to and that outlives its request.
const MAX_WORKER_BYTES: usize = 1 << 20;
const _: () = assert!(MAX_BYTES <= MAX_WORKER_BYTES / 16);

/// The provider's denials of the last 20 s.
#[derive(Debug, Default)]
pub(super) struct DenialCache {
    /// Ordered by time.
    denials: VecDeque<Denial>,
}

#[derive(Debug)]
struct Denial {
    key: DenialKey,
    /// The time by a monotonic clock.
    since: Duration,
}

type DenialKey = [u8; KEY_BYTES];

impl DenialCache {
    /// Whether the provider denied this event or its generation in the 20 s before `now`.
    pub(super) fn contains(&self, event: &Event, now: Duration) -> bool {
        if self.denials.iter().all(|denial| denial.is_over(now)) {
            return false;
        }
        let keys = [generation(event), claim(event)];
        self.denials.iter().any(|denial| keys.contains(&denial.key) && !denial.is_over(now))
    }

    /// Denies every event of a generation that the provider does not have.
    pub(super) fn add_generation(&mut self, event: &Event, now: Duration) {
        self.add(generation(event), now);
    }

    /// Denies one claim about a generation. Another claim may be true.
    pub(super) fn add_claim(&mut self, event: &Event, now: Duration) {
        self.add(claim(event), now);
    }

    /// The allocated bytes.
    #[cfg(test)]
    fn allocated(&self) -> usize {
        self.denials.capacity().saturating_mul(size_of::<Denial>())
    }

    fn add(&mut self, key: DenialKey, now: Duration) {
        while self.denials.front().is_some_and(|oldest| oldest.is_over(now)) {
            self.denials.pop_front();
        }
        if self.denials.len() >= MAX_DENIALS {
            self.denials.pop_front();
        }
        self.denials.push_back(Denial { key, since: now });
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

/// Hashes each part after its length, so that no two lists of parts hash the same bytes.
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
    fn denies_only_the_denied_claim_for_20_s() {
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
    fn denies_every_claim_about_an_unknown_generation() {
        let mut denied = DenialCache::default();
        denied.add_generation(&completed(ID, "https://a/1"), seconds(1));
        assert!(denied.contains(&failed(ID, "TIMEOUT"), seconds(2)));
        assert!(!denied.contains(&failed(OTHER, "TIMEOUT"), seconds(2)));
    }

    #[test]
    fn stays_within_its_size_for_any_text() {
        let mut denied = DenialCache::default();
        for number in 0..20_000_u64 {
            let url = format!("https://a/{}{number}", "x".repeat(1_000));
            denied.add_claim(&completed(ID, &url), seconds(number / 4_000));
            assert!(denied.allocated() <= MAX_BYTES, "{} after {number}", denied.allocated());
        }
        // The newest denials remain.
        let last = completed(ID, &format!("https://a/{}19999", "x".repeat(1_000)));
        assert!(denied.contains(&last, seconds(5)));
    }

    #[test]
    fn drops_expired_denials_at_each_insert() {
        let mut denied = DenialCache::default();
        for number in 0..10_000 {
            denied.add_claim(&completed(ID, &number.to_string()), seconds(number));
        }
        assert_eq!(denied.denials.len(), 20);
    }
}
