//! Notifies a team without Alertmanager: one signed call of Standard Webhooks when something needs a person, at most one a kind
//! and hour.
//!
//! A task of its own reads the [`Incidents`] that the other parts note. It never delays them, whatever the receiver does.

mod message;
mod receiver;

use crate::entry::EntryState;
use crate::handles::InboxHandles;
use crate::health::Faults;
use crate::incidents::{IncidentKind, Incidents, Runbook, Tally, label_of};
use crate::store::StoreHandle;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use message::NotificationMessage;
pub use receiver::{InvalidNotificationUrl, NotificationError, NotificationUrl, Notifications};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The time between looks for incidents.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The first call of a kind waits for the incidents that come with the first one.
const GATHER_TIME: Duration = Duration::from_secs(3);
/// The time between two notifications of a kind.
pub(crate) const NOTIFY_EVERY: Duration = Duration::from_secs(3_600);
/// A fault that ends within this time, and refuses no delivery, is no incident: a store restarts in less.
const FAULT_LASTS: Duration = Duration::from_secs(60);
/// Failed calls are repeated after a second, and then at doubling intervals of up to ten minutes, until the receiver takes the call.
const RETRY_DELAYS: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_secs(1))
    .with_max_delay(Duration::from_secs(600))
    .without_max_times();

/// Sends notifications.
pub(crate) struct Notifier {
    incidents: Arc<Incidents>,
    faults: Arc<Faults>,
    store: StoreHandle,
    notifications: Notifications,
    docs: String,
    started: OffsetDateTime,
    has_read_store: bool,
    outboxes: BTreeMap<IncidentKind, NotificationOutbox>,
}

/// The newest notification of a kind.
struct NotificationOutbox {
    unsent: Option<(Tally, NotificationMessage)>,
    next_at: Instant,
    /// While calls fail.
    delays: Option<ExponentialBackoff>,
}

/// The receiver answered 410: it wants no notification any more.
struct ReceiverGone;

impl Notifier {
    pub(crate) fn new(shared: InboxHandles, notifications: Notifications, docs: String) -> Self {
        let InboxHandles { incidents, faults, store, .. } = shared;
        let now = Instant::now();
        let outbox = |kind| (kind, NotificationOutbox { unsent: None, next_at: now, delays: None });
        Self {
            incidents,
            faults,
            store,
            notifications,
            docs,
            started: OffsetDateTime::now_utc(),
            has_read_store: false,
            outboxes: IncidentKind::ALL.map(outbox).into(),
        }
    }

    /// Notifies until `ending`. What is unsent then is lost, except entries that stay quarantined or dead: the next start tells them.
    pub(crate) async fn run(mut self, ending: CancellationToken) {
        tokio::select! {
            () = ending.cancelled() => (),
            ReceiverGone = self.notify() => {
                tracing::error!("the receiver of notifications answered 410, so the inbox sends none until its next start");
                ending.cancelled().await;
            }
        }
    }

    async fn notify(&mut self) -> ReceiverGone {
        loop {
            if !self.has_read_store {
                self.has_read_store = self.note_entries().await;
            }
            for kind in IncidentKind::ALL {
                if let Err(gone) = self.send(kind).await {
                    return gone;
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Notes the entries that are quarantined or dead at the start. The previous process may not have told them.
    async fn note_entries(&self) -> bool {
        let Ok(groups) = self.store.entry_groups(i64::MAX).await else { return false };
        for group in groups.iter().filter(|group| group.count > 0) {
            let (kind, label, runbook) = match group.state {
                EntryState::Quarantined => {
                    let label = group.reason.as_ref().map_or("other", label_of);
                    (IncidentKind::Quarantined, label, Runbook::Quarantined)
                }
                EntryState::Dead => {
                    (IncidentKind::Dead, group.route.as_deref().unwrap_or("other"), Runbook::Dead)
                }
                _ => continue,
            };
            let count = u64::try_from(group.count).unwrap_or_default();
            self.incidents.add(kind, Tally::new(label, count, runbook, self.started));
        }
        true
    }

    /// Notes each lasting fault without a refused delivery: while the inbox is not ready, perhaps none reaches it.
    fn note_faults(&self) {
        for fault in self.faults.standing() {
            let since =
                OffsetDateTime::from_unix_timestamp_nanos(i128::from(fault.since).saturating_mul(1_000));
            let since = since.unwrap_or(self.started);
            if OffsetDateTime::now_utc() - since >= FAULT_LASTS {
                let tally = Tally::new(fault.reason, 0, Runbook::InboxRefuses, since);
                self.incidents.add(IncidentKind::Refused, tally);
            }
        }
    }

    /// Sends the incidents of a kind, if a call is due.
    async fn send(&mut self, kind: IncidentKind) -> Result<(), ReceiverGone> {
        let Some(outbox) = self.outboxes.get(&kind) else { return Ok(()) };
        if outbox.next_at > Instant::now() {
            return Ok(());
        }
        if kind == IncidentKind::Refused {
            self.note_faults();
        }
        let is_repeated = outbox.unsent.is_some();
        let age = if is_repeated { Duration::ZERO } else { GATHER_TIME };
        let newer = self.incidents.take(kind, age);
        let Some(outbox) = self.outboxes.get_mut(&kind) else { return Ok(()) };
        outbox.add(kind, newer, &self.docs);
        let Some((tally, message)) = &outbox.unsent else { return Ok(()) };
        match self.notifications.send(message).await {
            Ok(()) => {
                tracing::info!(kind = kind.name(), count = tally.count(), "notified kind={}", kind.name());
                outbox.sent(self.notifications.every);
                Ok(())
            }
            Err(NotificationError::Gone) => Err(ReceiverGone),
            Err(why) => {
                if outbox.delays.is_none() {
                    tracing::warn!(
                        kind = kind.name(),
                        "cannot notify kind={}, and tries again: {why}",
                        kind.name()
                    );
                }
                outbox.failed();
                Ok(())
            }
        }
    }
}

impl NotificationOutbox {
    /// Adds newer incidents to the unsent notification. A changed one is a new message.
    fn add(&mut self, kind: IncidentKind, newer: Option<Tally>, docs: &str) {
        let Some(newer) = newer else { return };
        let tally = match self.unsent.take() {
            Some((mut tally, _)) => {
                tally.add(newer);
                tally
            }
            None => newer,
        };
        let message = NotificationMessage::new(kind, &tally, docs, OffsetDateTime::now_utc());
        self.unsent = Some((tally, message));
    }

    fn sent(&mut self, every: Duration) {
        self.unsent = None;
        self.delays = None;
        self.wait(every);
    }

    fn failed(&mut self) {
        let delays = self.delays.get_or_insert_with(|| RETRY_DELAYS.build());
        let delay = delays.next().unwrap_or(NOTIFY_EVERY);
        self.wait(delay);
    }

    fn wait(&mut self, time: Duration) {
        let now = Instant::now();
        self.next_at = now.checked_add(time).unwrap_or(now);
    }
}
