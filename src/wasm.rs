//! The Proxy-Wasm adapter: Envoy's callbacks into [`Exchange`], and its host calls as a [`Host`].

#[cfg(feature = "crash-test")]
mod crash_test;

use crate::config::Config;
use crate::exchange::{
    CallError, Counter, Exchange, Flow, Gate, Host, LogHost, MAX_RESPONSE_BYTES, Property, ProviderResponse,
    SharedCell, VersionConflict, info,
};
use crate::head::Ending;
use crate::headers::Headers;
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel, MetricType};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(Root { plugin: None }));
}}

/// The plugin on one worker.
struct Root {
    plugin: Option<(Arc<Gate>, EnvoyHost)>,
}

/// One request and its response; `None` where no configuration has loaded.
struct Stream(Option<(Exchange, EnvoyHost)>);

/// Envoy's host calls. The SDK panics if Envoy refuses one. The module then traps, and Envoy forwards nothing.
#[derive(Clone)]
struct EnvoyHost(Rc<Worker>);

/// The state that the streams of one worker share.
struct Worker {
    environment: String,
    /// The ids of defined counters. Counting a defined one costs one host call instead of two.
    counters: RefCell<BTreeMap<Counter, u32>>,
    started: Instant,
}

impl Context for Root {}

impl RootContext for Root {
    /// The result must be the same on every thread. If only one worker fails, Envoy skips the filter there without an error.
    fn on_configure(&mut self, _size: usize) -> bool {
        let bytes = self.get_plugin_configuration().unwrap_or_default();
        let config = match Config::load(&bytes, &|name| std::env::var(name).ok()) {
            Ok(config) => config,
            Err(error) => {
                log::error!("blobgate: cannot load the configuration: {error}");
                return false;
            }
        };
        let envoy = EnvoyHost::new(&config.environment);
        #[cfg(feature = "crash-test")]
        if crash_test::fails_on_this_thread(&mut envoy.clone()) {
            return false;
        }
        let gate = Gate::new(config);
        if let Some(key) = gate.budget_key() {
            open_cell(&key);
        }
        gate.initial_counters().for_each(|counter| envoy.define(&counter));
        self.plugin = Some((Arc::new(gate), envoy));
        true
    }

    fn on_tick(&mut self) {
        if let Some((gate, envoy)) = &mut self.plugin {
            gate.on_tick(envoy);
        }
    }

    fn create_http_context(&self, _id: u32) -> Option<Box<dyn HttpContext>> {
        let exchange =
            |(gate, envoy): &(Arc<Gate>, EnvoyHost)| (Exchange::new(Arc::clone(gate)), envoy.clone());
        Some(Box::new(Stream(self.plugin.as_ref().map(exchange))))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl Stream {
    /// Passes an event to the exchange. Without a configuration the result is `otherwise`: a request waits, a response continues.
    fn drive(
        &mut self,
        otherwise: Action,
        event: impl FnOnce(&mut Exchange, &mut EnvoyHost) -> Flow,
    ) -> Action {
        match &mut self.0 {
            Some((exchange, envoy)) => match event(exchange, envoy) {
                Flow::Continue => Action::Continue,
                Flow::Pause => Action::Pause,
            },
            None => otherwise,
        }
    }
}

/// Envoy deletes a stream's context at its end, also when the client leaves. A callback at the end, such as `on_log`, would be one
/// more call for each delivery.
impl Drop for Stream {
    fn drop(&mut self) {
        if let Some((exchange, envoy)) = &mut self.0 {
            exchange.on_end(envoy);
        }
    }
}

impl Context for Stream {
    fn on_http_call_response(&mut self, _call: u32, headers: usize, body_size: usize, _trailers: usize) {
        // A response that is cut or over Envoy's limit has no headers. Reading one would trap.
        let response = (headers > 0).then(|| {
            let status = self.get_http_call_response_header_bytes(":status").unwrap_or_default();
            let size = body_size.min(MAX_RESPONSE_BYTES);
            let body = if size == 0 { None } else { self.get_http_call_response_body(0, size) };
            (status, body.unwrap_or_default())
        });
        let response = response.as_ref().map(|(status, body)| ProviderResponse { status, body });
        if self.drive(Action::Pause, |exchange, envoy| exchange.on_provider_response(envoy, response))
            == Action::Continue
        {
            self.resume_http_request();
        }
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        self.drive(Action::Pause, |exchange, envoy| {
            #[cfg(feature = "crash-test")]
            crash_test::crash_if_asked(envoy, b"headers");
            exchange.on_request_headers(envoy, ending(end_of_stream))
        })
    }

    fn on_http_request_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        self.drive(Action::Pause, |exchange, envoy| {
            #[cfg(feature = "crash-test")]
            crash_test::crash_if_asked(envoy, b"body");
            exchange.on_request_body(envoy, size, ending(end_of_stream))
        })
    }

    fn on_http_request_trailers(&mut self, _count: usize) -> Action {
        self.drive(Action::Pause, |exchange, envoy| exchange.on_request_trailers(envoy))
    }

    fn on_http_response_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        self.drive(Action::Continue, |exchange, envoy| {
            exchange.on_response_headers(envoy, ending(end_of_stream))
        })
    }

    fn on_http_response_body(&mut self, size: usize, _end_of_stream: bool) -> Action {
        self.drive(Action::Continue, |exchange, envoy| exchange.on_response_body(envoy, size))
    }

