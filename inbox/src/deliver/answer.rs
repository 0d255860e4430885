//! The beginning of a service's answer, as the store records it.

use crate::client::root_cause;
use crate::deadline;
use axum::http::Response;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body;
use std::error::Error;
use std::time::Duration;

/// The bytes of an answer that the store records.
const RECORDED: usize = 200;
/// After these bytes of an answer the inbox closes the connection.
const MAX_ANSWER: usize = 64 << 10;

/// Reads an answer, so that its connection can take another request. Returns its beginning, escaped. A note in brackets tells
/// why the rest is not there: the beginning of a long page of an error tells most.
pub(super) async fn read<B>(response: Response<B>, timeout: Duration) -> String
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Error + 'static,
{
    let mut body = response.into_body();
    let mut start = Vec::new();
    let mut size: usize = 0;
    let rest = deadline::within(timeout, async {
        while size <= MAX_ANSWER {
            match body.frame().await {
                None => return Ok(()),
                Some(Err(error)) => return Err(root_cause(&error)),
                Some(Ok(frame)) => {
                    let data = frame.into_data().unwrap_or_default();
                    size = size.saturating_add(data.len());
                    let room = RECORDED.saturating_sub(start.len());
                    start.extend_from_slice(data.get(..data.len().min(room)).unwrap_or_default());
                }
            }
        }
        Ok(())
    })
    .await;
    let note = match rest {
        Some(Ok(())) if size <= RECORDED => return printable(&start),
        Some(Ok(())) => "the answer goes on".to_owned(),
        Some(Err(why)) => format!("the answer breaks off: {why}"),
        None => format!("the answer does not end within {} s", timeout.as_secs()),
    };
    format!("{} [{note}]", printable(&start)).trim_start().to_owned()
}

/// Escapes everything except visible ASCII: PostgreSQL's text takes no NUL, and a terminal no control character. Escapes the
/// backslash too, so that an escape differs from the service's own text.
fn printable(bytes: &[u8]) -> String {
    let one = |byte: &u8| match byte {
        b'\\' => r"\\".to_owned(),
        b' '..=b'~' => char::from(*byte).to_string(),
        other => other.escape_ascii().to_string(),
    };
    bytes.iter().map(one).collect()
}
