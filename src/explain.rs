//! Explains a decision: runs one request through an [`Exchange`] without an Envoy, and reports each stage. The gate's own code
//! decides, so the explanation is its decision.

mod host;

use crate::Config;
use crate::confirm::Outcome;
use crate::exchange::{Exchange, Flow, Gate, ProviderResponse};
use crate::head::{Ending, Hop};
use crate::trace::{StageReport, Trace};
use host::ExplainHost;
use std::sync::Arc;
use std::time::Duration;

/// Headers as the host lists them.
pub type HeaderList = Vec<(String, Vec<u8>)>;

/// A request to explain.
#[derive(Clone, Debug)]
pub struct ExplainedRequest {
    /// `:method`.
    pub method: String,
    /// `:path`, with a token and a query.
    pub path: Vec<u8>,
    /// Every other header, names in lower case. `content-length` is one of them, if the request declares its size.
    pub headers: HeaderList,
    /// The body; `None` ends the request with its head.
    pub body: Option<Vec<u8>>,
    /// The encryption of the last hop.
    pub hop: Hop,
    /// The client's address, with its port.
    pub source: Option<String>,
    /// The direct peer's address, without a port.
    pub peer: Option<String>,
    /// The time since the epoch.
    pub now: Duration,
}

/// The gate's decision on a request, and its way there.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// Each stage that ran, in their order.
    pub stages: Vec<StageReport>,
    /// The end of the request.
    pub ending: ExplainedEnding,
    /// The values that Envoy's access log gets beside the headers.
    pub access_log: Vec<(String, String)>,
    /// The lines that the gate logs.
    pub log: Vec<String>,
}

/// The end of an explained request.
#[derive(Clone, Debug)]
pub enum ExplainedEnding {
    /// The gate responds itself.
    Refused {
        /// Its response.
        answer: ExplainedAnswer,
        /// The request headers, which Envoy's access log reads.
        request: HeaderList,
    },
    /// A service gets the delivery.
    Forwarded {
        /// The request headers of the service, `:path` included.
        request: HeaderList,
        /// The sender's response if the service responds 200.
        stored: ExplainedAnswer,
        /// The sender's response if the service responds 503.
        failed: ExplainedAnswer,
    },
    /// The gate calls the status API first. [`explain`] decides by a given [`ExplainedConfirmation`].
    NeedsConfirmation(ExplainedCall),
}

/// A response to the sender.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExplainedAnswer {
    /// Its status.
    pub status: u16,
    /// Its headers, without those of Envoy.
    pub headers: HeaderList,
    /// The gate's body; `None` for the service's own.
    pub body: Option<String>,
}

/// The status API's part in an explanation.
#[derive(Clone, Copy, Debug)]
pub enum ExplainedConfirmation<'a> {
    /// A confirmation with this outcome.
    Outcome(Outcome),
    /// This response.
    Response {
        /// Its `:status`.
        status: &'a str,
        /// Its whole body.
        body: &'a [u8],
    },
}

/// A call to the status API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainedCall {
    /// The Envoy cluster.
    pub cluster: String,
    /// `:authority`.
    pub authority: String,
    /// `:path`.
    pub path: String,
}

/// Explains a request. Without `confirmation`, a delivery that needs one stays undecided.
pub fn explain(
    config: &Config,
    request: &ExplainedRequest,
    confirmation: Option<ExplainedConfirmation<'_>>,
) -> Explanation {
    let (mut host, trace, flow) = run(config, request, confirmation, "200");
    let answer = host.take_answer();
    let ending = match (flow, host.call.take()) {
        (Flow::Continue, _) => {
            let (mut other, ..) = run(config, request, confirmation, "503");
            let (request, failed) = (host.forwarded.unwrap_or_default(), other.take_answer());
            ExplainedEnding::Forwarded { request, stored: answer, failed }
        }
        (Flow::Pause, Some(call)) => ExplainedEnding::NeedsConfirmation(call),
        (Flow::Pause, None) => ExplainedEnding::Refused { answer, request: host.request },
    };
    Explanation { stages: trace.0, ending, access_log: host.access_log, log: host.log }
}

/// Runs a request, and a service's response with this status.
fn run(
    config: &Config,
    request: &ExplainedRequest,
    confirmation: Option<ExplainedConfirmation<'_>>,
    status: &str,
) -> (ExplainHost, Trace, Flow) {
    let gate = Arc::new(Gate::new(config.clone()));
    let mut host = ExplainHost::new(request);
    let mut exchange = Exchange::with_observer(gate, Trace::default());
    let ending = if request.body.is_some() { Ending::Later } else { Ending::Here };
    let mut flow = exchange.on_request_headers(&mut host, ending);
    if let Some(body) = &request.body
        && flow == Flow::Pause
        && !host.has_responded()
    {
        flow = exchange.on_request_body(&mut host, body.len(), Ending::Here);
    }
    if let Some(confirmation) = confirmation.filter(|_| host.call.take().is_some()) {
        flow = match confirmation {
            ExplainedConfirmation::Outcome(outcome) => exchange.on_provider_outcome(&mut host, outcome),
            ExplainedConfirmation::Response { status, body } => {
                let response = ProviderResponse { status: status.as_bytes(), body };
                exchange.on_provider_response(&mut host, Some(response))
            }
        };
    }
    if flow == Flow::Continue {
        host.receive(status);
        exchange.on_response_headers(&mut host, Ending::Here);
    }
    (host, exchange.observer().clone(), flow)
}
