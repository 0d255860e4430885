//! Drives an exchange by Envoy's hooks.

#[cfg(feature = "crash-test")]
mod crash_test;

use crate::abi::{
    self, BodyStep, CallResponse, EnvoyConfig, EnvoyStream, HeaderMap, HookStep, LogLevel, Module, Phase,
};
use crate::answer::QueuedAnswer;
use crate::counters::GateMetrics;
use crate::host::{AccessLogValues, HookHost, Loaded, LocalReplyDetails, OwnHeaders};
use crate::ticker::Ticker;
use blobgate::Config;
use blobgate::exchange::{Exchange, Flow, Gate, MAX_RESPONSE_BYTES, ProviderResponse};
use blobgate::head::Ending;
use std::cell::{Cell, RefCell};
use std::panic::PanicHookInfo;
use std::sync::Arc;

/// A configuration. One value serves all workers.
#[derive(Debug)]
pub(crate) struct NativeGate(Arc<Loaded>);

/// One request and its response.
#[derive(Debug)]
pub(crate) struct GateStream {
    loaded: Arc<Loaded>,
    /// `None` after a panic.
    exchange: RefCell<Option<Exchange>>,
    access_log: AccessLogValues,
    local_reply: LocalReplyDetails,
    own_headers: Cell<OwnHeaders>,
    /// Whether the request has a response, of the gate, of Envoy or of the service.
    has_response: Cell<bool>,
    /// Whether the service has the request, perhaps without the rest of its body.
    is_released: Cell<bool>,
}

/// What is left of a hook after the exchange's part.
struct Driven<'hook> {
    envoy: EnvoyStream<'hook>,
    /// `None` without an exchange.
    flow: Option<Flow>,
    answer: Option<QueuedAnswer>,
    has_new_head: bool,
}

impl GateStream {
    /// Passes an event to the exchange. The exchange is free again when this returns: what follows may run further hooks.
    fn drive<'hook>(
        &'hook self,
        envoy: EnvoyStream<'hook>,
        event: impl FnOnce(&mut Exchange, &mut HookHost<'hook>) -> Flow,
    ) -> Driven<'hook> {
        let own = &self.own_headers;
        let mut host = HookHost::new(envoy, &self.loaded, &self.access_log, &self.local_reply, own);
        let mut exchange = self.exchange.try_borrow_mut().ok();
        let exchange = exchange.as_mut().and_then(|exchange| exchange.as_mut());
        let flow = exchange.map(|exchange| event(exchange, &mut host));
        let HookHost { envoy, answer, has_new_head, .. } = host;
        Driven { envoy, flow, answer, has_new_head }
    }

    /// Passes an event of the request. Envoy does not run the response hooks on the module's own response, so that the exchange
    /// gets it here.
    fn drive_request<'hook>(
        &'hook self,
        envoy: EnvoyStream<'hook>,
        event: impl FnOnce(&mut Exchange, &mut HookHost<'hook>) -> Flow,
    ) -> Driven<'hook> {
        self.drive(envoy, |exchange, host| {
            let flow = event(exchange, host);
            if host.answer.is_some() {
                exchange.on_response_headers(host, Ending::Later);
            }
            flow
        })
    }

    /// The next step of the request. Without an exchange the request waits for the response that its panic caused.
    fn finish_request(&self, driven: Driven<'_>) -> Flow {
        let Driven { mut envoy, flow, answer, has_new_head } = driven;
        if let Some(answer) = answer {
            self.has_response.set(true);
            answer.send(envoy);
            return Flow::Pause;
        }
        let flow = flow.unwrap_or(Flow::Pause);
        if flow == Flow::Continue {
            self.is_released.set(true);
            if has_new_head {
                envoy.clear_route();
            }
        }
        flow
    }

    /// Whether the service gets nothing of the request. A service that has it may respond before its end, which still follows.
    fn is_refused(&self) -> bool {
        self.has_response.get() && !self.is_released.get()
    }
}

impl Module for NativeGate {
    type Stream = GateStream;

    fn start() {
        std::panic::set_hook(Box::new(log_panic));
    }

    fn load(mut envoy: EnvoyConfig<'_>, configuration: &[u8]) -> Option<Self> {
        let config = Config::load(configuration, &|name| std::env::var(name).ok())
            .map_err(|error| {
                let line = format!("blobgate: cannot load the configuration: {error}");
                abi::log(LogLevel::Error, &line);
            })
            .ok()?;
        let gate = Arc::new(Gate::new(config));
        let metrics = GateMetrics::define(&mut envoy, &gate);
        Some(Self(Arc::new(Loaded { gate, metrics, ticker: Ticker::default() })))
    }

    fn refuse_route_configuration() {
        abi::log(
            LogLevel::Error,
            "blobgate: cannot load the configuration of a route: the gate has none. Remove it, and enable the filter on the \
             route by a FilterConfig.",
        );
    }

    fn open(&self) -> GateStream {
        GateStream {
            loaded: Arc::clone(&self.0),
            exchange: RefCell::new(Some(Exchange::new(Arc::clone(&self.0.gate)))),
            access_log: AccessLogValues::default(),
            local_reply: LocalReplyDetails::default(),
            own_headers: Cell::new(OwnHeaders::Unknown),
            has_response: Cell::new(false),
            is_released: Cell::new(false),
        }
    }

