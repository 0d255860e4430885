//! Calls the status API for a person, and compares its answer with the stored events.

use super::facts::{StoryEntry, StoryFacts};
use super::read::{FoundPlaces, StoryPlace};
use super::words::{call_answer, quoted};
use super::{
    ComparedEntry, ComparedVerdict, GenerationStory, StatusNow, StoryAnswer, StoryRequest, StoryStep, next,
};
use crate::entry::{EntryState, Lane};
use crate::reconcile::{StatusReply, read_event};
use crate::service::error::Error;
use crate::service::names::EventKind;
use crate::service::{Operations, time, written};
use blobgate::confirm::{self, Outcome};
use blobgate::dialect::Dialect;
use blobgate::event::{Event, GenerationId};

impl Operations {
    /// Tells the story, and calls the status API about its generation. The call counts against the budget.
    pub(crate) async fn story_and_status(&self, request: &StoryRequest) -> Result<StoryAnswer, Error> {
        let (subject, hook) = request.check()?;
        let found = self.find(&subject, hook.as_deref()).await?;
        let (hook, id) = match (found.places.as_slice(), &request.generation) {
            ([StoryPlace::Generation { hook, generation }], _) => (Some(hook.clone()), generation.clone()),
            ([], Some(generation)) => (request.hook.clone(), generation.clone()),
            _ => return Ok(self.tell(request, &found, not_called("ambiguous", AMBIGUOUS)).await?.0),
        };
        let Some(id) = GenerationId::parse(&id) else {
            return Ok(self.tell(request, &found, not_called("ambiguous", AMBIGUOUS)).await?.0);
        };
        let Some(caller) = self.status_caller.clone() else {
            return Ok(self.tell(request, &found, not_called("no-provider", NO_PROVIDER)).await?.0);
        };
        let (store, per_minute) = (self.shared.store.clone(), caller.per_minute());
        let of_hook = hook.clone();
        let reply = written(async move { caller.call(&store, of_hook.as_deref(), id).await }).await?;
        let status = match &reply {
            StatusReply::BudgetSpent => not_called("budget", &spent(per_minute)),
            StatusReply::UnknownDialect => not_called("unknown-dialect", UNKNOWN_DIALECT),
            StatusReply::NoEvent(outcome) => called(outcome.name(), None),
            StatusReply::Ended { event, .. } => called(event.kind.name(), Some(EventKind(event.kind))),
        };
        tracing::info!(
            hook,
            generation = id.to_string(),
            "status call generation={id} outcome={} by an operator",
            status.outcome
        );
        let (mut answer, facts) = self.tell(request, &found, status).await?;
        if let StatusReply::Ended { dialect, event, body } = reply {
            answer.compare(facts.first(), &id.to_string(), hook.as_deref(), |entry| {
                verdict(entry, dialect, &event, &body)
            });
        }
        Ok(answer)
    }

    pub(super) async fn tell(
        &self,
        request: &StoryRequest,
        found: &FoundPlaces,
        status: impl Into<Option<StatusNow>>,
    ) -> Result<(StoryAnswer, Vec<StoryFacts>), Error> {
        let mut facts = Vec::new();
        for place in &found.places {
            facts.push(self.facts(place, found.now).await?);
        }
        let stories: Vec<GenerationStory> = facts.iter().map(StoryFacts::story).collect();
        let next =
            if stories.is_empty() { next::nothing_found(request, self.reconciles()) } else { Vec::new() };
        let status_api = status.into();
        Ok((StoryAnswer { now: time(found.now), stories, more: found.more, status_api, next }, facts))
    }
}

const AMBIGUOUS: &str = "not called: the request matches several generations, or none. Name one by its id";
const NO_PROVIDER: &str =
    "not called: this inbox runs without a status API. Start it with `blobgate inbox serve --provider`";
const UNKNOWN_DIALECT: &str =
    "not called: the hook has no entry yet, so its dialect is unknown. Name the hook by --hook";

fn spent(per_minute: i64) -> String {
    format!("not called: the {per_minute} calls of this minute are used up. Repeat the command in a minute")
}

