//! Renders the templates.

use super::visitor::Visitor;
use super::{visible, wording};
use crate::admin::Problem;
use crate::health::now;
use crate::service;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{Environment, UndefinedBehavior, context};
use serde::Serialize;
use std::sync::LazyLock;

/// A rendered view.
pub(super) struct Html(String);

/// The places of the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum NavPlace {
    Overview,
    Entries,
    Refusals,
    Audit,
    /// A view that the navigation does not have.
    Nowhere,
}

/// Why a view cannot be shown.
#[derive(Clone, Debug)]
pub(super) struct PageError {
    status: StatusCode,
    title: &'static str,
    detail: String,
}

macro_rules! templates {
    ($($name:literal,)*) => {
        /// The name and the text of each template.
        const SOURCES: &[(&str, &str)] = &[$(($name, include_str!(concat!("templates/", $name))),)*];
    };
}

templates! {
    "action.html",
    "action_buttons.html",
    "action_outcome.html",
    "action_pause.html",
    "action_reasons.html",
    "action_reevaluate.html",
    "action_reevaluate_list.html",
    "action_release_as.html",
    "action_selected.html",
    "actions.html",
    "audit.html",
    "chart.html",
    "entry.html",
    "layout.html",
    "list.html",
    "list_actions.html",
    "macros.html",
    "next.html",
    "overview.html",
    "problem.html",
    "refusals.html",
    "sign_in.html",
    "story.html",
    "visitor.html",
}

static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    if let Ok(syntax) = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build() {
        environment.set_syntax(syntax);
    }
    environment.add_filter("ago", wording::ago);
    environment.add_filter("count", wording::count);
    environment.add_filter("size", wording::size);
    environment.add_filter("url", wording::url);
    environment.add_filter("visible", visible::visible);
    for (name, text) in SOURCES {
        let added = environment.add_template(name, text);
        debug_assert!(added.is_ok(), "{added:?}");
    }
    environment
});

/// Renders a template for a visitor. The template gets `visitor`, `place`, `assets`, `now`, and `view`.
pub(super) fn render(
    template: &str,
    visitor: &Visitor,
    place: NavPlace,
    view: &impl Serialize,
) -> Result<Html, PageError> {
    render_at(now(), template, visitor, place, view).map(Html).map_err(|error| {
        tracing::error!("cannot render {template}: {error:#}");
        PageError {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            title: "The page cannot be rendered",
            detail: "the inbox's log has the cause".to_owned(),
        }
    })
}

/// Renders a template at a time, in microseconds since 1970.
fn render_at(
    now: i64,
    template: &str,
    visitor: &Visitor,
    place: NavPlace,
    view: &impl Serialize,
) -> Result<String, minijinja::Error> {
    let context = context! {
        visitor => Value::from(Serde(visitor)),
        place => Value::from(Serde(place)),
        assets => Value::from(Serde(super::assets::paths())),
        now => now,
        view => Value::from(Serde(view)),
    };
    TEMPLATES.get_template(template)?.render(context)
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
    /// The page for a visitor without rights, which has no navigation: see [`PageError::shown_to`].
    fn into_response(self) -> Response {
        let mut response = self.page(&Visitor::nobody());
        response.extensions_mut().insert(self);
        response
    }
}

impl PageError {
    /// Shows an error to an admitted visitor, with the navigation.
    pub(super) fn shown_to(visitor: &Visitor, mut response: Response) -> Response {
        if let Some(error) = response.extensions_mut().remove::<Self>() {
            *response.body_mut() = error.page(visitor).into_body();
        }
        response
    }

