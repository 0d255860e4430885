//! `POST /replay`, `POST /drop` and `POST /purge`: one change of state for each entry, so that twice is once.

use super::problem::Problem;
use super::{Admin, read_body, written};
use crate::store::{Change, Filter, NO_EVENT, NO_GENERATION, Only, Which};
use crate::violation;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Entries in one transaction, so that no arrival waits for long.
const MOST: i64 = 500;

/// By their ids, or by a filter.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    ids: Option<BTreeSet<i64>>,
    filter: Option<BTreeMap<String, String>>,
    /// Of a filter, from this id on: the `next` of the answer before.
    after: Option<i64>,
    /// Of a filter, up to this id: what has come since stays as it is.
    until: Option<i64>,
    limit: Option<i64>,
    /// Only counts.
    #[serde(default)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Done {
    changed: Vec<i64>,
    refused: Vec<Refused>,
    /// The `after` of what follows.
    next: Option<i64>,
}

#[derive(Serialize)]
struct Refused {
    id: i64,
    why: Cow<'static, str>,
}

#[derive(Serialize)]
struct WouldBe {
    would_change: Vec<InState>,
    would_refuse: Vec<ForReason>,
    /// The newest of them, for `until`.
    until: Option<i64>,
}

#[derive(Serialize)]
struct InState {
    state: String,
    count: i64,
}

#[derive(Serialize)]
struct ForReason {
    why: &'static str,
    count: i64,
}

pub(super) async fn replay(State(admin): State<Arc<Admin>>, body: Bytes) -> Result<Response, Problem> {
    answer(&admin, Change::Replay, &body).await
}

pub(super) async fn discard(State(admin): State<Arc<Admin>>, body: Bytes) -> Result<Response, Problem> {
    answer(&admin, Change::Drop, &body).await
}

pub(super) async fn purge(State(admin): State<Arc<Admin>>, body: Bytes) -> Result<Response, Problem> {
    answer(&admin, Change::Purge, &body).await
}

async fn answer(admin: &Admin, change: Change, body: &Bytes) -> Result<Response, Problem> {
    let asked: Asked = read_body(body)?;
    let limit = check_limit(asked.limit)?;
    let (after, until, dry_run) = (asked.after, asked.until, asked.dry_run);
    let which = which(asked.ids, asked.filter, after, until)?;
    if change == Change::Purge {
        check_purge(&which)?;
    }
    if dry_run {
        return Ok(Json(count(admin, change, &which).await?).into_response());
    }
    let (ids, next) = piece(admin, which, Only::For(change), (after, until), limit).await?;
    let store = Arc::clone(&admin.store);
    let changed = written(async move { store.change(change, &ids).await }).await?;
    if change == Change::Replay {
        admin.wake.up(changed.changed.values().flatten().cloned().collect::<BTreeSet<_>>());
    }
    if !changed.changed.is_empty() {
        let word = match change {
            Change::Replay => "replayed",
            Change::Drop => "dropped",
            Change::Purge => "purged",
        };
        log::info!("{word}={} by an operator", changed.changed.len());
    }
    let refused = explain(admin, changed.refused).await?;
    Ok(Json(Done { changed: changed.changed.into_keys().collect(), refused, next }).into_response())
}

/// With the field that keeps an entry from being replayed.
async fn explain(admin: &Admin, refused: BTreeMap<i64, &'static str>) -> Result<Vec<Refused>, Problem> {
    /// Each is read with its body. Whoever names more at once looks at one of them with `show`.
    const MAX_EXPLAINED: usize = 20;
    let mut explained = 0_usize;
    let mut all = Vec::with_capacity(refused.len());
    for (id, why) in refused {
        let mut why = Cow::Borrowed(why);
        if [NO_EVENT, NO_GENERATION].contains(&&*why) && explained < MAX_EXPLAINED {
            explained = explained.saturating_add(1);
            let kept = admin.store.quarantined(id).await?;
            let violation =
                kept.and_then(|kept| violation::describe(kept.reason?.as_str(), &kept.headers, &kept.body));
            if let Some(violation) = violation {
                why = format!("{violation}; {why}").into();
            }
        }
        all.push(Refused { id, why });
    }
    Ok(all)
}

