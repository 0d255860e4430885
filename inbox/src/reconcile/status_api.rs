//! One call to the provider's status API.

use crate::client;
use crate::deadline;
use axum::http::{Request, Uri};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use std::time::Duration;

/// After this time a call is given up. Until then it counts as one of its minute.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest answer in bytes: an answer is flat, and its prompt has at most 4,000 characters.
const MAX_ANSWER: usize = 64 << 10;

pub(super) struct StatusApi {
    base: Uri,
    client: Client<HttpConnector, Empty<Bytes>>,
}

impl StatusApi {
    pub(super) fn new(base: Uri) -> Self {
        // The store counts each call once.
        let client = client::builder().retry_canceled_requests(false).build_http();
        Self { base, client }
    }

    /// The status and the whole body of the answer; nothing without an answer in time.
    pub(super) async fn get(&self, path: &str) -> Option<(u16, Bytes)> {
        let before = self.base.path().trim_end_matches('/');
        let base = self.base.clone().into_parts();
        let uri = Uri::builder()
            .scheme(base.scheme?)
            .authority(base.authority?)
            .path_and_query(format!("{before}{path}"))
            .build()
            .ok()?;
        let request = Request::get(uri).body(Empty::new()).ok()?;
        let call = async {
            let answer = self.client.request(request).await.ok()?;
            let status = answer.status().as_u16();
            let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await.ok()?;
            Some((status, body.to_bytes()))
        };
        deadline::within(CALL_TIMEOUT, call).await?
    }
}
