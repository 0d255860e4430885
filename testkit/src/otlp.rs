//! A collector of traces: it gets OTLP over HTTP, and records the spans.

use super::{Reply, ServiceRequest, Upstream, eventually};
use prost::Message;
use std::collections::BTreeMap;

/// The path of OTLP over HTTP for traces.
const PATH: &str = "/v1/traces";

/// A running collector.
pub struct TraceCollector {
    upstream: Upstream,
}

/// A span that the collector got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceSpan {
    /// In hex.
    pub trace_id: String,
    /// In hex.
    pub span_id: String,
    /// In hex. Empty for the first span of a trace.
    pub parent_id: String,
    pub name: String,
    /// The attributes with a text.
    pub attributes: BTreeMap<String, String>,
}

impl TraceCollector {
    /// Starts a collector on a free port.
    pub fn start() -> Self {
        let upstream = Upstream::start();
        upstream.reply(Reply::status(200).header("content-type", "application/x-protobuf"));
        Self { upstream }
    }

    pub fn port(&self) -> u16 {
        self.upstream.port
    }

    /// The spans so far. Panics if a request is not OTLP.
    #[track_caller]
    pub fn spans(&self) -> Vec<TraceSpan> {
        self.upstream.arrivals().iter().flat_map(spans).collect()
    }

    /// Waits for the spans that `is_it` matches, this many.
    #[track_caller]
    pub fn wait_for(&self, count: usize, is_it: impl Fn(&TraceSpan) -> bool) -> Vec<TraceSpan> {
        let matching = || -> Vec<TraceSpan> { self.spans().into_iter().filter(&is_it).collect() };
        let found = eventually("spans", || Some(matching()).filter(|spans| spans.len() >= count));
        assert_eq!(found.len(), count, "{found:#?}");
        found
    }

    /// All bytes so far: a search for a secret sees fields that [`TraceSpan`] has not.
    pub fn bytes(&self) -> Vec<u8> {
        self.upstream.arrivals().into_iter().flat_map(|request| request.body).collect()
    }

    /// The number of requests so far.
    pub fn requests(&self) -> usize {
        self.upstream.heads()
    }

    /// Answers nothing from now on.
    pub fn hang(&self) {
        self.upstream.reply(Reply::Hang);
    }
}

#[track_caller]
fn spans(request: &ServiceRequest) -> Vec<TraceSpan> {
    assert_eq!((&*request.method, &*request.path), ("POST", PATH));
    assert_eq!(request.header("content-type").as_deref(), Some("application/x-protobuf"));
    let export = TraceExport::decode(&*request.body).expect("OTLP");
    let scopes = export.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).map(TraceSpan::from).collect()
}

impl From<WireSpan> for TraceSpan {
    fn from(span: WireSpan) -> Self {
        let text = |attribute: WireAttribute| Some((attribute.key, attribute.value?.text?));
        Self {
            trace_id: hex(&span.trace_id),
            span_id: hex(&span.span_id),
            parent_id: hex(&span.parent_span_id),
            name: span.name,
            attributes: span.attributes.into_iter().filter_map(text).collect(),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `ExportTraceServiceRequest` of opentelemetry/proto/collector/trace/v1, with the fields that tests read. The crate
/// opentelemetry-proto brings an SDK along.
#[derive(Clone, PartialEq, Message)]
struct TraceExport {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<WireResourceSpans>,
}

/// `ResourceSpans` of opentelemetry/proto/trace/v1, as the next three.
#[derive(Clone, PartialEq, Message)]
struct WireResourceSpans {
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<WireScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct WireScopeSpans {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<WireSpan>,
}

#[derive(Clone, PartialEq, Message)]
struct WireSpan {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<WireAttribute>,
}

/// `KeyValue` of opentelemetry/proto/common/v1.
#[derive(Clone, PartialEq, Message)]
struct WireAttribute {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<WireValue>,
}

/// `AnyValue` of opentelemetry/proto/common/v1.
#[derive(Clone, PartialEq, Message)]
struct WireValue {
    #[prost(string, optional, tag = "1")]
    text: Option<String>,
}
