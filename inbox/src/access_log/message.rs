//! The fields of Envoy's access log that the inbox reads, by their numbers on the wire. Other fields are skipped: among them
//! are the path, the user agent and the addresses of proxies.
//!
//! | message | source |
//! |---|---|
//! | [`AccessLogMessage`], [`LogIdentifier`] | `envoy/service/accesslog/v3/als.proto` |
//! | [`HttpLogEntry`] and its parts | `envoy/data/accesslog/v3/accesslog.proto` |
//! | [`EnvoyNode`], [`EnvoyAddress`], [`EnvoySocketAddress`] | `envoy/config/core/v3/base.proto`, `address.proto` |
//! | [`ProtoAny`], [`ProtoTimestamp`], [`ProtoUint32`], [`ProtoText`] | `google/protobuf/*.proto` |
//!
//! Texts are bytes, since Envoy writes header values as it got them. An entry is read alone: a message of many empty entries
//! must not become a large list of structures.

use prost::Message;
use prost::bytes::Bytes;

/// `StreamAccessLogsMessage`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct AccessLogMessage {
    #[prost(message, optional, tag = "1")]
    pub(super) identifier: Option<LogIdentifier>,
    #[prost(message, optional, tag = "2")]
    pub(super) http_logs: Option<HttpLogEntries>,
}

/// `StreamAccessLogsResponse`.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct AccessLogResponse {}

/// `StreamAccessLogsMessage.Identifier`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct LogIdentifier {
    #[prost(message, optional, tag = "1")]
    pub(super) node: Option<EnvoyNode>,
}

/// `envoy.config.core.v3.Node`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct EnvoyNode {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) id: Bytes,
}

/// `StreamAccessLogsMessage.HTTPAccessLogEntries`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct HttpLogEntries {
    /// [`HttpLogEntry`] messages.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub(super) log_entry: Vec<Bytes>,
}

/// `HTTPAccessLogEntry`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct HttpLogEntry {
    #[prost(message, optional, tag = "1")]
    pub(super) common_properties: Option<LogCommon>,
    #[prost(message, optional, tag = "3")]
    pub(super) request: Option<LogRequest>,
    #[prost(message, optional, tag = "4")]
    pub(super) response: Option<LogResponse>,
}

/// `AccessLogCommon`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct LogCommon {
    #[prost(message, optional, tag = "2")]
    pub(super) downstream_remote_address: Option<EnvoyAddress>,
    #[prost(message, optional, tag = "5")]
    pub(super) start_time: Option<ProtoTimestamp>,
    #[prost(message, repeated, tag = "21")]
    pub(super) filter_state_objects: Vec<StateObject>,
}

/// An entry of the map `filter_state_objects`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct StateObject {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) key: Bytes,
    #[prost(message, optional, tag = "2")]
    pub(super) value: Option<ProtoAny>,
}

/// `HTTPRequestProperties`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct LogRequest {
    /// `envoy.config.core.v3.RequestMethod`.
    #[prost(int32, tag = "1")]
    pub(super) request_method: i32,
    #[prost(bytes = "bytes", tag = "9")]
    pub(super) request_id: Bytes,
    #[prost(message, repeated, tag = "13")]
    pub(super) request_headers: Vec<LoggedHeader>,
}

/// `HTTPResponseProperties`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct LogResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) response_code: Option<ProtoUint32>,
    #[prost(message, repeated, tag = "4")]
    pub(super) response_headers: Vec<LoggedHeader>,
    #[prost(bytes = "bytes", tag = "6")]
    pub(super) response_code_details: Bytes,
}

/// An entry of a map of headers.
#[derive(Clone, PartialEq, Message)]
pub(super) struct LoggedHeader {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) name: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) value: Bytes,
}

/// `envoy.config.core.v3.Address`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct EnvoyAddress {
    #[prost(message, optional, tag = "1")]
    pub(super) socket_address: Option<EnvoySocketAddress>,
}

/// `envoy.config.core.v3.SocketAddress`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct EnvoySocketAddress {
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) address: Bytes,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ProtoAny {
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) value: Bytes,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct ProtoTimestamp {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

/// `google.protobuf.UInt32Value`.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct ProtoUint32 {
    #[prost(uint32, tag = "1")]
    pub(super) value: u32,
}

/// `google.protobuf.StringValue` and `BytesValue`, which are the same on the wire.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ProtoText {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) value: Bytes,
}