    fn on_request_headers(stream: &GateStream, mut envoy: EnvoyStream<'_>, ending: Ending) -> HookStep {
        stream.loaded.metrics.show_version(&mut envoy);
        let driven = stream.drive_request(envoy, |exchange, host| {
            #[cfg(feature = "crash-test")]
            crash_test::crash_if_asked(host, b"headers");
            exchange.on_request_headers(host, ending)
        });
        if stream.own_headers.get() == OwnHeaders::Unknown {
            stream.own_headers.set(OwnHeaders::None);
        }
        stream.finish_request(driven).into()
    }

    fn on_request_body(stream: &GateStream, envoy: EnvoyStream<'_>, ending: Ending) -> BodyStep {
        // Another filter may hold the response back meanwhile. Nothing of a refused request may reach the service.
        if stream.is_refused() {
            return BodyStep::Discard;
        }
        let driven = stream.drive_request(envoy, |exchange, host| {
            #[cfg(feature = "crash-test")]
            crash_test::crash_if_asked(host, b"body");
            let size = host.body_size();
            exchange.on_request_body(host, size, ending)
        });
        match stream.finish_request(driven) {
            Flow::Continue => BodyStep::Continue,
            Flow::Pause if stream.has_response.get() => BodyStep::Discard,
            Flow::Pause => BodyStep::Buffer,
        }
    }

    fn on_request_trailers(stream: &GateStream, envoy: EnvoyStream<'_>) -> HookStep {
        if stream.has_response.get() {
            return HookStep::Stop;
        }
        let driven = stream.drive_request(envoy, |exchange, host| exchange.on_request_trailers(host));
        stream.finish_request(driven).into()
    }

    fn on_call_response(stream: &GateStream, envoy: EnvoyStream<'_>, response: Option<&CallResponse<'_>>) {
        let body = response.map_or_else(Vec::new, |response| response.body(MAX_RESPONSE_BYTES));
        let response = response.map(|response| ProviderResponse {
            status: response.header(":status").unwrap_or_default(),
            body: &body,
        });
        let mut driven = stream.drive_request(envoy, |exchange, host| {
            #[cfg(feature = "crash-test")]
            crash_test::crash_if_asked(host, b"confirm");
            exchange.on_provider_response(host, response)
        });
        if driven.answer.is_some() {
            stream.finish_request(driven);
        } else if driven.flow == Some(Flow::Continue) {
            stream.is_released.set(true);
            driven.envoy.clear_route();
            driven.envoy.continue_request();
        }
    }

    fn on_local_reply(stream: &GateStream, details: &[u8]) {
        // Envoy may only have prepared its response, and then still runs the hook of the body.
        stream.has_response.set(true);
        if let Ok(mut kept) = stream.local_reply.try_borrow_mut() {
            *kept = details.to_vec();
        }
    }

    fn on_response_headers(stream: &GateStream, envoy: EnvoyStream<'_>, ending: Ending) -> HookStep {
        stream.has_response.set(true);
        let Driven { envoy, flow, answer, .. } = stream.drive(envoy, |exchange, host| {
            #[cfg(feature = "crash-test")]
            crash_test::crash_if_asked(host, b"response");
            exchange.on_response_headers(host, ending)
        });
        if let Some(answer) = answer {
            answer.send(envoy);
        }
        flow.unwrap_or(Flow::Continue).into()
    }

    fn on_response_body(stream: &GateStream, envoy: EnvoyStream<'_>) {
        stream.drive(envoy, |exchange, host| exchange.on_response_body(host, 0));
    }

    fn on_response_trailers(stream: &GateStream, envoy: EnvoyStream<'_>) {
        stream.drive(envoy, |exchange, host| exchange.on_response_trailers(host));
    }

    fn on_complete(stream: &GateStream, envoy: EnvoyStream<'_>) {
        let mut driven = stream.drive(envoy, |exchange, host| {
            exchange.on_end(host);
            Flow::Continue
        });
        for (key, value) in stream.access_log.take() {
            driven.envoy.set_filter_state(&key, &value);
        }
    }

    fn on_panic(stream: &GateStream, mut envoy: EnvoyStream<'_>, phase: Phase) {
        stream.loaded.metrics.count_panic(&mut envoy);
        // Its drop, at the end, may panic too.
        let _broken = stream.exchange.try_borrow_mut().ok().and_then(|mut exchange| exchange.take());
        match phase {
            Phase::Request if !stream.has_response.replace(true) => {
                // Envoy would send a local reply to gRPC with the status 200.
                if is_grpc(&envoy) {
                    envoy.respond(&[(":status", "503")])
                } else {
                    respond_after_panic(envoy)
                }
            }
            Phase::ResponseHeaders => respond_after_panic(envoy),
            Phase::Request | Phase::ResponseBody => envoy.reset(),
            Phase::Complete => {}
        }
    }
}

impl From<Flow> for HookStep {
    fn from(flow: Flow) -> Self {
        match flow {
            Flow::Continue => HookStep::Continue,
            Flow::Pause => HookStep::Stop,
        }
    }
}

fn is_grpc(envoy: &EnvoyStream<'_>) -> bool {
    envoy.header(HeaderMap::Request, "content-type").is_some_and(|kind| kind.starts_with(b"application/grpc"))
}

/// Responds with a bare 503, the status after which RunBlob retries. The Wasm module's traps have it too.
fn respond_after_panic(envoy: EnvoyStream<'_>) {
    envoy.respond_locally(503, &[], b"", "blobgate_panicked");
}

/// Logs the place of a panic. Its message may contain a part of a delivery.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let place =
        panic.location().map_or_else(String::new, |place| format!(" at {}:{}", place.file(), place.line()));
    let line =
        format!("blobgate: panicked{place}: the gate has a fault. Its sender gets 503. Report the place.");
    abi::log(LogLevel::Error, &line);
}
