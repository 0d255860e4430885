//! One request and its response: a state machine that calls the policy and any [`Host`].

mod budget;
mod cache;
mod confirmation;
mod host;
mod log;
mod metrics;
mod response;

pub use confirmation::MAX_RESPONSE_BYTES;
pub use host::{CallError, Flow, Host, LogHost, Property, ProviderResponse, SharedCell, VersionConflict};
use metrics::Status;
pub use metrics::{Counter, FAMILIES, info, panics};

use crate::config::Config;
use crate::confirm::{self, JudgedOutcome, Outcome};
use crate::contract::header;
use crate::event::GenerationId;
use crate::head::{Ending, Head, Hop};
use crate::hook::{self, Hook, RequiredProperties};
use crate::policy::{self, AdmittedHead, Decision, Delivery, Disposition, Refusal};
use crate::reason::Stage;
use crate::trace::{Observer, StageReport, StageVerdict};
use crate::violation::Violation;
use crate::{Reason, answer, forward, request, sanitize, source};
use confirmation::{Calls, PendingConfirmation};
use log::{Cause, Line, LogLimit};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The key of the value for the access log that has the outcome of a confirmation that failed.
const CONFIRM_KEY: &str = "blobgate_confirm";
/// The key of the value for the access log that has the detail of a violation.
const DETAIL_KEY: &str = "blobgate_detail";
/// The hooks whose counters exist at 0, the first ones of the configuration. They have at most 30 each. Envoy matches each name
/// with some 60 patterns of tags, which takes 0.2 ms.
const MAX_INITIAL_HOOKS: usize = 32;

/// The further hooks with counters at 0 that nearly every delivery moves. They take Envoy some 0.4 s at load.
#[cfg(not(target_family = "wasm"))]
const MAX_FREQUENT_HOOKS: usize = 1_024;

/// A configuration, and the state that its exchanges share.
#[derive(Debug)]
pub struct Gate {
    config: Config,
    log: Mutex<LogLimit>,
    calls: Calls,
}

/// One request and its response. A dropped exchange frees its slot for a call to the status API. The gate's observer is `()`.
#[derive(Debug)]
pub struct Exchange<O = ()> {
    gate: Arc<Gate>,
    state: State,
    /// The bytes of the body so far. The trailers callback has no size.
    body_size: usize,
    /// To a gRPC request Envoy sends its own responses and the gate's as 200 with a `grpc-status`.
    is_grpc: bool,
    observer: O,
}

/// The state of an exchange.
#[derive(Debug)]
enum State {
    /// No request headers yet.
    Fresh,
    /// The request waits for the rest of its body.
    AwaitingBody(AdmittedHead),
    /// The request waits for the status API.
    AwaitingProvider(PendingConfirmation),
    /// The service has the request. The gate judges the response.
    Forwarded(Forwarded),
    /// The service has the request. The gate leaves the response unchanged.
    Observed(Arc<Hook>),
    /// The response is the gate's refusal.
    Refused(Option<Arc<Hook>>, Reason),
    /// The gate has counted the response, and leaves the rest of it unchanged.
    Answered,
    /// The gate has counted the response, and replaced its head. This text replaces its body.
    Replacing(String),
}

/// A forwarded delivery.
#[derive(Debug)]
struct Forwarded {
    hook: Arc<Hook>,
    /// Why the delivery is quarantined.
    violation: Option<Violation>,
    generation_id: Option<GenerationId>,
}

impl Gate {
    /// A gate without past calls and log lines.
    pub fn new(config: Config) -> Self {
        Self { config, log: Mutex::default(), calls: Calls::default() }
    }

    /// The environment's name.
    pub fn environment(&self) -> &str {
        &self.config.environment
    }

    /// The counters that exist at 0 once the configuration has loaded. So a rate of the first event is not 0.
    pub fn initial_counters(&self) -> impl Iterator<Item = Counter> {
        self.config.hooks.iter().take(MAX_INITIAL_HOOKS).flat_map(|hook| metrics::initial(hook))
    }

