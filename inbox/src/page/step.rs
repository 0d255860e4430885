//! The next steps of a story, as links to the page where it can do them.

use super::prose::{ProsePiece, pieces};
use crate::service::StoryStep;
use serde::Serialize;

/// A step.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct StepView {
    why: Vec<ProsePiece>,
    /// The command, where the page cannot do it.
    command: Option<String>,
    link: Option<StepLink>,
}

/// The link of a step.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct StepLink {
    label: String,
    path: String,
    /// Whether it asks for a change, which only a visitor with the right may make.
    changes: bool,
}

impl StepView {
    /// A step as the view of an entry shows it. `None` for the advice to look at this entry.
    pub(super) fn new(step: StoryStep, shown: Option<i64>, docs: &str) -> Option<Self> {
        let link = step.command.as_deref().and_then(link);
        if let Some(link) = &link
            && shown.is_some_and(|id| link.path == format!("/page/entries/{id}"))
        {
            return None;
        }
        let command = step.command.filter(|_| link.is_none());
        Some(Self { why: pieces(&step.why, docs), command, link })
    }
}

/// The page's way of a command.
fn link(command: &str) -> Option<StepLink> {
    let words: Vec<&str> = command.split(' ').collect();
    // A quoted word may contain a space, so such a command stays a command.
    if words.iter().any(|word| word.contains('\'')) {
        return None;
    }
    let change = |label: String, path: String| Some(StepLink { label, path, changes: true });
    let see = |label: String, path: String| Some(StepLink { label, path, changes: false });
    match words.as_slice() {
        ["blobgate", "inbox", "show", id] if is_id(id) => {
            see(format!("See entry {id}"), format!("/page/entries/{id}"))
        }
        ["blobgate", "inbox", "show", id, "--body"] if is_id(id) => {
            see(format!("See the body of entry {id}"), format!("/page/entries/{id}#body"))
        }
        ["blobgate", "inbox", action @ ("replay" | "retry" | "release" | "drop"), id] if is_id(id) => {
            change(capital(action), format!("/page/actions/{action}?ids={id}"))
        }
        ["blobgate", "inbox", "release", id, "--as", ..] if is_id(id) => {
            change("Release as …".to_owned(), format!("/page/actions/release-as?ids={id}"))
        }
        ["blobgate", "inbox", "reevaluate", "--config", _, id] if is_id(id) => {
            change("Reevaluate".to_owned(), format!("/page/actions/reevaluate?ids={id}"))
        }
        ["blobgate", "inbox", "resume", options @ ..] => {
            change("Resume".to_owned(), format!("/page/actions/resume?{}", query(options)?))
        }
        ["blobgate", "inbox", "ls", options @ ..] => {
            see("List them".to_owned(), format!("/page/entries?{}", query(options)?))
        }
        _ => None,
    }
}

/// The options `--hook veo3 --state quarantined` as a query.
fn query(options: &[&str]) -> Option<String> {
    let mut pairs = Vec::new();
    for option in options.chunks(2) {
        let [name, value] = option else { return None };
        let name = name.strip_prefix("--")?;
        // `--since 1d` is a time span of the tool alone.
        if !matches!(name, "hook" | "event" | "state" | "generation") {
            return None;
        }
        pairs.push((name, *value));
    }
    Some(super::encode(pairs.into_iter()))
}

fn is_id(word: &str) -> bool {
    crate::service::read_id(word).is_ok()
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn row(command: &str, expected: Option<(&str, &str, bool)>) {
        let link = link(command);
        let shown = link.as_ref().map(|link| (link.label.as_str(), link.path.as_str(), link.changes));
        assert_eq!(shown, expected, "{command}");
    }

    #[test]
    fn a_step_of_the_page_is_a_link() {
        row("blobgate inbox show 17", Some(("See entry 17", "/page/entries/17", false)));
        row(
            "blobgate inbox show 17 --body",
            Some(("See the body of entry 17", "/page/entries/17#body", false)),
        );
        row("blobgate inbox release 17", Some(("Release", "/page/actions/release?ids=17", true)));
        row(
            "blobgate inbox release 17 --as completed --generation ID",
            Some(("Release as …", "/page/actions/release-as?ids=17", true)),
        );
        row(
            "blobgate inbox reevaluate --config envoy.yaml 17",
            Some(("Reevaluate", "/page/actions/reevaluate?ids=17", true)),
        );
        row(
            "blobgate inbox resume --hook veo3 --event failed",
            Some(("Resume", "/page/actions/resume?hook=veo3&event=failed", true)),
        );
        row(
            "blobgate inbox ls --hook veo3 --state quarantined",
            Some(("List them", "/page/entries?hook=veo3&state=quarantined", false)),
        );
        row("blobgate inbox ls --since 1d", None);
        row("blobgate inbox resume --hook 'a b'", None);
        row("blobgate inbox drop 0", None);
        row("blobgate inbox reconcile", None);
        row("blobgate why ffd4 --hook veo3 --ask", None);
    }

    #[test]
    fn no_step_leads_to_the_shown_entry() {
        let step =
            StoryStep { why: "see entry 17".to_owned(), command: Some("blobgate inbox show 17".to_owned()) };
        assert_eq!(StepView::new(step.clone(), Some(17), ""), None);
        assert!(StepView::new(step, Some(18), "").is_some());
    }
}
