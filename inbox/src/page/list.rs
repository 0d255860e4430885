//! The list of entries: filters, a search, and pages that stay right while events arrive.

use super::render::{NavPlace, render};
use super::search::{FoundMatch, SearchOutcome, search};
use super::story::StoryView;
use super::{PageError, PageState, Visitor, encode, entries_path};
use crate::admin::Admin;
use crate::service::{
    EntryFilter, EntryPage, EntryState, EventKind, Lane, ListRequest, StoryRequest, read_id, reasons,
};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Serialize;
use std::collections::BTreeMap;

/// The entries of a page.
const ROWS: i64 = 50;

/// The names of the filters, with their labels.
const LABELS: [(&str, &str); 9] = [
    ("state", "State"),
    ("lane", "Lane"),
    ("hook", "Hook"),
    ("event", "Event"),
    ("reason", "Reason"),
    ("generation", "Generation"),
    ("job", "Job"),
    ("request_id", "Request id"),
    ("since", "Received since"),
];

/// The query of a list: the values as sent, the filter of the right ones, and what is wrong with the others.
#[derive(Debug, Default)]
struct ListQuery {
    filter: EntryFilter,
    before: Option<i64>,
    values: BTreeMap<String, String>,
    errors: BTreeMap<String, String>,
    search: Option<String>,
}

#[derive(Serialize)]
struct ListView {
    labels: [(&'static str, &'static str); 9],
    values: BTreeMap<String, String>,
    errors: BTreeMap<String, String>,
    /// What is wrong with a value that has no field.
    problems: Vec<String>,
    chips: Vec<FilterChip>,
    tabs: Vec<StateTab>,
    /// The filter, for the actions on all that match.
    filter: EntryFilter,
    query: String,
    states: Vec<&'static str>,
    lanes: Vec<&'static str>,
    events: Vec<&'static str>,
    reasons: Vec<&'static str>,
    sinces: Vec<(&'static str, String)>,
    page: Option<EntryPage>,
    /// The path of the next page.
    older: Option<String>,
    /// The path of the first page, on every other one.
    newest: Option<String>,
    search: Option<SearchView>,
    story: Option<StoryView>,
}

/// A value that filters, and the path without it.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct FilterChip {
    label: &'static str,
    value: String,
    without: String,
}

/// The list of one state, or of all, with the other filters.
#[derive(Debug, Serialize)]
struct StateTab {
    label: String,
    path: String,
    is_current: bool,
}

#[derive(Serialize)]
struct SearchView {
    text: String,
    matches: Vec<FoundMatch>,
}

