//! The corpus against one Envoy.

use crate::case_run::{AnswerMode, CaseRun, RoutedService, USUAL_BODY, settled};
use crate::corpus::{self, Case, CaseOutcome, Corpus, GateSetup as Kind, Listener};
use crate::support::delivery::{Length, RequestEnding};
use crate::support::{
    self, Bootstrap, Connector, GateModule, H1, Protocol, Reply, ServiceRequest, TestDelivery, TestGate,
    Version, eventually,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Tells arrivals of concurrent deliveries apart.
pub(crate) const MARK: &str = "x-case";
/// Reaches the video service without the gate.
const SENTINEL: &str = "/app/sentinel";

/// The gates that a module can have. The native module needs no host flag.
pub(crate) fn kinds(module: GateModule) -> &'static [Kind] {
    match module {
        GateModule::Wasm => &[Kind::Shipped, Kind::NoFlag, Kind::Absent],
        GateModule::Native => &[Kind::Shipped, Kind::Absent],
    }
}

/// An Envoy with every hook, its services and a provider.
pub(crate) struct CorpusBench<'c> {
    pub(crate) gate: TestGate,
    kind: Kind,
    pub(crate) corpus: &'c Corpus,
    sentinels: AtomicUsize,
}

impl<'c> CorpusBench<'c> {
    /// Starts one with this module.
    #[track_caller]
    pub(crate) fn start(version: &Version, corpus: &'c Corpus, kind: Kind, module: GateModule) -> Self {
        let gate = TestGate::with(version, |shipped| {
            let shipped = shipped.with(module).gate(&corpus.configuration());
            match kind {
                Kind::Shipped => with_more_listeners(shipped),
                Kind::NoFlag => without_flag(shipped),
                Kind::Absent => shipped.without_gate().routes(|routes| {
                    for route in routes {
                        route.as_object_mut().unwrap().remove("typed_per_filter_config");
                    }
                }),
            }
        });
        for service in gate.services() {
            service.reply(usual_reply());
        }
        Self { gate, kind, corpus, sentinels: AtomicUsize::new(0) }
    }

