//! Route matching, as Envoy does it, for a sample request. What the sample does not say is undecided.

use super::super::cursor::YamlCursor;
use blobgate::contract::header::{self, PREFIX};
use regex::Regex;
use std::cell::RefCell;
use std::collections::HashMap;

/// The most compiled expressions: one takes some 10 KB.
const MAX_COMPILED: usize = 10_000;

thread_local! {
    /// Each sample request meets the same expressions again.
    static COMPILED: RefCell<HashMap<String, Option<Regex>>> = RefCell::new(HashMap::new());
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Truth {
    No,
    Maybe,
    Yes,
}

/// A POST to a path.
#[derive(Clone, Copy, Debug)]
pub(super) struct SampleRequest<'r> {
    /// Without a query.
    pub(super) path: &'r str,
    pub(super) sender: SampleSender,
    pub(super) verdict: Option<&'r str>,
    pub(super) event: Option<&'r str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SampleSender {
    /// Sends what the provider documents.
    Provider,
    /// Chooses every header that Envoy does not remove.
    Anyone,
}

/// Whether a route's `match` matches.
pub(super) fn evaluate(conditions: &YamlCursor<'_>, request: &SampleRequest<'_>) -> Truth {
    let headers = conditions.list("headers");
    let headers = headers.iter().map(|matcher| request_header(matcher, request));
    // Any client chooses the query. A runtime fraction changes while Envoy runs.
    let undecided =
        ["query_parameters", "runtime_fraction", "grpc", "tls_context", "dynamic_metadata", "filter_state"];
    let undecided = undecided.iter().map(|key| match conditions.get(key) {
        Some(_) => Truth::Maybe,
        None => Truth::Yes,
    });
    headers.chain(undecided).chain([path(conditions, request.path)]).min().unwrap_or(Truth::Yes)
}

/// The condition on a header that a request does not meet.
pub(super) fn unmet_header<'y>(
    conditions: &YamlCursor<'y>,
    request: &SampleRequest<'_>,
) -> Option<YamlCursor<'y>> {
    conditions.list("headers").into_iter().find(|matcher| request_header(matcher, request) == Truth::No)
}

/// Whether the path of a `match` matches.
pub(super) fn path(conditions: &YamlCursor<'_>, path: &str) -> Truth {
    let ignores_case = conditions.get("case_sensitive").is_some() && !conditions.is_true("case_sensitive");
    let fold = |text: &str| if ignores_case { text.to_ascii_lowercase() } else { text.to_owned() };
    let actual = fold(path);
    let text = |key| conditions.text_at(&[key]).map(fold);
    if let Some(prefix) = text("prefix") {
        return truth(actual.starts_with(&prefix));
    }
    if let Some(whole) = text("path") {
        return truth(actual == whole);
    }
    if let Some(prefix) = text("path_separated_prefix") {
        return truth(
            actual.strip_prefix(&*prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        );
    }
    if let Some(pattern) = conditions.text_at(&["safe_regex", "regex"]) {
        return matches_whole(pattern, path);
    }
    if conditions.get("connect_matcher").is_some() { Truth::No } else { Truth::Maybe }
}

fn request_header(matcher: &YamlCursor<'_>, request: &SampleRequest<'_>) -> Truth {
    let name = matcher.text_at(&["name"]).unwrap_or_default().to_ascii_lowercase();
    match &*name {
        ":method" => header(matcher, Some("POST")),
        ":path" => header(matcher, Some(request.path)),
        header::VERDICT => header(matcher, request.verdict),
        header::EVENT => header(matcher, request.event),
        name if name.starts_with(PREFIX) => match request.verdict {
            Some(_) => Truth::Maybe,
            None => header(matcher, None),
        },
        "content-type" if request.sender == SampleSender::Provider => {
            header(matcher, Some("application/json"))
        }
        // Each client of HTTP has these, or each Envoy adds them.
        ":authority" | ":scheme" | "host" | "user-agent" | "accept" | "content-length" => Truth::Maybe,
        name if name.starts_with("x-forwarded-") || name.starts_with("x-envoy-") => Truth::Maybe,
        _ => match request.sender {
            SampleSender::Provider => header(matcher, None),
            SampleSender::Anyone => Truth::Maybe,
        },
    }
}

/// Whether a header matcher matches a value, or a request without the header.
pub(super) fn header(matcher: &YamlCursor<'_>, value: Option<&str>) -> Truth {
    let invert = |truth: Truth| match truth {
        Truth::Yes if matcher.is_true("invert_match") => Truth::No,
        Truth::No if matcher.is_true("invert_match") => Truth::Yes,
        truth => truth,
    };
    if let Some(present) = matcher.get("present_match") {
        return invert(truth(value.is_some() == (present.node().bool() != Some(false))));
    }
    let value = match value {
        Some(value) => value,
        None if matcher.is_true("treat_missing_header_as_empty") => "",
        // Without a condition, a matcher asks whether the header is there. With one, a missing header matches nothing, also
        // not the inverse.
        None => return truth(condition(matcher).is_none() && matcher.is_true("invert_match")),
    };
    invert(condition(matcher).map_or(Truth::Yes, |condition| holds(&condition, value)))
}

/// The `string_match`, or the matcher itself with a field of its older form.
fn condition<'y>(matcher: &YamlCursor<'y>) -> Option<YamlCursor<'y>> {
    const OLD: [&str; 6] =
        ["exact_match", "safe_regex_match", "range_match", "prefix_match", "suffix_match", "contains_match"];
    matcher
        .get("string_match")
        .or_else(|| OLD.iter().any(|key| matcher.get(key).is_some()).then(|| matcher.clone()))
}

/// Whether a string matcher matches.
pub(super) fn holds(condition: &YamlCursor<'_>, value: &str) -> Truth {
    let ignores_case = condition.is_true("ignore_case");
    let fold = |text: &str| if ignores_case { text.to_ascii_lowercase() } else { text.to_owned() };
    let actual = fold(value);
    let text = |new, old| condition.text_at(&[new]).or_else(|| condition.text_at(&[old])).map(fold);
    if let Some(exact) = text("exact", "exact_match") {
        return truth(actual == exact);
    }
    if let Some(prefix) = text("prefix", "prefix_match") {
        return truth(actual.starts_with(&prefix));
    }
    if let Some(suffix) = text("suffix", "suffix_match") {
        return truth(actual.ends_with(&suffix));
    }
    if let Some(part) = text("contains", "contains_match") {
        return truth(actual.contains(&part));
    }
    let regex = condition.text_at(&["safe_regex", "regex"]);
    match regex.or_else(|| condition.text_at(&["safe_regex_match", "regex"])) {
        Some(pattern) => matches_whole(pattern, value),
        None => Truth::Maybe,
    }
}

/// RE2 matches the whole text. An expression that only RE2 reads is undecided.
fn matches_whole(pattern: &str, text: &str) -> Truth {
    COMPILED.with_borrow_mut(|compiled| {
        if compiled.len() >= MAX_COMPILED {
            compiled.clear();
        }
        let regex = compiled
            .entry(pattern.to_owned())
            .or_insert_with(|| Regex::new(&format!("^(?:{pattern})$")).ok());
        regex.as_ref().map_or(Truth::Maybe, |regex| truth(regex.is_match(text)))
    })
}

fn truth(is_true: bool) -> Truth {
    if is_true { Truth::Yes } else { Truth::No }
}
