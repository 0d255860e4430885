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
        if !is_part(&action, &begun, self.shared.store.now().await?) {
            return Err(Error::NoAction(id));
        }
        Ok(NewAction { row, ..action })
    }
}

/// Whether a piece belongs to this action, which the same caller began some hours ago at most.
fn is_part(piece: &NewAction, begun: &ActionRow, now: i64) -> bool {
    begun.action == piece.kind.name()
        && begun.who == piece.who
        && begun.filter == piece.filter
        && begun.target == piece.target
        && begun.at >= now.saturating_sub(MAX_ACTION_TIME)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::AccessRole;

    const HOUR: i64 = 3_600 * 1_000_000;

    fn row(who: Option<&str>, filter: Option<&str>) -> ActionRow {
        ActionRow {
            id: 7,
            at: 100 * HOUR,
            who: who.map(str::to_owned),
            action: "drop".to_owned(),
            filter: filter.map(str::to_owned),
            target: None,
            entries: 2,
            note: None,
            listed: Some("9,10,8".to_owned()),
        }
    }

    #[test]
    fn a_piece_has_the_caller_and_the_filter_of_its_action() {
        let anna = Caller::named("anna".into(), AccessRole::Operate);
        let piece = NewAction::by(&anna, ActionKind::Drop);
        let begun = row(Some("anna"), None);
        let now = 100 * HOUR;
        assert!(is_part(&piece, &begun, now));
        assert!(is_part(&piece, &begun, now + 12 * HOUR));
        assert!(!is_part(&piece, &begun, now + 12 * HOUR + 1), "too old");
        assert!(!is_part(&piece, &row(Some("bert"), None), now));
        assert!(!is_part(&piece, &row(None, None), now));
        assert!(!is_part(&NewAction::by(&Caller::unnamed(), ActionKind::Drop), &begun, now));
        assert!(!is_part(&NewAction::by(&anna, ActionKind::Replay), &begun, now));
        assert!(!is_part(&piece.clone().with_target("t".to_owned()), &begun, now));
        let filter = EntryFilter { hook: Some("veo3".to_owned()), ..EntryFilter::default() };
        let filtered = piece.with_filter(Some(&filter));
        assert!(!is_part(&filtered, &begun, now));
        assert!(is_part(&filtered, &row(Some("anna"), Some(r#"{"hook":"veo3"}"#)), now));
    }

    #[test]
    fn answers_with_a_filter_that_it_knows() {
        let record = AuditRecord::try_from(row(None, Some(r#"{"hook":"veo3"}"#))).unwrap();
        let filter = EntryFilter { hook: Some("veo3".to_owned()), ..EntryFilter::default() };
        assert_eq!(
            (record.ids, record.filter, record.at.as_str()),
            (vec![8, 9, 10], Some(filter), "1970-01-05T04:00:00.000Z")
        );
        let newer = AuditRecord::try_from(row(None, Some(r#"{"colour":"red"}"#))).unwrap_err().to_string();
        assert_eq!(newer, "the filter of action 7 has a condition of a newer version: use that version");
    }
}
