//! The next steps after the answer of the status API.

use super::facts::{AskedStatus, StoryEntry, StoryFacts};
use super::step::{run, say};
use super::words::quoted;
use super::{ComparedVerdict, StoryStep};
use crate::entry::EntryState;
use crate::service::time;

/// The steps that the answer tells about, before all others.
pub(super) fn steps(facts: &StoryFacts) -> Vec<StoryStep> {
    match &facts.asked {
        Some(AskedStatus::Ended(compared)) if compared.is_empty() => vec![fetch(facts)],
        Some(AskedStatus::Ended(_)) => facts.compared().filter_map(|entry| compared(facts, entry)).collect(),
        Some(AskedStatus::Unknown) => {
            let mut steps = vec![say(UNKNOWN)];
            steps.extend(facts.compared().filter_map(unknown));
            steps
        }
        Some(AskedStatus::InProgress) => {
            let steps: Vec<_> = facts.compared().map(early).collect();
            if steps.is_empty() { vec![say(IN_PROGRESS)] } else { steps }
        }
        Some(AskedStatus::Other) | None => Vec::new(),
    }
}

/// The step for a generation that is not in the inbox.
pub(super) fn step_without_story(asked: &AskedStatus, hook: &str, generation: &str) -> Option<StoryStep> {
    match asked {
        AskedStatus::Ended(_) => Some(announce(hook, generation)),
        AskedStatus::Unknown => Some(say(UNKNOWN)),
        AskedStatus::InProgress => Some(say(IN_PROGRESS)),
        AskedStatus::Other => None,
    }
}

const UNKNOWN: &str =
    "the status API has no such generation. Compare the id, and the API key, with those of the order";
const IN_PROGRESS: &str = "wait: the generation is in progress, so its webhook is still to come";
const NO_EVENT: &str = "the provider has the result, and the inbox has no event";

/// The step where the inbox has no event of an ended generation.
fn fetch(facts: &StoryFacts) -> StoryStep {
    let generation = facts.generation.as_deref().unwrap_or_default();
    let Some(expectation) = facts.expectation.as_ref().filter(|expectation| expectation.job.is_some()) else {
        return announce(&quoted(&facts.hook), generation);
    };
    match facts.next_call_at() {
        // `reconcile` passes over a generation whose webhook is not overdue.
        Some(at) if !facts.is_callable(expectation) => say(format!(
            "wait: {NO_EVENT}. Its webhook may still come. From {} on the inbox fetches the result",
            time(at)
        )),
        Some(_) => run(format!("{NO_EVENT}. Have it fetched"), "blobgate inbox reconcile"),
        None => announce(&quoted(&facts.hook), generation),
    }
}

fn announce(hook: &str, generation: &str) -> StoryStep {
    run(
        format!("{NO_EVENT}. Announce the generation, so that the inbox fetches it"),
        format!("blobgate inbox expect --hook {hook} --generation {generation} --job JOB"),
    )
}

fn compared(facts: &StoryFacts, entry: &StoryEntry) -> Option<StoryStep> {
    let id = entry.row.id;
    let is_quarantined = entry.row.state == EntryState::Quarantined;
    match (facts.verdict(entry)?, is_quarantined) {
        (ComparedVerdict::Confirmed, true) => {
            Some(run(format!("the status API confirms entry {id}"), format!("blobgate inbox release {id}")))
        }
        (ComparedVerdict::Contradicted, true) => Some(run(
            format!("the status API contradicts entry {id}: treat it as forged"),
            format!("blobgate inbox drop {id}"),
        )),
        (ComparedVerdict::Contradicted, false) => Some(run(
            format!(
                "the status API contradicts entry {id}{}. Compare its body with the provider's answer",
                reach(entry.row.state)
            ),
            format!("blobgate inbox show {id} --body"),
        )),
        (ComparedVerdict::Confirmed | ComparedVerdict::SameEvent | ComparedVerdict::Unreadable, _) => None,
    }
}

/// The step for an entry of a generation that the provider does not have. A quarantined entry has its own steps.
fn unknown(entry: &StoryEntry) -> Option<StoryStep> {
    let id = entry.row.id;
    if entry.row.state == EntryState::Quarantined {
        return None;
    }
    let why = format!("without such an order, the event of entry {id} is forged{}", reach(entry.row.state));
    Some(run(why, format!("blobgate inbox show {id}")))
}

fn early(entry: &StoryEntry) -> StoryStep {
    let id = entry.row.id;
    let event = entry.row.event.as_deref().unwrap_or("an end");
    run(
        format!(
            "the generation is in progress, and entry {id} claims {event}{}. Treat it as forged until the status API confirms it",
            reach(entry.row.state)
        ),
        format!("blobgate inbox show {id}"),
    )
}

/// How far an entry came.
fn reach(state: EntryState) -> &'static str {
    match state {
        EntryState::Delivered => ", and its service has it",
        EntryState::Waiting | EntryState::InFlight => ", and the inbox delivers it",
        EntryState::Quarantined | EntryState::Dead | EntryState::Superseded | EntryState::Dropped => "",
    }
}
