//! The gate's response, until Envoy gets it.

use crate::abi::{EnvoyStream, HeaderPair};

/// The response code's detail in the access log.
const DETAILS: &str = "blobgate";

/// A response.
#[derive(Debug)]
pub(crate) struct QueuedAnswer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// The status of a response to gRPC. Envoy sends its local replies to gRPC with the status 200, and without a body.
    grpc: Option<String>,
}

impl QueuedAnswer {
    pub(crate) fn new(status: u16, headers: &[HeaderPair<'_>], body: &[u8]) -> Self {
        let owned = |(name, value): &HeaderPair<'_>| ((*name).to_owned(), (*value).to_owned());
        Self { status, headers: headers.iter().map(owned).collect(), body: body.to_vec(), grpc: None }
    }

    /// The value of a header, as the exchange's response hook reads it.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        if name == ":status" {
            return Some(self.grpc.clone().unwrap_or_else(|| self.status.to_string()));
        }
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone())
    }

    /// Sets a header. The exchange sets the status only of a response to gRPC.
    pub(crate) fn set_header(&mut self, name: &str, value: &str) {
        if name == ":status" {
            self.grpc = Some(value.to_owned());
        } else {
            self.remove_header(name);
            self.headers.push((name.to_owned(), value.to_owned()));
        }
    }

    pub(crate) fn remove_header(&mut self, name: &str) {
        self.headers.retain(|(other, _)| other != name);
    }

    /// Sends the response, also instead of one that has come.
    pub(crate) fn send(&self, envoy: EnvoyStream<'_>) {
        let headers = self.headers.iter().map(|(name, value)| (&**name, &**value));
        match &self.grpc {
            None => {
                envoy.respond_locally(self.status, &headers.collect::<Vec<_>>(), &self.body, DETAILS);
            }
            Some(status) => {
                let status = [(":status", &**status)];
                envoy.respond(&status.into_iter().chain(headers).collect::<Vec<_>>());
            }
        }
    }
}
