//! `POST /rejudge`: what was kept and holds now goes to the deliver lane, by the same transaction as any arrival.

use super::change;
use super::problem::Problem;
use super::{Admin, read_body, written};
use crate::arrival::Arrival;
use crate::reconcile::{NOT_KEPT, NotReleased, Releaser, goes_on};
use crate::rejudge::{Judge, Now};
use crate::store::{Only, StoreError, StoreHandle};
use crate::violation;
use axum::Json;
use axum::extract::State;
use blobgate::Reason;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    ids: Option<BTreeSet<i64>>,
    filter: Option<BTreeMap<String, String>>,
    after: Option<i64>,
    until: Option<i64>,
    limit: Option<i64>,
    #[serde(default)]
    dry_run: bool,
    /// The gate's configuration.
    config: Value,
    /// Reasons of the head that are overridden.
    #[serde(default)]
    waive: Vec<String>,
}

/// With `dry_run`, what would be.
#[derive(Serialize)]
pub(super) struct Done {
    changed: Vec<i64>,
    /// They hold as soon as the provider says the same, which the reconcile asks for.
    asked: Vec<i64>,
    refused: Vec<Refused>,
    next: Option<i64>,
}

#[derive(Serialize)]
struct Refused {
    id: i64,
    why: String,
}

pub(super) async fn rejudge(State(admin): State<Arc<Admin>>, body: Bytes) -> Result<Json<Done>, Problem> {
    let asked: Asked = read_body(&body)?;
    let limit = change::check_limit(asked.limit)?;
    let judge = Judge::new(asked.config.to_string().as_bytes(), &asked.waive)
        .map_err(|error| Problem::bad(format!("the gate's configuration: {error}")))?;
    let (after, until) = (asked.after, asked.until);
    let which = change::which(asked.ids, asked.filter, after, until)?;
    let (ids, next) = change::piece(&admin, which, Only::Reevaluable, (after, until), limit).await?;
    let mut done = Done { changed: Vec::new(), asked: Vec::new(), refused: Vec::new(), next };
    for id in ids {
        let now = match admin.store.quarantined(id).await? {
            Some(kept) => {
                let (headers, body) = (kept.headers.clone(), kept.body.clone());
                judge.judge(kept).map_err(|code| with_field(code, &headers, &body))
            }
            None => Err("no such entry is kept, or its body is purged".to_owned()),
        };
        match apply(&admin, id, now, asked.dry_run).await? {
            Ok(Became::Changed) => done.changed.push(id),
            Ok(Became::Asked) => done.asked.push(id),
            Err(why) => done.refused.push(Refused { id, why }),
        }
    }
    let (changed, wait) = (done.changed.len(), done.asked.len());
    if !asked.dry_run && (changed > 0 || wait > 0) {
        admin.nudge.notify_one();
        log::info!("judged-again={changed} to-be-asked-about={wait} by an operator");
    }
    Ok(Json(done))
}

/// A payload that is no event by any configuration: which field keeps it from being one.
fn with_field(code: String, headers: &[u8], body: &[u8]) -> String {
    let of_field = [Reason::SchemaInvalid, Reason::GenerationIdInvalid].map(Reason::code).contains(&&*code);
    match violation::describe(&code, headers, body).filter(|_| of_field) {
        Some(violation) => format!("{code}: {violation}"),
        None => code,
    }
}

enum Became {
    Changed,
    Asked,
}

/// Does what an entry's judgement says, or says why it stays.
async fn apply(
    admin: &Admin,
    id: i64,
    now: Result<Now, String>,
    dry_run: bool,
) -> Result<Result<Became, String>, Problem> {
    let now = match now {
        Ok(Now::WantsConfirmation(_)) if admin.asks.is_none() => Err(NOBODY_ASKED.to_owned()),
        now => now,
    };
    let (store, releaser) = (Arc::clone(&admin.store), admin.releaser.clone());
    written(async move {
        if dry_run { would_settle(store, id, now).await } else { settle(store, releaser, id, now).await }
    })
    .await
}

const NOBODY_ASKED: &str =
    "the provider has to be asked, and this inbox asks nobody: start it with --provider";
const JUDGED: &str = "judged again";

async fn would_settle(
    store: StoreHandle,
    id: i64,
    now: Result<Now, String>,
) -> Result<Result<Became, String>, StoreError> {
    let (arrival, became) = match now {
        Ok(Now::Holds(arrival)) => (arrival, Became::Changed),
        Ok(Now::WantsConfirmation(arrival)) => (arrival, Became::Asked),
        Err(why) => return Ok(Err(why)),
    };
    Ok(goes_on(store.would_release(id, &arrival).await?).map(|()| became))
}

/// Has it go on, or has the reconcile do so once the provider says the same. What an earlier judgement allowed is over.
async fn settle(
    store: StoreHandle,
    releaser: Releaser,
    id: i64,
    now: Result<Now, String>,
) -> Result<Result<Became, String>, StoreError> {
    store.forget_judgement(id).await?;
    match now {
        Err(why) => Ok(Err(why)),
        Ok(Now::Holds(arrival)) => match releaser.release(&*store, id, &arrival, JUDGED).await {
            Ok(released) => Ok(released.map(|()| Became::Changed)),
            Err(NotReleased::Store(error)) => Err(error),
            Err(NotReleased::NotNow(why)) => Ok(Err(why)),
        },
        Ok(Now::WantsConfirmation(arrival)) => want(store, id, &arrival).await,
    }
}

async fn want(store: StoreHandle, id: i64, arrival: &Arrival) -> Result<Result<Became, String>, StoreError> {
    if let Err(why) = goes_on(store.would_release(id, arrival).await?) {
        return Ok(Err(why));
    }
    let Some(generation) = &arrival.generation else { return Ok(Err("it names no generation".to_owned())) };
    let is_kept = store.want_for(id, &arrival.hook, generation, &arrival.headers).await?;
    Ok(if is_kept { Ok(Became::Asked) } else { Err(NOT_KEPT.to_owned()) })
}
