//! The next steps of a person.

use super::facts::{RouteTrouble, StoryEntry, StoryFacts, covers};
use super::words::{pause_subject, quoted, span};
use super::{StoryRequest, StoryStep};
use crate::entry::{EntryState, ExpectationState, Lane, QuarantineReason};
use crate::service::time;
use crate::store::Expectation;
use blobgate::Reason;
use std::collections::BTreeMap;

/// More steps than this are not read.
const MAX_STEPS: usize = 12;

/// The next steps of a story, the most urgent first.
pub(super) fn steps(facts: &StoryFacts) -> Vec<StoryStep> {
    let mut steps = Vec::new();
    for entry in facts.entries.iter().filter(|entry| entry.row.state == EntryState::Quarantined) {
        quarantined(facts, entry, &mut steps);
    }
    for entry in &facts.entries {
        let id = entry.row.id;
        let has_body = entry.row.size > 0;
        match entry.row.state {
            EntryState::Dead if has_body => steps.push(run(
                format!("entry {id} is dead. Repair its service, then deliver it again"),
                format!("blobgate inbox replay {id}"),
            )),
            EntryState::Dropped if has_body => steps.push(run(
                format!("entry {id} is dropped. Deliver it all the same"),
                format!("blobgate inbox replay {id}"),
            )),
            EntryState::Dead | EntryState::Dropped => steps.push(say(format!(
                "nothing can deliver entry {id}: its body is deleted. The status API may still have the result"
            ))),
            EntryState::Waiting => waiting(facts, entry, &mut steps),
            EntryState::InFlight => steps.push(say(format!("wait: an attempt of entry {id} runs"))),
            EntryState::Quarantined | EntryState::Delivered | EntryState::Superseded => {}
        }
    }
    let is_here = |entry: &StoryEntry| {
        let is_over =
            matches!(entry.row.state, EntryState::Delivered | EntryState::Superseded | EntryState::Dropped);
        entry.row.lane == Lane::Deliver || !is_over
    };
    if !facts.entries.iter().any(is_here)
        && let Some(expectation) = &facts.expectation
    {
        expected(facts, expectation, &mut steps);
    }
    if steps.is_empty() {
        steps.push(done(facts));
    }
    steps.truncate(MAX_STEPS);
    steps
}

/// The steps where no entry and no expectation matches.
pub(super) fn nothing_found(request: &StoryRequest, reconciles: bool) -> Vec<StoryStep> {
    let hook = request.hook.as_deref().map_or_else(|| "HOOK".to_owned(), quoted);
    if let Some(generation) = request.generation.as_deref().map(str::to_ascii_lowercase) {
        let generation = quoted(&generation);
        let mut steps = vec![
            run(
                "the gate may have refused its webhook. The line of the gate's log has the generation and the reason",
                format!("grep id={generation} envoy.log"),
            ),
            run("a refused delivery's line says which field to repair", "blobgate explain --line 'LINE'"),
            run(
                "its webhook may never have come. Announce the generation, so that the inbox fetches its result",
                format!("blobgate inbox expect --hook {hook} --generation {generation} --job JOB"),
            ),
        ];
        if reconciles {
            steps.push(run("see the state at the provider", format!("blobgate why {generation} --ask")));
        }
        return steps;
    }
    let recent = |hook: &str| format!("blobgate inbox ls --since 1d{hook}");
    let only = request.hook.as_deref().map(|hook| format!(" --hook {}", quoted(hook))).unwrap_or_default();
    if let Some(request_id) = &request.request_id {
        return vec![
            run(
                "the gate may have refused the request. The line of the gate's log has its id and the reason",
                format!("grep {} envoy.log", quoted(request_id)),
            ),
            run(
                "a repeat keeps the id of the first delivery, and a deleted body takes the id along. Find the entry by its time",
                recent(&only),
            ),
        ];
    }
    vec![run(
        "a token without a job brings none, and retention deletes old entries. Find the entry by its time",
        recent(&only),
    )]
}

