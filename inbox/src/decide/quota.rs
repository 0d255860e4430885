//! Limits one sender's share of the quarantine. A leaked callback URL harms only its own generation. Entries that a person has
//! decided on do not count.

use super::{BatchState, TokenKey};
use crate::arrival::Arrival;
use std::collections::BTreeMap;

/// The room in quarantine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QuarantineRoom {
    /// Whether the quarantine has used up its share of the store.
    pub(crate) is_full: bool,
    /// The most bytes of one token.
    pub(crate) max_bytes_of_token: i64,
}

impl QuarantineRoom {
    pub(crate) const UNLIMITED: Self = Self { is_full: false, max_bytes_of_token: i64::MAX };
}

/// The most distinct bodies of one generation with one token, or without a token. The provider sends a failure and a completion
/// five times each, and a signed URL may differ each time.
const MAX_OF_GENERATION: i64 = 20;
/// The most distinct bodies of one token about other generations than its own, unless its job is announced for them. Does not
/// apply to a static callback URL, which serves every generation.
const MAX_STRAY: i64 = 20;
/// The most distinct bodies of one token, static callback URLs included. Each arrival counts them, in 3 ms.
const MAX_OF_TOKEN: i64 = 10_000;

/// The entries of one token in quarantine.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TokenUsage {
    pub(crate) count: i64,
    pub(crate) bytes: i64,
    /// The entries of generations other than its own.
    pub(crate) stray: i64,
}

/// The entries of one generation in quarantine, with one token or without a token.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct GenerationUsage {
    pub(crate) count: i64,
    pub(crate) bytes: i64,
}

/// A generation with a token. An empty field means none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Account {
    pub(crate) hook: String,
    pub(crate) token_id: String,
    pub(crate) generation: String,
}

/// The entries of a batch's senders in quarantine. Each accepted arrival is added.
pub(super) struct Quota<'k> {
    pub(super) state: &'k BatchState,
    pub(super) by_token: BTreeMap<TokenKey, TokenUsage>,
    pub(super) by_generation: BTreeMap<Account, GenerationUsage>,
    pub(super) max_bytes: i64,
}

impl Quota<'_> {
    /// Whether there is room for the arrival. If so, counts it.
    pub(super) fn accept(&mut self, arrival: &Arrival) -> bool {
        let size = arrival.size();
        let is_stray = self.is_stray(arrival);
        let of_generation = self.by_generation.entry(Account::of(arrival)).or_default();
        // Even the smallest store accepts the first one.
        let has_bytes = |bytes: i64| bytes == 0 || bytes.saturating_add(size) <= self.max_bytes;
        let has_room = if is_stray { true } else { of_generation.count < MAX_OF_GENERATION };
        if !has_room || !has_bytes(of_generation.bytes) {
            return false;
        }
        if let Some(key) = arrival.any_token() {
            let of_token = self.by_token.entry(key).or_default();
            let is_full = of_token.count >= MAX_OF_TOKEN || (is_stray && of_token.stray >= MAX_STRAY);
            if is_full || !has_bytes(of_token.bytes) {
                return false;
            }
            of_token.count = of_token.count.saturating_add(1);
            of_token.bytes = of_token.bytes.saturating_add(size);
            of_token.stray = of_token.stray.saturating_add(i64::from(is_stray));
        }
        of_generation.count = of_generation.count.saturating_add(1);
        of_generation.bytes = of_generation.bytes.saturating_add(size);
        true
    }

    /// Whether the token neither belongs to the arrival's generation, nor has the job that is announced for it.
    fn is_stray(&self, arrival: &Arrival) -> bool {
        let Some(key) = arrival.any_token() else { return false };
        let binds = arrival.token.as_ref().is_some_and(|token| token.binds);
        let own = self.state.own_generation(&key);
        let is_own = own.is_some() && own == arrival.generation.as_ref();
        let row = arrival.generation_key().and_then(|key| self.state.generations.get(&key));
        let is_expected = row.is_some_and(|generation| generation.explains(arrival) == Some(true));
        binds && !is_own && !is_expected
    }
}

impl Account {
    pub(super) fn of(arrival: &Arrival) -> Self {
        Self {
            hook: arrival.hook.clone(),
            token_id: arrival.token.as_ref().map(|token| token.id.clone()).unwrap_or_default(),
            generation: arrival.generation.clone().unwrap_or_default(),
        }
    }
}
