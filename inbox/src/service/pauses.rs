//! Pauses deliveries, and resumes them.

use super::error::{BadRequest, Error};
use super::filter::read_hook;
use super::names::EventKind;
use super::{Operations, time, written};
use crate::access::Caller;
use crate::store::{ActionKind, DatedPause, NewAction};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A hook, an event, or an event of a hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PauseTarget {
    /// The hook; every hook without one.
    pub hook: Option<String>,
    /// The event; every event without one.
    pub event: Option<EventKind>,
}

/// A pause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivePause {
    /// The hook; every hook without one.
    pub hook: Option<String>,
    /// The event; every event without one.
    pub event: Option<EventKind>,
    /// The time at which it was set.
    pub since: String,
}

/// The outcome of a pause or its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseAnswer {
    /// False if the pause existed already.
    pub changed: bool,
    /// A doubt about the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The action's number in the audit.
    #[serde(default)]
    pub action: Option<i64>,
}

/// Hook and event in the store: an empty one stands for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PauseName {
    hook: String,
    event: String,
}

impl Operations {
    /// Lists the pauses.
    pub(crate) async fn pauses(&self) -> Result<Vec<ActivePause>, Error> {
        self.shared.store.paused().await?.into_iter().map(ActivePause::try_from).collect()
    }

    /// Pauses the target: no new attempt of it starts.
    pub(crate) async fn pause(&self, caller: &Caller, target: &PauseTarget) -> Result<PauseAnswer, Error> {
        let name = PauseName::read(target, read_hook)?;
        // A pause may precede the first event, so an unknown hook is a note and not an error.
        let is_known = name.hook.is_empty() || self.shared.store.knows_hook(&name.hook).await?;
        let note = (!is_known).then(|| {
            format!("no accepted or quarantined entry and no expectation has hook {}: check the name in the gate's configuration", name.hook)
        });
        tracing::info!(hook = name.hook(), event = name.event(), "an operator pauses {name}");
        let action = NewAction::by(caller, ActionKind::Pause).with_target(name.to_string());
        let store = self.shared.store.clone();
        let action = written(async move { store.pause(&name.hook, &name.event, &action).await }).await?;
        Ok(PauseAnswer { changed: action.is_some(), note, action })
    }

    /// Ends a pause.
    pub(crate) async fn resume(&self, caller: &Caller, target: &PauseTarget) -> Result<PauseAnswer, Error> {
        // A hook of this name may be invalid, and the pause still has to end.
        let name = PauseName::read(target, read_any)?;
        let (hook, event) = (name.hook.clone(), name.event.clone());
        let action = NewAction::by(caller, ActionKind::Resume).with_target(name.to_string());
        let store = self.shared.store.clone();
        let action = written(async move { store.resume(&hook, &event, &action).await }).await?;
        if action.is_none() {
            return Err(Error::NoPause(name.to_string()));
        }
        tracing::info!(hook = name.hook(), event = name.event(), "an operator resumes {name}");
        Ok(PauseAnswer { changed: true, note: None, action })
    }
}

impl PauseName {
    fn hook(&self) -> Option<&str> {
        Some(self.hook.as_str()).filter(|hook| !hook.is_empty())
    }

    fn event(&self) -> Option<&str> {
        Some(self.event.as_str()).filter(|event| !event.is_empty())
    }

    fn read(
        target: &PauseTarget,
        read_hook: impl Fn(&str) -> Result<String, BadRequest>,
    ) -> Result<Self, BadRequest> {
        if target.hook.is_none() && target.event.is_none() {
            return Err(BadRequest::UnnamedPause);
        }
        let hook = target.hook.as_deref().map(read_hook).transpose()?;
        Ok(Self { hook: hook.unwrap_or_default(), event: target.event.map(String::from).unwrap_or_default() })
    }
}

fn read_any(value: &str) -> Result<String, BadRequest> {
    // PostgreSQL's text takes no NUL.
    let is_text = !value.is_empty() && !value.contains('\0');
    if is_text { Ok(value.to_owned()) } else { Err(BadRequest::NoHook(value.to_owned())) }
}

impl fmt::Display for PauseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hook = self.hook.escape_debug();
        match (self.hook.is_empty(), self.event.as_str()) {
            (true, event) => write!(f, "event {event}"),
            (false, "") => write!(f, "hook {hook}"),
            (false, event) => write!(f, "hook {hook}, event {event}"),
        }
    }
}

impl TryFrom<DatedPause> for ActivePause {
    type Error = Error;

    fn try_from(pause: DatedPause) -> Result<Self, Error> {
        let event = match pause.event.as_str() {
            "" => None,
            event => Some(super::entries::event(event)?),
        };
        Ok(Self { hook: Some(pause.hook).filter(|hook| !hook.is_empty()), event, since: time(pause.since) })
    }
}
