//! The headers that the inbox adds to each attempt, beside the gate headers.

use crate::entry::Superseded;
use crate::request_ids::RequestIds;
use axum::http::header::{HeaderMap, HeaderName, HeaderValue};
use blobgate::contract::{Verdict, header};

pub(crate) struct AttemptHeaders {
    /// The first attempt is 1.
    pub(crate) attempt: i64,
    pub(crate) redelivery: i64,
    pub(crate) supersedes: Option<Superseded>,
    pub(crate) overrides: Option<String>,
    pub(crate) event: Option<String>,
    pub(crate) ids: RequestIds,
}

impl AttemptHeaders {
    pub(crate) fn set(self, headers: &mut HeaderMap) {
        self.ids.set(headers);
        set(headers, header::ATTEMPT, self.attempt.to_string());
        if self.redelivery > 0 {
            set(headers, header::REDELIVERY, self.redelivery.to_string());
        }
        if let Some(supersedes) = self.supersedes {
            set(headers, header::SUPERSEDES, supersedes.to_string());
        }
        if let Some(reason) = self.overrides {
            // A person released the entry: the service gets it like an accepted event.
            set(headers, header::OVERRIDE, reason);
            set(headers, header::VERDICT, Verdict::Accepted.name().to_owned());
            set(headers, header::EVENT, self.event.unwrap_or_default());
            headers.remove(header::CLAIMED_EVENT);
            headers.remove(header::REASON);
        }
    }
}

fn set(headers: &mut HeaderMap, name: &'static str, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}
