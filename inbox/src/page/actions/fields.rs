//! Reads the fields of a query or a form.

use super::super::form::CheckedForm;
use super::super::render::PageError;
use crate::service::{BadRequest, ChangeRequest, EntryFilter, read_id, read_number};
use axum::http::StatusCode;
use std::collections::BTreeSet;
use url::form_urlencoded;

/// The fields that no reader has taken yet.
pub(super) struct ActionFields(Vec<(String, String)>);

impl ActionFields {
    /// An empty field of a form counts as absent.
    pub(super) fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect())
    }

    pub(super) fn of_form(form: &CheckedForm) -> Self {
        Self::new(form.pairs().iter().cloned())
    }

    pub(super) fn take_all(&mut self, name: &str) -> Vec<String> {
        let (taken, rest) = std::mem::take(&mut self.0).into_iter().partition(|(field, _)| field == name);
        self.0 = rest;
        let taken: Vec<(String, String)> = taken;
        taken.into_iter().map(|(_, value)| value).collect()
    }

    pub(super) fn take(&mut self, name: &'static str) -> Result<Option<String>, BadRequest> {
        let mut values = self.take_all(name);
        let value = values.pop();
        if values.is_empty() { Ok(value) } else { Err(BadRequest::Twice(name)) }
    }

    pub(super) fn take_number(&mut self, name: &'static str) -> Result<Option<i64>, BadRequest> {
        self.take(name)?.map(|value| read_number(name, &value, None)).transpose()
    }

    /// The ids in all fields of this name. A field may have several, with commas between them.
    pub(super) fn take_ids(&mut self, name: &str) -> Result<BTreeSet<i64>, BadRequest> {
        let values = self.take_all(name);
        values.iter().flat_map(|value| value.split(',')).map(|id| read_id(id.trim())).collect()
    }

    /// The selected entries: ids, or the filter of the remaining fields.
    pub(super) fn selection(mut self) -> Result<ChangeRequest, PageError> {
        let ids = self.take_ids("ids")?;
        let mut filter = EntryFilter::default();
        for (name, value) in self.0 {
            filter.read(&name, &value)?;
        }
        if ids.is_empty() && filter.is_empty() {
            return Err(wrong(
                "no entry is selected: choose entries in the list, or a filter with at least one condition",
            ));
        }
        Ok(ChangeRequest {
            ids: Some(ids).filter(|ids| !ids.is_empty()),
            filter: Some(filter).filter(|filter| !filter.is_empty()),
            ..ChangeRequest::default()
        })
    }

    /// Refuses fields that no reader took.
    pub(super) fn end(self) -> Result<(), PageError> {
        match self.0.into_iter().next() {
            None => Ok(()),
            Some((name, _)) => Err(wrong(format!("unknown field {name:?}: use the buttons of the page"))),
        }
    }
}

/// A value of the query or the form is wrong.
pub(super) fn wrong(detail: impl Into<String>) -> PageError {
    PageError::new(StatusCode::BAD_REQUEST, "A value of the request is wrong", detail.into())
}

/// A view that does not exist.
pub(super) fn unknown(detail: &str) -> PageError {
    PageError::new(StatusCode::NOT_FOUND, "There is no such view", detail.to_owned())
}

/// A name and a value of a query or a hidden field.
pub(super) type FieldPair = (&'static str, String);

/// The pairs of a selection.
pub(super) fn pairs(selection: &ChangeRequest) -> Vec<FieldPair> {
    let mut pairs: Vec<FieldPair> = selection.filter.iter().flat_map(EntryFilter::pairs).collect();
    pairs.extend(selection.ids.as_ref().map(|ids| ("ids", join(ids))));
    pairs
}

/// `17,18`.
pub(super) fn join<'a>(ids: impl IntoIterator<Item = &'a i64>) -> String {
    ids.into_iter().map(i64::to_string).collect::<Vec<_>>().join(",")
}

/// A path with a query.
pub(super) fn link(path: &str, pairs: &[FieldPair]) -> String {
    if pairs.is_empty() {
        return path.to_owned();
    }
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    format!("{path}?{query}")
}

/// The view of the selected entries.
pub(super) fn entries_link(selection: &ChangeRequest) -> String {
    let one = selection.ids.as_ref().filter(|ids| ids.len() == 1).and_then(BTreeSet::first);
    match (one, &selection.filter) {
        (Some(id), _) => format!("/page/entries/{id}"),
        (None, Some(filter)) => link("/page/entries", &filter.pairs()),
        (None, None) => "/page/entries".to_owned(),
    }
}