fn quarantined(facts: &StoryFacts, entry: &StoryEntry, steps: &mut Vec<StoryStep>) {
    let row = &entry.row;
    let id = row.id;
    let code = row.reason.clone().unwrap_or_else(|| QuarantineReason::Other(String::new()));
    let is_whole = row.event.is_some() && row.generation.is_some();
    let is_genuine = |command: String| run(format!("if the event of entry {id} is genuine"), command);
    match &code {
        QuarantineReason::Gate(Reason::ConfirmUnavailable) if facts.next_call_at().is_some() => {
            let at = facts.next_call_at().map(time).unwrap_or_default();
            steps.push(run(
                format!("wait: the inbox confirms entry {id} by the status API, at {at} or when you say so"),
                "blobgate inbox reconcile",
            ));
        }
        QuarantineReason::Gate(
            Reason::SourceDenied | Reason::ResultUrlDenied | Reason::JsonTooDeep | Reason::NotConfirmed,
        ) => steps.push(run(
            format!("judge entry {id} by the repaired configuration"),
            format!("blobgate inbox reevaluate --config envoy.yaml {id}"),
        )),
        code if QuarantineReason::EXPLAINED.contains(code) => {
            if let (Some(generation), Some(job), None) = (&row.generation, &row.job, facts.announced_job()) {
                let (hook, job) = (quoted(&row.hook), quoted(job));
                steps.push(run(
                    format!(
                        "if the generation belongs to that job: this announces it, and releases entry {id}"
                    ),
                    format!("blobgate inbox expect --hook {hook} --generation {generation} --job {job}"),
                ));
            }
        }
        QuarantineReason::EventConflict if facts.reconciles => {
            if let Some(generation) = &row.generation {
                steps.push(run(
                    "compare both with the status API",
                    format!("blobgate why {generation} --ask"),
                ));
            }
        }
        _ => {}
    }
    steps.push(run(format!("see entry {id}"), format!("blobgate inbox show {id}")));
    if row.size == 0 {
        steps.push(say(format!("nothing can release entry {id}: its body is deleted")));
    } else if is_whole {
        steps.push(is_genuine(format!("blobgate inbox release {id}")));
    } else {
        let event = row.event.as_deref().unwrap_or("completed");
        let generation = if row.generation.is_some() { "" } else { " --generation ID" };
        steps.push(is_genuine(format!("blobgate inbox release {id} --as {event}{generation}")));
    }
    steps.push(run("otherwise", format!("blobgate inbox drop {id}")));
}

fn waiting(facts: &StoryFacts, entry: &StoryEntry, steps: &mut Vec<StoryStep>) {
    let row = &entry.row;
    let id = row.id;
    if let Some(pause) = facts.pauses().find(|pause| covers(pause, row)) {
        let mut command = "blobgate inbox resume".to_owned();
        for (option, value) in [("--hook", &pause.hook), ("--event", &pause.event)] {
            if !value.is_empty() {
                command.push_str(&format!(" {option} {}", quoted(value)));
            }
        }
        let of = pause_subject(&pause.hook, &pause.event);
        steps.push(run(format!("entry {id} waits for the end of the pause of {of}"), command));
        return;
    }
    let trouble = facts.troubles.iter().find(|trouble| Some(trouble.route.as_str()) == row.route.as_deref());
    let retry = format!("blobgate inbox retry {id}");
    match trouble {
        Some(RouteTrouble { route, outcome, .. }) => {
            steps.push(run(
                format!("route {route} fails: its service {outcome}. Repair it, then retry"),
                retry,
            ));
        }
        None if row.due_at > facts.now => {
            let wait = span(row.due_at.saturating_sub(facts.now));
            let at = time(row.due_at);
            steps.push(run(
                format!("wait: the next attempt of entry {id} is at {at}, in {wait}. Or retry now"),
                retry,
            ));
        }
        None => steps.push(say(format!("wait: the next attempt of entry {id} is due now"))),
    }
}

