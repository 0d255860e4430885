//! `GET /tail`: entries in the order in which they were committed, from a place on. It only reads.

use super::entries::{Came, Shown};
use super::problem::Problem;
use super::{Admin, read_number};
use crate::arrival::read_headers;
use crate::marks::Marks;
use crate::store::{Cursor, Entry, Filter, Payload};
use axum::Json;
use axum::extract::{Query, State};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Entries in one answer, unless it is asked for another number.
const USUAL: i64 = 100;
/// And at most.
const MOST: i64 = 500;

#[derive(Serialize)]
pub(super) struct Tail {
    entries: Vec<Followed>,
    /// The `after` of what follows, now or later.
    next: String,
}

#[derive(Serialize)]
struct Followed {
    /// The place of this one, as an `after`.
    cursor: String,
    #[serde(flatten)]
    entry: Shown,
    /// Where it is asked for; nothing once it is purged.
    #[serde(flatten)]
    payload: Option<Came>,
}

/// What is shown of what came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum With {
    Nothing,
    /// As it came.
    Came,
    /// As it is delivered, unsigned.
    Delivery,
}

pub(super) async fn tail(
    State(admin): State<Arc<Admin>>,
    Query(asked): Query<Vec<(String, String)>>,
) -> Result<Json<Tail>, Problem> {
    let (mut limit, mut after, mut until, mut with) = (USUAL, None, None, With::Nothing);
    let mut filter = Vec::new();
    for (name, value) in &asked {
        match name.as_str() {
            "limit" => limit = read_number(name, value, MOST)?,
            "after" => after = Some(read_cursor(name, value)?),
            "until" => until = Some(read_cursor(name, value)?),
            "with" => with = read_with(value)?,
            _ => filter.push((name.as_str(), value.as_str())),
        }
    }
    let filter = Filter::read(filter).map_err(Problem::bad)?;
    let Some(after) = after else {
        let next = admin.store.end().await?.to_string();
        return Ok(Json(Tail { entries: Vec::new(), next }));
    };
    let followed = admin.store.follow(&filter, after, until, limit).await?;
    let mut payloads = BTreeMap::new();
    if with != With::Nothing && !followed.entries.is_empty() {
        let ids = followed.entries.iter().map(|(_, entry)| entry.id).collect();
        payloads = admin.store.payloads(&ids).await?;
    }
    let entries = followed.entries.into_iter().map(|(cursor, entry)| Followed {
        cursor: cursor.to_string(),
        payload: payloads.remove(&entry.id).map(|payload| match with {
            With::Delivery => delivery(&entry, payload),
            With::Nothing | With::Came => payload.into(),
        }),
        entry: entry.into(),
    });
    Ok(Json(Tail { entries: entries.collect(), next: followed.next.to_string() }))
}

/// As its first attempt would be.
fn delivery(entry: &Entry, payload: Payload) -> Came {
    let mut headers = read_headers(&payload.headers);
    let marks = Marks {
        attempt: 1,
        redelivery: entry.redelivery,
        supersedes: entry.supersedes,
        overrides: entry.overrides.clone(),
        event: entry.event.clone(),
    };
    marks.set(&mut headers);
    Came::with(payload, &headers)
}

fn read_cursor(name: &str, value: &str) -> Result<Cursor, Problem> {
    value
        .parse()
        .map_err(|()| Problem::bad(format!("{name} {value:?} is no cursor: take one from an answer, or 0.0")))
}

fn read_with(value: &str) -> Result<With, Problem> {
    match value {
        "came" => Ok(With::Came),
        "delivery" => Ok(With::Delivery),
        _ => Err(Problem::bad(format!("with {value:?} is neither came nor delivery"))),
    }
}
