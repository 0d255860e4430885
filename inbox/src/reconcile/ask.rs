//! One question to the provider's status API.

use crate::client;
use axum::http::{Request, Uri};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use std::time::Duration;

/// A call is given up after so long; until then it counts as one of its minute.
const WITHIN: Duration = Duration::from_secs(5);
/// An answer is flat, and a prompt of it has 4,000 characters.
const LONGEST: usize = 64 << 10;

pub(super) struct Provider {
    base: Uri,
    client: Client<HttpConnector, Empty<Bytes>>,
}

impl Provider {
    pub(super) fn new(base: Uri) -> Self {
        // Each call is counted once.
        let client = client::builder().retry_canceled_requests(false).build_http();
        Self { base, client }
    }

    /// The status and the whole body of an answer; none where none came in time.
    pub(super) async fn ask(&self, path: &str) -> Option<(u16, Bytes)> {
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
            let body = Limited::new(answer.into_body(), LONGEST).collect().await.ok()?;
            Some((status, body.to_bytes()))
        };
        tokio::time::timeout(WITHIN, call).await.ok()?
    }
}
