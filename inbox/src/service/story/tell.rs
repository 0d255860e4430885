//! Orders the facts of a generation by time, and words them.

use super::facts::{RouteTrouble, StoryEntry, StoryFacts, covers, is_success};
use super::words::{call_answer, counted, pause_subject, reason, span};
use super::{GenerationStory, StoryEvent, StoryLine, next};
use crate::entry::{EntryState, Lane, Superseded};
use crate::service::time;
use crate::store::{ActionKind, AttemptRow, EntryRow, Expectation};

/// A line and its time, before it is written as text.
struct DatedLine {
    at: Option<i64>,
    line: StoryLine,
}

impl StoryFacts {
    /// The whole story.
    pub(super) fn story(&self) -> GenerationStory {
        let announced = self.expectation.as_ref().and_then(|expectation| expectation.job.clone());
        let job = || self.entries.iter().rev().find_map(|entry| entry.row.job.clone());
        GenerationStory {
            hook: self.hook.clone(),
            generation: self.generation.clone(),
            job: announced.or_else(job),
            state: self.state(),
            lines: self.lines(),
            more_entries: self.more_entries,
            next: next::steps(self),
        }
    }

    /// The lines, the oldest first.
    fn lines(&self) -> Vec<StoryLine> {
        let mut lines = Vec::new();
        if let Some(expectation) = &self.expectation {
            self.expectation_lines(expectation, &mut lines);
        }
        for entry in &self.entries {
            self.entry_lines(entry, &mut lines);
        }
        self.obstacle_lines(&mut lines);
        // Stable, so that lines of one moment stay in the order of their causes.
        lines.sort_by_key(|dated| dated.at.unwrap_or(i64::MAX));
        lines.into_iter().map(|dated| dated.line).collect()
    }

    /// The pauses and failing routes in the way of waiting entries, from the arrival of the first of these.
    fn obstacle_lines(&self, lines: &mut Vec<DatedLine>) {
        let in_the_way = |since: i64, is_of: &dyn Fn(&EntryRow) -> bool| {
            let waiting = self.entries.iter().map(|entry| &entry.row).filter(|row| is_of(row));
            waiting.map(|row| row.received_at.max(since)).min()
        };
        for pause in self.pauses() {
            let at = in_the_way(pause.since, &|row| row.state == EntryState::Waiting && covers(pause, row));
            let of = pause_subject(&pause.hook, &pause.event);
            let text = format!("deliveries of {of} are paused, since {}", time(pause.since));
            push(lines, at, StoryEvent::Paused, None, text);
        }
        for RouteTrouble { route, is_down, outcome, since } in &self.troubles {
            let is_of =
                |row: &EntryRow| row.state == EntryState::Waiting && row.route.as_ref() == Some(route);
            let at = since.and_then(|since| in_the_way(since, &is_of));
            let what = if *is_down { "is down" } else { "fails" };
            // The attempt that failed is the cause.
            let at = at.into_iter().chain(self.first_failure(route)).max();
            let since = since.map(|since| format!(", since {}", time(since))).unwrap_or_default();
            let text = format!("route {route} {what}: {outcome}{since}");
            push(lines, at, StoryEvent::RouteFails, None, text);
        }
    }

    /// The time of the first recorded attempt that failed, of the waiting entries of a route.
    fn first_failure(&self, route: &str) -> Option<i64> {
        let of_route = |entry: &&StoryEntry| {
            entry.row.state == EntryState::Waiting && entry.row.route.as_deref() == Some(route)
        };
        self.entries.iter().filter(of_route).filter_map(|entry| Some(entry.attempts.first()?.at)).min()
    }

