//! The response's way back: the sender gets 200 or 503, whatever an upstream or Envoy itself has answered.

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
    /// Judges the response of an upstream, or of Envoy itself.
    pub fn on_response_headers(&mut self, host: &mut impl Host, ending: Ending) -> Flow {
        match &self.state {
            State::Forwarded(hook) => {
                let answers = hook.answers;
                self.answer(host, answers, ending)
            }
            State::AwaitingBody(_) | State::AwaitingProvider(_) => self.answered_by_host(host, ending),
            State::Refused(reason) if self.is_grpc => {
                undo_grpc(host, *reason);
                Flow::Continue
            }
            _ => Flow::Continue,
        }
    }

    /// The first part of a replaced body becomes the whole body, every further one nothing.
    pub fn on_response_body(&mut self, host: &mut impl Host, size: usize) -> Flow {
        if let State::Replacing(body) = &mut self.state {
            host.replace_response_body(size, std::mem::take(body).as_bytes());
        }
        Flow::Continue
    }

    /// A receipt contains nothing of the service.
    pub fn on_response_trailers(&mut self, host: &mut impl Host) -> Flow {
        if let State::Replacing(_) = &self.state {
            host.remove_response_trailers();
        }
        Flow::Continue
    }

    fn answer(&mut self, host: &mut impl Host, answers: Answers, ending: Ending) -> Flow {
        let status = host.response_header(":status").unwrap_or_default();
        if self.is_grpc && host.response_header("grpc-status").is_some() {
            undo_grpc(host, Reason::UpstreamError);
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
            // A 304 may have the length of a body that it does not have: as a 503 that hangs the client.
            host.remove_response_header("content-length");
        }
        Flow::Continue
    }

    /// Envoy has answered by itself, before the delivery was judged. A response of the status API comes too late now.
    fn answered_by_host(&mut self, host: &mut impl Host, ending: Ending) -> Flow {
        match std::mem::replace(&mut self.state, State::PassThrough) {
            State::AwaitingBody(admitted) if self.body_seen == 0 && is_request_timeout(host) => {
                self.refuse_late(host, admitted.hook(), Reason::HostMisconfigured, None, ending)
            }
            // Envoy's request_timeout runs until the filter lets go: a slow sender leaves the provider less time.
            State::AwaitingProvider(pending) if is_request_timeout(host) => {
                let (hook, id) = (pending.request.hook(), pending.request.event().generation_id);
                host.count(Counter::confirmation(hook, Outcome::NoAnswer));
                self.refuse_late(host, hook, Reason::ConfirmUnavailable, Some(id), ending)
            }
            State::AwaitingBody(admitted) if admitted.must_retry() => ask_for_retry(host),
            State::AwaitingProvider(pending) if pending.request.must_retry() => ask_for_retry(host),
            _ => Flow::Continue,
        }
    }

    /// Refuses a request that Envoy's timeout has ended.
    fn refuse_late(
        &mut self,
        host: &mut impl Host,
        hook: &Arc<Hook>,
        reason: Reason,
        generation_id: Option<GenerationId>,
        ending: Ending,
    ) -> Flow {
        // The request is still held, so that its headers can still be set: for the access log.
        host.set_request_header(header::HOOK, &hook.name);
        host.count(Counter::refusal(Some(hook), reason));
        self.gate.log(host, "refused", Some(hook), reason, generation_id);
        self.replace_answer(host, Err(reason), ending)
    }

    /// Answers with a body of the gate's own.
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
            // Only here may a new response replace the upstream's: one with a body would be reset, and its connection
            // closed. And only so can a body be added: a 204's client would hang.
            let mut headers = vec![("content-type", media_type)];
            headers.extend(judged.err().map(|reason| (header::REASON, reason.code())));
            host.respond(status, &headers, body.as_bytes());
            return Flow::Pause;
        }
        set_status(host, judged);
        for name in host.response_header_names() {
            // What the host itself needs and adds, and nothing of the service.
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

/// An authenticated sender retries, unless its body is too large, which no retry changes.
fn ask_for_retry(host: &mut impl Host) -> Flow {
    const TOO_LARGE: &[u8] = b"413";
    if host.response_header(":status").as_deref() != Some(TOO_LARGE) {
        host.set_response_header(":status", "503");
    }
    Flow::Continue
}

/// Envoy's own answer to a request whose body it never showed to the filter. A client that stalls gets 408.
fn is_request_timeout(host: &mut impl Host) -> bool {
    host.response_header(":status").as_deref() == Some(b"504")
        && host.property(Property::ResponseCodeDetails).as_deref() == Some(b"request_overall_timeout")
}

/// Says in HTTP what Envoy has said in gRPC.
fn undo_grpc(host: &mut impl Host, reason: Reason) {
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
