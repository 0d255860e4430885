//! One call to the provider's status API.

use crate::client::{self, root_cause};
use crate::deadline;
use axum::http::uri::PathAndQuery;
use axum::http::{Request, Uri};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
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

    /// The status and the whole body of the answer.
    ///
    /// # Errors
    /// Why there is no answer in time.
    pub(super) async fn get(&self, path: &str) -> Result<(u16, Bytes), String> {
        let request = self.request(path).map_err(|error| error.to_string())?;
        let call = async {
            let answer = self.client.request(request).await.map_err(|error| root_cause(&error))?;
            let status = answer.status().as_u16();
            let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
            body.map(|body| (status, body.to_bytes())).map_err(|error| {
                if error.is::<LengthLimitError>() {
                    return format!(
                        "the status API answers {status}, and its body is larger than {} KiB",
                        MAX_ANSWER >> 10
                    );
                }
                format!(
                    "the status API answers {status}, and its body cannot be read: {}",
                    root_cause(&*error)
                )
            })
        };
        let late = || Err(format!("the status API does not answer within {} s", CALL_TIMEOUT.as_secs()));
        deadline::within(CALL_TIMEOUT, call).await.unwrap_or_else(late)
    }

    fn request(&self, path: &str) -> Result<Request<Empty<Bytes>>, axum::http::Error> {
        let before = self.base.path().trim_end_matches('/');
        let mut uri = self.base.clone().into_parts();
        uri.path_and_query = Some(PathAndQuery::try_from(format!("{before}{path}"))?);
        Request::get(Uri::from_parts(uri)?).body(Empty::new())
    }
}
