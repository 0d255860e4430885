//! The sessions that their visitors have ended.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// The remembered sessions, some 100 bytes each. Only a visitor with a session adds one.
const MAX_ENDED: usize = 10_000;

/// The ids of ended sessions, until their cookies expire.
#[derive(Default)]
pub(super) struct EndedSessions(Mutex<BTreeMap<String, u64>>);

impl EndedSessions {
    pub(super) fn add(&self, id: &str, expires: u64, now: u64) {
        let mut ended = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ended.retain(|_, expires| *expires > now);
        if ended.len() >= MAX_ENDED {
            let soonest = ended.iter().min_by_key(|(_, expires)| **expires).map(|(id, _)| id.clone());
            soonest.and_then(|id| ended.remove(&id));
        }
        ended.insert(id.to_owned(), expires);
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_a_session_until_it_expires() {
        let ended = EndedSessions::default();
        ended.add("a", 100, 10);
        assert!(ended.has("a") && !ended.has("b"));
        ended.add("b", 200, 100);
        assert!(!ended.has("a") && ended.has("b"));
    }

    #[test]
    fn forgets_the_session_that_expires_first() {
        let ended = EndedSessions::default();
        let all = u64::try_from(MAX_ENDED).unwrap();
        (0..=all).for_each(|number| ended.add(&number.to_string(), number.saturating_add(10), 0));
        assert!(!ended.has("0") && ended.has("1") && ended.has(&all.to_string()));
    }
}
