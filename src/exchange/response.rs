//! Judges responses. The sender gets 200 or 503 for a service's response, and the gate's refusal for Envoy's timeout.

use super::{Counter, Exchange, Flow, Host, Property, State};
use crate::Reason;
use crate::answer::{self, Answers};
use crate::confirm::Outcome;
use crate::contract::header;
use crate::event::GenerationId;
use crate::head::Ending;
use crate::hook::Hook;
use std::sync::Arc;

impl Exchange {
    /// Judges a response of the service or of Envoy.
    pub fn on_response_headers(&mut self, host: &mut impl Host, ending: Ending) -> Flow {
        match &self.state {
            State::Forwarded(hook) => {
                let answers = hook.answers;
                self.answer(host, answers, ending)
            }
            State::AwaitingBody(_) | State::AwaitingProvider(_) => self.on_host_response(host, ending),
            State::Refused(reason) if self.is_grpc => {
                replace_grpc_status(host, *reason);
                Flow::Continue
            }
            _ => Flow::Continue,
        }
    }

    /// Replaces the first part of a body with the gate's whole body, and each later part with nothing.
    pub fn on_response_body(&mut self, host: &mut impl Host, size: usize) -> Flow {
        if let State::Replacing(body) = &mut self.state {
            host.replace_response_body(size, std::mem::take(body).as_bytes());
        }
        Flow::Continue
    }

    /// Removes the service's trailers from a replaced response.
    pub fn on_response_trailers(&mut self, host: &mut impl Host) -> Flow {
        if let State::Replacing(_) = &self.state {
            host.remove_response_trailers();
        }
        Flow::Continue
    }

    fn answer(&mut self, host: &mut impl Host, answers: Answers, ending: Ending) -> Flow {
        let status = host.response_header(":status").unwrap_or_default();
        if self.is_grpc && host.response_header("grpc-status").is_some() {
            replace_grpc_status(host, Reason::UpstreamError);
            return Flow::Continue;
        }
        let judged = answer::check(&status);
        match answers {
            Answers::Receipt => return self.replace_answer(host, judged, ending),
            Answers::Status if status == b"200" => return Flow::Continue,
            Answers::Status => set_status(host, judged),
        }
        for name in answer::REMOVED {
            host.remove_response_header(name);
        }
        if ending == Ending::Here {
            // A 304 may have a content-length without a body. A client would wait for the body of a 503.
            host.remove_response_header("content-length");
        }
        Flow::Continue
    }

    /// Handles Envoy's own response to a delivery that the gate has not judged yet. A later response of the status API has
    /// no effect.
    fn on_host_response(&mut self, host: &mut impl Host, ending: Ending) -> Flow {
        match std::mem::replace(&mut self.state, State::PassThrough) {
            State::AwaitingBody(admitted) if self.body_size == 0 && is_request_timeout(host) => {
                self.refuse_late(host, admitted.hook(), Reason::HostMisconfigured, None, ending)
            }
            // Envoy's request_timeout includes the call, so a slow sender leaves less time for the call.
            State::AwaitingProvider(pending) if is_request_timeout(host) => {
                let (hook, id) = (pending.request.hook(), pending.request.event().generation_id);
                host.count(Counter::confirmation(hook, Outcome::NoAnswer));
                self.refuse_late(host, hook, Reason::ConfirmUnavailable, Some(id), ending)
            }
            State::AwaitingBody(admitted) if admitted.must_retry() => force_retry(host),
            State::AwaitingProvider(pending) if pending.request.must_retry() => force_retry(host),
            _ => Flow::Continue,
        }
    }

    /// Refuses a request that Envoy's timeout ended.
    fn refuse_late(
        &mut self,
        host: &mut impl Host,
        hook: &Arc<Hook>,
        reason: Reason,
        generation_id: Option<GenerationId>,
        ending: Ending,
    ) -> Flow {
        // For the access log: Envoy still has the request, so its headers can change.
        host.set_request_header(header::HOOK, &hook.name);
        host.count(Counter::refusal(Some(hook), reason));
        self.gate.log(host, "refused", Some(hook), reason, generation_id);
        self.replace_answer(host, Err(reason), ending)
    }

    /// Responds with the gate's body.
    fn replace_answer(&mut self, host: &mut impl Host, judged: Result<(), Reason>, ending: Ending) -> Flow {
        let (status, media_type, body) = match judged {
            Ok(()) => (200, answer::RECEIPT_TYPE, answer::RECEIPT.to_owned()),
            Err(reason) => {
                let body = answer::problem(reason, &self.gate.config.docs);
                (reason.status(), answer::PROBLEM_TYPE, body)
            }
        };
        if ending == Ending::Here {
            self.state = State::PassThrough;
            // A response without a body gets one only by a new response: the client of a 204 would wait for a body. Envoy
            // resets the stream where a new response replaces one with a body.
            let mut headers = vec![("content-type", media_type)];
            headers.extend(judged.err().map(|reason| (header::REASON, reason.code())));
            host.respond(status, &headers, body.as_bytes());
            return Flow::Pause;
        }
        set_status(host, judged);
        for name in host.response_header_names() {
            // Envoy's own headers stay. The service's headers go.
            if !matches!(name.as_str(), ":status" | "date" | header::REASON) {
                host.remove_response_header(&name);
            }
        }
        host.set_response_header("content-type", media_type);
        host.set_response_header("content-length", &body.len().to_string());
        self.state = State::Replacing(body);
        Flow::Continue
    }
}

/// Makes an authenticated sender retry, except after 413: a retry has the same size.
fn force_retry(host: &mut impl Host) -> Flow {
    const TOO_LARGE: &[u8] = b"413";
    if host.response_header(":status").as_deref() != Some(TOO_LARGE) {
        host.set_response_header(":status", "503");
    }
    Flow::Continue
}

/// Whether the response is Envoy's 504 for a request over `request_timeout`. A client that stalls gets 408 instead.
fn is_request_timeout(host: &mut impl Host) -> bool {
    host.response_header(":status").as_deref() == Some(b"504")
        && host.property(Property::ResponseCodeDetails).as_deref() == Some(b"request_overall_timeout")
}

/// Replaces Envoy's gRPC status with an HTTP status.
fn replace_grpc_status(host: &mut impl Host, reason: Reason) {
    set_status(host, Err(reason));
    for name in ["grpc-status", "grpc-message", "content-type"] {
        host.remove_response_header(name);
    }
}

fn set_status(host: &mut impl Host, judged: Result<(), Reason>) {
    let status = judged.map_or_else(Reason::status, |()| 200).to_string();
    host.set_response_header(":status", &status);
    if let Err(reason) = judged {
        host.set_response_header(header::REASON, reason.code());
    }
}
