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
use crate::reconcile::micros;
use crate::store::StoreHandle;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use message::NotificationMessage;
pub use receiver::{
    InvalidNotificationUrl, NotificationError, NotificationPace, NotificationUrl, Notifications,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The time between looks for incidents.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The time of a turn among the inboxes on a store. A call takes less.
const TURN: Duration = Duration::from_secs(30);
/// The time until the next try while another inbox has the turn, or has had it within the hour.
const TRY_TURN_EVERY: Duration = Duration::from_secs(30);
/// Failed calls are repeated after a second, and then at doubling intervals of up to ten minutes, until the receiver takes the call.
const RETRY_DELAYS: ExponentialBuilder =
    ExponentialBuilder::new().with_min_delay(Duration::from_secs(1)).without_max_times();
const MAX_RETRY_DELAY: Duration = Duration::from_secs(600);

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

/// Why no notification follows.
enum NotificationsEnded {
    /// The receiver answered 410: it wants none any more.
    ReceiverGone,
    Ending,
}

impl Notifier {
    /// Call it before the inbox stores: the entries of now are noted here, and later ones by the committers.
    pub(crate) async fn new(shared: InboxHandles, notifications: Notifications, docs: String) -> Self {
        let InboxHandles { incidents, faults, store, .. } = shared;
        let now = Instant::now();
        let outbox = |kind| (kind, NotificationOutbox { unsent: None, next_at: now, delays: None });
        let mut this = Self {
            incidents,
            faults,
            store,
            notifications,
            docs,
            started: OffsetDateTime::now_utc(),
            has_read_store: false,
            outboxes: IncidentKind::ALL.map(outbox).into(),
        };
        this.has_read_store = this.note_entries().await;
        this
    }

    /// Notifies until `ending`. Counts that are unsent then are lost, except those of entries that stay quarantined or dead: the next
    /// start notes them.
    pub(crate) async fn run(mut self, ending: CancellationToken) {
        loop {
            if !self.has_read_store {
                self.has_read_store = self.note_entries().await;
            }
            self.note_faults();
            for kind in IncidentKind::ALL {
                match self.notify_of(kind, &ending).await {
                    Ok(()) => (),
                    Err(NotificationsEnded::Ending) => return,
                    Err(NotificationsEnded::ReceiverGone) => {
                        tracing::error!(
                            "the receiver of notifications answered 410, so the inbox sends none until its next start"
                        );
                        return;
                    }
                }
            }
            tokio::select! {
                () = ending.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => (),
            }
        }
    }

    /// Notes the entries that are quarantined or dead at the start. The previous process may not have told them.
    async fn note_entries(&self) -> bool {
        let Ok(groups) = self.store.entry_groups(i64::MAX).await else { return false };
        for group in groups {
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

    /// Notes each lasting fault, also without a refused delivery: while the inbox is not ready, perhaps none reaches it.
    fn note_faults(&self) {
        // The fault of the last hour is told, and a fault of this hour would be the start of the next.
        if self.outboxes.get(&IncidentKind::Refused).is_none_or(|outbox| outbox.next_at > Instant::now()) {
            return;
        }
        for fault in self.faults.standing() {
            let since = i128::from(fault.since).saturating_mul(1_000);
            let since = OffsetDateTime::from_unix_timestamp_nanos(since).unwrap_or(self.started);
            let lasts = self.notifications.pace.fault_lasts;
            if since.saturating_add(lasts.try_into().unwrap_or_default()) <= OffsetDateTime::now_utc() {
                let tally = Tally::new(fault.reason, 0, Runbook::of_refusal(fault.reason), since);
                self.incidents.add(IncidentKind::Refused, tally);
            }
        }
    }

    /// Sends the incidents of a kind, if a call is due.
    async fn notify_of(
        &mut self,
        kind: IncidentKind,
        ending: &CancellationToken,
    ) -> Result<(), NotificationsEnded> {
        let pace = self.notifications.pace;
        let Some(outbox) = self.outboxes.get_mut(&kind) else { return Ok(()) };
        let is_due = outbox.unsent.is_some() || self.incidents.has(kind, pace.gather);
        if outbox.next_at > Instant::now() || !is_due {
            return Ok(());
        }
        // While the store fails, each inbox counts its own hour.
        let begun = self.store.begin_notification(kind.name(), micros(TURN), micros(pace.every)).await;
        if !begun.unwrap_or(true) {
            outbox.wait(TRY_TURN_EVERY.min(pace.every));
            return Ok(());
        }
        if let Some(newer) = self.incidents.take(kind) {
            outbox.add(kind, newer, &self.docs);
        }
        let Some((tally, message)) = &outbox.unsent else { return Ok(()) };
        // A transaction of the store runs to its end. A call need not.
        let sent = tokio::select! {
            () = ending.cancelled() => None,
            sent = self.notifications.send(message) => Some(sent),
        };
        let next = if matches!(sent, Some(Ok(()))) { micros(pace.every) } else { 0 };
        // A lost turn ends by itself.
        let _ended = self.store.end_notification(kind.name(), next).await;
        let Some(sent) = sent else { return Err(NotificationsEnded::Ending) };
        match sent {
            Ok(()) => {
                tracing::info!(kind = kind.name(), count = tally.count(), "notified kind={}", kind.name());
                outbox.sent(pace.every);
                Ok(())
            }
            Err(NotificationError::Gone) => Err(NotificationsEnded::ReceiverGone),
            Err(why) => {
                if outbox.delays.is_none() {
                    let kind = kind.name();
                    tracing::warn!(kind, "cannot notify kind={kind}, and tries again: {why}");
                }
                outbox.failed();
                Ok(())
            }
        }
    }
}

impl NotificationOutbox {
    /// Adds newer incidents to the unsent notification. A changed one is a new message.
    fn add(&mut self, kind: IncidentKind, newer: Tally, docs: &str) {
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
        let delays = self.delays.get_or_insert_with(|| RETRY_DELAYS.with_max_delay(MAX_RETRY_DELAY).build());
        let delay = delays.next().unwrap_or(MAX_RETRY_DELAY);
        self.wait(delay);
    }

    fn wait(&mut self, time: Duration) {
        let now = Instant::now();
        self.next_at = now.checked_add(time).unwrap_or(now);
    }
}
