//! Judges responses. The sender gets 200 or 503 for a service's response, and the gate's refusal for Envoy's timeout.

use super::confirmation::PendingConfirmation;
use super::log::Cause;
use super::metrics::Status;
use super::{CONFIRM_KEY, Counter, Exchange, Flow, Forwarded, Host, Property, State, note_detail};
use crate::answer::{self, Answers};
use crate::confirm::{JudgedOutcome, Outcome};
use crate::contract::{Verdict, header};
use crate::event::GenerationId;
use crate::head::Ending;
use crate::hook::Hook;
use crate::policy::AdmittedHead;
use crate::trace::Observer;
use crate::violation::Detail;
use crate::{Reason, Violation};
use std::sync::Arc;

impl<O: Observer> Exchange<O> {
    /// Judges a response of the service or of Envoy, and counts what the sender gets.
    pub fn on_response_headers(&mut self, host: &mut impl Host, ending: Ending) -> Flow {
        match std::mem::replace(&mut self.state, State::Answered) {
            State::Forwarded(forwarded) => self.answer(host, &forwarded, ending),
            State::Observed(hook) => count(host, Some(&hook), None),
            State::Refused(hook, reason) => {
                if self.is_grpc {
                    replace_grpc_status(host, reason);
                }
                count(host, hook.as_ref(), Some(reason))
            }
            State::AwaitingBody(admitted) => self.on_host_response(host, &admitted, ending),
            State::AwaitingProvider(pending) => self.on_response_during_call(host, &pending, ending),
            other => {
                self.state = other;
                Flow::Continue
            }
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

    fn answer(&mut self, host: &mut impl Host, forwarded: &Forwarded, ending: Ending) -> Flow {
        let status = host.response_header(":status").unwrap_or_default();
        let is_grpc_error = self.is_grpc && host.response_header("grpc-status").is_some();
        let judged = if is_grpc_error { Err(Reason::UpstreamError) } else { answer::check(&status) };
        let failure = judged.err().map(|reason| upstream_failure(reason, &status));
        let violation = failure.or(forwarded.violation);
        let reason = violation.map(|violation| violation.reason);
        host.count(Counter::response(Some(&forwarded.hook), Status::judged(judged), reason));
        if judged.is_err() {
            note_detail(host, violation);
            let verdict =
                if forwarded.violation.is_some() { Verdict::Quarantined } else { Verdict::Accepted };
            let id = forwarded.generation_id;
            self.gate.log_response(host, verdict.name(), violation, &forwarded.hook, id, &status);
        }
        if is_grpc_error {
            replace_grpc_status(host, Reason::UpstreamError);
            return Flow::Continue;
        }
        match forwarded.hook.answers {
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

    /// Handles Envoy's own response to a delivery whose body is not complete.
    fn on_host_response(&mut self, host: &mut impl Host, admitted: &AdmittedHead, ending: Ending) -> Flow {
        if self.body_size == 0 && is_request_timeout(host) {
            return self.refuse_late(host, admitted.hook(), NO_FLAG, None, ending);
        }
        self.pass_on(host, admitted.hook(), None, admitted.must_retry())
    }

    /// Handles Envoy's own response to a delivery that waits for the status API. A later response of the API has no effect.
    fn on_response_during_call(
        &mut self,
        host: &mut impl Host,
        pending: &PendingConfirmation,
        ending: Ending,
    ) -> Flow {
        let (hook, id) = (pending.request.hook(), Some(pending.request.event().generation_id));
        // Envoy's request_timeout includes the call, so a slow sender leaves less time for the call.
        if is_request_timeout(host) {
            host.count(Counter::confirmation(hook, Outcome::NoAnswer));
            host.set_access_log_value(CONFIRM_KEY, Outcome::NoAnswer.name());
            let violation = JudgedOutcome::from(Outcome::NoAnswer).violation(Reason::ConfirmUnavailable);
            return self.refuse_late(host, hook, violation, id, ending);
        }
        self.pass_on(host, hook, id, pending.request.must_retry())
    }

    /// Passes Envoy's own response on. An authenticated sender gets 503, except after 413: a retry has the same size.
    fn pass_on(
        &mut self,
        host: &mut impl Host,
        hook: &Arc<Hook>,
        id: Option<GenerationId>,
        must_retry: bool,
    ) -> Flow {
        let status = host.response_header(":status").unwrap_or_default();
        if must_retry {
            self.gate.log_response(host, "-", None, hook, id, &status);
        }
        // Envoy's response to a gRPC request has the status 200.
        if (must_retry || self.is_grpc) && status != b"413" {
            host.set_response_header(":status", "503");
        }
        count(host, Some(hook), None)
    }

    /// Refuses a request that Envoy's timeout ended.
    fn refuse_late(
        &mut self,
        host: &mut impl Host,
        hook: &Arc<Hook>,
        violation: Violation,
        generation_id: Option<GenerationId>,
        ending: Ending,
    ) -> Flow {
        let reason = violation.reason;
        // For the access log: Envoy still has the request, so its headers can change.
        host.set_request_header(header::HOOK, &hook.name);
        host.count(Counter::response(Some(hook), Status::judged(Err(reason)), Some(reason)));
        let confirmation = (reason == Reason::ConfirmUnavailable).then_some(Outcome::NoAnswer);
        let cause = Cause::Judged { token: None, confirmation };
        self.gate.log_refusal(host, Some(hook), violation, generation_id, cause);
        note_detail(host, Some(violation));
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

const NO_FLAG: Violation =
    Detail::new("allow_on_headers_stop_iteration", "is not set", "true").of(Reason::HostMisconfigured);

/// The violation of a response that is not 2xx. A gRPC error has the status 200.
fn upstream_failure(reason: Reason, status: &[u8]) -> Violation {
    const SUCCESS: usize = 200;
    let number = std::str::from_utf8(status).ok().and_then(|status| status.parse().ok());
    let found = match number {
        Some(SUCCESS) => "has a grpc-status",
        Some(_) => "status is #",
        None => "has no status",
    };
    Detail::new("response", found, "2xx").with_number(number.unwrap_or_default()).of(reason)
}

/// Counts the response as it is now.
fn count(host: &mut impl Host, hook: Option<&Arc<Hook>>, reason: Option<Reason>) -> Flow {
    let status = host.response_header(":status").unwrap_or_default();
    host.count(Counter::response(hook, Status::of(&status), reason));
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
