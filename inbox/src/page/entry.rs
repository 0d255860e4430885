//! One entry: what happened, why, what to do, and its contents.

use super::audit::ActionView;
use super::body::{BodyExtent, BodyText};
use super::prose::{ProsePiece, pieces};
use super::render::{NavPlace, render};
use super::story::StoryView;
use super::{PageAnswer, PageError, PageState, Visitor, curl};
use crate::admin::Admin;
use crate::entry::QuarantineReason;
use crate::service::{
    AttemptRecord, AuditRequest, BodyEncoding, EntryDetail, EntryFilter, EntrySummary, HeaderLine,
    ListRequest, StoryRequest, read_id, split_detail,
};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderName, StatusCode, header};
use serde::{Deserialize, Serialize};

/// The actions in the view.
const MAX_ACTIONS: i64 = 20;
/// The entries of the same generation in the view.
const MAX_RELATED: i64 = 20;

#[derive(Serialize)]
struct EntryView {
    entry: EntrySummary,
    decision: Option<DecisionView>,
    story: StoryView,
    payload: Option<PayloadView>,
    expectation: Option<String>,
    /// Other entries of the generation.
    related: Vec<EntrySummary>,
    attempts: Vec<AttemptRecord>,
    /// The newest actions that changed it.
    actions: Vec<ActionView>,
}

/// Why an entry is in quarantine, or would be if its hook did more than observe.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct DecisionView {
    code: String,
    meaning: String,
    remedy: Vec<ProsePiece>,
    /// The page about the reason.
    href: String,
    /// `FIELD`, `FOUND` and `EXPECTED` of a detail.
    violation: Option<[String; 3]>,
    /// A detail of another form.
    detail: Option<String>,
}

#[derive(Serialize)]
struct PayloadView {
    path: String,
    headers: Vec<HeaderLine>,
    body: BodyText,
    curl: String,
}

/// The query of the view.
#[derive(Deserialize)]
pub(super) struct EntryQuery {
    /// `all` for the whole body.
    body: Option<String>,
}

pub(super) async fn show(
    State(admin): PageState,
    visitor: Visitor,
    Path(id): Path<String>,
    Query(query): Query<EntryQuery>,
) -> PageAnswer {
    let extent = if query.body.as_deref() == Some("all") { BodyExtent::Whole } else { BodyExtent::Short };
    let view = EntryView::new(&admin, read_id(&id).map_err(crate::service::Error::from)?, extent).await?;
    render("entry.html", &visitor, NavPlace::Entries, &view)
}

/// The body as a file. A browser never shows it, since it may be anything.
pub(super) async fn body(
    State(admin): PageState,
    _: Visitor,
    Path(id): Path<String>,
) -> Result<([(HeaderName, String); 2], Vec<u8>), PageError> {
    let id = read_id(&id).map_err(crate::service::Error::from)?;
    let payload = admin.operations.show(id).await?.payload;
    let payload = payload.ok_or_else(|| {
        PageError::new(
            StatusCode::NOT_FOUND,
            "The body is deleted",
            format!("retention or a purge has deleted the body of entry {id}"),
        )
    })?;
    let kind = match payload.body_encoding {
        BodyEncoding::Text => "text/plain; charset=utf-8",
        BodyEncoding::Base64 => "application/octet-stream",
    };
    let name = format!("attachment; filename=\"{}\"", curl::file_name(id));
    let headers = [(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, payload.bytes().unwrap_or_default()))
}

impl EntryView {
    async fn new(admin: &Admin, id: i64, extent: BodyExtent) -> Result<Self, PageError> {
        let EntryDetail { entry, payload, expectation, attempt_log } = admin.operations.show(id).await?;
        let request = StoryRequest { entry: Some(id), ..StoryRequest::default() };
        let story = admin.operations.story(&request).await?;
        let related = related(admin, &entry).await?;
        let audit = AuditRequest { before: None, limit: Some(MAX_ACTIONS), entry: Some(id) };
        let actions = admin.operations.audit(&audit).await?.actions;
        let payload = payload.map(|payload| PayloadView {
            body: BodyText::new(&payload.bytes().unwrap_or_default(), extent),
            curl: curl::command(id, &payload),
            path: payload.path,
            headers: payload.headers,
        });
        Ok(Self {
            decision: DecisionView::new(&entry, &admin.docs),
            story: StoryView::new(story, Some(id), &admin.docs),
            expectation: expectation.map(|expectation| expectation.state.name().to_owned()),
            payload,
            related,
            attempts: attempt_log,
            actions: actions.into_iter().map(ActionView::new).collect(),
            entry,
        })
    }
}

