//! HTTP/2, frame by frame.

use super::delivery::{Length, RequestEnding};
use super::{ClientResponse, TestDelivery, spawn};
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use std::future::poll_fn;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// Time for Envoy to read a frame before the next one, so that each frame is one callback.
const BETWEEN_PIECES: Duration = Duration::from_millis(1);

/// An open connection. It ends when this and all of its streams are dropped.
pub struct H2Connection {
    requests: SendRequest<Bytes>,
}

impl H2Connection {
    pub async fn over<S>(stream: S) -> Result<Self, h2::Error>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (requests, connection) = h2::client::handshake(stream).await?;
        spawn(async {
            let _ended = connection.await;
        });
        Ok(Self { requests })
    }

    pub async fn send(&mut self, delivery: &TestDelivery) -> Result<ClientResponse, String> {
        let (response, mut stream) = self.begin(delivery).await.map_err(|error| error.to_string())?;
        let answer = answer(response);
        tokio::pin!(answer);
        // A response counts if it comes early, and if the server has reset the stream for writing.
        tokio::select! {
            answer = &mut answer => answer,
            _written_or_cut = body(&mut stream, delivery) => answer.await,
        }
        .map_err(|error| error.to_string())
    }

    /// Sends without waiting for a response. Dropping the result resets the stream.
    pub async fn write(
        &mut self,
        delivery: &TestDelivery,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), String> {
        let (response, mut stream) = self.begin(delivery).await.map_err(|error| error.to_string())?;
        body(&mut stream, delivery).await.map_err(|error| error.to_string())?;
        Ok((response, stream))
    }

    async fn begin(
        &mut self,
        delivery: &TestDelivery,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        let mut requests = self.requests.clone().ready().await?;
        let ends_here = delivery.pieces.is_empty() && delivery.ending == RequestEnding::Last;
        requests.send_request(head(delivery), ends_here)
    }
}

fn head(delivery: &TestDelivery) -> Request<()> {
    let host = delivery.headers.iter().find(|(name, _)| name == "host");
    let host = host.map_or("gate.test".into(), |(_, value)| String::from_utf8_lossy(value));
    let uri = format!("https://{host}{}", delivery.path);
    let mut request = Request::builder().method(&*delivery.method).uri(uri).body(()).unwrap();
    let length = match delivery.length {
        Length::Declared if delivery.pieces.is_empty() => None,
        Length::Declared => Some(delivery.body().len().to_string()),
        Length::Claimed(length) => Some(length.to_string()),
        Length::Undeclared => None,
    };
    let length = length.map(|length| ("content-length".to_owned(), length.into_bytes()));
    let given = delivery.headers.iter().filter(|(name, _)| name != "host").cloned();
    *request.headers_mut() = header_map(given.chain(length));
    request
}

fn header_map(headers: impl Iterator<Item = (String, Vec<u8>)>) -> HeaderMap {
    let parse = |(name, value): (String, Vec<u8>)| {
        (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_bytes(&value).unwrap())
    };
    let mut map = HeaderMap::new();
    for (name, value) in headers.map(parse) {
        map.append(name, value);
    }
    map
}

async fn body(stream: &mut SendStream<Bytes>, delivery: &TestDelivery) -> Result<(), h2::Error> {
    let last = delivery.pieces.len().wrapping_sub(1);
    for (index, piece) in delivery.pieces.iter().enumerate() {
        if index > 0 {
            tokio::time::sleep(BETWEEN_PIECES).await;
        }
        let ends_here = index == last && delivery.ending == RequestEnding::Last;
        data(stream, Bytes::from(piece.clone()), ends_here).await?;
    }
    match &delivery.ending {
        RequestEnding::Last | RequestEnding::Open => Ok(()),
        RequestEnding::EmptyFrame => stream.send_data(Bytes::new(), true),
        RequestEnding::Trailers(trailers) => stream.send_trailers(header_map(trailers.iter().cloned())),
    }
}

async fn data(stream: &mut SendStream<Bytes>, mut bytes: Bytes, end: bool) -> Result<(), h2::Error> {
    if bytes.is_empty() {
        return stream.send_data(bytes, end);
    }
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let Some(capacity) = poll_fn(|context| stream.poll_capacity(context)).await else {
            return Err(Reason::CANCEL.into());
        };
        let part = bytes.split_to(capacity?.min(bytes.len()));
        stream.send_data(part, end && bytes.is_empty())?;
    }
    Ok(())
}

async fn answer(response: ResponseFuture) -> Result<ClientResponse, h2::Error> {
    let (head, mut body) = response.await?.into_parts();
    let mut answer = ClientResponse { status: head.status.as_u16(), ..ClientResponse::default() };
    answer.headers = head.headers.iter().map(|(n, v)| (n.to_string(), v.as_bytes().to_vec())).collect();
    while let Some(bytes) = body.data().await {
        let bytes = match bytes {
            Ok(bytes) => bytes,
            // After a whole response to an unfinished request, the server resets with NO_ERROR (RFC 9113, 8.1).
            Err(error) if error.reason() == Some(Reason::NO_ERROR) && answer.is_whole() => break,
            Err(error) => return Err(error),
        };
        body.flow_control().release_capacity(bytes.len())?;
        answer.body.extend_from_slice(&bytes);
    }
    let trailers = body.trailers().await.ok().flatten().unwrap_or_default();
    answer.trailers = trailers.iter().map(|(n, v)| (n.to_string(), v.as_bytes().to_vec())).collect();
    Ok(answer)
}