fn not_called(outcome: &str, text: &str) -> StatusNow {
    let (outcome, text) = (outcome.to_owned(), text.to_owned());
    StatusNow { called: false, outcome, event: None, text, compared: Vec::new() }
}

fn called(outcome: &str, event: Option<EventKind>) -> StatusNow {
    let text = call_answer(Some(outcome));
    StatusNow { called: true, outcome: outcome.to_owned(), event, text, compared: Vec::new() }
}

/// Compares an entry with the answer.
fn verdict(entry: &StoryEntry, dialect: Dialect, event: &Event, answer: &[u8]) -> ComparedVerdict {
    let is_same_kind = entry.row.event.as_deref() == Some(event.kind.name());
    let Some(payload) = &entry.payload else {
        return if is_same_kind { ComparedVerdict::SameEvent } else { ComparedVerdict::Contradicted };
    };
    let stored = read_event(dialect, &payload.body);
    match stored.map(|stored| confirm::read(dialect, &stored, b"200", answer).outcome) {
        _ if entry.row.event.is_some() && !is_same_kind => ComparedVerdict::Contradicted,
        Some(Outcome::Confirmed) => ComparedVerdict::Confirmed,
        Some(Outcome::Contradicted) => ComparedVerdict::Contradicted,
        Some(_) | None => ComparedVerdict::Unreadable,
    }
}

impl StoryAnswer {
    /// Compares each entry that is delivered, waits or is in quarantine. The result comes before the other steps.
    fn compare(
        &mut self,
        facts: Option<&StoryFacts>,
        generation: &str,
        hook: Option<&str>,
        verdict: impl Fn(&StoryEntry) -> ComparedVerdict,
    ) {
        let is_compared =
            |entry: &&StoryEntry| !matches!(entry.row.state, EntryState::Superseded | EntryState::Dropped);
        let entries: Vec<_> = facts.iter().flat_map(|facts| &facts.entries).filter(is_compared).collect();
        let compared: Vec<_> = entries.iter().map(|entry| (*entry, verdict(entry))).collect();
        let mut steps: Vec<_> =
            compared.iter().filter_map(|(entry, verdict)| step(entry, *verdict)).collect();
        let is_expected = facts.is_some_and(|facts| facts.announced_job().is_some());
        if !entries.iter().any(|entry| entry.row.lane == Lane::Deliver) && compared.is_empty() {
            let why = "the provider has the result, and the inbox has no event";
            let hook = hook.map_or_else(|| "HOOK".to_owned(), quoted);
            let command = if is_expected {
                "blobgate inbox reconcile".to_owned()
            } else {
                format!("blobgate inbox expect --hook {hook} --generation {generation} --job JOB")
            };
            steps.push(StoryStep { why: format!("{why}. Have it fetched"), command: Some(command) });
        }
        if let Some(status) = &mut self.status_api {
            status.compared = compared
                .iter()
                .map(|(entry, verdict)| ComparedEntry { entry: entry.row.id, verdict: *verdict })
                .collect();
        }
        let next = match self.stories.first_mut() {
            Some(story) => &mut story.next,
            None => &mut self.next,
        };
        steps.append(next);
        *next = steps;
    }
}

fn step(entry: &StoryEntry, verdict: ComparedVerdict) -> Option<StoryStep> {
    let id = entry.row.id;
    let is_quarantined = entry.row.state == EntryState::Quarantined;
    let (why, command) = match (verdict, is_quarantined) {
        (ComparedVerdict::Confirmed, true) => {
            (format!("the status API confirms entry {id}"), format!("blobgate inbox release {id}"))
        }
        (ComparedVerdict::Contradicted, true) => (
            format!("the status API contradicts entry {id}: treat it as forged"),
            format!("blobgate inbox drop {id}"),
        ),
        (ComparedVerdict::Contradicted, false) => (
            format!("the status API contradicts entry {id}. Compare its body with the provider's answer"),
            format!("blobgate inbox show {id} --body"),
        ),
        (ComparedVerdict::Confirmed | ComparedVerdict::SameEvent | ComparedVerdict::Unreadable, _) => {
            return None;
        }
    };
    Some(StoryStep { why, command: Some(command) })
}