    fn page(&self, visitor: &Visitor) -> Response {
        let view = context! { title => self.title, detail => self.detail.clone() };
        match render("problem.html", visitor, NavPlace::Nowhere, &view) {
            Ok(html) => (self.status, html).into_response(),
            Err(error) => (error.status, error.title).into_response(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::string_slice, reason = "a test may panic: that is how it fails")]
pub(super) mod tests {
    use super::*;
    use crate::access::Access;
    use crate::service::EntrySummary;
    use serde_json::json;
    use std::collections::BTreeSet;
    use std::path::Path;

    /// 2026-01-31T12:00:00Z.
    pub(in crate::page) const NOON: i64 = 1_769_860_800_000_000;

    /// Markup, quotation marks, a change of direction, an escape sequence and NUL.
    pub(in crate::page) const HOSTILE: &str = "<script>alert(1)</script>\"'&\u{202e}\u{1b}[2J\0";
    /// The same, as a view shows it.
    const HOSTILE_HTML: &str = "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27;&amp;\
        <span class=\"mark\">U+202E</span><span class=\"mark\" title=\"U+001B\">ESC</span>[2J\
        <span class=\"mark\" title=\"U+0000\">NUL</span>";

    /// A visitor who sees each button.
    pub(in crate::page) fn operator() -> Visitor {
        Visitor::local(&Access::new(Vec::new()))
    }

    /// The text of a view at noon.
    pub(in crate::page) fn text_of(
        template: &str,
        visitor: &Visitor,
        place: NavPlace,
        view: &impl Serialize,
    ) -> String {
        render_at(NOON, template, visitor, place, view).unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// Checks that a view shows the hostile text this many times, and that a browser only shows it.
    #[track_caller]
    pub(in crate::page) fn check_inert(html: &str, times: usize) {
        assert_eq!(html.matches("<script").count(), 1, "only the page's own script");
        assert!(
            !html.contains("<script>alert") && !html.contains(" style=") && !html.contains("javascript:")
        );
        let hidden = |c: char| (c.is_control() && c != '\n' && c != '\t') || c == '\u{202e}';
        if let Some(at) = html.find(hidden) {
            panic!(
                "a hidden character in: {:?}",
                &html[html.floor_char_boundary(at.saturating_sub(200))..at]
            );
        }
        // A tag inside of a tag is a value that left its attribute.
        for tag in html.split('<').skip(1) {
            assert!(tag.contains('>'), "not closed: <{tag}");
        }
        assert_eq!(html.matches(HOSTILE_HTML).count(), times, "{html}");
    }

    /// An entry with the hostile text in each field that is a text.
    pub(in crate::page) fn hostile_entry() -> EntrySummary {
        let entry = json!({
            "id": 17, "lane": "quarantine", "state": "quarantined", "hook": HOSTILE, "generation": HOSTILE,
            "event": "completed", "reason": HOSTILE, "detail": HOSTILE, "client": HOSTILE, "token_id": HOSTILE,
            "job": HOSTILE, "request_id": HOSTILE, "traceparent": HOSTILE, "authenticated": true, "size": 1_532,
            "route": HOSTILE, "supersedes": HOSTILE, "override": HOSTILE, "redelivery": 2, "received_at": HOSTILE,
            "seen": 2, "seen_at": HOSTILE, "due_at": HOSTILE, "ended_at": HOSTILE, "redelivered_at": HOSTILE,
            "superseded_by": 18, "attempts": 3, "status": 503, "answer": HOSTILE, "digest": HOSTILE,
        });
        serde_json::from_value(entry).unwrap()
    }

    #[test]
    fn a_problem_shows_hostile_details_as_text() {
        let view = context! { title => "No entry has this number", detail => HOSTILE };
        let html = text_of("problem.html", &Visitor::nobody(), NavPlace::Nowhere, &view);
        check_inert(&html, 1);
    }

    #[test]
    fn every_template_parses() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/page/templates");
        let files: BTreeSet<String> =
            folder.read_dir().unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        let named: BTreeSet<String> = SOURCES.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(named, files);
        for name in named {
            TEMPLATES.get_template(&name).unwrap_or_else(|error| panic!("{name}: {error:#}"));
        }
    }
}