pub(super) async fn show(
    State(admin): PageState,
    visitor: Visitor,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response, PageError> {
    let query = ListQuery::read(pairs);
    let mut found = None;
    if let Some(text) = &query.search {
        match search(&admin, text).await? {
            SearchOutcome::One(path) => return Ok(Redirect::to(&path).into_response()),
            SearchOutcome::Several(matches) => {
                found = Some(SearchView { text: text.clone(), matches });
            }
        }
    }
    let is_right = query.errors.is_empty();
    let view = ListView::new(&admin, query, found).await?;
    let html = render("list.html", &visitor, NavPlace::Entries, &view)?;
    let status = if is_right { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    Ok((status, html).into_response())
}

impl ListQuery {
    /// Reads the pairs of a query. An empty value is none, as a form sends it.
    fn read(pairs: Vec<(String, String)>) -> Self {
        let mut query = Self::default();
        for (name, value) in pairs {
            let value = value.trim();
            if !value.is_empty() {
                query.read_pair(name, value);
            }
        }
        query
    }

    fn read_pair(&mut self, name: String, value: &str) {
        if name == "q" {
            self.search = Some(value.to_owned());
            return;
        }
        let mut alone = EntryFilter::default();
        let read = match name.as_str() {
            "before" => read_id(value).map(|before| self.before = Some(before)),
            // Checked alone, so that each wrong value has its own message.
            _ => alone
                .read(&name, value)
                .and_then(|()| alone.check().map(|_| ()))
                .and_then(|()| self.filter.read(&name, value)),
        };
        if let Err(error) = read {
            self.errors.insert(name.clone(), error.to_string());
        }
        self.values.insert(name, value.to_owned());
    }
}

impl ListView {
    async fn new(admin: &Admin, query: ListQuery, search: Option<SearchView>) -> Result<Self, PageError> {
        let ListQuery { filter, before, values, errors, .. } = query;
        // A list by the other values would look like the answer to the wrong one.
        let page = if errors.is_empty() && search.is_none() {
            let request = ListRequest { filter: filter.clone(), limit: Some(ROWS), before };
            Some(admin.operations.list(&request).await?)
        } else {
            None
        };
        let next = page.as_ref().and_then(|page| page.next);
        let has_field = |name: &str| LABELS.iter().any(|(known, _)| *known == name);
        let problems = errors.iter().filter(|(name, _)| !has_field(name)).map(|(_, error)| error.clone());
        Ok(Self {
            labels: LABELS,
            problems: problems.collect(),
            chips: chips(&filter),
            tabs: tabs(&filter),
            query: write_query(&filter, None),
            older: next.map(|next| entries_path(&write_query(&filter, Some(next)))),
            newest: before.map(|_| entries_path(&write_query(&filter, None))),
            states: EntryState::ALL.iter().map(|state| state.name()).collect(),
            lanes: Lane::ALL.iter().map(|lane| lane.name()).collect(),
            events: EventKind::ALL.map(EventKind::name).to_vec(),
            reasons: reasons().collect(),
            sinces: sinces(&filter),
            story: if page.is_some() { story(admin, &filter, before).await? } else { None },
            values,
            errors,
            page,
            filter,
            search,
        })
    }
}

/// The story of a generation, where the list is about one alone.
async fn story(
    admin: &Admin,
    filter: &EntryFilter,
    before: Option<i64>,
) -> Result<Option<StoryView>, PageError> {
    let (Some(generation), None) = (&filter.generation, before) else { return Ok(None) };
    let only = EntryFilter {
        generation: Some(generation.clone()),
        hook: filter.hook.clone(),
        ..EntryFilter::default()
    };
    if *filter != only {
        return Ok(None);
    }
    let request = StoryRequest {
        generation: Some(generation.clone()),
        hook: filter.hook.clone(),
        ..StoryRequest::default()
    };
    let answer = admin.operations.story(&request).await?;
    Ok(Some(StoryView::new(answer, None, &admin.docs)))
}

fn tabs(filter: &EntryFilter) -> Vec<StateTab> {
    // Those of which a person has to decide come first.
    const STATES: [EntryState; 7] = [
        EntryState::Quarantined,
        EntryState::Dead,
        EntryState::Waiting,
        EntryState::InFlight,
        EntryState::Delivered,
        EntryState::Superseded,
        EntryState::Dropped,
    ];
    let tab = |state: Option<EntryState>| StateTab {
        label: state.map_or("all", EntryState::name).replace('_', " "),
        path: entries_path(&write_query(&EntryFilter { state, ..filter.clone() }, None)),
        is_current: filter.state == state,
    };
    std::iter::once(None).chain(STATES.map(Some)).map(tab).collect()
}

fn chips(filter: &EntryFilter) -> Vec<FilterChip> {
    let pairs = filter.pairs();
    let chip = |(name, value): &(&'static str, String)| {
        let label = LABELS.iter().find(|(known, _)| known == name).map_or(*name, |(_, label)| label);
        let others = pairs.iter().filter(|(other, _)| other != name);
        let without = entries_path(&encode(others.map(|(name, value)| (*name, value.as_str()))));
        FilterChip { label, value: value.clone(), without }
    };
    pairs.iter().map(chip).collect()
}

/// Times that a person filters by, with the path of each.
fn sinces(filter: &EntryFilter) -> Vec<(&'static str, String)> {
    const HOUR: i64 = 3_600_000_000;
    let now = crate::health::now();
    let since = |label, micros: i64| {
        let since = crate::service::time(now.saturating_sub(micros));
        let filter = EntryFilter { since: Some(since), ..filter.clone() };
        (label, entries_path(&write_query(&filter, None)))
    };
    vec![
        since("last hour", HOUR),
        since("last 24 hours", HOUR.saturating_mul(24)),
        since("last 7 days", HOUR.saturating_mul(168)),
    ]
}

fn write_query(filter: &EntryFilter, before: Option<i64>) -> String {
    let pairs = filter.pairs();
    let before = before.map(|before| before.to_string());
    let before = before.as_deref().map(|before| ("before", before));
    encode(pairs.iter().map(|(name, value)| (*name, value.as_str())).chain(before))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::render::tests::{HOSTILE, check_inert, hostile_entry, operator, text_of};

    fn read(pairs: &[(&str, &str)]) -> ListQuery {
        ListQuery::read(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn a_wrong_value_leaves_the_others() {
        let query =
            read(&[("state", "dead"), ("hook", "A B"), ("event", ""), ("since", "today"), ("colour", "1")]);
        assert_eq!(query.filter, EntryFilter { state: Some(EntryState::Dead), ..EntryFilter::default() });
        assert_eq!(query.values["hook"], "A B");
        assert_eq!(query.errors["hook"], "invalid hook \"A B\": use 1 to 32 of a-z 0-9 -");
        assert!(query.errors["since"].starts_with("invalid since \"today\": it is no time of RFC 3339"));
        assert!(query.errors["colour"].starts_with("unknown filter \"colour\""));
        assert!(!query.errors.contains_key("event"));
        assert_eq!(read(&[("job", "a"), ("job", "b")]).errors["job"], "job occurs twice: pass it once");
        assert_eq!(read(&[("before", "0")]).errors["before"], "invalid id \"0\": use a number above 0");
        assert_eq!(read(&[("q", " 17 ")]).search.as_deref(), Some("17"));
    }

    #[test]
    fn a_chip_leads_to_the_list_without_it() {
        let filter = read(&[("state", "dead"), ("hook", "veo3"), ("since", "2026-01-31 12:00+02")]).filter;
        assert_eq!(
            chips(&filter).into_iter().map(|chip| (chip.label, chip.value, chip.without)).collect::<Vec<_>>(),
            [
                ("State", "dead", "/page/entries?hook=veo3&since=2026-01-31+12%3A00%2B02"),
                ("Hook", "veo3", "/page/entries?state=dead&since=2026-01-31+12%3A00%2B02"),
                ("Received since", "2026-01-31 12:00+02", "/page/entries?state=dead&hook=veo3"),
            ]
            .map(|(label, value, without)| (label, value.to_owned(), without.to_owned()))
        );
        assert_eq!(chips(&EntryFilter::default()), []);
        assert_eq!(
            write_query(&filter, Some(7)),
            "state=dead&hook=veo3&since=2026-01-31+12%3A00%2B02&before=7"
        );
    }

    fn view(page: Option<EntryPage>, values: &[(&str, &str)]) -> ListView {
        let query = read(values);
        ListView {
            labels: LABELS,
            problems: Vec::new(),
            chips: chips(&query.filter),
            tabs: tabs(&query.filter),
            query: write_query(&query.filter, None),
            states: vec!["dead"],
            lanes: Vec::new(),
            events: Vec::new(),
            reasons: Vec::new(),
            sinces: Vec::new(),
            older: None,
            newest: None,
            search: None,
            story: None,
            values: query.values,
            errors: query.errors,
            filter: query.filter,
            page,
        }
    }

    #[test]
    fn shows_hostile_entries_as_text() {
        let page = EntryPage { entries: vec![hostile_entry()], next: None, examined: false };
        let search = SearchView { text: HOSTILE.to_owned(), matches: Vec::new() };
        let view = ListView {
            problems: vec![HOSTILE.to_owned()],
            search: Some(search),
            ..view(Some(page), &[("state", "dead")])
        };
        check_inert(&text_of("list.html", &operator(), NavPlace::Entries, &view), 6);
    }

    #[test]
    fn a_wrong_value_has_its_message_beside_its_field() {
        let html = text_of("list.html", &operator(), NavPlace::Entries, &view(None, &[("hook", "<\"'&>")]));
        let value = "name=\"hook\" value=\"&lt;&quot;&#x27;&amp;&gt;\"";
        assert!(html.contains(value), "{html}");
        assert!(html.contains("aria-invalid=\"true\" aria-describedby=\"e-hook\""));
        let message = "<p class=\"error\" id=\"e-hook\"><bdi>invalid hook &quot;&lt;\\&quot;&#x27;&amp;&gt;&quot;: use 1 to 32 of a-z 0-9 -</bdi></p>";
        assert!(html.contains(message), "{html}");
    }

    #[test]
    fn an_empty_list_says_what_to_do() {
        let empty = |next, examined| Some(EntryPage { entries: Vec::new(), next, examined });
        let text = |page, values: &[(&str, &str)]| {
            text_of("list.html", &operator(), NavPlace::Entries, &view(page, values))
        };
        assert!(text(empty(None, false), &[]).contains("<strong>No entry yet</strong>"));
        assert!(text(empty(None, false), &[("state", "dead")]).contains("<strong>No entry matches</strong>"));
        let html = text(empty(Some(7), true), &[("job", "a")]);
        assert!(html.contains("<strong>No match among the newest 20,000 rows</strong>"), "{html}");
    }
}