    fn expectation_lines(&self, expectation: &Expectation, lines: &mut Vec<DatedLine>) {
        if let Some(job) = &expectation.job {
            let text = format!("announced with job {job}");
            push(lines, Some(expectation.expected_at), StoryEvent::Expected, None, text);
            if let Some(at) = self.overdue_at(expectation) {
                let text = format!("overdue: no event was accepted within {}", span(self.reconcile_after));
                push(lines, Some(at), StoryEvent::Overdue, None, text);
            }
        }
        if let Some(entry) = expectation.mismatch_id {
            let job = expectation.mismatch_job.as_deref().unwrap_or("-");
            let text = format!("job-mismatch: entry {entry} was accepted with job {job}");
            push(lines, Some(expectation.expected_at), StoryEvent::JobMismatch, Some(entry), text);
        }
        if expectation.asked > 0 {
            let newest = if expectation.asked > 1 { ", the newest" } else { "" };
            let answer = call_answer(expectation.answer.as_deref());
            let text = format!("status call {}{newest}: {answer}", expectation.asked);
            push(lines, expectation.asked_at, StoryEvent::StatusCall, None, text);
        }
        if self.next_call_at().is_some() {
            let text = "next status call".to_owned();
            push(lines, Some(expectation.ask_at.max(self.now)), StoryEvent::CallDue, None, text);
        }
    }

    fn entry_lines(&self, entry: &StoryEntry, lines: &mut Vec<DatedLine>) {
        let row = &entry.row;
        let id = row.id;
        self.arrival_line(entry, lines);
        if row.seen > 1 {
            let more = counted(row.seen.saturating_sub(1), "more delivery", "more deliveries");
            let text = format!("entry {id}: {more} of the same event so far, the last one at this time");
            push(lines, Some(row.seen_at), StoryEvent::Repeated, Some(id), text);
        }
        if row.lane == Lane::Quarantine && row.state == EntryState::Superseded {
            let why = row.answer.as_deref().and_then(|answer| answer.strip_prefix("released: "));
            let why = why.map(|why| format!(": {why}")).unwrap_or_default();
            let acted = [ActionKind::ReleaseAs, ActionKind::Reevaluate];
            let who = acted.iter().find_map(|action| entry.actors.get(action.name())?.as_deref());
            let why = format!("{}{why}", who.map(|who| format!(" by {who}")).unwrap_or_default());
            let text = match row.superseded_by {
                Some(other) if self.was_made_by_release(other) => {
                    format!("entry {id} released{why}. Its event is entry {other}")
                }
                Some(other) => format!("entry {id} released{why}. It repeats the event of entry {other}"),
                None => format!("entry {id} released{why}"),
            };
            push(lines, row.ended_at, StoryEvent::Released, Some(id), text);
        }
        self.redelivery_line(entry, lines);
        attempt_lines(entry, lines);
        self.end_lines(entry, lines);
    }

    fn arrival_line(&self, entry: &StoryEntry, lines: &mut Vec<DatedLine>) {
        let row = &entry.row;
        let id = row.id;
        let event = row.event.as_deref().unwrap_or("a delivery without a valid event");
        let request = row.ids.request_id.as_deref().map(|id| format!(", request {id}")).unwrap_or_default();
        let at = Some(row.received_at);
        let why = row.reason.as_ref().map(|code| reason(code, row.detail.as_deref())).unwrap_or_default();
        match row.lane {
            Lane::Quarantine => {
                let from = row.client.as_deref().map(|client| format!(" from {client}")).unwrap_or_default();
                let text = format!("{event} received{from} and quarantined: entry {id}{request}. {why}");
                push(lines, at, StoryEvent::Quarantined, Some(id), text);
                if let (Some(dated), Some(code)) = (lines.last_mut(), &row.reason) {
                    dated.line.remedy = Some(code.remedy()).filter(|remedy| !remedy.is_empty());
                }
            }
            Lane::Observed => {
                let why = if why.is_empty() { why } else { format!(" {why}") };
                let text = format!("{event} received: entry {id}{request}. The hook only observes.{why}");
                push(lines, at, StoryEvent::Observed, Some(id), text);
            }
            Lane::Deliver => {
                let more = row.supersedes.map(superseding).unwrap_or_default();
                if entry.is_reconciled {
                    let text = format!("{event} fetched from the status API: entry {id}{more}");
                    push(lines, at, StoryEvent::Reconciled, Some(id), text);
                } else if !self.was_made_by_release(id) {
                    let sender = if row.authenticated { "" } else { " from an unauthenticated sender" };
                    let text = format!("{event} received{sender}: entry {id}{request}{more}");
                    push(lines, at, StoryEvent::Received, Some(id), text);
                }
                self.superseded_lines(id, row.received_at, lines);
            }
        }
    }