    /// The counters of nearly every delivery at further hooks, for a host whose predefined counters cost less.
    #[cfg(not(target_family = "wasm"))]
    pub fn frequent_counters(&self) -> impl Iterator<Item = Counter> {
        let further = self.config.hooks.iter().skip(MAX_INITIAL_HOOKS).take(MAX_FREQUENT_HOOKS);
        further.flat_map(|hook| metrics::frequent(hook))
    }

    /// The key of the shared cell with the times of recent calls to the provider, which all hooks share.
    pub fn budget_key(&self) -> Option<String> {
        self.config.hooks.iter().find_map(|hook| hook.confirm.as_deref()).map(confirmation::budget_key)
    }
}

impl Exchange {
    /// An exchange before its request headers.
    pub fn new(gate: Arc<Gate>) -> Self {
        Self::with_observer(gate, ())
    }
}

impl<O: Observer> Exchange<O> {
    /// An exchange before its request headers. Each stage reports to the observer.
    pub fn with_observer(gate: Arc<Gate>, observer: O) -> Self {
        Self { gate, state: State::Fresh, body_size: 0, is_grpc: false, observer }
    }

    /// The observer.
    pub fn observer(&self) -> &O {
        &self.observer
    }

    /// Judges the head.
    pub fn on_request_headers(&mut self, host: &mut impl Host, ending: Ending) -> Flow {
        let hooks = &self.gate.config.hooks;
        let mut headers = host.request_headers();
        let reserved = sanitize::head(&mut headers);
        for name in &reserved {
            host.remove_request_header(name);
        }
        self.is_grpc = request::is_grpc(&headers);
        let path = headers.first(":path");
        let located = hooks.locate(path);
        let clean = sanitize::path(located.map(|(hook, _)| &**hook), path);
        if let Some(clean) = clean {
            host.set_request_header(":path", clean);
        }
        self.observer.stage(|| sanitize::report(&reserved, clean));
        let found = hook::matched(located);
        let required =
            found.map_or_else(|_| RequiredProperties::default(), |(hook, _)| hook.required_properties());
        let mut property = |property, needed| if needed { host.property(property) } else { None };
        let source = property(Property::Source, required.source);
        let peer = property(Property::Peer, required.peer);
        let tls = property(Property::TlsVersion, required.hop);
        let head = Head {
            method: headers.first(":method"),
            headers: &headers,
            hop: if tls.is_some() { Hop::Tls } else { Hop::Plaintext },
            source: source.as_deref(),
            peer: peer.as_deref(),
            ending,
            now: if required.time { host.now().as_secs() } else { 0 },
        };
        match (policy::admit(found, &head, &mut self.observer), ending) {
            (Err(refusal), _) => self.refuse(host, &refusal, None),
            (Ok(admitted), Ending::Here) => self.decide(host, admitted, 0),
            (Ok(admitted), Ending::Later) => {
                host.await_body(admitted.hook().max_body_bytes);
                self.state = State::AwaitingBody(admitted);
                // Envoy passes the body of a paused request only with allow_on_headers_stop_iteration.
                Flow::Pause
            }
        }
    }

    /// Judges the body once it is complete or too large. `size` is the number of bytes so far.
    pub fn on_request_body(&mut self, host: &mut impl Host, size: usize, ending: Ending) -> Flow {
        self.body_size = size;
        let Some(admitted) = self.take_admitted() else {
            return Flow::Continue;
        };
        match (admitted.check_size(size), ending) {
            (Err(_), _) => {
                let decision = policy::decide_oversized(admitted, size, &mut self.observer);
                self.settle(host, decision, None)
            }
            (Ok(()), Ending::Here) => self.decide(host, admitted, size),
            (Ok(()), Ending::Later) => {
                self.state = State::AwaitingBody(admitted);
                Flow::Pause
            }
        }
    }

