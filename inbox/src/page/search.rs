//! The search box: finds out whether a text is an entry, a generation, a job or a request id.

use super::{PageError, encode, entries_path};
use crate::admin::Admin;
use crate::service::{Error, StoryAnswer, StoryRequest, read_generation, read_id, read_job, read_request_id};
use serde::Serialize;
use std::collections::BTreeSet;

/// The result of a search.
pub(super) enum SearchOutcome {
    /// The path of the only match.
    One(String),
    /// Several matches, or none.
    Several(Vec<FoundMatch>),
}

/// A meaning of the text that matches.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct FoundMatch {
    kind: &'static str,
    /// The number of entries.
    entries: usize,
    path: String,
}

pub(super) async fn search(admin: &Admin, text: &str) -> Result<SearchOutcome, PageError> {
    let mut matches = Vec::new();
    for (kind, name, request) in requests(text) {
        let answer = match admin.operations.story(&request).await {
            Ok(answer) => answer,
            Err(Error::NoEntry(_)) => continue,
            Err(error) => return Err(error.into()),
        };
        if answer.stories.is_empty() {
            continue;
        }
        let entries = entries_of(&answer);
        let path = match (request.entry, entries.iter().next(), entries.len()) {
            (Some(id), ..) => format!("{}/{id}", super::ENTRIES),
            (None, Some(id), 1) => format!("{}/{id}", super::ENTRIES),
            // Announced, and without an entry.
            (None, None, _) => {
                announced(&answer).unwrap_or_else(|| entries_path(&encode([(name, text)].into_iter())))
            }
            _ => entries_path(&encode([(name, text)].into_iter())),
        };
        matches.push(FoundMatch { kind, entries: entries.len(), path });
    }
    Ok(match <[FoundMatch; 1]>::try_from(matches) {
        Ok([only]) => SearchOutcome::One(only.path),
        Err(matches) => SearchOutcome::Several(matches),
    })
}

/// The requests that the text can be meant as. A request id of Envoy is a UUID, as a generation is.
fn requests(text: &str) -> Vec<(&'static str, &'static str, StoryRequest)> {
    let none = StoryRequest::default;
    let number = text.strip_prefix('#').unwrap_or(text);
    let entry = read_id(number).ok().map(|id| StoryRequest { entry: Some(id), ..none() });
    let generation = read_generation(text).ok().map(|id| StoryRequest { generation: Some(id), ..none() });
    let job = read_job(text).ok().map(|job| StoryRequest { job: Some(job), ..none() });
    let request_id = read_request_id(text).ok().map(|id| StoryRequest { request_id: Some(id), ..none() });
    [
        ("entry number", "id", entry),
        ("generation", "generation", generation),
        ("job", "job", job),
        ("request id", "request_id", request_id),
    ]
    .into_iter()
    .filter_map(|(kind, name, request)| Some((kind, name, request?)))
    .collect()
}

/// The path of the only story, by its generation.
fn announced(answer: &StoryAnswer) -> Option<String> {
    let [story] = answer.stories.as_slice() else { return None };
    let generation = story.generation.as_deref()?;
    Some(entries_path(&encode([("generation", generation), ("hook", story.hook.as_str())].into_iter())))
}

fn entries_of(answer: &StoryAnswer) -> BTreeSet<i64> {
    answer.stories.iter().flat_map(|story| &story.lines).filter_map(|line| line.entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn row(text: &str, kinds: &[&str]) {
        let found: Vec<_> = requests(text).into_iter().map(|(kind, ..)| kind).collect();
        assert_eq!(found, kinds, "{text:?}");
    }

    #[test]
    fn reads_a_text_as_each_thing_that_it_can_be() {
        row("17", &["entry number", "job", "request id"]);
        row("#17", &["entry number"]);
        row("order-17", &["job", "request id"]);
        row("a~b", &["job"]);
        row("FFD473D5-5bef-4e14-bf22-8d559be3c19f", &["generation", "job", "request id"]);
        row("0", &["job", "request id"]);
        row("<script>", &[]);
        row("two words", &[]);
    }
}