async fn related(admin: &Admin, entry: &EntrySummary) -> Result<Vec<EntrySummary>, PageError> {
    let Some(generation) = entry.generation.clone() else { return Ok(Vec::new()) };
    let filter = EntryFilter {
        generation: Some(generation),
        hook: Some(entry.hook.clone()),
        ..EntryFilter::default()
    };
    let request = ListRequest { filter, limit: Some(MAX_RELATED), before: None };
    let page = admin.operations.list(&request).await?;
    Ok(page.entries.into_iter().filter(|other| other.id != entry.id).collect())
}

impl DecisionView {
    fn new(entry: &EntrySummary, docs: &str) -> Option<Self> {
        let code = entry.reason.clone()?;
        let reason = QuarantineReason::parse(&code);
        let violation = entry.detail.as_deref().and_then(split_detail);
        let violation =
            violation.map(|(field, found, expected)| [field, found, expected].map(ToOwned::to_owned));
        Some(Self {
            meaning: reason.meaning(),
            remedy: pieces(&reason.remedy(), docs),
            href: match reason {
                QuarantineReason::Gate(reason) => format!("{docs}/reference/reasons.html#{}", reason.code()),
                _ => format!("{docs}/operate/quarantine.html"),
            },
            detail: entry.detail.clone().filter(|_| violation.is_none()),
            violation,
            code,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::render::tests::{HOSTILE, check_inert, hostile_entry, operator, text_of};
    use crate::service::{AuditRecord, GenerationStory, StoryAnswer, StoryEvent, StoryLine, StoryStep};

    fn story() -> StoryView {
        let text = || Some(HOSTILE.to_owned());
        let line = |entry| StoryLine {
            at: text(),
            what: StoryEvent::Quarantined,
            entry: Some(entry),
            text: HOSTILE.to_owned(),
            remedy: text(),
        };
        let story = GenerationStory {
            hook: HOSTILE.to_owned(),
            generation: text(),
            job: text(),
            state: HOSTILE.to_owned(),
            lines: vec![line(17), line(18)],
            more_entries: 2,
            next: vec![StoryStep { why: HOSTILE.to_owned(), command: text() }],
        };
        let answer = StoryAnswer {
            now: String::new(),
            stories: vec![story],
            more: 0,
            status_api: None,
            next: Vec::new(),
        };
        StoryView::new(answer, Some(17), "https://docs.example")
    }

    fn view(body: &[u8]) -> EntryView {
        let text = || Some(HOSTILE.to_owned());
        let entry = hostile_entry();
        let record = AuditRecord {
            id: 1,
            at: HOSTILE.to_owned(),
            who: text(),
            action: "drop".to_owned(),
            filter: None,
            target: text(),
            entries: 1,
            ids: vec![17],
            note: text(),
        };
        let header = HeaderLine { name: HOSTILE.to_owned(), value: HOSTILE.to_owned() };
        let attempt = AttemptRecord {
            number: 1,
            at: HOSTILE.to_owned(),
            duration_ms: None,
            status: None,
            answer: text(),
        };
        EntryView {
            decision: DecisionView::new(&entry, "https://docs.example"),
            story: story(),
            payload: Some(PayloadView {
                path: HOSTILE.to_owned(),
                headers: vec![header],
                body: BodyText::new(body, BodyExtent::Short),
                curl: HOSTILE.to_owned(),
            }),
            expectation: Some("expected".to_owned()),
            related: vec![hostile_entry()],
            attempts: vec![attempt],
            actions: vec![ActionView::new(record)],
            entry,
        }
    }

    #[test]
    fn shows_hostile_entries_as_text() {
        let html = text_of("entry.html", &operator(), NavPlace::Entries, &view(HOSTILE.as_bytes()));
        check_inert(&html, 41);
    }

    #[test]
    fn shows_a_hostile_body_as_text() {
        let entry = |body: &[u8]| text_of("entry.html", &operator(), NavPlace::Entries, &view(body));
        let html = entry(b"{\"a\":\"</pre><img src=x onerror=alert(1)>\xe2\x80\xae\"}");
        let body = "{\n  &quot;a&quot;: &quot;&lt;/pre&gt;&lt;img src=x onerror=alert(1)&gt;<span class=\"mark\">U+202E</span>&quot;\n}</pre>";
        assert!(html.contains(body), "{html}");
        assert!(entry(b"\xff\0").contains(">\\xff<span class=\"mark\" title=\"U+0000\">NUL</span></pre>"));
        // The page of the largest body stays small.
        let large = format!("{{\"a\":\"{}\"}}", "\u{202e}<".repeat(250_000));
        let html = entry(large.as_bytes());
        assert!(html.len() < 400_000, "{}", html.len());
        assert!(html.contains("href=\"/page/entries/17?body=all#body\">Show all</a>"));
    }
}
