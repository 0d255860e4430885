//! The body of a notification: type, timestamp and data, as Standard Webhooks recommends.

use crate::incidents::{IncidentKind, Tally};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A notification with its id. A repeated call has the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NotificationMessage {
    pub(super) id: String,
    pub(super) body: Vec<u8>,
}

impl NotificationMessage {
    pub(super) fn new(kind: IncidentKind, tally: &Tally, docs: &str, now: OffsetDateTime) -> Self {
        let data = json!({
            "count": tally.count(),
            "since": rfc3339(tally.since),
            kind.counts(): tally.counts,
            "runbook": format!("{docs}/operate/runbooks/blobgate-{}.html", tally.runbook.page()),
        });
        Self::of(kind.name(), &data, now)
    }

    /// A message that only shows that the receiver takes it.
    pub(super) fn test(docs: &str, now: OffsetDateTime) -> Self {
        let data = json!({"runbook": format!("{docs}/howto/notifications.html")});
        Self::of("test", &data, now)
    }

    fn of(name: &str, data: &Value, now: OffsetDateTime) -> Self {
        let body = json!({"type": format!("blobgate.{name}"), "timestamp": rfc3339(now), "data": data});
        let body = body.to_string().into_bytes();
        // Two inboxes may say the same in one second.
        let digest = Sha256::new().chain_update(now.unix_timestamp_nanos().to_be_bytes()).chain_update(&body);
        let digest = hex::encode(digest.finalize());
        Self { id: format!("ntf_{}", digest.get(..32).unwrap_or_default()), body }
    }
}

/// Whole seconds: `2026-01-31T12:00:00Z`.
fn rfc3339(at: OffsetDateTime) -> String {
    at.truncate_to_second().format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incidents::Runbook;
    use time::macros::datetime;

    #[test]
    fn has_counts_the_start_and_the_runbook() {
        let mut tally =
            Tally::new("token-expired", 2, Runbook::Quarantined, datetime!(2026-01-31 12:00:01.9 UTC));
        tally.add(Tally::new("source-denied", 1, Runbook::Quarantined, datetime!(2026-01-31 12:00:00.5 UTC)));
        let now = datetime!(2026-01-31 13:00 UTC);
        let message =
            NotificationMessage::new(IncidentKind::Quarantined, &tally, "https://docs.example", now);
        let body: Value = serde_json::from_slice(&message.body).unwrap();
        assert_eq!(
            body,
            json!({
                "type": "blobgate.quarantined",
                "timestamp": "2026-01-31T13:00:00Z",
                "data": {
                    "count": 3,
                    "since": "2026-01-31T12:00:00Z",
                    "reasons": {"source-denied": 1, "token-expired": 2},
                    "runbook": "https://docs.example/operate/runbooks/blobgate-quarantined.html",
                },
            })
        );
        let later = now + time::Duration::nanoseconds(1);
        let again =
            NotificationMessage::new(IncidentKind::Quarantined, &tally, "https://docs.example", later);
        assert_eq!(message.body, again.body);
        assert!(message.id != again.id && message.id.len() == 36, "{}", message.id);
    }
}
