//! Reads the form with the gate's configuration.

use super::super::super::render::PageError;
use super::super::fields::ActionFields;
use crate::envoy_yaml::find_configurations;
use crate::service::{ChangeRequest, ReevaluateRequest};
use axum::extract::Multipart;
use axum::extract::multipart::MultipartError;
use serde_json::Value;

/// The fields of the form, before the configuration is parsed.
pub(super) struct ReevaluateForm {
    config: String,
    waive: Vec<String>,
    step: ReevaluateStep,
    has_rest: bool,
    selection: ChangeRequest,
}

pub(super) struct ParsedForm {
    pub(super) config: Value,
    pub(super) waive: Vec<String>,
    pub(super) step: ReevaluateStep,
    has_rest: bool,
    pub(super) selection: ChangeRequest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReevaluateStep {
    /// Lists what would change.
    List,
    /// Changes what the list showed.
    Apply,
}

impl ReevaluateStep {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Apply => "apply",
        }
    }

    fn read(name: Option<&str>) -> Result<Self, PageError> {
        match name {
            None => Ok(Self::List),
            Some(name) if name == Self::Apply.name() => Ok(Self::Apply),
            Some(_) => Err(PageError::wrong("unknown step: use the buttons of the page")),
        }
    }
}

impl ReevaluateForm {
    pub(super) async fn read(mut multipart: Multipart) -> Result<Self, PageError> {
        let mut configs = Vec::new();
        let mut pairs = Vec::new();
        while let Some(field) = multipart.next_field().await.map_err(unreadable)? {
            let name = field.name().unwrap_or_default().to_owned();
            let bytes = field.bytes().await.map_err(unreadable)?;
            let is_config = matches!(name.as_str(), "config" | "file");
            let text = String::from_utf8(bytes.into()).map_err(|_| match is_config {
                true => PageError::wrong("the configuration is not UTF-8: save it as UTF-8 text"),
                false => PageError::wrong("a field is not UTF-8: use the form of the page"),
            })?;
            match is_config {
                true if text.trim().is_empty() => {}
                true => configs.push(text),
                false => pairs.push((name, text)),
            }
        }
        let config = match (configs.pop(), configs.is_empty()) {
            (Some(config), true) => config,
            (None, _) => {
                return Err(PageError::wrong(
                    "the configuration is missing: choose a file, or paste its text",
                ));
            }
            (Some(_), false) => {
                return Err(PageError::wrong(
                    "the form has two configurations: choose a file or paste a text, not both",
                ));
            }
        };
        let mut fields = ActionFields::new(pairs);
        let _checked = fields.take_all("csrf");
        let waive = fields.take_all("waive");
        let step = ReevaluateStep::read(fields.take("step")?.as_deref())?;
        let has_rest = fields.take("rest")?.is_some();
        let (after, until) = (fields.take_number("after")?, fields.take_number("until")?);
        let selection = ChangeRequest { after, until, ..fields.selection()? };
        Ok(Self { config, waive, step, has_rest, selection })
    }

    /// Finds the configuration in the text.
    pub(super) async fn parse(self) -> Result<ParsedForm, PageError> {
        let Self { config, waive, step, has_rest, selection } = self;
        let parsed = tokio::task::spawn_blocking(move || find(&config)).await;
        let config =
            parsed.map_err(|_| PageError::wrong("the configuration cannot be read: send it again"))??;
        Ok(ParsedForm { config, waive, step, has_rest, selection })
    }
}

impl ParsedForm {
    pub(super) fn request(&self, dry_run: bool) -> ReevaluateRequest {
        let selection = ChangeRequest { dry_run, ..self.selection.clone() };
        ReevaluateRequest::new(selection, self.config.clone(), self.waive.clone())
    }

    /// The `after` of the entries behind the list, if there are more.
    pub(super) fn rest_after(&self) -> Option<i64> {
        self.selection.until.filter(|_| self.has_rest)
    }
}

/// The one configuration of a text. An error names no part of it: it may have keys.
fn find(text: &str) -> Result<Value, PageError> {
    let mut found = find_configurations(text).map_err(|error| {
        PageError::wrong(format!(
            "the configuration is not YAML or JSON at line {}, column {}: correct it",
            error.line, error.column
        ))
    })?;
    match (found.pop(), found.is_empty()) {
        (Some(config), true) => Ok(config),
        (None, _) => Err(PageError::wrong(
            "the text has no configuration of the gate, an object with hooks: choose the envoy.yaml of the gate",
        )),
        (Some(_), false) => {
            Err(PageError::wrong("the text has several configurations of the gate: choose a text with one"))
        }
    }
}

fn unreadable(error: MultipartError) -> PageError {
    PageError::of_form(error.status())
}
