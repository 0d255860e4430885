//! Whether a change applies to an entry.

use super::{CandidateGroup, Change};
use crate::entry::{EntryState, Lane};

/// Why a change does not apply to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub(crate) enum ChangeRefusal {
    #[error("there is no such entry")]
    NoEntry,
    /// The gate could not read an event from the body.
    #[error(
        "it claims no event: name it with `blobgate inbox release ID --as completed`, or failed or timeout"
    )]
    NoEvent,
    /// The gate could not read a generation from the body.
    #[error("it names no generation: name it with `blobgate inbox release ID --as EVENT --generation UUID`")]
    NoGeneration,
    /// The entry was dropped from quarantine.
    #[error("it is dropped, and has no route because it claims no event of a generation")]
    NoRoute,
    #[error("it is quarantined: `blobgate inbox release ID` delivers it")]
    Quarantined,
    #[error("it is not quarantined: `blobgate inbox replay ID` delivers it again")]
    NotQuarantined,
    /// An expectation, a confirmation or an operator has released the entry.
    #[error("it was released as another entry")]
    Released,
    #[error("it already waits: `blobgate inbox retry ID` attempts it now")]
    Waiting,
    #[error("it does not wait: `blobgate inbox replay ID` delivers it again")]
    NotWaiting,
    #[error("it waits to be delivered: drop it first")]
    ToBeDelivered,
    #[error("it is in flight")]
    InFlight,
    #[error("it is in flight: pause its route first")]
    DropInFlight,
    #[error("it is in flight: wait for its end, or pause its route first")]
    PurgeInFlight,
    #[error("it is delivered")]
    Delivered,
    #[error("it is superseded: it is not delivered")]
    Superseded,
    #[error("it is dropped already")]
    Dropped,
    #[error("its body is purged")]
    BodyPurged,
    #[error("it is purged already")]
    Purged,
}

impl Change {
    /// Whether the change applies to these entries.
    pub(crate) fn check(self, candidate: &CandidateGroup) -> Result<(), ChangeRefusal> {
        match self {
            Change::Replay => check_replay(candidate),
            Change::Retry(_) => check_retry(candidate),
            Change::Release => check_release(candidate),
            Change::Drop => check_drop(candidate.state),
            Change::Purge => check_purge(candidate),
        }
    }
}

fn check_replay(candidate: &CandidateGroup) -> Result<(), ChangeRefusal> {
    let is_of_quarantine = candidate.lane == Lane::Quarantine;
    match candidate.state {
        EntryState::Waiting => Err(ChangeRefusal::Waiting),
        EntryState::InFlight => Err(ChangeRefusal::InFlight),
        EntryState::Quarantined => Err(ChangeRefusal::Quarantined),
        EntryState::Superseded if is_of_quarantine => Err(ChangeRefusal::Released),
        _ if !candidate.has_body => Err(ChangeRefusal::BodyPurged),
        _ if is_of_quarantine && !(candidate.has_event && candidate.has_generation) => {
            Err(ChangeRefusal::NoRoute)
        }
        _ => Ok(()),
    }
}

fn check_retry(candidate: &CandidateGroup) -> Result<(), ChangeRefusal> {
    match candidate.state {
        EntryState::Waiting => Ok(()),
        EntryState::InFlight => Err(ChangeRefusal::InFlight),
        EntryState::Quarantined => Err(ChangeRefusal::Quarantined),
        EntryState::Superseded if candidate.lane == Lane::Quarantine => Err(ChangeRefusal::Released),
        EntryState::Delivered | EntryState::Dead | EntryState::Superseded | EntryState::Dropped => {
            Err(ChangeRefusal::NotWaiting)
        }
    }
}

fn check_release(candidate: &CandidateGroup) -> Result<(), ChangeRefusal> {
    match candidate.state {
        EntryState::Quarantined if !candidate.has_body => Err(ChangeRefusal::BodyPurged),
        EntryState::Quarantined if !candidate.has_event => Err(ChangeRefusal::NoEvent),
        EntryState::Quarantined if !candidate.has_generation => Err(ChangeRefusal::NoGeneration),
        EntryState::Quarantined => Ok(()),
        EntryState::Waiting => Err(ChangeRefusal::Waiting),
        EntryState::InFlight => Err(ChangeRefusal::InFlight),
        EntryState::Superseded if candidate.lane == Lane::Quarantine => Err(ChangeRefusal::Released),
        _ => Err(ChangeRefusal::NotQuarantined),
    }
}

fn check_drop(state: EntryState) -> Result<(), ChangeRefusal> {
    match state {
        EntryState::Waiting | EntryState::Dead | EntryState::Quarantined => Ok(()),
        EntryState::InFlight => Err(ChangeRefusal::DropInFlight),
        EntryState::Delivered => Err(ChangeRefusal::Delivered),
        EntryState::Superseded => Err(ChangeRefusal::Superseded),
        EntryState::Dropped => Err(ChangeRefusal::Dropped),
    }
}

fn check_purge(candidate: &CandidateGroup) -> Result<(), ChangeRefusal> {
    match candidate.state {
        EntryState::Waiting => Err(ChangeRefusal::ToBeDelivered),
        EntryState::InFlight => Err(ChangeRefusal::PurgeInFlight),
        _ if !candidate.has_body && !candidate.has_answer => Err(ChangeRefusal::Purged),
        _ => Ok(()),
    }
}
