//! Shows what an action on entries will do.

use super::super::render::{Html, NavPlace, PageError, render};
use super::super::{PageState, Visitor};
use super::fields::{ActionFields, FieldPair, entries_link, link, pairs};
use super::words::{EntryAction, entries};
use crate::admin::Admin;
use crate::service::{ChangePreview, ChangeRequest, EntryState, RefusalCount, StateCount};
use axum::extract::{Path, Query, State};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The time in which a preview starts pieces: a view comes within 200 ms (`make bench-page`), and a piece takes up to 50.
const MAX_PREVIEW: Duration = Duration::from_millis(120);

#[derive(Serialize)]
struct AskView {
    action: &'static str,
    title: String,
    meaning: &'static str,
    lasting: Option<&'static str>,
    selected: SelectedView,
    would_change: Vec<StateCount>,
    would_refuse: Vec<RefusedView>,
    /// The text of the button; nothing if no entry would change.
    button: Option<String>,
    hidden: Vec<FieldPair>,
}

/// The selection of a person, in words.
#[derive(Serialize)]
pub(super) struct SelectedView {
    ids: Vec<i64>,
    filter: Vec<FieldPair>,
    /// The view of the selected entries.
    back: String,
}

/// Entries that do not change.
#[derive(Serialize)]
pub(super) struct RefusedView {
    count: String,
    why: String,
    remedy: Option<RemedyView>,
}

/// The action that applies instead.
#[derive(Serialize)]
struct RemedyView {
    text: &'static str,
    /// Nothing if the action is on each entry's own view.
    link: Option<String>,
}

pub(super) async fn show(
    State(admin): PageState,
    visitor: Visitor,
    Path(action): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Html, PageError> {
    let action = EntryAction::read(&action)?;
    let selection = ActionFields::new(query).selection()?;
    let PreviewSum { would_change, would_refuse, until, is_whole } =
        PreviewSum::count(&admin, action, &selection).await?;
    let total = would_change.iter().fold(0_i64, |sum, state| sum.saturating_add(state.count));
    let mut hidden = pairs(&selection);
    hidden.extend(until.map(|until| ("until", until.to_string())));
    let what = match selection.ids.as_ref().and_then(|ids| Some((ids.len(), ids.first()?))) {
        Some((1, id)) => format!("entry {id}"),
        _ if is_whole => entries(total),
        _ => format!("at least {}", entries(total)),
    };
    let button = (total > 0).then(|| format!("{} {what}", action.verb()));
    let view = AskView {
        action: action.name(),
        title: button
            .clone()
            .map_or_else(|| format!("{} entries", action.verb()), |button| format!("{button}?")),
        meaning: action.meaning(),
        lasting: action.lasting(),
        would_change,
        would_refuse: would_refuse.into_iter().map(|refused| RefusedView::new(refused, &selection)).collect(),
        button,
        hidden,
        selected: SelectedView::new(&selection),
    };
    render("action.html", &visitor, NavPlace::Entries, &view)
}

/// The counts of a preview, which comes in pieces.
struct PreviewSum {
    would_change: Vec<StateCount>,
    would_refuse: Vec<RefusalCount>,
    /// The newest selected entry.
    until: Option<i64>,
    /// Whether the time was enough for every piece.
    is_whole: bool,
}

impl PreviewSum {
    async fn count(admin: &Admin, action: EntryAction, selection: &ChangeRequest) -> Result<Self, PageError> {
        let began = Instant::now();
        let (mut changes, mut refusals) =
            (BTreeMap::<EntryState, i64>::new(), BTreeMap::<String, i64>::new());
        let mut request = selection.clone();
        let is_whole = loop {
            let change = action.change(&admin.operations);
            let ChangePreview { would_change, would_refuse, until, next } =
                admin.operations.preview(change, &request).await?;
            for StateCount { state, count } in would_change {
                let sum = changes.entry(state).or_default();
                *sum = sum.saturating_add(count);
            }
            for RefusalCount { why, count } in would_refuse {
                let sum = refusals.entry(why).or_default();
                *sum = sum.saturating_add(count);
            }
            if selection.filter.is_some() {
                request.until = request.until.or(until);
            }
            request.after = next;
            if next.is_none() || began.elapsed() >= MAX_PREVIEW {
                break next.is_none();
            }
        };
        let would_change = changes.into_iter().map(|(state, count)| StateCount { state, count }).collect();
        let would_refuse = refusals.into_iter().map(|(why, count)| RefusalCount { why, count }).collect();
        Ok(Self { would_change, would_refuse, until: request.until, is_whole })
    }
}

impl SelectedView {
    pub(super) fn new(selection: &ChangeRequest) -> Self {
        Self {
            ids: selection.ids.iter().flatten().copied().collect(),
            filter: selection.filter.iter().flat_map(|filter| filter.pairs()).collect(),
            back: entries_link(selection),
        }
    }
}

impl RefusedView {
    /// A reason names a command as the remedy. The page has the same action as a link.
    pub(super) fn new(refused: RefusalCount, selection: &ChangeRequest) -> Self {
        let RefusalCount { why, count } = refused;
        let remedy = RemedyView::of(&why, selection);
        let cause =
            why.split_once(": ").filter(|_| remedy.is_some()).map_or(why.as_str(), |(cause, _)| cause);
        Self { count: entries(count), why: cause.to_owned(), remedy }
    }
}

impl RemedyView {
    fn of(why: &str, selection: &ChangeRequest) -> Option<Self> {
        let (_, command) = why.split_once("`blobgate inbox ")?;
        let is_as = command.contains(" --as ");
        // An event belongs to one entry.
        if is_as && selection.ids.as_ref().is_none_or(|ids| ids.len() != 1) {
            return Some(Self { text: "Open each entry, and release it as an event.", link: None });
        }
        let (path, text) = match command.split(' ').next()? {
            "release" if is_as => ("release-as", "Release as an event"),
            "release" => ("release", "Release"),
            "replay" => ("replay", "Replay"),
            "retry" => ("retry", "Retry"),
            _ => return None,
        };
        let link = link(&format!("/page/actions/{path}"), &pairs(selection));
        Some(Self { text, link: Some(link) })
    }
}
