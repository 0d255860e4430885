//! The audit: who changed what, and when.

use super::render::{NavPlace, render};
use super::{PageAnswer, PageState, Visitor, encode, entries_path};
use crate::service::{AuditRecord, AuditRequest, Error};
use axum::extract::{Query, State};
use serde::Serialize;

/// The changed entries of an action with a link each.
const MAX_LINKS: usize = 12;

#[derive(Serialize)]
struct AuditView {
    actions: Vec<ActionView>,
    entry: Option<i64>,
    older: Option<String>,
    newest: Option<String>,
}

/// An action.
#[derive(Debug, Serialize)]
pub(super) struct ActionView {
    record: AuditRecord,
    /// Its first entries.
    ids: Vec<i64>,
    /// The further ones.
    more: i64,
    /// The filter in words.
    filter: Vec<(&'static str, String)>,
    /// The path of the list with the filter.
    list: Option<String>,
}

pub(super) async fn show(
    State(admin): PageState,
    visitor: Visitor,
    Query(pairs): Query<Vec<(String, String)>>,
) -> PageAnswer {
    let pairs: Vec<_> = pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let request = AuditRequest::read(&pairs).map_err(Error::from)?;
    let page = admin.operations.audit(&request).await?;
    let path = |before: Option<i64>| {
        let pairs = [("entry", request.entry), ("before", before)];
        let pairs: Vec<_> =
            pairs.into_iter().filter_map(|(name, value)| Some((name, value?.to_string()))).collect();
        format!("/page/audit?{}", encode(pairs.iter().map(|(name, value)| (*name, value.as_str()))))
    };
    let view = AuditView {
        older: page.next.map(|next| path(Some(next))),
        newest: request.before.map(|_| path(None)),
        entry: request.entry,
        actions: page.actions.into_iter().map(ActionView::new).collect(),
    };
    render("audit.html", &visitor, NavPlace::Audit, &view)
}

impl ActionView {
    pub(super) fn new(record: AuditRecord) -> Self {
        let filter = record.filter.as_ref().map(|filter| filter.pairs()).unwrap_or_default();
        let list = (!filter.is_empty())
            .then(|| entries_path(&encode(filter.iter().map(|(name, value)| (*name, value.as_str())))));
        let ids: Vec<i64> = record.ids.iter().copied().take(MAX_LINKS).collect();
        let shown = i64::try_from(ids.len()).unwrap_or(i64::MAX);
        Self { more: record.entries.saturating_sub(shown).max(0), ids, filter, list, record }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::render::tests::{HOSTILE, check_inert, operator, text_of};
    use crate::service::EntryFilter;

    #[test]
    fn shows_hostile_actions_as_text() {
        let text = || Some(HOSTILE.to_owned());
        let record = AuditRecord {
            id: 3,
            at: HOSTILE.to_owned(),
            who: text(),
            action: HOSTILE.to_owned(),
            filter: Some(EntryFilter { hook: text(), ..EntryFilter::default() }),
            target: text(),
            entries: 20,
            ids: (1..=20).collect(),
            note: text(),
        };
        let action = ActionView::new(record);
        assert_eq!((action.ids.len(), action.more), (MAX_LINKS, 8));
        let view = AuditView { actions: vec![action], entry: Some(1), older: None, newest: None };
        check_inert(&text_of("audit.html", &operator(), NavPlace::Audit, &view), 6);
    }
}