/// The steps of an expectation without an accepted event.
fn expected(facts: &StoryFacts, expectation: &Expectation, steps: &mut Vec<StoryStep>) {
    let generation = &expectation.generation;
    if let Some(entry) = facts.delivered() {
        // A release as the claimed event is no decision on an arrival, so it meets no expectation.
        if let Some(at) = facts.next_call_at() {
            steps.push(say(format!(
                "nothing: entry {} is delivered. At {} the inbox calls the status API, and delivers the provider's result too",
                entry.row.id,
                time(at)
            )));
        }
        return;
    }
    let is_due = facts.overdue_at(expectation).is_some();
    match (expectation.state, facts.next_call_at()) {
        (ExpectationState::Expected, Some(at)) if is_due || expectation.asked > 0 => steps.push(run(
            format!(
                "no event is accepted. Wait for the next status call at {}, or have the calls made now",
                time(at)
            ),
            "blobgate inbox reconcile",
        )),
        (ExpectationState::Expected, Some(at)) => steps.push(say(format!(
            "wait: its webhook may still come. From {} on the inbox calls the status API",
            time(at)
        ))),
        (ExpectationState::Expected, None) if is_due => {
            steps.push(run(
                "its webhook is overdue. The gate may have refused it: look for the generation in the gate's log",
                format!("grep id={generation} envoy.log"),
            ));
            steps.push(say(
                "this inbox fetches no event whose webhook never comes. Start it with `serve --provider`",
            ));
        }
        (ExpectationState::Expected, None) => steps.push(say("wait: its webhook may still come")),
        (ExpectationState::Unknown, _) => {
            steps.push(say(
                "the provider has no such generation. Compare the id, and the API key, with those of the order",
            ));
            if facts.reconciles {
                steps.push(run("call the status API once more", format!("blobgate why {generation} --ask")));
            }
        }
        _ => {}
    }
}

fn done(facts: &StoryFacts) -> StoryStep {
    let Some(entry) = facts.delivered() else {
        return say("nothing: another event has replaced each entry, or retention has deleted them");
    };
    let id = entry.row.id;
    if entry.row.size == 0 {
        return say(format!("nothing: entry {id} is delivered"));
    }
    say(format!(
        "nothing: entry {id} is delivered. If its service lost it, `blobgate inbox replay {id}` delivers it again"
    ))
}

fn run(why: impl Into<String>, command: impl Into<String>) -> StoryStep {
    StoryStep { why: why.into(), command: Some(command.into()) }
}

fn say(why: impl Into<String>) -> StoryStep {
    StoryStep { why: why.into(), command: None }
}

/// Whether the service has the event, or is going to.
fn is_on_its_way(state: EntryState) -> bool {
    matches!(state, EntryState::Waiting | EntryState::InFlight | EntryState::Delivered)
}

impl StoryFacts {
    /// The present state in a few words.
    pub(super) fn state(&self) -> String {
        let mut counts: BTreeMap<&'static str, i64> = BTreeMap::new();
        for entry in &self.entries {
            let count = counts.entry(entry.row.state.name()).or_default();
            *count = count.saturating_add(1);
        }
        // A superseded entry lives on in another one.
        if counts.len() > 1 {
            counts.remove(EntryState::Superseded.name());
        }
        let words = counts.into_iter().map(|(state, count)| {
            let state = state.replace('_', " ");
            if count == 1 { state } else { format!("{count} {state}") }
        });
        let mut words: Vec<_> = words.collect();
        if let Some(expectation) = &self.expectation
            && expectation.job.is_some()
            && !self.entries.iter().any(|entry| is_on_its_way(entry.row.state))
            && !self.entries.iter().any(|entry| entry.row.lane == Lane::Deliver)
        {
            let is_overdue = self.overdue_at(expectation).is_some();
            match expectation.state {
                ExpectationState::Expected if is_overdue => words.push("overdue".to_owned()),
                ExpectationState::Unknown => words.push("unknown to the provider".to_owned()),
                state if words.is_empty() => words.push(state.name().to_owned()),
                _ => {}
            }
        }
        words.join(", ")
    }
}
