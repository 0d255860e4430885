//! What the inbox says of a delivery, beside what the gate has said.

use crate::entry::Superseded;
use axum::http::header::{HeaderMap, HeaderName, HeaderValue};

pub(crate) struct Marks {
    /// From 1 on.
    pub(crate) attempt: i64,
    pub(crate) redelivery: i64,
    pub(crate) supersedes: Option<Superseded>,
    pub(crate) overrides: Option<String>,
    pub(crate) event: Option<String>,
}

impl Marks {
    pub(crate) fn set(self, headers: &mut HeaderMap) {
        set(headers, "blobgate-attempt", self.attempt.to_string());
        if self.redelivery > 0 {
            set(headers, "blobgate-redelivery", self.redelivery.to_string());
        }
        if let Some(supersedes) = self.supersedes {
            set(headers, "blobgate-supersedes", supersedes.to_string());
        }
        if let Some(reason) = self.overrides {
            // A person has let it pass: it goes where its event would have gone.
            set(headers, "blobgate-override", reason);
            set(headers, "blobgate-verdict", "accepted".to_owned());
            set(headers, "blobgate-event", self.event.unwrap_or_default());
            headers.remove("blobgate-claimed-event");
            headers.remove("blobgate-reason");
        }
    }
}

fn set(headers: &mut HeaderMap, name: &'static str, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}
