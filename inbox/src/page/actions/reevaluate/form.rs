//! Reads the form with the gate's configuration.

use super::super::super::form::CheckedForm;
use super::super::super::render::PageError;
use super::super::fields::{ActionFields, wrong};
use crate::envoy_yaml::find_configurations;
use crate::service::{ChangeRequest, ReevaluateRequest};
use serde_json::Value;

pub(super) struct ReevaluateForm {
    pub(super) config: Value,
    pub(super) waive: Vec<String>,
    pub(super) step: ReevaluateStep,
    /// Whether the list ended before the last entry.
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
            Some(_) => Err(wrong("unknown step: use the buttons of the page")),
        }
    }
}

impl ReevaluateForm {
    pub(super) async fn read(form: CheckedForm) -> Result<Self, PageError> {
        let mut fields = ActionFields::of_form(&form);
        // The form has the text, too.
        drop(form);
        let mut texts = fields.take_all("config");
        texts.extend(fields.take_all("file"));
        texts.retain(|text| !text.trim().is_empty());
        let waive = fields.take_all("waive");
        let step = ReevaluateStep::read(fields.take("step")?.as_deref())?;
        let has_rest = fields.take("rest")?.is_some();
        let (after, until) = (fields.take_number("after")?, fields.take_number("until")?);
        let selection = ChangeRequest { after, until, ..fields.selection()? };
        let text = match (texts.pop(), texts.is_empty()) {
            (Some(text), true) => text,
            (None, _) => return Err(wrong("the configuration is missing: choose a file, or paste its text")),
            (Some(_), false) => {
                return Err(wrong(
                    "the form has two configurations: choose a file or paste a text, not both",
                ));
            }
        };
        // A large configuration takes seconds, and the inbox stores events meanwhile.
        let found = tokio::task::spawn_blocking(move || find(&text)).await;
        let config = found.map_err(|_| wrong("the configuration cannot be read: send it again"))??;
        Ok(Self { config, waive, step, has_rest, selection })
    }

    pub(super) fn request(&self, dry_run: bool) -> ReevaluateRequest {
        let selection = ChangeRequest { dry_run, ..self.selection.clone() };
        ReevaluateRequest::new(selection, self.config.clone(), self.waive.clone())
    }

    /// The `after` of the entries behind the list, if there are more.
    pub(super) fn rest_after(&self) -> Option<i64> {
        self.selection.until.filter(|_| self.has_rest)
    }
}

/// The one configuration of a text. An error contains no part of the text, which may have keys.
fn find(text: &str) -> Result<Value, PageError> {
    let mut found = find_configurations(text).map_err(|error| {
        let (line, column) = (error.line, error.column);
        wrong(format!("the configuration is not YAML or JSON at line {line}, column {column}: correct it"))
    })?;
    match (found.pop(), found.is_empty()) {
        (Some(config), true) => Ok(config),
        (None, _) => Err(wrong(
            "the text has no configuration of the gate, an object with hooks: choose the envoy.yaml of the gate",
        )),
        (Some(_), false) => {
            Err(wrong("the text has several configurations of the gate: choose a text with one"))
        }
    }
}
