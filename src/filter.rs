//! The adapter: Envoy's callbacks into the core, the core's decisions into host calls. Nothing is decided here.

mod ask;
#[cfg(feature = "crash-test")]
mod crash_test;
mod log_line;
mod metrics;
mod respond;

use crate::answer;
use crate::config::Config;
use crate::confirm::Outcome;
use crate::event::GenerationId;
use crate::head::{Ending, Head, Hop};
use crate::headers::Headers;
use crate::hook::{self, Asks, Hook};
use crate::policy::{self, Admitted, Delivery, Judged, Refusal, Verdict};
use crate::{Reason, forward, request, sanitize};
use ask::{Asked, Calls};
use log_line::{LeftOut, LogLines};
use metrics::Metrics;
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, Bytes, ContextType, LogLevel};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(Root { gate: None }));
}}

/// The plugin on one worker.
struct Root {
    gate: Option<Rc<Gate>>,
}

/// What the deliveries of one worker share.
struct Gate {
    config: Config,
    metrics: RefCell<Metrics>,
    log: RefCell<LogLines>,
    calls: Rc<Calls>,
}

impl Context for Root {}

impl RootContext for Root {
    /// Depends on nothing but the bytes: where it fails on a worker only, Envoy skips the filter in silence.
    fn on_configure(&mut self, _size: usize) -> bool {
        #[cfg(feature = "crash-test")]
        if crash_test::fails_on_this_thread() {
            return false;
        }
        let bytes = self.get_plugin_configuration().unwrap_or_default();
        match Config::load(&bytes, &|name| std::env::var(name).ok()) {
            Ok(config) => {
                let metrics = RefCell::new(Metrics::new(&config.environment));
                let log = RefCell::new(LogLines::new(&config.environment));
                let calls = Rc::new(Calls::new());
                config
                    .hooks
                    .iter()
                    .filter_map(|hook| hook.confirm.as_ref())
                    .for_each(|p| ask::open_budget(p));
                self.gate = Some(Rc::new(Gate { config, metrics, log, calls }));
                true
            }
            Err(error) => {
                log::error!("blobgate does not load: {error}");
                false
            }
        }
    }

    /// Runs only while lines are being left out.
    fn on_tick(&mut self) {
        if self.gate.as_ref().is_some_and(|gate| gate.log.borrow_mut().tell_left_out()) {
            self.set_tick_period(Duration::ZERO);
        }
    }

    fn create_http_context(&self, _id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Exchange {
            gate: self.gate.clone(),
            state: State::Fresh,
            body_seen: 0,
            is_grpc: false,
        }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

/// One request and its answer.
struct Exchange {
    gate: Option<Rc<Gate>>,
    state: State,
    /// Bytes of the body so far. Trailers do not say how many came before them.
    body_seen: usize,
    /// Envoy turns its own answers to such a request, and the gate's, into 200 with a `grpc-status`.
    is_grpc: bool,
}

/// Where an exchange stands.
enum State {
    /// No callback came yet.
    Fresh,
    /// The head is held until the body is judged.
    Held(Admitted),
    /// The head and the whole body are held until the provider has answered.
    Asking(Asked),
    /// Judged and gone on; its answer is to be judged as well.
    Released(Arc<Hook>),
    /// The answer is a refusal of ours.
    Refused(Reason),
    /// The answer goes to the client as it is: the hook only observes, or Envoy has answered.
    Untouched,
    /// The answer's head is ours, and its body will be this.
    Replaced(String),
}

impl Context for Exchange {
    fn on_http_call_response(&mut self, _call: u32, headers: usize, body_size: usize, _trailers: usize) {
        let (Some(gate), State::Asking(asked)) =
            (self.gate.clone(), std::mem::replace(&mut self.state, State::Untouched))
        else {
            return;
        };
        // An answer that is cut, or larger than the host takes, comes without headers: to read one would trap.
        let outcome = if headers == 0 {
            Outcome::NoAnswer
        } else {
            let status = self.get_http_call_response_header_bytes(":status").unwrap_or_default();
            let body = match body_size {
                0 => None,
                size => self.get_http_call_response_body(0, size.min(ask::MOST_ANSWER_BYTES)),
            };
            asked.read(&gate.calls, &status, &body.unwrap_or_default())
        };
        if self.conclude(&gate, asked, outcome) == Action::Continue {
            self.resume_http_request();
        }
    }
}

impl HttpContext for Exchange {
    fn on_http_request_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        let Some(gate) = self.gate.clone() else {
            return Action::Pause;
        };
        // The String form panics on a value that is not UTF-8.
        let mut headers = Headers::new(self.get_http_request_headers_bytes());
        #[cfg(feature = "crash-test")]
        crash_test::crash_if_asked(&headers, b"headers");
        for name in sanitize::head(&mut headers) {
            self.remove_http_request_header(&name);
        }
        self.is_grpc = request::is_grpc(&headers);
        let path = headers.first(":path");
        if let Some(clean) = sanitize::path(&gate.config.hooks, path) {
            self.set_http_request_header_bytes(":path", Some(clean.as_bytes()));
        }
        let found = hook::find(&gate.config.hooks, path);
        let asks = found.map_or_else(|_| Asks::default(), |(hook, _)| hook.asks());
        let source = if asks.source { self.source_address() } else { None };
        // The direct peer is no Wasm property; a set_filter_state filter before this one provides it.
        let peer = if asks.peer { self.get_property(vec!["filter_state", "blobgate.peer"]) } else { None };
        let tls = if asks.hop { self.get_property(vec!["connection", "tls_version"]) } else { None };
        let head = Head {
            method: headers.first(":method"),
            headers: &headers,
            hop: if tls.is_some() { Hop::Tls } else { Hop::Plaintext },
            source: source.as_deref(),
            peer: peer.as_deref(),
            ending: if end_of_stream { Ending::Here } else { Ending::Later },
            now: if asks.time { self.now() } else { 0 },
        };
        match policy::admit(found, &head) {
            Err(refusal) => self.refuse(&gate, &refusal),
            Ok(admitted) if end_of_stream => self.finish(&gate, admitted, 0),
            Ok(admitted) => {
                self.state = State::Held(admitted);
                // With allow_on_headers_stop_iteration the body still comes; without it, it never does.
                Action::Pause
            }
        }
    }

    fn on_http_request_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        // The size is that of all that has come so far and is held.
        self.body_seen = size;
        let State::Held(admitted) = &self.state else {
            return Action::Continue;
        };
        #[cfg(feature = "crash-test")]
        crash_test::crash_if_asked(&Headers::new(self.get_http_request_headers_bytes()), b"body");
        let too_large = policy::check_size(admitted, size).err();
        if too_large.is_none() && !end_of_stream {
            return Action::Pause;
        }
        let (Some(gate), Some(admitted)) = (self.gate.clone(), self.take_held()) else {
            return Action::Pause;
        };
        match too_large {
            Some(reason) => {
                let judged = policy::give_up(admitted, reason);
                self.settle(&gate, judged, None)
            }
            None => self.finish(&gate, admitted, size),
        }
    }

