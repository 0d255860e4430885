//! The refusals of the gates, in memory: for each hook and reason the first 100, the last 100, and a count.
//!
//! A flood can bring any number of refusals, and a forged message any text. So all of them together have a bound in bytes:
//! past it, the groups whose newest refusal is the oldest lose their records, and past a number of groups, their counts.

use std::collections::{BTreeMap, VecDeque};
use std::mem::size_of;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// The bytes of all groups and records.
pub(crate) const MAX_BYTES: usize = 16 << 20;
/// The first records of a group, and as many last ones.
const MAX_RECORDS: usize = 100;
/// The most groups. The gate has some 50 reasons, Envoy some 100 details, and a machine a few hooks.
const MAX_GROUPS: usize = 1_000;
/// The part of a bound that stays after an eviction, in sixteenths, so that not each refusal evicts.
const REST: usize = 15;
/// The bytes of an allocation beyond its content, and of a place in a map: an upper estimate.
const OVERHEAD: usize = 64;

/// The key of a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RefusalKey {
    /// Nothing where Envoy refused the request before the gate knew its hook.
    pub(crate) hook: Option<Box<str>>,
    pub(crate) reason: Box<str>,
}

/// One refused request. Its texts have limits: see `access_log`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RefusalRecord {
    /// The time of the request, in microseconds since 1970.
    pub(crate) at: i64,
    pub(crate) status: u16,
    pub(crate) client: Option<IpAddr>,
    pub(crate) method: Option<&'static str>,
    pub(crate) detail: Option<Box<str>>,
    pub(crate) request_id: Option<Box<str>>,
    pub(crate) generation: Option<Box<str>>,
    pub(crate) job: Option<Box<str>>,
    pub(crate) gate: Option<Arc<str>>,
}

/// A group, as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RefusalRing {
    pub(crate) key: RefusalKey,
    pub(crate) count: u64,
    pub(crate) first: Vec<Arc<RefusalRecord>>,
    pub(crate) last: Vec<Arc<RefusalRecord>>,
}

/// All groups.
#[derive(Debug, Default)]
pub(crate) struct RefusalRings(Mutex<RingTable>);

#[derive(Debug, Default)]
struct RingTable {
    groups: BTreeMap<RefusalKey, Ring>,
    bytes: usize,
    /// The number of the newest refusal.
    newest: u64,
    /// The refusals of groups that are gone.
    dropped: u64,
}

#[derive(Debug, Default)]
struct Ring {
    count: u64,
    first: Vec<Arc<RefusalRecord>>,
    last: VecDeque<Arc<RefusalRecord>>,
    /// The bytes of the records.
    bytes: usize,
    /// The number of its newest refusal.
    newest: u64,
}

impl RefusalRings {
    pub(crate) fn add(&self, key: RefusalKey, record: RefusalRecord) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).add(key, record);
    }

    /// The groups that a condition selects, the one with the newest refusal first, and the number of refusals that no group
    /// counts.
    pub(crate) fn read(&self, selects: impl Fn(&RefusalKey) -> bool) -> (Vec<RefusalRing>, u64) {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<_> = table.groups.iter().filter(|(key, _)| selects(key)).collect();
        found.sort_by_key(|(_, ring)| std::cmp::Reverse(ring.newest));
        let rings = found.into_iter().map(|(key, ring)| RefusalRing {
            key: key.clone(),
            count: ring.count,
            first: ring.first.clone(),
            last: ring.last.iter().cloned().collect(),
        });
        (rings.collect(), table.dropped)
    }
}

impl RefusalKey {
    /// The bytes of its group without records.
    fn bytes(&self) -> usize {
        let texts = self.reason.len().saturating_add(self.hook.as_ref().map_or(0, |hook| hook.len()));
        size_of::<Self>().saturating_add(size_of::<Ring>()).saturating_add(texts).saturating_add(2 * OVERHEAD)
    }
}

