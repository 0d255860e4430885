//! The next steps of a person.

use super::facts::{AskedStatus, RouteTrouble, StoryEntry, StoryFacts, covers};
use super::step::{run, say};
use super::words::{pause_subject, quoted, span};
use super::{ComparedVerdict, StoryRequest, StoryStep, asked};
use crate::entry::{EntryState, ExpectationState, Lane, QuarantineReason};
use crate::service::time;
use crate::store::Expectation;
use blobgate::Reason;
use std::collections::{BTreeMap, BTreeSet};

/// The most steps of one kind. A flood of quarantined entries must not hide the step of the genuine one.
const MAX_STEPS: usize = 8;
/// The most quarantined entries with steps: each has several.
const MAX_QUARANTINED: usize = 3;

/// The next steps of a story, the most urgent first.
pub(super) fn steps(facts: &StoryFacts) -> Vec<StoryStep> {
    let mut steps = asked::steps(facts);
    truncate(facts, &mut steps);
    let mut accepted = Vec::new();
    facts.entries.iter().for_each(|entry| open(facts, entry, &mut accepted));
    accepted.extend(facts.expectation.as_ref().and_then(mismatch));
    truncate(facts, &mut accepted);
    steps.append(&mut accepted);
    let is_quarantined = |entry: &&StoryEntry| entry.row.state == EntryState::Quarantined;
    for entry in facts.entries.iter().filter(is_quarantined).take(MAX_QUARANTINED) {
        quarantined(facts, entry, &mut steps);
    }
    let hidden = facts.entries.iter().filter(is_quarantined).skip(MAX_QUARANTINED).count();
    if hidden > 0 {
        steps.push(run(
            format!("and {hidden} more in quarantine"),
            format!("{} --state quarantined", list(facts)),
        ));
    }
    let is_answered = !matches!(facts.asked, None | Some(AskedStatus::Other));
    let is_here = |entry: &StoryEntry| {
        let is_over =
            matches!(entry.row.state, EntryState::Delivered | EntryState::Superseded | EntryState::Dropped);
        entry.row.lane == Lane::Deliver || !is_over
    };
    if !is_answered
        && !facts.entries.iter().any(is_here)
        && let Some(expectation) = &facts.expectation
    {
        expected(facts, expectation, &mut steps);
    }
    if steps.is_empty() {
        done(facts, &mut steps);
    }
    steps
}

fn truncate(facts: &StoryFacts, steps: &mut Vec<StoryStep>) {
    let hidden = steps.len().saturating_sub(MAX_STEPS);
    if hidden > 0 {
        steps.truncate(MAX_STEPS);
        steps.push(run(format!("and {hidden} more steps, of other entries"), list(facts)));
    }
}

/// Lists the entries of the generation.
fn list(facts: &StoryFacts) -> String {
    let generation =
        facts.generation.as_deref().map(|id| format!(" --generation {}", quoted(id))).unwrap_or_default();
    format!("blobgate inbox ls --hook {}{generation}", quoted(&facts.hook))
}

/// The step for an entry that no service has, outside the quarantine.
fn open(facts: &StoryFacts, entry: &StoryEntry, steps: &mut Vec<StoryStep>) {
    let id = entry.row.id;
    let has_body = entry.row.size > 0;
    match entry.row.state {
        EntryState::Dead if has_body => steps.push(run(
            format!("entry {id} is dead. Repair its service, then deliver it again"),
            format!("blobgate inbox replay {id}"),
        )),
        EntryState::Dropped if entry.row.event.is_none() || entry.row.generation.is_none() => {
            steps.push(say(format!(
                "nothing can deliver entry {id}: it is dropped, and claims no valid event"
            )));
        }
        EntryState::Dropped if has_body => steps.push(run(
            format!("entry {id} is dropped. Deliver it all the same"),
            format!("blobgate inbox replay {id}"),
        )),
        EntryState::Dead | EntryState::Dropped => steps.push(say(format!(
            "nothing can deliver entry {id}: its body is deleted. The status API may still have the result"
        ))),
        EntryState::Waiting => waiting(facts, entry, steps),
        EntryState::InFlight => steps.push(say(format!("wait: an attempt of entry {id} runs"))),
        EntryState::Quarantined | EntryState::Delivered | EntryState::Superseded => {}
    }
}

/// The step for an accepted event with another job than the announced one.
fn mismatch(expectation: &Expectation) -> Option<StoryStep> {
    let (entry, job) = (expectation.mismatch_id?, expectation.job.as_deref()?);
    let other = expectation.mismatch_job.as_deref().unwrap_or("-");
    Some(run(
        format!(
            "find out which job is right: the application announced {job}, and the token of entry {entry} has {other}"
        ),
        format!("blobgate inbox show {entry}"),
    ))
}

