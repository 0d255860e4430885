//! A module whose hooks do nothing, for measurements.

use crate::abi::{BodyStep, CallResponse, EnvoyConfig, EnvoyStream, HookStep, Module, Phase};
use blobgate::head::Ending;

/// Reads no configuration.
#[derive(Debug)]
pub(crate) struct EmptyModule;

impl Module for EmptyModule {
    type Stream = ();

    fn start() {}

    fn load(_envoy: EnvoyConfig<'_>, _configuration: &[u8]) -> Option<Self> {
        Some(Self)
    }

    fn refuse_route_configuration() {}

    fn open(&self) {}

    fn on_request_headers((): &(), _envoy: EnvoyStream<'_>, _ending: Ending) -> HookStep {
        HookStep::Continue
    }

    fn on_request_body((): &(), _envoy: EnvoyStream<'_>, _ending: Ending) -> BodyStep {
        BodyStep::Continue
    }

    fn on_request_trailers((): &(), _envoy: EnvoyStream<'_>) -> HookStep {
        HookStep::Continue
    }

    fn on_call_response((): &(), _envoy: EnvoyStream<'_>, _response: Option<&CallResponse<'_>>) {}

    fn on_local_reply((): &(), _details: &[u8]) {}

    fn on_response_headers((): &(), _envoy: EnvoyStream<'_>, _ending: Ending) -> HookStep {
        HookStep::Continue
    }

    fn on_response_body((): &(), _envoy: EnvoyStream<'_>) {}

    fn on_response_trailers((): &(), _envoy: EnvoyStream<'_>) {}

    fn on_complete((): &(), _envoy: EnvoyStream<'_>) {}

    fn on_panic((): &(), _envoy: EnvoyStream<'_>, _phase: Phase) {}
}