    /// With trailers the last body callback does not say that it is the last, and without this callback the host
    /// would let an unjudged request go.
    fn on_http_request_trailers(&mut self, _count: usize) -> Action {
        // Nobody judges them, and over HTTP/2 a service may read them as headers: `blobgate-verdict`, `webhook-id`.
        self.set_http_request_trailers(Vec::new());
        let (Some(gate), Some(admitted)) = (self.gate.clone(), self.take_held()) else {
            return Action::Continue;
        };
        self.finish(&gate, admitted, self.body_seen)
    }

    fn on_http_response_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        match &self.state {
            State::Released(hook) => {
                let hook = Arc::clone(hook);
                self.answer(&hook, end_of_stream)
            }
            State::Held(_) if self.body_seen == 0 && self.is_request_timeout() => {
                let (Some(gate), Some(admitted)) = (self.gate.clone(), self.take_held()) else {
                    return Action::Continue;
                };
                let reason = Reason::HostMisconfigured;
                // The request is still held, so that its headers can still be set: for the access log.
                self.set_http_request_header_bytes("blobgate-hook", Some(admitted.hook().name.as_bytes()));
                gate.count_refusal(Some(admitted.hook()), reason);
                gate.log_line(
                    "refused",
                    Some(admitted.hook()),
                    reason,
                    self.source_address().as_deref(),
                    None,
                );
                self.replace_answer(Err(reason), end_of_stream)
            }
            // Envoy's request_timeout runs until the filter lets go: a slow sender leaves the provider less time.
            State::Asking(_) if self.is_request_timeout() => self.give_up_asking(end_of_stream),
            State::Held(_) | State::Asking(_) => self.was_answered(),
            State::Refused(reason) if self.is_grpc => {
                let reason = *reason;
                self.undo_grpc(reason);
                Action::Continue
            }
            _ => Action::Continue,
        }
    }

    fn on_http_response_trailers(&mut self, _count: usize) -> Action {
        if let State::Replaced(_) = &self.state {
            // A receipt has nothing of the service's.
            self.set_http_response_trailers(Vec::new());
        }
        Action::Continue
    }

    fn on_http_response_body(&mut self, size: usize, _end_of_stream: bool) -> Action {
        if let State::Replaced(body) = &mut self.state {
            // The first chunk becomes the whole body, every further one nothing.
            let body = std::mem::take(body);
            self.set_http_response_body(0, size, body.as_bytes());
        }
        Action::Continue
    }
}

impl Exchange {
    fn take_held(&mut self) -> Option<Admitted> {
        match std::mem::replace(&mut self.state, State::Untouched) {
            State::Held(admitted) => Some(admitted),
            other => {
                self.state = other;
                None
            }
        }
    }

