//! Lists entries in commit order, after a cursor.

use super::entries::{EntrySummary, MAX_LIMIT, check_limit, read_number};
use super::error::{BadRequest, Error};
use super::filter::EntryFilter;
use super::{EntryPayload, Operations};
use crate::arrival::read_headers;
use crate::attempt_headers::AttemptHeaders;
use crate::store::{Cursor, EntryRow, StoredPayload};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The default number of entries in an answer.
const DEFAULT_LIMIT: i64 = 100;

/// A request for the entries after a cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TailRequest {
    /// Only entries that match.
    pub filter: EntryFilter,
    /// The cursor. Without one the answer has no entry, and the newest cursor.
    pub after: Option<String>,
    /// The last cursor.
    pub until: Option<String>,
    /// The most entries, from 1 to 500; 100 by default.
    pub limit: Option<i64>,
    /// The payload of each entry.
    pub with: TailWith,
}

/// The payload that `tail` adds to an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TailWith {
    /// No payload.
    #[default]
    Nothing,
    /// Path, headers and body as received.
    Received,
    /// Path, headers and body as delivered, without a signature.
    Delivery,
}

/// A page of the entries after a cursor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TailPage {
    /// The entries in commit order.
    pub entries: Vec<TailEntry>,
    /// The `after` of the next page.
    pub next: String,
}

/// An entry and its cursor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TailEntry {
    /// Its cursor, for `after`.
    pub cursor: String,
    /// The entry.
    #[serde(flatten)]
    pub entry: EntrySummary,
    /// The requested payload; nothing once it is purged.
    #[serde(flatten)]
    pub payload: Option<EntryPayload>,
}

impl Operations {
    /// Lists the entries after a cursor.
    pub(crate) async fn tail(&self, request: &TailRequest) -> Result<TailPage, Error> {
        let limit = check_limit(request.limit, DEFAULT_LIMIT)?;
        let after = request.after.as_deref().map(|after| read_cursor("after", after)).transpose()?;
        let until = request.until.as_deref().map(|until| read_cursor("until", until)).transpose()?;
        let filter = request.filter.check()?;
        let Some(after) = after else {
            return Ok(TailPage { entries: Vec::new(), next: self.shared.store.end().await?.to_string() });
        };
        let followed = self.shared.store.follow(&filter, after, until, limit).await?;
        let mut payloads = BTreeMap::new();
        if request.with != TailWith::Nothing && !followed.entries.is_empty() {
            let ids = followed.entries.iter().map(|(_, entry)| entry.id).collect();
            payloads = self.shared.store.payloads(&ids).await?;
        }
        let entries = followed.entries.into_iter().map(|(cursor, entry)| {
            let payload = payloads.remove(&entry.id).map(|payload| match request.with {
                TailWith::Delivery => delivery(&entry, payload),
                TailWith::Nothing | TailWith::Received => payload.into(),
            });
            Ok(TailEntry { cursor: cursor.to_string(), payload, entry: entry.try_into()? })
        });
        let entries = entries.collect::<Result<_, Error>>()?;
        Ok(TailPage { entries, next: followed.next.to_string() })
    }
}

impl TailRequest {
    /// Reads the pairs of a query.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub(crate) fn read(pairs: &[(String, String)]) -> Result<Self, BadRequest> {
        let mut request = Self::default();
        for (name, value) in pairs {
            match name.as_str() {
                "limit" => request.limit = Some(read_number("limit", value, Some(MAX_LIMIT))?),
                "after" => request.after = Some(value.clone()),
                "until" => request.until = Some(value.clone()),
                "with" => request.with = TailWith::parse(value)?,
                _ => request.filter.read(name, value)?,
            }
        }
        Ok(request)
    }

    /// The pairs of a query.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let with = match self.with {
            TailWith::Nothing => None,
            TailWith::Received => Some("came"),
            TailWith::Delivery => Some("delivery"),
        };
        let mut pairs = self.filter.pairs();
        pairs.extend(self.after.clone().map(|after| ("after", after)));
        pairs.extend(self.until.clone().map(|until| ("until", until)));
        pairs.extend(self.limit.map(|limit| ("limit", limit.to_string())));
        pairs.extend(with.map(|with| ("with", with.to_owned())));
        pairs
    }
}

impl TailWith {
    fn parse(value: &str) -> Result<Self, BadRequest> {
        match value {
            "came" => Ok(Self::Received),
            "delivery" => Ok(Self::Delivery),
            _ => Err(BadRequest::NoPart(value.to_owned())),
        }
    }
}

/// The payload of its first attempt.
fn delivery(entry: &EntryRow, payload: StoredPayload) -> EntryPayload {
    let mut headers = read_headers(&payload.headers);
    let added = AttemptHeaders {
        attempt: 1,
        redelivery: entry.redelivery,
        supersedes: entry.supersedes,
        overrides: entry.overrides.clone(),
        event: entry.event.clone(),
        ids: entry.ids.clone(),
    };
    added.set(&mut headers);
    EntryPayload::with(payload, &headers)
}

/// Checks a cursor.
///
/// # Errors
/// [`BadRequest`].
pub fn check_cursor(value: &str) -> Result<String, BadRequest> {
    read_cursor("cursor", value).map(|_| value.to_owned())
}

fn read_cursor(name: &'static str, value: &str) -> Result<Cursor, BadRequest> {
    value.parse().map_err(|()| BadRequest::NoCursor { name, value: value.to_owned() })
}
