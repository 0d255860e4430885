//! Renders the templates.

use super::visitor::Visitor;
use crate::admin::Problem;
use crate::service;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use minijinja::value::{Serde, Value};
use minijinja::{Environment, UndefinedBehavior, context};
use serde::Serialize;
use std::sync::LazyLock;

/// A rendered view.
pub(super) struct Html(String);

/// The places of the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Place {
    Overview,
    Entries,
    /// A view that the navigation does not have.
    Nowhere,
}

/// Why a view cannot be shown.
#[derive(Debug)]
pub(super) struct PageError {
    status: StatusCode,
    title: &'static str,
    detail: String,
}

static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    for (name, text) in [
        ("action.html", include_str!("templates/action.html")),
        ("action_buttons.html", include_str!("templates/action_buttons.html")),
        ("action_outcome.html", include_str!("templates/action_outcome.html")),
        ("action_pause.html", include_str!("templates/action_pause.html")),
        ("action_reasons.html", include_str!("templates/action_reasons.html")),
        ("action_reevaluate.html", include_str!("templates/action_reevaluate.html")),
        ("action_reevaluate_list.html", include_str!("templates/action_reevaluate_list.html")),
        ("action_release_as.html", include_str!("templates/action_release_as.html")),
        ("action_selected.html", include_str!("templates/action_selected.html")),
        ("layout.html", include_str!("templates/layout.html")),
        ("next.html", include_str!("templates/next.html")),
        ("overview.html", include_str!("templates/overview.html")),
        ("problem.html", include_str!("templates/problem.html")),
        ("sign_in.html", include_str!("templates/sign_in.html")),
        ("visitor.html", include_str!("templates/visitor.html")),
    ] {
        let added = environment.add_template(name, text);
        debug_assert!(added.is_ok(), "{added:?}");
    }
    environment
});

/// Renders a template for a visitor. The template gets `visitor`, `place`, `assets`, and `view`.
pub(super) fn render(
    template: &str,
    visitor: &Visitor,
    place: Place,
    view: &impl Serialize,
) -> Result<Html, PageError> {
    let context = context! {
        visitor => Value::from(Serde(visitor)),
        place => Value::from(Serde(place)),
        assets => Value::from(Serde(super::assets::paths())),
        view => Value::from(Serde(view)),
    };
    let rendered = TEMPLATES.get_template(template).and_then(|template| template.render(context));
    rendered.map(Html).map_err(|error| {
        tracing::error!("cannot render {template}: {error:#}");
        PageError {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            title: "The page cannot be rendered",
            detail: "the inbox's log has the cause".to_owned(),
        }
    })
}

impl PageError {
    pub(super) fn new(status: StatusCode, title: &'static str, detail: String) -> Self {
        Self { status, title, detail }
    }
}

impl From<service::BadRequest> for PageError {
    fn from(error: service::BadRequest) -> Self {
        Problem::from(error).into()
    }
}

impl From<service::Error> for PageError {
    fn from(error: service::Error) -> Self {
        Problem::Service(error).into()
    }
}

impl From<Problem> for PageError {
    fn from(problem: Problem) -> Self {
        let code = problem.code();
        let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, title: code.title(), detail: problem.to_string() }
    }
}

impl IntoResponse for Html {
    fn into_response(self) -> Response {
        const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
        ([(header::CONTENT_TYPE, HTML)], self.0).into_response()
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let view = context! { title => self.title, detail => self.detail };
        let page = render("problem.html", &Visitor::nobody(), Place::Nowhere, &view);
        match page {
            Ok(html) => (self.status, html).into_response(),
            Err(error) => (error.status, error.title).into_response(),
        }
    }
}