impl RefusalRecord {
    fn bytes(&self) -> usize {
        let texts = [&self.detail, &self.request_id, &self.generation, &self.job];
        let texts = texts.into_iter().flatten().map(|text| text.len());
        // The records of a stream share this text. It may be the last of them.
        let texts = texts.chain(self.gate.as_ref().map(|gate| gate.len()));
        let all = texts.fold(0, |sum: usize, length| sum.saturating_add(length).saturating_add(OVERHEAD));
        // The record, its counters, and its place in the list, which grows by doubling.
        all.saturating_add(size_of::<Self>())
            .saturating_add(OVERHEAD)
            .saturating_add(const { 4 * size_of::<usize>() })
    }
}

impl RingTable {
    fn add(&mut self, key: RefusalKey, record: RefusalRecord) {
        self.newest = self.newest.saturating_add(1);
        if !self.groups.contains_key(&key) {
            self.bytes = self.bytes.saturating_add(key.bytes());
        }
        let ring = self.groups.entry(key).or_default();
        ring.newest = self.newest;
        let before = ring.bytes;
        ring.add(record);
        self.bytes = self.bytes.saturating_sub(before).saturating_add(ring.bytes);
        if self.bytes > MAX_BYTES {
            self.evict_records();
        }
        if self.groups.len() > MAX_GROUPS {
            self.evict_groups();
        }
    }

    /// Deletes the records of the groups whose newest refusal is the oldest.
    fn evict_records(&mut self) {
        let mut rings: Vec<_> = self.groups.values_mut().filter(|ring| ring.bytes > 0).collect();
        rings.sort_by_key(|ring| ring.newest);
        for ring in rings {
            if self.bytes <= part(MAX_BYTES) {
                return;
            }
            self.bytes = self.bytes.saturating_sub(ring.bytes);
            ring.clear();
        }
    }

    fn evict_groups(&mut self) {
        let mut by_age: Vec<_> = self.groups.iter().map(|(key, ring)| (ring.newest, key.clone())).collect();
        by_age.sort_by_key(|(newest, _)| *newest);
        let excess = by_age.len().saturating_sub(part(MAX_GROUPS));
        for (_, key) in by_age.into_iter().take(excess) {
            let Some(ring) = self.groups.remove(&key) else { continue };
            self.bytes = self.bytes.saturating_sub(ring.bytes).saturating_sub(key.bytes());
            self.dropped = self.dropped.saturating_add(ring.count);
        }
    }
}

impl Ring {
    fn add(&mut self, record: RefusalRecord) {
        let is_first = usize::try_from(self.count).is_ok_and(|count| count == self.first.len())
            && self.first.len() < MAX_RECORDS;
        self.count = self.count.saturating_add(1);
        self.bytes = self.bytes.saturating_add(record.bytes());
        if is_first {
            self.first.push(Arc::new(record));
            return;
        }
        if self.last.len() >= MAX_RECORDS
            && let Some(oldest) = self.last.pop_front()
        {
            self.bytes = self.bytes.saturating_sub(oldest.bytes());
        }
        self.last.push_back(Arc::new(record));
    }

    fn clear(&mut self) {
        (self.first, self.last, self.bytes) = (Vec::new(), VecDeque::new(), 0);
    }
}