    /// Runs every case that is for this Envoy over both protocols.
    pub(crate) fn run(&self) -> Vec<CaseRun<'c>> {
        let own = self.corpus.cases.iter().filter(|case| case.gate == self.kind);
        let pairs = own.flat_map(|case| Protocol::BOTH.map(|protocol| (case, protocol)));
        let pairs = pairs.filter(|(case, protocol)| *protocol == H1 || !case.h1_only);
        // A service has one reply at a time, so cases with their own reply run alone.
        let (alone, mut usual): (Vec<_>, Vec<_>) =
            pairs.partition(|(case, _)| case.upstream.is_some() || case.provider.is_some());
        // Some tokens have expired, or soon do.
        usual.sort_by_key(|(case, _)| !case.name.starts_with("token: "));
        let mut runs = self.send_all(&usual);
        assert_eq!(self.gate.provider.heads(), 0, "no case needed the provider");
        for pair in alone {
            runs.extend(self.run_alone(pair));
        }
        let forwarded =
            runs.iter().filter(|run| matches!(run.expected(), CaseOutcome::Forwarded { .. })).count();
        if runs.iter().all(|run| run.difference().is_none()) {
            assert_eq!(self.forwarded(), forwarded, "only forwarded deliveries reach a service");
            self.assert_logged(&runs);
        }
        runs
    }

    /// Runs a case with its own replies of the services and of the provider.
    pub(crate) fn run_alone(&self, pair: (&'c Case, Protocol)) -> Vec<CaseRun<'c>> {
        for service in self.gate.services() {
            service.reply(pair.0.upstream.as_ref().map_or_else(usual_reply, reply));
        }
        if let Some(reply) = &pair.0.provider {
            self.gate.provider.reply(Reply::status(reply.status).body(reply.body.as_bytes()));
        }
        let runs = self.send_all(&[pair]);
        self.assert_status_call(pair.0);
        runs
    }

    /// Asserts at most one status call, with the case's generation and the key.
    fn assert_status_call(&self, case: &Case) {
        let calls = self.gate.provider.take();
        if case.provider.is_none() {
            return assert!(calls.is_empty(), "{}: {calls:?}", case.name);
        }
        // A negative answer for the first protocol is cached for the second.
        assert!(calls.len() <= 1, "{}: {calls:?}", case.name);
        let body: Value = serde_json::from_slice(case.body.as_ref().unwrap()).unwrap();
        for call in &calls {
            let id = body["generation_id"].as_str().unwrap();
            assert_eq!(call.path, format!("/v1/veo/generations/{id}"), "{}", case.name);
            assert_eq!(call.method, "GET");
            assert_eq!(call.header("authorization").unwrap(), format!("Bearer {}", support::envoy::API_KEY));
            assert_eq!(call.header("host").as_deref(), Some("platform.runblob.io"));
        }
    }

    /// Sends the cases concurrently, one connection each, and collects the requests at services.
    pub(crate) fn send_all(&self, pairs: &[(&'c Case, Protocol)]) -> Vec<CaseRun<'c>> {
        const SENDERS: usize = 6;
        let next = AtomicUsize::new(0);
        let send = || {
            let mut answers = Vec::new();
            while let Some((case, protocol)) = pairs.get(next.fetch_add(1, Ordering::Relaxed)) {
                answers.push(self.send(case, *protocol));
            }
            answers
        };
        let runs: Vec<CaseRun> = thread::scope(|scope| {
            let senders: Vec<_> = (0..SENDERS.min(pairs.len())).map(|_| scope.spawn(send)).collect();
            senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect()
        });
        let mut arrivals: BTreeMap<String, Vec<(RoutedService, ServiceRequest)>> = BTreeMap::new();
        let services = [RoutedService::Video, RoutedService::Failure, RoutedService::Quarantine];
        for (service, upstream) in services.into_iter().zip(self.gate.services()) {
            for arrival in upstream.take() {
                arrivals.entry(arrival.header(MARK).expect("a mark")).or_default().push((service, arrival));
            }
        }
        let mut runs: Vec<CaseRun> = runs
            .into_iter()
            .map(|run| CaseRun {
                arrivals: arrivals.remove(&mark(run.case, run.protocol)).unwrap_or_default(),
                ..run
            })
            .collect();
        assert!(arrivals.is_empty(), "arrivals of no case: {arrivals:?}");
        runs.sort_by_key(|run| pairs.iter().position(|(case, _)| case.name == run.case.name));
        runs
    }

    fn send(&self, case: &'c Case, protocol: Protocol) -> CaseRun<'c> {
        let envoy = &self.gate.envoy;
        let connect = match case.listener {
            Listener::Edge => envoy.tls(protocol),
            Listener::Plaintext => envoy.plaintext(protocol),
            Listener::Proxied => Connector::plaintext(envoy.port("proxied"), protocol),
            Listener::Trusting => Connector::tls(envoy.port("trusting"), protocol),
        };
        let mut client = connect.from(case.from).open();
        let answers = match &*case.hook {
            hook if hook.starts_with("observe") => AnswerMode::Untouched,
            "receipt" => AnswerMode::Receipt,
            _ => AnswerMode::Status,
        };
        CaseRun {
            corpus: self.corpus,
            case,
            protocol,
            answers,
            answer: client.try_send(&delivery(case, protocol)),
            arrivals: Vec::new(),
        }
    }

    /// The number of requests that Envoy has sent, all of which the services got.
    ///
    /// As in `TestGate::nothing_arrives`: every client has its response, and the response to a sentinel request shows that
    /// Envoy has handled everything before it.
    #[track_caller]
    pub(crate) fn forwarded(&self) -> usize {
        let answer =
            self.gate.tls(H1).open().send(&TestDelivery::of("{}").path(SENTINEL).header(MARK, SENTINEL));
        assert_eq!(answer.reason(), None, "the sentinel bypasses the gate: {answer:?}");
        let sentinels = 1 + self.sentinels.fetch_add(1, Ordering::Relaxed);
        let (sent, seen) = (self.gate.sent(), self.gate.heads());
        assert_eq!(usize::try_from(sent).unwrap(), seen, "(sent by Envoy, arrived)");
        let waiting = self.gate.envoy.stats(r"^cluster\..*\.upstream_rq_pending_active$");
        assert_eq!(waiting.values().sum::<u64>(), 0, "requests that wait for a connection");
        assert!(self.gate.video.arrivals().iter().any(|arrival| arrival.path == SENTINEL));
        self.gate.video.forget(SENTINEL);
        seen - sentinels
    }

    /// Asserts the line of every delivery in the access log.
    fn assert_logged(&self, runs: &[CaseRun]) {
        let mut expected: Vec<Value> = runs.iter().filter_map(CaseRun::log_line).collect();
        let of_gate = |line: &Value| !line["hook"].is_null() || !line["reason"].is_null();
        let fields = [
            "hook",
            "event",
            "verdict",
            "reason",
            "request_reason",
            "detail",
            "generation_id",
            "method",
            "status",
        ];
        let mut logged: Vec<Value> = eventually("the access log", || {
            let log = self.gate.envoy.access_log();
            let lines: Vec<Value> = log.into_iter().filter(of_gate).collect();
            (lines.len() >= expected.len()).then(|| {
                lines.iter().map(|line| fields.iter().map(|name| field(line, name)).collect()).collect()
            })
        });
        expected.retain(|line| match logged.iter().position(|other| other == line) {
            Some(at) => {
                logged.swap_remove(at);
                false
            }
            None => true,
        });
        assert_eq!(expected, logged, "(expected and not logged, logged and not expected)");
    }
}

/// A field of a line, as [`CaseRun::log_line`] has it.
fn field(line: &Value, name: &str) -> Value {
    match (name, &line[name]) {
        ("detail", Value::String(detail)) => settled(detail).into(),
        (_, value) => value.clone(),
    }
}

fn delivery(case: &Case, protocol: Protocol) -> TestDelivery {
    let mut headers = case.headers.clone();
    headers.push((MARK.to_owned(), mark(case, protocol).into_bytes()));
    let ending = match (&case.body, case.length) {
        // The gate refuses it before its end.
        (_, corpus::BodyLength::Claimed(_)) => RequestEnding::Open,
        (Some(body), _) if body.is_empty() => RequestEnding::EmptyFrame,
        _ => RequestEnding::Last,
    };
    TestDelivery {
        method: case.method.clone(),
        path: case.path.clone(),
        headers,
        pieces: case.body.iter().filter(|body| !body.is_empty()).cloned().collect(),
        length: match case.length {
            corpus::BodyLength::Declared => Length::Declared,
            corpus::BodyLength::Undeclared => Length::Undeclared,
            corpus::BodyLength::Claimed(length) => Length::Claimed(length),
        },
        ending,
    }
}

fn mark(case: &Case, protocol: Protocol) -> String {
    let name: String = case.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    // Names may differ only in characters that become `-`.
    let sum = case.name.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    format!("{name}-{sum:x}-{}", protocol.alpn())
}

fn usual_reply() -> Reply {
    Reply::status(200).header("content-type", "application/json").header("x-service", "own").body(USUAL_BODY)
}

fn reply(upstream: &corpus::ServiceAnswer) -> Reply {
    let Some(status) = upstream.status else { return Reply::Reset };
    let mut reply = Reply::status(status);
    for (name, value) in &upstream.headers {
        reply = reply.header(name.clone().leak(), value);
    }
    match &upstream.body {
        Some(body) => reply.body(body.as_bytes()),
        None => reply,
    }
}

/// Adds two listeners: one behind a proxy that terminates TLS, and one with Envoy's default, which trusts x-forwarded-for.
fn with_more_listeners(mut bootstrap: Bootstrap) -> Bootstrap {
    let listeners = bootstrap.json["static_resources"]["listeners"].as_array_mut().unwrap();
    let like = |name: &str, other: &str| {
        let mut listener = listeners.iter().find(|listener| listener["name"] == other).unwrap().clone();
        listener["name"] = name.into();
        listener
    };
    let (mut proxied, mut trusting) = (like("proxied", "plaintext"), like("trusting", "edge"));
    let peer = json!({
        "name": "peer",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config",
            "on_request_headers": [{
                "object_key": "blobgate.peer",
                "factory_key": "envoy.string",
                "format_string":
                    {"text_format_source": {"inline_string": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"}},
            }],
        },
    });
    let http = |listener: &mut Value, change: &dyn Fn(&mut Value)| {
        change(&mut listener["filter_chains"][0]["filters"][0]["typed_config"]);
    };
    http(&mut proxied, &|http| {
        http["xff_num_trusted_hops"] = 1.into();
        http["http_filters"].as_array_mut().unwrap().insert(0, peer.clone());
    });
    http(&mut trusting, &|http| {
        http.as_object_mut().unwrap().remove("use_remote_address").expect("the setting");
    });
    listeners.extend([proxied, trusting]);
    bootstrap
}

fn without_flag(bootstrap: Bootstrap) -> Bootstrap {
    bootstrap.http(|http| http["request_timeout"] = "0.5s".into()).filter(|filter| {
        let plugin = &mut filter["typed_config"]["config"];
        plugin.as_object_mut().unwrap().remove("allow_on_headers_stop_iteration").expect("the flag");
        // Up to 1.39 Envoy may reuse a cached plugin if only the flag changes.
        plugin["name"] = "blobgate-without-flag".into();
    })
}
