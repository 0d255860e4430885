//! The timeline and the next steps of a generation.

use super::prose::{ProsePiece, pieces};
use super::step::StepView;
use crate::service::{GenerationStory, StoryAnswer, StoryEvent, StoryLine};
use serde::Serialize;

/// The stories of a view.
#[derive(Debug, Serialize)]
pub(super) struct StoryView {
    stories: Vec<StoryPart>,
    /// The steps without a story.
    steps: Vec<StepView>,
}

#[derive(Debug, Serialize)]
struct StoryPart {
    hook: String,
    generation: Option<String>,
    job: Option<String>,
    state: String,
    lines: Vec<LineView>,
    more_entries: i64,
    steps: Vec<StepView>,
}

#[derive(Debug, Serialize)]
struct LineView {
    at: Option<String>,
    /// Whether it is still to come.
    is_ahead: bool,
    tone: &'static str,
    glyph: &'static str,
    text: String,
    entry: Option<i64>,
    /// Whether it is about another entry than the shown one.
    is_other: bool,
    remedy: Vec<ProsePiece>,
}

impl StoryView {
    /// `shown` is the entry of the view. `docs` is the base URL of the book.
    pub(super) fn new(answer: StoryAnswer, shown: Option<i64>, docs: &str) -> Self {
        let now = &answer.now;
        let part = |story: GenerationStory| StoryPart {
            hook: story.hook,
            generation: story.generation,
            job: story.job,
            state: story.state,
            lines: story.lines.into_iter().map(|line| LineView::new(line, shown, now, docs)).collect(),
            more_entries: story.more_entries,
            steps: story.next.into_iter().filter_map(|step| StepView::new(step, shown, docs)).collect(),
        };
        Self {
            stories: answer.stories.into_iter().map(part).collect(),
            steps: answer.next.into_iter().filter_map(|step| StepView::new(step, shown, docs)).collect(),
        }
    }
}

impl LineView {
    fn new(line: StoryLine, shown: Option<i64>, now: &str, docs: &str) -> Self {
        let (tone, glyph) = look(line.what);
        Self {
            // Times of one length sort as text.
            is_ahead: line.at.as_deref().is_some_and(|at| at > now),
            tone,
            glyph,
            text: line.text,
            is_other: shown.is_some() && line.entry.is_some() && line.entry != shown,
            entry: line.entry,
            // The view of an entry explains its own reason.
            remedy: line
                .remedy
                .filter(|_| line.entry != shown)
                .map(|remedy| pieces(&remedy, docs))
                .unwrap_or_default(),
            at: line.at,
        }
    }
}

/// The tone and the glyph of an event. The text says the same in words.
const fn look(what: StoryEvent) -> (&'static str, &'static str) {
    match what {
        StoryEvent::Expected => ("calm", "◇"),
        StoryEvent::Overdue => ("bad", "!"),
        StoryEvent::Received | StoryEvent::Observed => ("info", "↓"),
        StoryEvent::Quarantined | StoryEvent::JobMismatch => ("warn", "!"),
        StoryEvent::Reconciled => ("info", "⇣"),
        StoryEvent::Repeated => ("calm", "="),
        StoryEvent::StatusCall => ("calm", "?"),
        StoryEvent::Superseded => ("calm", "↷"),
        StoryEvent::Released => ("ok", "→"),
        StoryEvent::Replayed => ("info", "↻"),
        StoryEvent::Attempt | StoryEvent::Dead => ("bad", "✕"),
        StoryEvent::Delivered => ("ok", "✓"),
        StoryEvent::Dropped | StoryEvent::Purged => ("calm", "−"),
        StoryEvent::Paused | StoryEvent::RouteFails => ("warn", "!"),
        StoryEvent::Due | StoryEvent::CallDue => ("ahead", "…"),
    }
}
