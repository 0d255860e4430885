//! Every mutation of one field of every sample, with its verdict from `mutations.toml`.

use super::outcome::ExpectedOutcome;
use super::{Case, LOOPBACK, read, sample, samples};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Sample, field, verdict, mutations.
type MutationTable = BTreeMap<String, BTreeMap<String, BTreeMap<String, Vec<String>>>>;

/// A case for each mutation at the hooks `default` and `strict`.
///
/// Panics if the table has no verdict or two verdicts for a mutation, or a verdict for an unknown mutation.
pub fn cases(paths: &BTreeMap<String, String>) -> Vec<Case> {
    let mut table: MutationTable = read("mutations.toml");
    let mut cases = Vec::new();
    for sample_name in samples() {
        let document: Value = serde_json::from_str(&sample(&sample_name)).unwrap();
        let mut of_sample = table.remove(&sample_name).unwrap_or_default();
        for field in fields(&document) {
            let mut of_field = of_sample.remove(&field).unwrap_or_default();
            for (mutation, mutated) in mutations(&document, &field) {
                let place = format!("{sample_name}, {field} {mutation}");
                let mut found = of_field.iter_mut().filter_map(|(verdict, list)| {
                    let at = list.iter().position(|other| *other == mutation)?;
                    list.remove(at);
                    Some(verdict.clone())
                });
                let verdict =
                    found.next().unwrap_or_else(|| panic!("mutations.toml has no verdict for {place}"));
                assert_eq!(found.next(), None, "mutations.toml has two verdicts for {place}");
                for hook in ["default", "strict"] {
                    let expect = expect(&sample_name, &field, &verdict, hook)
                        .with_detail(detail(&field, mutation, &verdict, hook));
                    let expected = expect
                        .outcome(hook, LOOPBACK, None)
                        .unwrap_or_else(|error| panic!("{place}: {error}"));
                    let name = format!("mutations: {place}, {hook}");
                    cases.push(Case::plain(
                        name,
                        hook,
                        &paths[hook],
                        mutated.to_string().into_bytes(),
                        expected,
                    ));
                }
            }
            of_field.retain(|_, list| !list.is_empty());
            assert!(
                of_field.is_empty(),
                "mutations.toml has verdicts for unknown mutations: {sample_name}, {field}: {of_field:?}"
            );
        }
        assert!(
            of_sample.is_empty(),
            "mutations.toml has fields that are not in {sample_name}: {of_sample:?}"
        );
    }
    assert!(table.is_empty(), "mutations.toml has unknown samples: {table:?}");
    cases
}

/// The fields of an object and of its nested objects, such as `error` and `error.message`.
fn fields(document: &Value) -> Vec<String> {
    let mut all = Vec::new();
    for (name, value) in document.as_object().unwrap() {
        all.push(name.clone());
        let below = value.as_object().into_iter().flat_map(|below| below.keys());
        all.extend(below.map(|key| format!("{name}.{key}")));
    }
    all
}

/// The document without the field, with null, with a value of every other type, and with an empty text.
fn mutations(document: &Value, field: &str) -> Vec<(&'static str, Value)> {
    let values = [
        ("null", json!(null)),
        ("bool", json!(true)),
        ("number", json!(7)),
        ("string", json!("x")),
        ("array", json!([])),
        ("object", json!({})),
        ("empty", json!("")),
    ];
    let mut mutated = Vec::new();
    let (outer, inner) = field.split_once('.').map_or((field, None), |(outer, inner)| (outer, Some(inner)));
    let name = inner.unwrap_or(outer);
    let with = |change: &dyn Fn(&mut serde_json::Map<String, Value>)| {
        let mut document = document.clone();
        let parent = if inner.is_some() { &mut document[outer] } else { &mut document };
        change(parent.as_object_mut().unwrap());
        document
    };
    mutated.push(("missing", with(&|fields| drop(fields.remove(name)))));
    let documented = if inner.is_some() { &document[outer][name] } else { &document[name] };
    for (mutation, value) in values {
        let is_another_type = std::mem::discriminant(documented) != std::mem::discriminant(&value);
        if is_another_type || mutation == "empty" {
            mutated.push((mutation, with(&|fields| fields[name] = value.clone())));
        }
    }
    mutated
}

/// The detail of a refused mutation: the field, its class, and the expectation.
fn detail(field: &str, mutation: &str, verdict: &str, hook: &str) -> Option<String> {
    let verdict = verdict.split_once("; ").map_or(verdict, |(verdict, _)| verdict);
    if let Some(names) = verdict.strip_prefix("drift ") {
        let first = names.split(',').next().unwrap_or_default();
        let form = "is not as documented, expected the documented form, because the schema is strict";
        return (hook == "strict").then(|| format!("{first}: {form}"));
    }
    let expected = match (field, mutation) {
        ("generation_id", _) => "a UUID",
        ("status", _) => "completed or failed",
        ("video_url", "empty") => "https",
        _ => "an https URL",
    };
    let found = match (field, mutation) {
        (_, "missing") => "is missing",
        (_, "null") => "is null",
        (_, "bool") => "is a boolean",
        (_, "number") => "is a number",
        (_, "array") => "is a list",
        (_, "object") => "is an object",
        ("video_url", _) => "has no scheme",
        // The usual detail of each reason.
        _ => return None,
    };
    (verdict != "as documented").then(|| format!("{field}: {found}, expected {expected}"))
}

/// Reads a verdict: `as documented`, `drift a,b`, or the code of a reason. After a semicolon it has the event, code, class and
/// retryable that a mutation changes. The strict hook refuses drift.
fn expect(sample: &str, field: &str, verdict: &str, hook: &str) -> ExpectedOutcome {
    let own = match sample {
        "completed" => "completed",
        "failed" => "failed UNSAFE_CONTENT content false",
        "timeout" => "timeout TIMEOUT system true",
        _ => panic!("{sample}: add its unchanged event here"),
    };
    let (verdict, event) = verdict.split_once("; ").unwrap_or((verdict, own));
    let drift: Vec<String> = match verdict.split_once(' ') {
        Some(("drift", names)) => names.split(',').map(str::to_owned).collect(),
        _ if verdict == "as documented" => Vec::new(),
        _ => return ExpectedOutcome::refused(verdict, field != "generation_id"),
    };
    if hook == "strict" && !drift.is_empty() {
        return ExpectedOutcome::refused("schema-invalid", true);
    }
    let words: Vec<String> = event.split(' ').map(str::to_owned).collect();
    match &words[..] {
        [event] => ExpectedOutcome::forwarded(event, None, drift),
        [event, code, class, retryable] => {
            ExpectedOutcome::forwarded(event, Some([code.clone(), class.clone(), retryable.clone()]), drift)
        }
        _ => panic!("mutations.toml: {event} is no event"),
    }
}