/// The ids of one piece, in their order, and the `after` of what follows. Of a filter, those between these two with which this can
/// be done.
pub(super) async fn piece(
    admin: &Admin,
    which: Which,
    only: Only,
    (after, until): (Option<i64>, Option<i64>),
    limit: i64,
) -> Result<(BTreeSet<i64>, Option<i64>), Problem> {
    let filter = match which {
        Which::Ids(ids) => return Ok((ids, None)),
        Which::All(filter) => filter,
    };
    let ids = admin.store.ids(&filter, only, after.unwrap_or(0), until.unwrap_or(i64::MAX), limit).await?;
    let is_full = i64::try_from(ids.len()).is_ok_and(|count| count == limit);
    let next = ids.last().copied().filter(|_| is_full);
    Ok((ids.into_iter().collect(), next))
}

/// How many at once.
pub(super) fn check_limit(limit: Option<i64>) -> Result<i64, Problem> {
    let limit = limit.unwrap_or(MOST);
    if (1..=MOST).contains(&limit) {
        return Ok(limit);
    }
    Err(Problem::bad(format!("limit {limit} is not between 1 and {MOST}")))
}

/// Which entries are meant: some, and in words.
pub(super) fn which(
    ids: Option<BTreeSet<i64>>,
    filter: Option<BTreeMap<String, String>>,
    after: Option<i64>,
    until: Option<i64>,
) -> Result<Which, Problem> {
    match (ids, filter) {
        (Some(ids), None) => {
            if after.is_some() || until.is_some() {
                return Err(Problem::bad("after and until go with a filter, and not with ids"));
            }
            if ids.is_empty() || i64::try_from(ids.len()).is_ok_and(|count| count > MOST) {
                return Err(Problem::bad(format!("name between 1 and {MOST} ids")));
            }
            Ok(Which::Ids(ids))
        }
        (None, Some(pairs)) => {
            let filter = Filter::read(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            let filter = filter.map_err(Problem::bad)?;
            if filter.is_empty() {
                return Err(Problem::bad("an empty filter is every entry: say which are meant"));
            }
            Ok(Which::All(filter))
        }
        _ => Err(Problem::bad("name entries by their ids or by a filter, and not by both")),
    }
}

/// It cannot be taken back: not of a state, or of a day.
fn check_purge(which: &Which) -> Result<(), Problem> {
    let is_named = match which {
        Which::Ids(_) => true,
        Which::All(filter) => filter.job.is_some() || filter.generation.is_some(),
    };
    if is_named { Ok(()) } else { Err(Problem::bad("name the job or the generation that is to be purged")) }
}

async fn count(admin: &Admin, change: Change, which: &Which) -> Result<WouldBe, Problem> {
    let mut known = 0_i64;
    let mut until = None;
    let (mut changes, mut refuses) = (BTreeMap::<String, i64>::new(), BTreeMap::<&str, i64>::new());
    for candidates in admin.store.count(which).await? {
        let sum = match change.check(&candidates) {
            Ok(()) => changes.entry(candidates.state.to_string()).or_default(),
            Err(why) => refuses.entry(why).or_default(),
        };
        *sum = sum.saturating_add(candidates.count);
        known = known.saturating_add(candidates.count);
        until = until.max(Some(candidates.id));
    }
    if let Which::Ids(ids) = which {
        let unknown = i64::try_from(ids.len()).unwrap_or(i64::MAX).saturating_sub(known);
        if unknown > 0 {
            refuses.insert(crate::store::UNKNOWN, unknown);
        }
    }
    Ok(WouldBe {
        would_change: changes.into_iter().map(|(state, count)| InState { state, count }).collect(),
        would_refuse: refuses.into_iter().map(|(why, count)| ForReason { why, count }).collect(),
        until,
    })
}