    /// Judges a body that ends with trailers: no body callback had the end of the stream.
    pub fn on_request_trailers(&mut self, host: &mut impl Host) -> Flow {
        // The gate does not judge trailers, and an HTTP/2 service may read them as headers, such as `blobgate-verdict`.
        host.remove_request_trailers();
        match self.take_admitted() {
            Some(admitted) => self.decide(host, admitted, self.body_size),
            None => Flow::Continue,
        }
    }

    /// Concludes with the response of the status API; `None` where no response came.
    pub fn on_provider_response(
        &mut self,
        host: &mut impl Host,
        response: Option<ProviderResponse<'_>>,
    ) -> Flow {
        let State::AwaitingProvider(pending) = &self.state else { return Flow::Pause };
        let (hook, event) = (pending.request.hook(), pending.request.event());
        let outcome = match response {
            None => Outcome::NoAnswer.into(),
            Some(ProviderResponse { status, body }) => confirm::read(hook.dialect, event, status, body),
        };
        self.on_provider_outcome(host, outcome)
    }

    /// Concludes with the outcome of a call to the status API.
    pub fn on_provider_outcome(&mut self, host: &mut impl Host, outcome: impl Into<JudgedOutcome>) -> Flow {
        let outcome = outcome.into();
        let PendingConfirmation { request, body, slot } =
            match std::mem::replace(&mut self.state, State::Answered) {
                State::AwaitingProvider(pending) => pending,
                other => {
                    self.state = other;
                    return Flow::Pause;
                }
            };
        drop(slot);
        let now = host.uptime();
        self.gate.calls.remember(request.event(), outcome.outcome, now);
        self.conclude(host, request, body, outcome)
    }

    fn take_admitted(&mut self) -> Option<AdmittedHead> {
        match std::mem::replace(&mut self.state, State::Answered) {
            State::AwaitingBody(admitted) => Some(admitted),
            other => {
                self.state = other;
                None
            }
        }
    }

    /// Judges the whole delivery. Only this function reads the body.
    fn decide(&mut self, host: &mut impl Host, admitted: AdmittedHead, size: usize) -> Flow {
        let body = if size == 0 { Vec::new() } else { host.request_body(size) };
        let decision = policy::decide(admitted, &body, &mut self.observer);
        self.settle(host, decision, Some(body))
    }

    /// Carries out a decision. `body` is `None` where the gate did not read all of it.
    fn settle(&mut self, host: &mut impl Host, decision: Decision, body: Option<Vec<u8>>) -> Flow {
        match decision {
            Decision::Forward(delivery) => self.forward(host, &delivery, body.as_deref(), None),
            Decision::Refuse(refusal) => self.refuse(host, &refusal, None),
            Decision::Confirm(request) => {
                let body = body.unwrap_or_default();
                match self.gate.calls.start(host, &request) {
                    Ok(slot) => {
                        self.state = State::AwaitingProvider(PendingConfirmation { request, body, slot });
                        Flow::Pause
                    }
                    Err(outcome) => self.conclude(host, request, body, outcome.into()),
                }
            }
        }
    }

    fn conclude(
        &mut self,
        host: &mut impl Host,
        request: policy::ConfirmationRequest,
        body: Vec<u8>,
        judged: JudgedOutcome,
    ) -> Flow {
        let outcome = judged.outcome;
        host.count(Counter::confirmation(request.hook(), outcome));
        if outcome != Outcome::Confirmed {
            host.set_access_log_value(CONFIRM_KEY, outcome.name());
        }
        match policy::conclude(request, judged, &mut self.observer) {
            Ok(delivery) => self.forward(host, &delivery, Some(&body), Some(outcome)),
            Err(refusal) => self.refuse(host, &refusal, Some(outcome)),
        }
    }