    fn on_http_response_trailers(&mut self, _count: usize) -> Action {
        self.drive(Action::Continue, |exchange, envoy| exchange.on_response_trailers(envoy))
    }
}

impl Context for EnvoyHost {}
impl HttpContext for EnvoyHost {}

impl EnvoyHost {
    /// Sets the gauge that shows the module's version.
    fn new(environment: &str) -> Self {
        if let Ok(id) = hostcalls::define_metric(MetricType::Gauge, &info(environment)) {
            let _ = hostcalls::record_metric(id, 1);
        }
        let (environment, counters) = (environment.to_owned(), RefCell::default());
        Self(Rc::new(Worker { environment, counters, started: Instant::now() }))
    }

    /// Shows a counter at 0. Its id is not remembered: most of these counters never move.
    fn define(&self, counter: &Counter) {
        let _ = hostcalls::define_metric(MetricType::Counter, &counter.name(&self.0.environment));
    }
}

impl Host for EnvoyHost {
    fn request_headers(&mut self) -> Headers {
        // The variant that returns a String panics on a value that is not UTF-8.
        Headers::new(self.get_http_request_headers_bytes())
    }

    fn request_header(&mut self, name: &str) -> Option<Vec<u8>> {
        self.get_http_request_header_bytes(name)
    }

    fn set_request_header(&mut self, name: &str, value: &str) {
        self.set_http_request_header_bytes(name, Some(value.as_bytes()));
    }

    fn remove_request_header(&mut self, name: &str) {
        self.remove_http_request_header(name);
    }

    fn remove_request_trailers(&mut self) {
        self.set_http_request_trailers(Vec::new());
    }

    fn set_access_log_value(&mut self, key: &str, value: &str) {
        // Envoy has it as the filter state `wasm.KEY`.
        self.set_property(vec![key], Some(value.as_bytes()));
    }

    fn await_body(&mut self, _max_bytes: usize) {}

    fn request_body(&mut self, size: usize) -> Vec<u8> {
        self.get_http_request_body(0, size).unwrap_or_default()
    }

    fn property(&mut self, property: Property) -> Option<Vec<u8>> {
        self.get_property(match property {
            Property::Source => vec!["source", "address"],
            // Wasm has no property of the direct peer. A set_filter_state filter before this one sets it.
            Property::Peer => vec!["filter_state", "blobgate.peer"],
            Property::TlsVersion => vec!["connection", "tls_version"],
            Property::ResponseCodeDetails => vec!["response", "code_details"],
        })
    }

    fn response_header(&mut self, name: &str) -> Option<Vec<u8>> {
        self.get_http_response_header_bytes(name)
    }

    fn response_header_names(&mut self) -> Vec<String> {
        self.get_http_response_headers_bytes().into_iter().map(|(name, _)| name).collect()
    }

    fn set_response_header(&mut self, name: &str, value: &str) {
        self.set_http_response_header_bytes(name, Some(value.as_bytes()));
    }

    fn remove_response_header(&mut self, name: &str) {
        self.remove_http_response_header(name);
    }

    fn remove_response_trailers(&mut self) {
        self.set_http_response_trailers(Vec::new());
    }

    fn replace_response_body(&mut self, size: usize, body: &[u8]) {
        self.set_http_response_body(0, size, body);
    }

    fn respond(&mut self, status: u16, headers: &[(&str, &str)], body: &[u8]) {
        self.send_http_response(status.into(), headers.to_vec(), Some(body));
    }

    fn call_provider(
        &mut self,
        cluster: &str,
        headers: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<(), CallError> {
        let call = self.dispatch_http_call(cluster, headers.to_vec(), None, Vec::new(), timeout);
        call.map(|_| ()).map_err(|_| CallError)
    }

    fn shared(&mut self, key: &str) -> SharedCell {
        let (value, version) = self.get_shared_data(key);
        SharedCell { value: value.unwrap_or_default(), version: version.unwrap_or_default() }
    }

    fn replace_shared(&mut self, key: &str, value: &[u8], version: u32) -> Result<(), VersionConflict> {
        self.set_shared_data(key, Some(value), Some(version)).map_err(|_| VersionConflict)
    }

    fn count(&mut self, counter: Counter) {
        let mut counters = self.0.counters.borrow_mut();
        let id = match counters.get(&counter) {
            Some(id) => *id,
            None => {
                let name = counter.name(&self.0.environment);
                let Ok(id) = hostcalls::define_metric(MetricType::Counter, &name) else {
                    return;
                };
                counters.insert(counter, id);
                id
            }
        };
        let _ = hostcalls::increment_metric(id, 1);
    }

    fn now(&mut self) -> Duration {
        self.get_current_time().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}

impl LogHost for EnvoyHost {
    fn log(&mut self, line: &str) {
        log::warn!("{line}");
    }

    fn set_tick_period(&mut self, period: Duration) {
        // The SDK has this method only on the root context.
        let _ = hostcalls::set_tick_period(period);
    }

    fn uptime(&mut self) -> Duration {
        self.0.started.elapsed()
    }
}

fn ending(end_of_stream: bool) -> Ending {
    if end_of_stream { Ending::Here } else { Ending::Later }
}

/// Creates a shared cell if it does not exist. Envoy's main thread does so before the workers start. A compare-and-set on an
/// absent key would succeed for several workers at once.
fn open_cell(key: &str) {
    if !matches!(hostcalls::get_shared_data(key), Ok((_, Some(_)))) {
        let _ = hostcalls::set_shared_data(key, Some(&[]), None);
    }
}
