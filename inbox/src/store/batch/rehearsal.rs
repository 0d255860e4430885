//! Runs every statement that stores an event. The caller rolls the transaction back.

use super::{ArrivalStatements, store};
use crate::arrival::{Arrival, ArrivalError};
use crate::decide::{BatchState, GenerationKey, GenerationState, QuarantineRoom, TokenKey, TokenState};
use crate::entry::ExpectationState;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use blobgate::contract::header::PREFIX;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use sqlx::Error;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// No hook has this name: hook names contain letters, digits, `-` and `_`.
const HOOK: &str = "(rehearsal)";

/// Stores two events with bodies of `body` bytes, and runs the statements of other cases.
pub(in crate::store) async fn rehearse(tx: &mut impl ArrivalStatements, body: usize) -> Result<(), Error> {
    let generation = generation();
    let arrivals = [
        arrival(&generation, [("verdict", "accepted"), ("event", "completed")], body)?,
        arrival(&generation, [("verdict", "quarantined"), ("reason", "json-invalid")], body)?,
    ];
    store(tx, &arrivals.each_ref(), QuarantineRoom::UNLIMITED).await?;
    let ids = tx.ids(1).await?;
    // A statement that changes no row still needs its rights, columns and indexes.
    tx.repeat(&ids.iter().map(|id| (*id, 1)).collect::<BTreeMap<_, _>>()).await?;
    tx.retire(&ids.iter().map(|id| (*id, *id)).collect::<BTreeMap<_, _>>()).await?;
    for id in ids {
        tx.lock_quarantined(id).await?;
        tx.end_quarantined(id, Some(id), "").await?;
    }
    let generation = GenerationKey { hook: HOOK.to_owned(), generation };
    let token = TokenKey { hook: HOOK.to_owned(), token_id: generation.generation.clone() };
    let arrived = Some(ExpectationState::Arrived);
    let met = GenerationState { expectation_state: arrived, changed: true, ..GenerationState::default() };
    let state = BatchState {
        generations: BTreeMap::from([(generation.clone(), met)]),
        tokens: BTreeMap::from([(token.clone(), TokenState { changed: true, ..TokenState::default() })]),
    };
    tx.save(&state).await?;
    tx.delete_empty(&[generation], &[token]).await
}

/// A UUID that no concurrent rehearsal uses: two rehearsals must not wait for each other's rows.
fn generation() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = time::OffsetDateTime::now_utc().unix_timestamp_nanos();
    let seed = format!("{} {now} {}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let digest: [u8; 32] = Sha256::digest(seed).into();
    let (first, _) = digest.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
    let hex = hex::encode(first);
    let mut parts = [8, 4, 4, 4, 12].into_iter().scan(hex.as_str(), |rest, length| {
        let (part, left) = rest.split_at_checked(length)?;
        *rest = left;
        Some(part)
    });
    parts.by_ref().collect::<Vec<_>>().join("-")
}

fn arrival(generation: &str, gate_headers: [(&str, &str); 2], body: usize) -> Result<Arrival, Error> {
    let all = [
        ("contract", "1"),
        ("hook", HOOK),
        ("dialect", "veo3"),
        ("generation-id", generation),
        ("token-id", generation),
        ("job", "rehearsal"),
        ("proofs", "token"),
    ];
    let headers: HeaderMap = all
        .into_iter()
        .chain(gate_headers)
        .filter_map(|(name, value)| {
            let name = HeaderName::try_from(format!("{PREFIX}{name}")).ok()?;
            Some((name, HeaderValue::from_str(value).ok()?))
        })
        .collect();
    let read = Arrival::read("/hooks/rehearsal", &headers, noise(generation, body));
    read.map_err(|why: ArrivalError| Error::Encode(why.into()))
}

/// Bytes that a database cannot compress.
fn noise(seed: &str, length: usize) -> Bytes {
    let mut bytes = Vec::with_capacity(length);
    let mut block: [u8; 32] = Sha256::digest(seed).into();
    while bytes.len() < length {
        bytes.extend_from_slice(&block);
        block = Sha256::digest(block).into();
    }
    bytes.truncate(length);
    bytes.into()
}