/// The rest after an eviction.
const fn part(bound: usize) -> usize {
    (bound / 16).saturating_mul(REST)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test may panic: that is how it fails")]
mod tests {
    use super::*;

    fn key(hook: &str, reason: &str) -> RefusalKey {
        RefusalKey { hook: (!hook.is_empty()).then(|| hook.into()), reason: reason.into() }
    }

    fn record(at: i64) -> RefusalRecord {
        RefusalRecord { at, status: 401, ..RefusalRecord::default() }
    }

    /// The largest record that a message can bring.
    fn large(at: i64) -> RefusalRecord {
        RefusalRecord {
            detail: Some("d".repeat(160).into()),
            request_id: Some("r".repeat(64).into()),
            generation: Some("g".repeat(36).into()),
            job: Some("j".repeat(64).into()),
            gate: Some("n".repeat(64).into()),
            ..record(at)
        }
    }

    fn times(records: &[Arc<RefusalRecord>]) -> Vec<i64> {
        records.iter().map(|record| record.at).collect()
    }

    /// The bytes that all groups have, counted anew.
    fn measured(rings: &RefusalRings) -> (usize, usize) {
        let table = rings.0.lock().unwrap();
        let sum = table.groups.iter().map(|(key, ring)| {
            let records = ring.first.iter().chain(&ring.last).map(|record| record.bytes()).sum::<usize>();
            assert_eq!(records, ring.bytes);
            records + key.bytes()
        });
        (sum.sum(), table.bytes)
    }

    #[test]
    fn remembers_the_first_and_the_last_hundred() {
        let rings = RefusalRings::default();
        for at in 0..100 {
            rings.add(key("veo3", "token-expired"), record(at));
        }
        let (found, _) = rings.read(|_| true);
        assert_eq!((times(&found[0].first), times(&found[0].last)), ((0..100).collect(), vec![]));
        for at in 100..1_000 {
            rings.add(key("veo3", "token-expired"), record(at));
        }
        rings.add(key("", "route_not_found"), record(1_000));
        let (found, dropped) = rings.read(|_| true);
        assert_eq!((found.len(), dropped), (2, 0));
        assert_eq!((&found[0].key, found[0].count), (&key("", "route_not_found"), 1));
        let veo3 = &found[1];
        assert_eq!((&veo3.key, veo3.count), (&key("veo3", "token-expired"), 1_000));
        assert_eq!(times(&veo3.first), (0..100).collect::<Vec<_>>());
        assert_eq!(times(&veo3.last), (900..1_000).collect::<Vec<_>>());
        let (found, _) = rings.read(|key| key.hook.is_none());
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn stays_below_its_bytes_and_forgets_the_oldest_group_first() {
        let rings = RefusalRings::default();
        // More than 16 MiB: 400 groups of 200 large records.
        for group in 0..400 {
            for at in 0..200 {
                rings.add(key("veo3", &format!("r{group:0>98}")), large(at));
                let (exact, counted) = measured_if(at == 199, &rings);
                assert!(exact == counted && counted <= MAX_BYTES, "{exact} {counted}");
            }
        }
        let (found, dropped) = rings.read(|_| true);
        assert_eq!((found.len(), dropped), (400, 0));
        assert!(found.iter().all(|ring| ring.count == 200));
        let has_records: Vec<bool> = found.iter().map(|ring| !ring.first.is_empty()).collect();
        let newest = has_records.iter().take_while(|has| **has).count();
        assert!((60..400).contains(&newest), "{newest}");
        assert!(has_records[newest..].iter().all(|has| !has), "the oldest groups lose their records");
        // A group without its first records does not call later ones the first.
        let oldest = found.last().unwrap().key.clone();
        rings.add(oldest.clone(), record(7));
        let (found, _) = rings.read(|key| *key == oldest);
        assert_eq!((found[0].count, found[0].first.len(), times(&found[0].last)), (201, 0, vec![7]));
    }

    fn measured_if(measures: bool, rings: &RefusalRings) -> (usize, usize) {
        if measures { measured(rings) } else { (0, 0) }
    }

    #[test]
    fn bounds_its_groups_and_counts_the_dropped_refusals() {
        let rings = RefusalRings::default();
        for group in 0..10_000 {
            rings.add(key("", &format!("forged{group}")), large(group));
        }
        let (found, dropped) = rings.read(|_| true);
        assert!((part(MAX_GROUPS)..=MAX_GROUPS).contains(&found.len()), "{}", found.len());
        let counted: u64 = found.iter().map(|ring| ring.count).sum();
        assert_eq!(counted + dropped, 10_000);
        assert_eq!(*found[0].key.reason, *"forged9999");
        let (exact, counted) = measured(&rings);
        assert_eq!(exact, counted);
    }
}
