//! The audit: who changed what, and when. Each action of an operator is one row.

use super::entries::read_number;
use super::error::{BadRequest, Error};
use super::filter::EntryFilter;
use super::{Operations, time};
use crate::access::Caller;
use crate::store::{ActionKind, ActionRow, NewAction};
use serde::{Deserialize, Serialize};

/// A request for actions, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditRequest {
    /// Only actions with a lower number.
    pub before: Option<i64>,
    /// The most actions, from 1 to 100; 50 by default.
    pub limit: Option<i64>,
    /// Only actions that changed this entry.
    pub entry: Option<i64>,
}

/// A page of actions, the newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditPage {
    /// The actions.
    pub actions: Vec<AuditRecord>,
    /// The `before` of the next page; nothing on the last.
    pub next: Option<i64>,
}

/// An action of an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// Its number.
    pub id: i64,
    /// The time of its first change.
    pub at: String,
    /// The name of the caller's token; nothing without sign-in.
    pub who: Option<String>,
    /// `replay`, `retry`, `release`, `release-as`, `drop`, `purge`, `pause`, `resume`, `reevaluate` or `reconcile`.
    pub action: String,
    /// The filter that selected its entries; nothing if they were selected by ids.
    pub filter: Option<EntryFilter>,
    /// Of a pause its hook and event, of `release-as` the event, of a reevaluation the waived reasons.
    pub target: Option<String>,
    /// The number of changed entries.
    pub entries: i64,
    /// The first 500 of them.
    pub ids: Vec<i64>,
    /// More about the action, such as the number of status calls of `reconcile`.
    pub note: Option<String>,
}

/// The default number of actions in an answer.
const DEFAULT_LIMIT: i64 = 50;
/// Keeps an answer below a megabyte: an action has up to 500 ids.
const MAX_LIMIT: i64 = 100;
/// The time in which a caller can continue its action, in microseconds: 12 hours.
const MAX_ACTION_TIME: i64 = 12 * 3_600 * 1_000_000;

impl Operations {
    /// Lists actions.
    pub(crate) async fn audit(&self, request: &AuditRequest) -> Result<AuditPage, Error> {
        let limit = request.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            let value = limit.to_string();
            return Err(BadRequest::NoNumber { name: "limit", value, max: Some(MAX_LIMIT) }.into());
        }
        let store = &self.shared.store;
        let mut rows = store.actions(request.before, limit.saturating_add(1), request.entry).await?;
        let limit = usize::try_from(limit).unwrap_or_default();
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|row| row.id);
        let actions = rows.into_iter().map(AuditRecord::try_from).collect::<Result<_, _>>()?;
        Ok(AuditPage { actions, next })
    }

    /// The action with the row of its earlier pieces, which the request names.
    pub(super) async fn continued(&self, action: NewAction, row: Option<i64>) -> Result<NewAction, Error> {
        let Some(id) = row else { return Ok(action) };
        let begun = self.shared.store.action(id).await?.ok_or(Error::NoAction(id))?;
        let oldest = self.shared.store.now().await?.saturating_sub(MAX_ACTION_TIME);
        let is_same = begun.action == action.kind.name()
            && begun.who == action.who
            && begun.filter == action.filter
            && begun.target == action.target;
        if !is_same || begun.at < oldest {
            return Err(Error::NoAction(id));
        }
        Ok(NewAction { row, ..action })
    }
}

impl NewAction {
    pub(super) fn by(caller: &Caller, kind: ActionKind) -> Self {
        let who = caller.name().map(str::to_owned);
        Self { kind, who, filter: None, target: None, note: None, row: None }
    }

    pub(super) fn with_filter(self, filter: Option<&EntryFilter>) -> Self {
        Self { filter: filter.and_then(|filter| serde_json::to_string(filter).ok()), ..self }
    }

    pub(super) fn with_target(self, target: String) -> Self {
        Self { target: Some(target), ..self }
    }
}

impl AuditRequest {
    /// Reads the pairs of a query.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub(crate) fn read(pairs: &[(String, String)]) -> Result<Self, BadRequest> {
        let mut request = Self::default();
        for (name, value) in pairs {
            let (name, place, max) = match name.as_str() {
                "before" => ("before", &mut request.before, None),
                "limit" => ("limit", &mut request.limit, Some(MAX_LIMIT)),
                "entry" => ("entry", &mut request.entry, None),
                _ => return Err(BadRequest::NoSuchAuditParameter(name.clone())),
            };
            if place.replace(read_number(name, value, max)?).is_some() {
                return Err(BadRequest::Twice(name));
            }
        }
        Ok(request)
    }

    /// The pairs of a query.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        [("before", self.before), ("limit", self.limit), ("entry", self.entry)]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?.to_string())))
            .collect()
    }
}

impl TryFrom<ActionRow> for AuditRecord {
    type Error = Error;

    fn try_from(row: ActionRow) -> Result<Self, Error> {
        let ids = row.ids();
        // A newer version may have stored a condition that this version does not know.
        let filter = row.filter.as_deref().map(serde_json::from_str).transpose();
        Ok(Self {
            id: row.id,
            at: time(row.at),
            who: row.who,
            action: row.action,
            filter: filter.map_err(|_| Error::NewerFilter(row.id))?,
            target: row.target,
            entries: row.entries,
            ids,
            note: row.note,
        })
    }
}
