//! How much of the quarantine one sender may take: a URL in wrong hands harms the generation that it was made for, and nobody
//! else. What was decided on by a person counts no more.

use super::Deciding;
use crate::arrival::Arrival;
use crate::decide::{Known, TokenKey};
use crate::space::Room;
use crate::store::Error;
use std::collections::{BTreeMap, BTreeSet};

/// The most distinct bodies of one generation with one token, or with none. A genuine provider sends a failure and a completion
/// five times each, and a signed URL in them may differ each time.
const MAX_OF_GENERATION: i64 = 20;
/// The most distinct bodies of one token about generations that are neither its own nor expected of its job. A static callback URL
/// speaks of every generation: this does not bind it.
const MAX_STRAY: i64 = 20;
/// The most distinct bodies of one token altogether, a static callback URL's too: they are counted at each arrival, in 3 ms.
const MAX_OF_TOKEN: i64 = 10_000;

/// What one token has in quarantine.
#[derive(Clone, Copy, Debug, Default, sqlx::FromRow)]
pub(in crate::store) struct HeldBy {
    pub(in crate::store) count: i64,
    pub(in crate::store) bytes: i64,
    /// Of other generations than its own.
    pub(in crate::store) stray: i64,
}

/// What one generation has in quarantine, with one token or with none.
#[derive(Clone, Copy, Debug, Default, sqlx::FromRow)]
pub(in crate::store) struct HeldIn {
    pub(in crate::store) count: i64,
    pub(in crate::store) bytes: i64,
}

/// A generation of a token. Either is empty where there is none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::store) struct Account {
    pub(in crate::store) hook: String,
    pub(in crate::store) token_id: String,
    pub(in crate::store) generation: String,
}

/// What the senders of a batch have in quarantine, counted on while it is decided on.
pub(super) struct Quota<'k> {
    known: &'k Known,
    /// The generation that a token is bound to.
    own: BTreeMap<TokenKey, Option<String>>,
    by_token: BTreeMap<TokenKey, HeldBy>,
    by_generation: BTreeMap<Account, HeldIn>,
    max_bytes: i64,
}

impl<'k> Quota<'k> {
    pub(super) async fn read<'a>(
        tx: &mut impl Deciding,
        arrivals: impl Iterator<Item = &'a Arrival> + Clone,
        known: &'k Known,
        room: Room,
    ) -> Result<Self, Error> {
        let own = arrivals.clone().filter_map(Arrival::any_token).map(|key| {
            let own = known.tokens.get(&key).and_then(|token| token.generation.clone());
            (key, own)
        });
        let own: BTreeMap<_, _> = own.collect();
        let by_token = tx.count_kept(&own.clone().into_iter().collect::<Vec<_>>()).await?;
        let accounts: BTreeSet<_> = arrivals.map(account).collect();
        let by_generation = tx.count_kept_in(&accounts.into_iter().collect::<Vec<_>>()).await?;
        Ok(Self { known, own, by_token, by_generation, max_bytes: room.max_bytes_of_token })
    }

    /// Whether there is room for one more; then it is counted.
    pub(super) fn takes(&mut self, arrival: &Arrival) -> bool {
        let size = arrival.size();
        let is_stray = self.is_stray(arrival);
        let of_generation = self.by_generation.entry(account(arrival)).or_default();
        // The first is taken however small the store is.
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

    /// Whether its token speaks of a generation that is neither its own nor expected of its job.
    fn is_stray(&self, arrival: &Arrival) -> bool {
        let Some(key) = arrival.any_token() else { return false };
        let binds = arrival.token.as_ref().is_some_and(|token| token.binds);
        let own = self.own.get(&key).and_then(Option::as_ref);
        let is_own = own.is_some() && own == arrival.generation.as_ref();
        let row = arrival.generation_key().and_then(|key| self.known.generations.get(&key));
        let is_expected = row.is_some_and(|generation| generation.explains(arrival) == Some(true));
        binds && !is_own && !is_expected
    }
}

fn account(arrival: &Arrival) -> Account {
    Account {
        hook: arrival.hook.clone(),
        token_id: arrival.token.as_ref().map(|token| token.id.clone()).unwrap_or_default(),
        generation: arrival.generation.clone().unwrap_or_default(),
    }
}
