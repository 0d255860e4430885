//! `POST /rejudge`: what was kept and holds now goes to the deliver lane, by the same transaction as any arrival.

use super::change;
use super::problem::Problem;
use super::{Admin, read_body, written};
use crate::arrival::Arrival;
use crate::commit::Committer;
use crate::rejudge::Judge;
use crate::store::{Error, Outcome, Session};
use axum::Json;
use axum::extract::State;
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
    refused: Vec<Refused>,
    next: Option<i64>,
}

#[derive(Serialize)]
struct Refused {
    id: i64,
    why: String,
}

/// What a filter leaves out.
const KEPT: &str = "state = 'kept' AND size > 0";

pub(super) async fn rejudge(State(admin): State<Arc<Admin>>, body: Bytes) -> Result<Json<Done>, Problem> {
    let asked: Asked = read_body(&body)?;
    let limit = change::check_limit(asked.limit)?;
    let judge = Judge::new(asked.config.to_string().as_bytes(), &asked.waive)
        .map_err(|error| Problem::bad(format!("the gate's configuration: {error}")))?;
    let (after, until) = (asked.after, asked.until);
    let which = change::which(asked.ids, asked.filter, after, until)?;
    let (ids, next) = change::piece(&admin, which, KEPT, (after, until), limit).await?;
    let (mut changed, mut refused) = (Vec::new(), Vec::new());
    for id in ids {
        let arrival = match admin.store.kept(id).await? {
            Some(kept) => judge.judge(kept),
            None => Err("no such entry is kept, or its body is purged".to_owned()),
        };
        let arrival = match arrival {
            Ok(arrival) => arrival,
            Err(why) => {
                refused.push(Refused { id, why });
                continue;
            }
        };
        let (session, committer) = (admin.store.session(), admin.releaser.committer.clone());
        let dry_run = asked.dry_run;
        match written(release(session, committer, id, arrival, dry_run)).await? {
            Ok(()) => changed.push(id),
            Err(why) => refused.push(Refused { id, why }),
        }
    }
    if !asked.dry_run && !changed.is_empty() {
        log::info!("judged-again={} by an operator", changed.len());
    }
    Ok(Json(Done { changed, refused, next }))
}

/// Stores it as an arrival, and ends the entry that was kept. Between the two it is both: judged once more, it is a repeat.
async fn release(
    mut session: Session,
    committer: Committer,
    id: i64,
    arrival: Arrival,
    dry_run: bool,
) -> Result<Result<(), String>, Error> {
    match session.would_store(&arrival).await? {
        Outcome::Waits(_) | Outcome::Repeated => {}
        Outcome::Kept(reason) => return Ok(Err(reason)),
        Outcome::TokenFull | Outcome::QuarantineFull => return Ok(Err("the quarantine is full".to_owned())),
    }
    if dry_run {
        return Ok(Ok(()));
    }
    match committer.store(arrival).await {
        Ok(Outcome::Waits(_) | Outcome::Repeated) => {
            session.release(id, "judged again").await?;
            Ok(Ok(()))
        }
        Ok(Outcome::Kept(reason)) => Ok(Err(reason)),
        Ok(Outcome::TokenFull | Outcome::QuarantineFull) => Ok(Err("the quarantine is full".to_owned())),
        Err(error) => Ok(Err(error.to_string())),
    }
}