    /// Sets the gate headers and lets the request continue. The host then selects the route again by these headers.
    fn forward(
        &mut self,
        host: &mut impl Host,
        delivery: &Delivery,
        body: Option<&[u8]>,
        confirmation: Option<Outcome>,
    ) -> Flow {
        for (name, value) in forward::headers(delivery) {
            host.set_request_header(name, &value);
        }
        let hook = delivery.hook();
        if let (Some(signer), Some(body)) = (&hook.sign, body) {
            let now = host.now().as_secs();
            for (name, value) in signer.headers(hook.dialect, delivery.event(), body, now) {
                host.set_request_header(name, &value);
            }
        }
        if let Disposition::Quarantined { .. } = delivery.disposition() {
            let address = host.property(Property::Source);
            if let Some(client) = source::client(&hook.transport, address.as_deref()) {
                host.set_request_header(header::CLIENT, &client.to_string());
            }
        }
        metrics::count_findings(host, delivery);
        let violation = delivery.violation();
        note_detail(host, violation.or(delivery.observed().first().copied()));
        self.observer
            .stage(|| StageReport::new(Stage::Forward, delivery.verdict().name(), StageVerdict::Passed));
        self.state = match delivery.disposition() {
            Disposition::Observed { .. } => State::Observed(Arc::clone(hook)),
            Disposition::Accepted(_) | Disposition::Quarantined { .. } => State::Forwarded(Forwarded {
                hook: Arc::clone(hook),
                violation,
                generation_id: delivery.generation_id(),
            }),
        };
        if let Some((kind, violation)) = log::kind_of(delivery) {
            let cause = Cause::Judged { token: Some(delivery.token()), confirmation };
            let (verdict, id) = (delivery.verdict().name(), delivery.generation_id());
            self.gate.log(host, &Line { kind, verdict, violation, hook: Some(hook), id, cause });
        }
        Flow::Continue
    }

    fn refuse(&mut self, host: &mut impl Host, refusal: &Refusal, confirmation: Option<Outcome>) -> Flow {
        let Refusal { hook, violation, generation_id, token } = refusal;
        let reason = violation.reason;
        // For the access log: a refused request reaches no service.
        if let Some(hook) = hook {
            host.set_request_header(header::HOOK, &hook.name);
        }
        if let Some(id) = generation_id {
            host.set_request_header(header::GENERATION_ID, &id.text());
        }
        if let (Some(hook), Some(token)) = (hook, token) {
            metrics::count_token(host, hook, token);
        }
        let cause = Cause::Judged { token: token.as_ref(), confirmation };
        self.gate.log_refusal(host, hook.as_ref(), *violation, *generation_id, cause);
        note_detail(host, Some(*violation));
        self.state = State::Refused(hook.clone(), reason);
        let mut headers = vec![("content-type", answer::PROBLEM_TYPE), (header::REASON, reason.code())];
        if reason == Reason::MethodNotAllowed {
            headers.push(("allow", "POST"));
        }
        let body = answer::problem(reason, &self.gate.config.docs);
        // Envoy queues this response and then runs the response callbacks of this exchange on it.
        host.respond(reason.status(), &headers, body.as_bytes());
        Flow::Pause
    }

    /// Ends the exchange. Without a response so far, the client has left.
    pub fn on_end(&mut self, host: &mut impl Host) {
        let hook = match &self.state {
            State::Fresh | State::Answered | State::Replacing(_) => return,
            State::AwaitingBody(admitted) => Some(admitted.hook()),
            State::AwaitingProvider(pending) => Some(pending.request.hook()),
            State::Forwarded(forwarded) => Some(&forwarded.hook),
            State::Observed(hook) => Some(hook),
            State::Refused(hook, _) => hook.as_ref(),
        };
        host.count(Counter::response(hook, Status::Left, None));
        self.state = State::Answered;
    }
}

/// Gives the detail of a violation to the access log.
fn note_detail(host: &mut impl Host, violation: Option<Violation>) {
    if let Some(detail) = violation.and_then(|violation| violation.text()) {
        host.set_access_log_value(DETAIL_KEY, &detail);
    }
}

/// Locks, also after a panic of another holder: what the gate and its hosts guard is valid after each step.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
