//! Sends a request again that met a closing connection. Envoy or a service may close an idle connection at the moment at which
//! the inbox uses it. Only a new connection tells whether the service is away.

use axum::http::{Extensions, Request, Response};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::{HttpConnector, HttpInfo};
use hyper_util::client::legacy::{Client, Error};
use std::collections::BTreeSet;
use std::error::Error as StdError;
use std::io::{self, ErrorKind};
use std::sync::{Mutex, PoisonError};

/// Requests after which the failure counts: several idle connections may close at once.
const MAX_REPEATS: u32 = 4;

/// The client of attempts, and the local ports of its connections that have answered: at most 65,536.
pub(super) struct ReconnectingClient {
    client: Client<HttpConnector, Full<Bytes>>,
    answered: Mutex<BTreeSet<u16>>,
}

impl ReconnectingClient {
    pub(super) fn new(client: Client<HttpConnector, Full<Bytes>>) -> Self {
        Self { client, answered: Mutex::default() }
    }

    pub(super) async fn request(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Error> {
        let mut repeats: u32 = 0;
        loop {
            match self.client.request(request.clone()).await {
                Err(error) if repeats < MAX_REPEATS && self.had_answered(&error) => {
                    repeats = repeats.saturating_add(1);
                }
                Err(error) => return Err(error),
                Ok(response) => {
                    if let Some(port) = port(response.extensions()) {
                        self.ports().insert(port);
                    }
                    return Ok(response);
                }
            }
        }
    }

    /// Whether a connection closed that had answered an earlier request.
    fn had_answered(&self, error: &Error) -> bool {
        let mut extras = Extensions::new();
        let Some(connection) = error.connect_info().filter(|_| is_closed(error)) else { return false };
        connection.get_extras(&mut extras);
        port(&extras).is_some_and(|port| self.ports().remove(&port))
    }

    fn ports(&self) -> std::sync::MutexGuard<'_, BTreeSet<u16>> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn port(extensions: &Extensions) -> Option<u16> {
    extensions.get::<HttpInfo>().map(|info| info.local_addr().port())
}

/// Whether the connection ended before the first byte of an answer.
fn is_closed(error: &Error) -> bool {
    let mut cause: Option<&dyn StdError> = error.source();
    while let Some(error) = cause {
        let by_http = error
            .downcast_ref::<hyper::Error>()
            .is_some_and(|error| error.is_incomplete_message() || error.is_canceled());
        let by_socket = error.downcast_ref::<io::Error>().is_some_and(|error| {
            matches!(
                error.kind(),
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted
            )
        });
        if by_http || by_socket {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// A service that answers this many requests on each connection, and closes it at the next. Returns its URL, and counts
    /// requests.
    async fn service(answers: usize) -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&requests);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let counter = Arc::clone(&counter);
                tokio::spawn(async move {
                    for number in 0.. {
                        let mut request = [0; 4096];
                        if stream.read(&mut request).await.unwrap_or(0) == 0 {
                            return;
                        }
                        counter.fetch_add(1, Ordering::SeqCst);
                        if number == answers {
                            return;
                        }
                        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
                    }
                });
            }
        });
        (url, requests)
    }

    /// Sends three requests, one after the other.
    #[track_caller]
    fn row(answers: usize, expected: [bool; 3], requests: usize) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.unwrap().block_on(async {
            let (url, counted) = service(answers).await;
            let client = crate::client::builder().retry_canceled_requests(true).build_http();
            let client = ReconnectingClient::new(client);
            let mut outcomes = Vec::new();
            for _ in 0..3 {
                let request = Request::post(&url).body(Full::from("x")).unwrap();
                outcomes.push(client.request(request).await.is_ok());
            }
            assert_eq!(
                (outcomes, counted.load(Ordering::SeqCst)),
                (expected.to_vec(), requests),
                "{answers}"
            );
        });
    }

    #[test]
    fn repeats_a_request_only_on_a_connection_that_has_answered() {
        row(3, [true; 3], 3);
        // The second and the third request each meet a closing connection first.
        row(1, [true; 3], 5);
        // A service that never answers gets each request once.
        row(0, [false; 3], 3);
    }
}
