//! Calls the status API for a person, and compares its answer with the stored events.

use super::facts::{AskedStatus, StoryFacts};
use super::read::{FoundPlaces, StoryPlace};
use super::words::call_answer;
use super::{ComparedEntry, ComparedVerdict, StatusNow, StoryAnswer, StoryRequest, next};
use crate::reconcile::{StatusReply, read_event};
use crate::service::error::Error;
use crate::service::names::EventKind;
use crate::service::{Operations, time, written};
use crate::store::{EntryRow, StoredPayload};
use blobgate::confirm::{self, Outcome};
use blobgate::dialect::Dialect;
use blobgate::event::{Event, GenerationId};
use std::collections::{BTreeMap, BTreeSet};

impl Operations {
    /// Tells the story, and calls the status API about its generation. The call counts against the budget.
    pub(crate) async fn story_and_status(&self, request: &StoryRequest) -> Result<StoryAnswer, Error> {
        let (subject, hook) = request.check()?;
        let found = self.find(&subject, hook.as_deref()).await?;
        let (hook, id) = match (found.places.as_slice(), &request.generation) {
            ([StoryPlace::Generation { hook, generation }], _) => (Some(hook.clone()), generation.clone()),
            ([], Some(generation)) => (request.hook.clone(), generation.clone()),
            _ => return self.not_asked(request, &found, "ambiguous", AMBIGUOUS).await,
        };
        let Some(id) = GenerationId::parse(&id) else {
            return self.not_asked(request, &found, "ambiguous", AMBIGUOUS).await;
        };
        let Some(caller) = self.status_caller.clone() else {
            return self.not_asked(request, &found, "no-provider", NO_PROVIDER).await;
        };
        let (store, per_minute) = (self.shared.store.clone(), caller.per_minute());
        let of_hook = hook.clone();
        let reply = written(async move { caller.call(&store, of_hook.as_deref(), id).await }).await?;
        let status = match &reply {
            StatusReply::BudgetSpent => not_called("budget", &spent(per_minute)),
            StatusReply::UnknownDialect => not_called("unknown-dialect", UNKNOWN_DIALECT),
            StatusReply::NoEvent(Outcome::Status, status) => StatusNow {
                text: format!("the status API, or a proxy before it, answers {status}"),
                ..called(Outcome::Status.name(), None)
            },
            StatusReply::NoEvent(outcome, _) => called(outcome.name(), None),
            StatusReply::Failed(why) => {
                StatusNow { text: why.clone(), ..called(Outcome::NoAnswer.name(), None) }
            }
            StatusReply::Ended { event, .. } => called(event.kind.name(), Some(EventKind(event.kind))),
        };
        tracing::info!(
            hook,
            generation = id.to_string(),
            "status call generation={id} outcome={} by an operator",
            status.outcome
        );
        self.tell(request, &found, Some((status, reply))).await
    }

    async fn not_asked(
        &self,
        request: &StoryRequest,
        found: &FoundPlaces,
        outcome: &str,
        why: &str,
    ) -> Result<StoryAnswer, Error> {
        let mut answer = self.tell(request, found, None).await?;
        answer.status_api = Some(not_called(outcome, why));
        Ok(answer)
    }

    /// Tells the stories, each before the facts of the next one are read.
    pub(super) async fn tell(
        &self,
        request: &StoryRequest,
        found: &FoundPlaces,
        asked: Option<(StatusNow, StatusReply)>,
    ) -> Result<StoryAnswer, Error> {
        let (mut status_api, reply) = asked.unzip();
        let mut stories = Vec::new();
        for place in &found.places {
            let mut facts = self.facts(place, found.now).await?;
            if let Some(reply) = &reply {
                facts.asked = self.compare(&facts, reply).await?;
            }
            if let (Some(status), Some(AskedStatus::Ended(compared))) = (&mut status_api, &facts.asked) {
                status.compared = compared
                    .iter()
                    .map(|(entry, verdict)| ComparedEntry { entry: *entry, verdict: *verdict })
                    .collect();
            }
            stories.push(facts.story());
        }
        let next = match &reply {
            _ if !stories.is_empty() => Vec::new(),
            reply => {
                let asked = reply.as_ref().and_then(|reply| asked_status(reply, BTreeMap::new()));
                next::nothing_found(request, &found.other_hooks, self.reconciles(), asked.as_ref())
            }
        };
        Ok(StoryAnswer { now: time(found.now), stories, more: found.more, status_api, next })
    }

    /// Compares each entry that is delivered, waits or is in quarantine, one body at a time.
    async fn compare(&self, facts: &StoryFacts, reply: &StatusReply) -> Result<Option<AskedStatus>, Error> {
        let mut compared = BTreeMap::new();
        if let StatusReply::Ended { dialect, event, body } = reply {
            for entry in facts.compared() {
                let id = entry.row.id;
                let payload = self.shared.store.payloads(&BTreeSet::from([id])).await?.remove(&id);
                compared.insert(id, verdict(&entry.row, payload.as_ref(), *dialect, event, body));
            }
        }
        Ok(asked_status(reply, compared))
    }
}

/// What a reply tells about the generation. `None` without a call.
fn asked_status(reply: &StatusReply, compared: BTreeMap<i64, ComparedVerdict>) -> Option<AskedStatus> {
    match reply {
        StatusReply::Ended { .. } => Some(AskedStatus::Ended(compared)),
        StatusReply::NoEvent(Outcome::Unknown, _) => Some(AskedStatus::Unknown),
        StatusReply::NoEvent(Outcome::StillWorking, _) => Some(AskedStatus::InProgress),
        StatusReply::NoEvent(..) | StatusReply::Failed(_) => Some(AskedStatus::Other),
        StatusReply::BudgetSpent | StatusReply::UnknownDialect => None,
    }
}

const AMBIGUOUS: &str = "not called: the request matches several generations, or none. Name one by its id, and its hook by --hook";
const NO_PROVIDER: &str =
    "not called: this inbox runs without a status API. Start it with `blobgate inbox serve --provider`";
const UNKNOWN_DIALECT: &str = "not called: this version does not know the dialect of the hook's newest entry. Use the version of the inbox that stored it";

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
fn verdict(
    row: &EntryRow,
    payload: Option<&StoredPayload>,
    dialect: Dialect,
    event: &Event,
    answer: &[u8],
) -> ComparedVerdict {
    let is_same_kind = row.event.as_deref() == Some(event.kind.name());
    let Some(payload) = payload else {
        return if is_same_kind { ComparedVerdict::SameEvent } else { ComparedVerdict::Contradicted };
    };
    let stored = read_event(dialect, &payload.body);
    match stored.map(|stored| confirm::read(dialect, &stored, b"200", answer).outcome) {
        _ if row.event.is_some() && !is_same_kind => ComparedVerdict::Contradicted,
        Some(Outcome::Confirmed) => ComparedVerdict::Confirmed,
        Some(Outcome::Contradicted) => ComparedVerdict::Contradicted,
        Some(_) | None => ComparedVerdict::Unreadable,
    }
}
