//! The table: what the demo sends, and what has to come of it.

use super::delivery::{Delivery, Door, Token, payload};
use blobgate::Reason;
use blobgate::contract::EventSource;
use blobgate::event::Kind;
use blobgate::policy::{Proof, Verdict};
use reqwest::Method;

/// The services of the repository's `envoy.yaml`, by the names in the table.
pub(super) const SERVICES: [&str; 3] = ["video", "failure", QUARANTINE];

/// Where what is proven and wrong is kept.
pub(super) const QUARANTINE: &str = "quarantine";

pub(super) struct Row {
    /// In words.
    pub(super) sent: &'static str,
    pub(super) delivery: Delivery,
    pub(super) expected: Expected,
}

/// What the shipped gate has to make of a delivery.
#[derive(Clone, Copy)]
pub(super) enum Expected {
    /// 200, and it arrives at this service, as this event.
    Arrives(Kind, &'static str),
    /// The same, by this proof.
    Proven(Kind, &'static str, Proof),
    /// No callback, and yet it arrives there: the inbox has asked for it.
    Reconciled(Kind, &'static str),
    /// 200, and it is kept in quarantine for this reason.
    Kept(Reason),
    /// The reason's answer, and it arrives nowhere.
    Refused(Reason),
}

#[rustfmt::skip]
pub(super) fn rows() -> Vec<Row> {
    use Expected::{Arrives, Kept, Proven, Refused, Reconciled};
    let [video, failure, _] = SERVICES;
    vec![
        row("completed, as documented",           payload::completed(),                                     Arrives(Kind::Completed, video)),
        row("failed, as documented",              payload::failed("UNSAFE_CONTENT"),                        Arrives(Kind::Failed, failure)),
        row("timed out, as documented",           payload::failed("TIMEOUT"),                               Arrives(Kind::Timeout, failure)),
        row("to a path that is no hook",          payload::completed().below("/elsewhere"),                 Refused(Reason::UnknownHook)),
        row("without TLS",                        payload::completed().through(Door::Plain),                Refused(Reason::HttpsRequired)),
        row("from an address off the list",       payload::completed().through(Door::Elsewhere),            Refused(Reason::SourceDenied)),
        row("by GET",                             payload::completed().method(Method::GET),                 Refused(Reason::MethodNotAllowed)),
        row("with content-encoding twice",        payload::completed().header("content-encoding", "identity")
                                                                      .header("content-encoding", "identity"), Refused(Reason::HeaderInvalid)),
        row("as gzip",                            payload::completed().header("content-encoding", "gzip"),  Refused(Reason::UnsupportedEncoding)),
        row("70,000 bytes, where 65,536 fit",     payload::of_size(70_000),                                 Refused(Reason::BodyTooLarge)),
        row("without a body",                     payload::none(),                                          Refused(Reason::BodyMissing)),
        row("cut off half-way",                   payload::completed().cut_in_half(),                       Refused(Reason::JsonInvalid)),
        row("nested 20 deep, where 16 are fine",  payload::nested(20),                                      Refused(Reason::JsonTooDeep)),
        row("with a second status",               payload::completed().with_field(r#""status": "failed""#), Refused(Reason::JsonDuplicateKey)),
        row("completed without a video_url",      payload::completed().without_line("video_url"),           Refused(Reason::SchemaInvalid)),
        row("with an id that is no UUID",         payload::with_id("video-42"),                             Refused(Reason::GenerationIdInvalid)),

        // It takes longest: ordered before the others, and looked for after them.
        row("generated, never called back",       payload::never_called_back().with_token(Token::Good),     Reconciled(Kind::Completed, video)),
        row("generated, with a token",            payload::generated().with_token(Token::Good),             Proven(Kind::Completed, video, Proof::Token)),
        row("generated, without a token",         payload::generated().with_token(Token::None),             Proven(Kind::Completed, video, Proof::Confirmed)),
        row("forged, without a token",            payload::completed().with_token(Token::None),             Refused(Reason::NotConfirmed)),
        row("forged, with another key's token",   payload::completed().with_token(Token::Foreign),          Refused(Reason::NotConfirmed)),
        row("with an expired token, cut off",     payload::completed().with_token(Token::Expired).cut_in_half(), Kept(Reason::TokenExpired)),
        row("with a result elsewhere, a token",   payload::completed().with_token(Token::Good).result_at("cdn.example.com"), Kept(Reason::ResultUrlDenied)),
    ]
}

fn row(sent: &'static str, delivery: Delivery, expected: Expected) -> Row {
    Row { sent, delivery, expected }
}

impl Expected {
    /// None where nobody asks.
    pub(super) fn status(self) -> Option<u16> {
        match self {
            Expected::Arrives(..) | Expected::Proven(..) | Expected::Kept(_) => Some(200),
            Expected::Reconciled(..) => None,
            Expected::Refused(reason) => Some(reason.status()),
        }
    }

    pub(super) fn code(self) -> Option<&'static str> {
        match self {
            Expected::Arrives(..) | Expected::Proven(..) | Expected::Reconciled(..) | Expected::Kept(_) => {
                None
            }
            Expected::Refused(reason) => Some(reason.code()),
        }
    }

    pub(super) fn service(self) -> Option<&'static str> {
        match self {
            Expected::Arrives(_, service)
            | Expected::Proven(_, service, _)
            | Expected::Reconciled(_, service) => Some(service),
            Expected::Kept(_) => Some(QUARANTINE),
            Expected::Refused(_) => None,
        }
    }

    /// How it is judged where it arrives.
    pub(super) fn verdict(self) -> Option<Verdict> {
        match self {
            Expected::Arrives(..) | Expected::Proven(..) | Expected::Reconciled(..) => {
                Some(Verdict::Accepted)
            }
            Expected::Kept(_) => Some(Verdict::Quarantined),
            Expected::Refused(_) => None,
        }
    }

    /// Why it is not accepted.
    pub(super) fn reason(self) -> Option<Reason> {
        match self {
            Expected::Arrives(..) | Expected::Proven(..) | Expected::Reconciled(..) => None,
            Expected::Kept(reason) | Expected::Refused(reason) => Some(reason),
        }
    }

    pub(super) fn event(self) -> Option<Kind> {
        match self {
            Expected::Arrives(kind, _) | Expected::Proven(kind, ..) | Expected::Reconciled(kind, _) => {
                Some(kind)
            }
            Expected::Kept(_) | Expected::Refused(_) => None,
        }
    }

    pub(super) fn proof(self) -> Option<Proof> {
        match self {
            Expected::Proven(_, _, proof) => Some(proof),
            Expected::Reconciled(..) => Some(Proof::Confirmed),
            Expected::Arrives(..) | Expected::Kept(_) | Expected::Refused(_) => None,
        }
    }

    /// Who brings it, where that is not the provider.
    pub(super) fn source(self) -> Option<&'static str> {
        matches!(self, Expected::Reconciled(..)).then_some(EventSource::Reconcile.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_that_the_shipped_gate_can_give_has_a_row() {
        let shown: Vec<_> = rows().iter().filter_map(|row| row.expected.reason()).collect();
        // Those need a broken service, a broken set-up, no provider, or no gate at all.
        let not_refusals =
            [Reason::HostMisconfigured, Reason::UpstreamError, Reason::ConfirmUnavailable, Reason::NotJudged];
        // Where the provider's word is as good as a token, it is asked in their place.
        let not_heard = [Reason::TokenMissing, Reason::TokenInvalid, Reason::TokenAudience];
        // Those need a token that is bound to a prompt.
        let not_used = [Reason::TokenMismatch];
        let left_out = [&not_refusals[..], &not_heard, &not_used].concat();
        for reason in Reason::ALL.iter().filter(|reason| !left_out.contains(reason)) {
            assert!(shown.contains(reason), "{} has no row", reason.code());
        }
    }

    #[test]
    fn every_event_has_a_row() {
        for kind in [Kind::Completed, Kind::Failed, Kind::Timeout] {
            assert!(rows().iter().any(|row| matches!(row.expected, Expected::Arrives(k, _) if k == kind)));
        }
    }
}