/// The steps where no entry and no expectation matches.
pub(super) fn nothing_found(
    request: &StoryRequest,
    other_hooks: &BTreeSet<String>,
    reconciles: bool,
    asked: Option<&AskedStatus>,
) -> Vec<StoryStep> {
    if let (false, Some((subject, value))) = (other_hooks.is_empty(), request.subject()) {
        let elsewhere = |hook: &String| {
            let command = format!("blobgate why {subject}{} --hook {}", quoted(&value), quoted(hook));
            run(format!("the inbox has it under hook {hook}"), command)
        };
        return other_hooks.iter().map(elsewhere).collect();
    }
    let hook = request.hook.as_deref().map_or_else(|| "HOOK".to_owned(), quoted);
    if let Some(generation) = request.generation.as_deref().map(str::to_ascii_lowercase) {
        let generation = quoted(&generation);
        let mut steps: Vec<_> = asked
            .and_then(|asked| asked::step_without_story(asked, &hook, &generation))
            .into_iter()
            .collect();
        steps.push(run(
            "the gate may have refused its webhook, as for its token. LOG is that of `blobgate up` or of Envoy, with the reason",
            in_log(&format!("{generation} -e token-")),
        ));
        if asked.is_none() {
            steps.push(run(
                "its webhook may never have come. Announce the generation, so that the inbox fetches its result",
                format!("blobgate inbox expect --hook {hook} --generation {generation} --job JOB"),
            ));
        }
        if reconciles && asked.is_none() {
            let only = request.hook.as_ref().map(|_| format!(" --hook {hook}")).unwrap_or_default();
            steps
                .push(run("see the state at the provider", format!("blobgate why {generation}{only} --ask")));
        }
        return steps;
    }
    let recent = |hook: &str| format!("blobgate inbox ls --since 1d{hook}");
    let only = request.hook.as_ref().map(|_| format!(" --hook {hook}")).unwrap_or_default();
    if let Some(request_id) = &request.request_id {
        return vec![
            run(
                "the gate may have refused the request. LOG is that of `blobgate up` or of Envoy, with the reason",
                in_log(&quoted(request_id)),
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

/// Explains the lines that have a word, in the log of `blobgate up` or of Envoy. A line about a wrong token has no generation.
fn in_log(word: &str) -> String {
    format!("grep -e {word} LOG | blobgate explain --line -")
}

impl StoryRequest {
    /// The option of the subject, and its value.
    fn subject(&self) -> Option<(&'static str, String)> {
        [
            ("", self.generation.clone()),
            // `=`, because a value can begin with a hyphen.
            ("--job=", self.job.clone()),
            ("--request-id=", self.request_id.clone()),
            ("--entry=", self.entry.map(|id| id.to_string())),
        ]
        .into_iter()
        .find_map(|(option, value)| Some((option, value?)))
    }
}

fn quarantined(facts: &StoryFacts, entry: &StoryEntry, steps: &mut Vec<StoryStep>) {
    let row = &entry.row;
    let id = row.id;
    let code = row.reason.clone().unwrap_or_else(|| QuarantineReason::Other(String::new()));
    let is_whole = row.event.is_some() && row.generation.is_some();
    let is_genuine = |command: String| run(format!("if the event of entry {id} is genuine"), command);
    let verdict = facts.verdict(entry);
    if matches!(verdict, Some(ComparedVerdict::Confirmed | ComparedVerdict::Contradicted)) {
        steps.push(run(format!("see entry {id}"), format!("blobgate inbox show {id}")));
        return;
    }
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
            format!("if the configuration was wrong: judge entry {id} by the repaired one"),
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
        _ => {}
    }
    if let Some(other) = facts.accepted_beside(entry) {
        let other = &other.row;
        let state = other.state.name().replace('_', " ");
        let event = other.event.as_deref().unwrap_or("event");
        steps.push(say(format!(
            "entry {} ({event}) of the same generation is {state}. Release entry {id} only if its own event is genuine too",
            other.id
        )));
    }
    // A release delivers the event of a forger too: compare first.
    if let Some(command) = facts.compare_command().filter(|_| row.event.is_some())
        && !steps.iter().any(|step| step.command.as_ref() == Some(&command))
    {
        steps.push(run("compare the stored events with the status API", command));
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
            steps.push(run(format!("route {route} fails: {outcome}. Repair its service, then retry"), retry));
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
        (ExpectationState::Expected, Some(at)) if facts.is_callable(expectation) => steps.push(run(
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
                "its webhook is overdue. The gate may have refused it, as for its token. LOG is that of `blobgate up` or of Envoy",
                in_log(&format!("{} -e token-", quoted(generation))),
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
            if let Some(command) = facts.compare_command() {
                steps.push(run("call the status API once more", command));
            }
        }
        _ => {}
    }
}

fn done(facts: &StoryFacts, steps: &mut Vec<StoryStep>) {
    let Some(entry) = facts.delivered() else {
        steps.push(say("nothing: another event has replaced each entry, or retention has deleted them"));
        return;
    };
    let id = entry.row.id;
    steps.push(say(format!("nothing: entry {id} is delivered")));
    if entry.row.size > 0 {
        steps.push(run("if its service lost it, deliver it again", format!("blobgate inbox replay {id}")));
    }
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