    /// The action that dropped an entry. A purge of a dead or quarantined entry drops it.
    fn dropped_by(entry: &StoryEntry) -> ActionKind {
        let is_purged = entry.row.size == 0 && !entry.actors.contains_key(ActionKind::Drop.name());
        if is_purged { ActionKind::Purge } else { ActionKind::Drop }
    }

    /// Whether the release of a quarantined entry made this entry, and no delivery came.
    fn was_made_by_release(&self, id: i64) -> bool {
        let made = self.entries.iter().find(|entry| entry.row.id == id).map(|entry| entry.row.received_at);
        self.entries.iter().any(|from| {
            from.row.lane == Lane::Quarantine
                && from.row.superseded_by == Some(id)
                && from.row.ended_at.zip(made).is_some_and(|(ended, made)| made >= ended)
        })
    }

    /// The entries that this one superseded. That was its first decision.
    fn superseded_lines(&self, by: i64, at: i64, lines: &mut Vec<DatedLine>) {
        for other in self.entries.iter().filter(|other| other.row.superseded_by == Some(by)) {
            if other.row.lane != Lane::Quarantine {
                let text = format!("entry {} superseded by entry {by}", other.row.id);
                push(lines, Some(at), StoryEvent::Superseded, Some(other.row.id), text);
            }
        }
    }

    fn redelivery_line(&self, entry: &StoryEntry, lines: &mut Vec<DatedLine>) {
        let row = &entry.row;
        if row.redelivery < 1 {
            return;
        }
        let (id, event) = (row.id, row.event.as_deref().unwrap_or("its event"));
        // The store has the time of the last decision alone.
        if let (Lane::Quarantine, Some(first)) = (row.lane, entry.attempts.first())
            && row.redelivered_at.is_some_and(|last| first.at < last)
        {
            let who = entry.actor(ActionKind::Release);
            let text = format!(
                "entry {id} released by {who} before this time, as the event that it claims: {event}"
            );
            push(lines, Some(first.at), StoryEvent::Released, Some(id), text);
        }
        let releaser = entry.actor(ActionKind::Release);
        let replayer = entry.actor(ActionKind::Replay);
        let (what, text) = match (row.lane, row.redelivery) {
            (Lane::Quarantine, 1) => (
                StoryEvent::Released,
                format!("entry {id} released by {releaser}, as the event that it claims: {event}"),
            ),
            (Lane::Quarantine, count) => {
                let replays = counted(count.saturating_sub(1), "replay", "replays");
                (
                    StoryEvent::Replayed,
                    format!(
                        "entry {id} replayed by {replayer}: a release as {event}, then {replays}, the last one at this time"
                    ),
                )
            }
            (_, 1) => (StoryEvent::Replayed, format!("entry {id} replayed by {replayer}")),
            (_, count) => {
                (StoryEvent::Replayed, format!("entry {id} replayed by {replayer}: replay {count}"))
            }
        };
        push(lines, row.redelivered_at, what, Some(id), text);
    }

