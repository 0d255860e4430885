//! Reads entries in the order in which they were committed, from a place on.

use super::Operations;
use super::entries::{EntryPayload, EntrySummary, MAX_LIMIT, check_limit, read_number};
use super::error::{BadRequest, Error};
use super::filter::EntryFilter;
use crate::arrival::read_headers;
use crate::attempt_headers::AttemptHeaders;
use crate::store::{Cursor, EntryRow, StoredPayload};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Entries of one answer, where the request names no number.
const DEFAULT_LIMIT: i64 = 100;

/// Asks for the entries after a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TailRequest {
    /// Only these.
    pub filter: EntryFilter,
    /// The place: a cursor. Without one the answer has no entry, and the place of now.
    pub after: Option<String>,
    /// Up to this place.
    pub until: Option<String>,
    /// So many at most, from 1 to 500; 100 without it.
    pub limit: Option<i64>,
    /// What the answer has beside each entry.
    pub with: TailWith,
}

/// What `tail` adds to an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TailWith {
    /// Nothing.
    #[default]
    Nothing,
    /// Its path, headers and body, as they came.
    Came,
    /// Its path, headers and body, as they are delivered, without a signature.
    Delivery,
}

/// The entries after a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TailPage {
    /// The entries, in the order of their commits.
    pub entries: Vec<TailEntry>,
    /// The `after` of the next page.
    pub next: String,
}

/// An entry, and its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TailEntry {
    /// Its place, as an `after`.
    pub cursor: String,
    /// The entry.
    #[serde(flatten)]
    pub entry: EntrySummary,
    /// What the request wants beside it; none once it is purged.
    #[serde(flatten)]
    pub payload: Option<EntryPayload>,
}

impl Operations {
    /// Reads the entries after a place.
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
                TailWith::Nothing | TailWith::Came => payload.into(),
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
            TailWith::Came => Some("came"),
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
            "came" => Ok(Self::Came),
            "delivery" => Ok(Self::Delivery),
            _ => Err(BadRequest::NoPart(value.to_owned())),
        }
    }
}

/// As its first attempt would be.
fn delivery(entry: &EntryRow, payload: StoredPayload) -> EntryPayload {
    let mut headers = read_headers(&payload.headers);
    let marks = AttemptHeaders {
        attempt: 1,
        redelivery: entry.redelivery,
        supersedes: entry.supersedes,
        overrides: entry.overrides.clone(),
        event: entry.event.clone(),
    };
    marks.set(&mut headers);
    EntryPayload::with(payload, &headers)
}

fn read_cursor(name: &'static str, value: &str) -> Result<Cursor, BadRequest> {
    value.parse().map_err(|()| BadRequest::NoCursor { name, value: value.to_owned() })
}
