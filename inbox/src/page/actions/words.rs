//! The names and the texts of the actions.

use super::super::render::PageError;
use super::fields::unknown;
use crate::service::AuditRecord;
use crate::service::Operations;
use crate::store::Change;

/// An action of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageAction {
    Change(EntryAction),
    ReleaseAs,
    Reevaluate,
    Pause,
    Resume,
}

impl PageAction {
    pub(super) fn read(name: &str) -> Result<Self, PageError> {
        let other = [Self::ReleaseAs, Self::Reevaluate, Self::Pause, Self::Resume];
        let other = other.into_iter().find(|action| action.name() == name);
        other.map_or_else(|| EntryAction::read(name).map(Self::Change), Ok)
    }

    /// The name in a path, and in the audit table.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Change(action) => action.name(),
            Self::ReleaseAs => "release-as",
            Self::Reevaluate => "reevaluate",
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }

    /// The title of an outcome.
    pub(super) fn done(self, record: &AuditRecord) -> String {
        let target = record.target.as_deref().unwrap_or_default();
        match self {
            Self::Change(action) => format!("{} {}", entries(record.entries), action.past()),
            Self::ReleaseAs => format!("Entry released as {target}"),
            Self::Reevaluate => format!("{} passed", entries(record.entries)),
            Self::Pause => format!("Paused: {target}"),
            Self::Resume => format!("Resumed: {target}"),
        }
    }

    /// What happens next.
    pub(super) const fn next(self) -> &'static str {
        match self {
            Self::Change(EntryAction::Replay | EntryAction::Retry | EntryAction::Release)
            | Self::ReleaseAs => "The events wait for their delivery. An entry shows its attempts.",
            Self::Change(EntryAction::Drop) => "The inbox does not deliver these events.",
            Self::Change(EntryAction::Purge) => "The bodies are deleted.",
            Self::Reevaluate => {
                "An entry that passes waits for its delivery. An entry that needs a confirmation stays quarantined until the \
                 status API confirms it."
            }
            Self::Pause => {
                "Running attempts finish. The inbox still stores events, and their senders get 200."
            }
            Self::Resume => "The inbox delivers the waiting events now.",
        }
    }
}

/// An action that changes entries in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryAction {
    Replay,
    Retry,
    Release,
    Drop,
    Purge,
}

impl EntryAction {
    const ALL: [Self; 5] = [Self::Replay, Self::Retry, Self::Release, Self::Drop, Self::Purge];

    pub(super) fn read(name: &str) -> Result<Self, PageError> {
        let action = Self::ALL.into_iter().find(|action| action.name() == name);
        action.ok_or_else(|| unknown("the page has no such action: choose one on an entry or in the list"))
    }

    /// The name in a path, and in the audit table.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Retry => "retry",
            Self::Release => "release",
            Self::Drop => "drop",
            Self::Purge => "purge",
        }
    }

    pub(super) const fn verb(self) -> &'static str {
        match self {
            Self::Replay => "Replay",
            Self::Retry => "Retry",
            Self::Release => "Release",
            Self::Drop => "Drop",
            Self::Purge => "Purge",
        }
    }

    pub(super) const fn past(self) -> &'static str {
        match self {
            Self::Replay => "replayed",
            Self::Retry => "retried",
            Self::Release => "released",
            Self::Drop => "dropped",
            Self::Purge => "purged",
        }
    }

    pub(super) fn change(self, operations: &Operations) -> Change {
        match self {
            Self::Replay => Change::Replay,
            Self::Retry => Change::Retry(operations.retries.pace()),
            Self::Release => Change::Release,
            Self::Drop => Change::Drop,
            Self::Purge => Change::Purge,
        }
    }

    /// What the action does.
    pub(super) const fn meaning(self) -> &'static str {
        match self {
            Self::Replay => {
                "The inbox delivers the event again, behind new events and with 72 hours of attempts. The service may get the event \
                 a second time. The idempotency key stays the same, and blobgate-redelivery counts the replays."
            }
            Self::Retry => {
                "The inbox attempts the waiting event now, the oldest first and at a bounded pace, instead of at its next time."
            }
            Self::Release => {
                "The inbox delivers the event that the entry claims. The service gets the reason of the quarantine in \
                 blobgate-override."
            }
            Self::Drop => {
                "The inbox never delivers the event, and deletes the body after 14 days. A repeat of the event gets 200 and is \
                 not delivered."
            }
            Self::Purge => {
                "The inbox deletes the body, the headers and the answers of the service. A dead or quarantined entry becomes \
                 dropped. Of each entry the inbox keeps what it needs to recognise a repeat."
            }
        }
    }

    /// What cannot be undone.
    pub(super) const fn lasting(self) -> Option<&'static str> {
        match self {
            Self::Replay => Some("An attempt that has begun cannot be taken back."),
            Self::Retry => None,
            Self::Release => Some(
                "An attempt that has begun cannot be taken back. Look at the entry before you release it.",
            ),
            Self::Drop => Some(
                "A replay delivers a dropped event while its body exists. An entry without an event or a generation cannot be \
                 replayed.",
            ),
            Self::Purge => Some(
                "The deletion is final. It does not reach copies: replicas, backups, archived logs, exports, and the service's \
                 own data.",
            ),
        }
    }
}

/// `1 entry`, `3 entries`.
pub(super) fn entries(count: i64) -> String {
    if count == 1 { "1 entry".to_owned() } else { format!("{count} entries") }
}