    fn end_lines(&self, entry: &StoryEntry, lines: &mut Vec<DatedLine>) {
        let row = &entry.row;
        let id = row.id;
        match row.state {
            EntryState::Delivered if !entry.ends_with_success() => {
                let route = row.route.as_deref().unwrap_or("its service");
                let status =
                    row.status.map(|status| format!(": the service answered {status}")).unwrap_or_default();
                let text = format!("entry {id} delivered to {route}{status}");
                push(lines, row.ended_at, StoryEvent::Delivered, Some(id), text);
            }
            EntryState::Dead => {
                let attempts = counted(row.attempts, "attempt", "attempts");
                let text = format!("entry {id} dead: 72 hours of attempts failed, {attempts}");
                push(lines, row.ended_at, StoryEvent::Dead, Some(id), text);
            }
            EntryState::Dropped => {
                let text = format!(
                    "entry {id} dropped by {}: no attempt follows",
                    entry.actor(Self::dropped_by(entry))
                );
                push(lines, row.ended_at, StoryEvent::Dropped, Some(id), text);
            }
            EntryState::Superseded if row.lane != Lane::Quarantine && !self.knows(row.superseded_by) => {
                let text = format!("entry {id} superseded by another event");
                push(lines, row.ended_at, StoryEvent::Superseded, Some(id), text);
            }
            EntryState::InFlight => {
                let text = format!("an attempt of entry {id} runs");
                push(lines, None, StoryEvent::Due, Some(id), text);
            }
            // A pause has no end yet.
            EntryState::Waiting if self.all_pauses.iter().any(|pause| covers(pause, row)) => {}
            EntryState::Waiting => {
                let text = format!("entry {id}: next attempt due");
                push(lines, Some(row.due_at.max(self.now)), StoryEvent::Due, Some(id), text);
            }
            _ => {}
        }
        if row.size == 0 {
            let text = format!("the body of entry {id} is deleted, by retention or a purge");
            push(lines, None, StoryEvent::Purged, Some(id), text);
        }
    }

    fn knows(&self, id: Option<i64>) -> bool {
        id.is_some_and(|id| self.entries.iter().any(|entry| entry.row.id == id))
    }
}

fn attempt_lines(entry: &StoryEntry, lines: &mut Vec<DatedLine>) {
    let id = entry.row.id;
    let mut before = 0_i64;
    for attempt in &entry.attempts {
        let gap = match (before, attempt.number.saturating_sub(before).saturating_sub(1)) {
            (_, ..=0) => String::new(),
            // The store records no first success.
            (0, 1) => " (attempt 1 was a success at once)".to_owned(),
            (_, gap) => format!(" ({} before it not recorded)", counted(gap, "attempt", "attempts")),
        };
        before = attempt.number;
        let what = if is_success(attempt) { StoryEvent::Delivered } else { StoryEvent::Attempt };
        let text = format!("attempt {} of entry {id}: {}{gap}", attempt.number, outcome(attempt));
        push(lines, Some(attempt.at), what, Some(id), text);
    }
}

/// The result of an attempt: `503 after 1.2s: busy`.
fn outcome(attempt: &AttemptRow) -> String {
    let after = attempt.duration.map(|duration| format!(" after {}", span(duration))).unwrap_or_default();
    let answer = match attempt.answer.as_str() {
        "" => String::new(),
        answer => format!(": {answer}"),
    };
    match attempt.status {
        Some(status) if is_success(attempt) => format!("delivered, {status}{after}{answer}"),
        Some(status) => format!("{status}{after}{answer}"),
        // The inbox ended during the attempt, and recorded it at its next start.
        None if attempt.duration.is_none() && !answer.is_empty() => {
            format!("{}, recorded at this time", attempt.answer)
        }
        None => format!("no answer{after}{answer}"),
    }
}

fn superseding(superseded: Superseded) -> &'static str {
    match superseded {
        Superseded::Failed => ". It supersedes a failure",
        Superseded::Timeout => ". It supersedes a timeout",
        Superseded::Unauthenticated => ". It supersedes the event of an unauthenticated sender",
    }
}

fn push(lines: &mut Vec<DatedLine>, at: Option<i64>, what: StoryEvent, entry: Option<i64>, text: String) {
    lines.push(DatedLine { at, line: StoryLine { at: at.map(time), what, entry, text, remedy: None } });
}