    /// Judges the whole delivery. Its body is read once, here.
    fn finish(&mut self, gate: &Gate, admitted: Admitted, size: usize) -> Action {
        let body = if size == 0 { None } else { self.get_http_request_body(0, size) };
        let body = body.unwrap_or_default();
        let judged = policy::accept(admitted, &body);
        self.settle(gate, judged, Some(body))
    }

    /// `body` is there where all of it has come.
    fn settle(&mut self, gate: &Gate, judged: Judged, body: Option<Bytes>) -> Action {
        match judged {
            Judged::Forward(delivery) => self.forward(gate, &delivery, body.as_deref()),
            Judged::Refuse(refusal) => self.refuse(gate, &refusal),
            Judged::Ask(question) => {
                let mut asked = Asked::new(question, body.unwrap_or_default());
                match asked.start(&gate.calls, self) {
                    Ok(()) => {
                        self.state = State::Asking(asked);
                        Action::Pause
                    }
                    Err(outcome) => self.conclude(gate, asked, outcome),
                }
            }
        }
    }

    fn conclude(&mut self, gate: &Gate, asked: Asked, outcome: Outcome) -> Action {
        let (question, body) = asked.into_parts();
        gate.metrics.borrow_mut().count_confirm(&question.hook().name, outcome);
        let judged = policy::conclude(question, outcome);
        self.settle(gate, judged, Some(body))
    }

    /// Sets the headers, upon which the host chooses the route again, and lets the request go on.
    fn forward(&mut self, gate: &Gate, delivery: &Delivery, body: Option<&[u8]>) -> Action {
        for (name, value) in forward::headers(delivery) {
            self.set_http_request_header_bytes(name, Some(value.as_bytes()));
        }
        let hook = delivery.hook();
        if let (Some(signer), Some(body)) = (&hook.sign, body) {
            for (name, value) in signer.headers(hook.dialect, delivery.event(), body, self.now()) {
                self.set_http_request_header_bytes(name, Some(value.as_bytes()));
            }
        }
        gate.metrics.borrow_mut().count_delivery(delivery);
        self.state = match delivery.verdict() {
            Verdict::Accepted => State::Released(Arc::clone(hook)),
            Verdict::Quarantined => {
                let source = self.source_address();
                let reason = delivery.reason().unwrap_or(Reason::NotJudged);
                gate.log_line("quarantined", Some(hook), reason, source.as_deref(), delivery.generation_id());
                State::Released(Arc::clone(hook))
            }
            Verdict::Observed => State::Untouched,
        };
        Action::Continue
    }

    fn refuse(&mut self, gate: &Gate, refusal: &Refusal) -> Action {
        let Refusal { hook, reason, generation_id, token } = refusal;
        // For the access log alone: a refused request goes nowhere.
        if let Some(hook) = hook {
            self.set_http_request_header_bytes("blobgate-hook", Some(hook.name.as_bytes()));
        }
        if let Some(id) = generation_id {
            self.set_http_request_header_bytes("blobgate-generation-id", Some(id.to_string().as_bytes()));
        }
        if let Some(hook) = hook {
            gate.metrics.borrow_mut().count_token(hook, token);
        }
        gate.count_refusal(hook.as_ref(), *reason);
        gate.log_line("refused", hook.as_ref(), *reason, self.source_address().as_deref(), *generation_id);
        self.state = State::Refused(*reason);
        let mut headers = vec![("content-type", answer::PROBLEM_TYPE), ("blobgate-reason", reason.code())];
        if *reason == Reason::MethodNotAllowed {
            headers.push(("allow", "POST"));
        }
        // Queued by the host, and our own response callbacks still run on it.
        self.send_http_response(reason.status().into(), headers, Some(answer::problem(*reason).as_bytes()));
        Action::Pause
    }

    /// Seconds since the epoch, by the host's clock.
    fn now(&self) -> u64 {
        self.get_current_time().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
    }

    fn source_address(&self) -> Option<Bytes> {
        self.get_property(vec!["source", "address"])
    }
}

impl Gate {
    fn count_refusal(&self, hook: Option<&Arc<Hook>>, reason: Reason) {
        self.metrics.borrow_mut().count_refusal(hook.map(|hook| &hook.name), reason);
    }

    /// Writes the line of a refused or kept delivery, unless this second has had its share of them.
    fn log_line(
        &self,
        verdict: &str,
        hook: Option<&Arc<Hook>>,
        reason: Reason,
        source: Option<&[u8]>,
        generation_id: Option<GenerationId>,
    ) {
        let left_out =
            self.log.borrow_mut().write(verdict, hook.map(|hook| &*hook.name), reason, source, generation_id);
        if left_out == LeftOut::First {
            // Until their count is told. Only the root context of the SDK offers this call.
            let _ = hostcalls::set_tick_period(Duration::from_secs(1));
        }
    }
}
