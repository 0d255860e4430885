//! The answer's way back: what the sender hears of an upstream, of Envoy itself, and of a host without its flag.

use super::{Exchange, State};
use crate::Reason;
use crate::answer::{self, Answers};
use crate::confirm::Outcome;
use crate::hook::Hook;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

impl Exchange {
    /// The sender hears 200 or 503, whatever the upstream said.
    pub(super) fn answer(&mut self, hook: &Hook, end_of_stream: bool) -> Action {
        let status = self.get_http_response_header_bytes(":status").unwrap_or_default();
        if self.is_grpc && self.get_http_response_header_bytes("grpc-status").is_some() {
            self.undo_grpc(Reason::UpstreamError);
            return Action::Continue;
        }
        let judged = answer::check(&status);
        match hook.answers {
            Answers::Receipt => self.replace_answer(judged, end_of_stream),
            Answers::Status if status == b"200" => Action::Continue,
            Answers::Status => {
                self.set_status(judged);
                for name in answer::REMOVED {
                    self.remove_http_response_header(name);
                }
                if end_of_stream {
                    // A 304 may carry the length of a body that it does not have: as a 503 that hangs the client.
                    self.remove_http_response_header("content-length");
                }
                Action::Continue
            }
        }
    }

    /// The request can go nowhere any more, whatever the provider says.
    pub(super) fn give_up_asking(&mut self, end_of_stream: bool) -> Action {
        let (Some(gate), State::Asking(asked)) =
            (self.gate.clone(), std::mem::replace(&mut self.state, State::Untouched))
        else {
            return Action::Continue;
        };
        let (question, _body) = asked.into_parts();
        let (hook, reason) = (question.hook(), Reason::ConfirmUnavailable);
        let generation_id = question.event().map(|event| event.generation_id);
        self.set_http_request_header_bytes("blobgate-hook", Some(hook.name.as_bytes()));
        gate.metrics.borrow_mut().count_confirm(&hook.name, Outcome::NoAnswer);
        gate.count_refusal(Some(hook), reason);
        gate.log_line("refused", Some(hook), reason, self.source_address().as_deref(), generation_id);
        self.replace_answer(Err(reason), end_of_stream)
    }

    /// Envoy has answered by itself, before the delivery was judged: a proven sender is to come back, unless what it
    /// sends is too large for ever. A provider's answer comes too late now.
    pub(super) fn was_answered(&mut self) -> Action {
        const TOO_LARGE: &[u8] = b"413";
        let comes_back = match std::mem::replace(&mut self.state, State::Untouched) {
            State::Held(admitted) => admitted.comes_back(),
            State::Asking(asked) => asked.comes_back(),
            _ => false,
        };
        if comes_back && self.get_http_response_header_bytes(":status").as_deref() != Some(TOO_LARGE) {
            self.set_http_response_header_bytes(":status", Some(b"503"));
        }
        Action::Continue
    }

    /// Says in HTTP what Envoy has said in gRPC.
    pub(super) fn undo_grpc(&self, reason: Reason) {
        self.set_status(Err(reason));
        for name in ["grpc-status", "grpc-message", "content-type"] {
            self.remove_http_response_header(name);
        }
    }

    /// Answers with a body of ours.
    pub(super) fn replace_answer(&mut self, judged: Result<(), Reason>, end_of_stream: bool) -> Action {
        let (status, media_type, body) = match judged {
            Ok(()) => (200, answer::RECEIPT_TYPE, answer::RECEIPT.to_owned()),
            Err(reason) => (reason.status(), answer::PROBLEM_TYPE, answer::problem(reason)),
        };
        if end_of_stream {
            // Only here may a new answer replace the upstream's: one with a body would be reset, and its connection
            // closed. And only so can a body be added: a 204's client would hang.
            self.state = State::Untouched;
            let mut headers = vec![("content-type", media_type)];
            headers.extend(judged.err().map(|reason| ("blobgate-reason", reason.code())));
            self.send_http_response(status.into(), headers, Some(body.as_bytes()));
            return Action::Pause;
        }
        self.set_status(judged);
        for (name, _) in self.get_http_response_headers_bytes() {
            // What the host itself needs and adds, and nothing of the service.
            if !matches!(name.as_str(), ":status" | "date" | "blobgate-reason") {
                self.remove_http_response_header(&name);
            }
        }
        self.set_http_response_header_bytes("content-type", Some(media_type.as_bytes()));
        self.set_http_response_header_bytes("content-length", Some(body.len().to_string().as_bytes()));
        self.state = State::Replaced(body);
        Action::Continue
    }

    fn set_status(&self, judged: Result<(), Reason>) {
        let status = judged.map_or_else(Reason::status, |()| 200).to_string();
        self.set_http_response_header_bytes(":status", Some(status.as_bytes()));
        if let Err(reason) = judged {
            self.set_http_response_header_bytes("blobgate-reason", Some(reason.code().as_bytes()));
        }
    }

    /// Envoy's own answer to a request whose body it never showed to the filter. A client that stalls gets 408.
    pub(super) fn is_request_timeout(&self) -> bool {
        self.get_http_response_header_bytes(":status").as_deref() == Some(b"504")
            && self.get_property(vec!["response", "code_details"]).as_deref()
                == Some(b"request_overall_timeout")
    }
}
