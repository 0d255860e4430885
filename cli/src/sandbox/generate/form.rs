//! The fields of an order, and their errors.

use crate::sandbox::script::Script;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::ops::RangeInclusive;

pub(super) struct Form<'a> {
    fields: &'a Map<String, Value>,
    pub(super) errors: Vec<FieldError>,
}

/// An entry of the list in a 422, as on the provider's pages.
#[derive(Serialize)]
pub(super) struct FieldError {
    #[serde(rename = "type")]
    kind: &'static str,
    loc: Vec<&'static str>,
    msg: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<Value>,
}

/// The characters of a prompt, from the page on generating.
const PROMPT: RangeInclusive<usize> = 10..=4000;

impl<'a> Form<'a> {
    pub(super) const fn new(fields: &'a Map<String, Value>) -> Self {
        Self { fields, errors: Vec::new() }
    }

    pub(super) fn prompt(&mut self) -> Option<String> {
        if self.given("prompt").is_none() {
            return self.reject("missing", "prompt", "Field required".to_owned());
        }
        self.text("prompt", PROMPT).map(str::to_owned)
    }

    pub(super) fn text(&mut self, name: &'static str, size: RangeInclusive<usize>) -> Option<&'a str> {
        let Some(text) = self.given(name)?.as_str() else {
            return self.reject("string_type", name, "Input should be a valid string".to_owned());
        };
        let (count, least, most) = (text.chars().count(), size.start(), size.end());
        if count < *least {
            let msg = format!("String should have at least {least} characters");
            return self.reject("string_too_short", name, msg);
        }
        if count > *most {
            let msg = format!("String should have at most {most} characters");
            return self.reject("string_too_long", name, msg);
        }
        Some(text)
    }

    pub(super) fn number(&mut self, name: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let number = self.given(name)?.as_u64().filter(|number| range.contains(number));
        let msg = format!("Input should be a number from {} to {}", range.start(), range.end());
        number.or_else(|| self.reject("int_range", name, msg))
    }

    pub(super) fn choice(&mut self, name: &'static str, choices: &[&'static str]) -> Option<&'static str> {
        let given = self.given(name)?.as_str();
        let chosen = choices.iter().copied().find(|choice| given == Some(choice));
        let msg = format!("Input should be one of {}", choices.join(", "));
        chosen.or_else(|| self.reject("enum", name, msg))
    }

    /// "HTTPS Required: All webhook URLs must use HTTPS" of the page on webhooks.
    pub(super) fn callback_url(&mut self) -> Option<Url> {
        let given = self.given("callback_url")?.as_str();
        let url = given.and_then(|text| Url::parse(text).ok()).filter(|url| url.scheme() == "https");
        let msg = "Input should be a valid HTTPS URL".to_owned();
        url.or_else(|| self.reject("url_parsing", "callback_url", msg))
    }

    pub(super) fn script(&mut self) -> Script {
        let Some(given) = self.given("sandbox") else { return Script::default() };
        match Script::deserialize(given) {
            Ok(script) => script,
            Err(error) => self.reject("value_error", "sandbox", error.to_string()).unwrap_or_default(),
        }
    }

    /// `null` means absent.
    fn given(&self, name: &str) -> Option<&'a Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    fn reject<T>(&mut self, kind: &'static str, name: &'static str, msg: String) -> Option<T> {
        let input = self.given(name).cloned();
        self.errors.push(FieldError { kind, loc: vec!["body", name], msg, input });
        None
    }
}

impl FieldError {
    pub(super) fn of_body(error: &serde_json::Error) -> Self {
        Self {
            kind: "json_invalid",
            loc: vec!["body"],
            msg: format!("JSON decode error: {error}"),
            input: None,
        }
    }

    pub(super) fn line(&self) -> String {
        format!("{}: {}", self.loc.join("."), self.msg)
    }
}
