//! The rows of the demo: deliveries and their expected outcomes.

use super::delivery::{Channel, DemoDelivery, TokenKind, payload};
use blobgate::Reason;
use blobgate::contract::EventSource;
use blobgate::event::Kind;
use blobgate::policy::{Proof, Verdict};
use reqwest::Method;

/// The services of the repository's `envoy.yaml`.
pub(super) const SERVICES: [&str; 3] = ["video", "failure", QUARANTINE];

pub(super) const QUARANTINE: &str = "quarantine";

pub(super) struct Row {
    /// A description of the delivery.
    pub(super) sent: &'static str,
    pub(super) delivery: DemoDelivery,
    pub(super) expected: RowExpectation,
}

/// The outcome with the shipped configuration.
#[derive(Clone, Copy)]
pub(super) enum RowExpectation {
    /// 200, and this event arrives at this service.
    Arrives(Kind, &'static str),
    /// The same, with this proof.
    Authenticated(Kind, &'static str, Proof),
    /// No callback. The inbox reconciles the event, and it arrives at this service.
    Reconciled(Kind, &'static str),
    /// 200, and quarantine for this reason.
    Quarantined(Reason),
    /// The reason's status, and no arrival.
    Refused(Reason),
}

#[rustfmt::skip]
pub(super) fn rows() -> Vec<Row> {
    use RowExpectation::{Arrives, Authenticated, Quarantined, Reconciled, Refused};
    let [video, failure, _] = SERVICES;
    vec![
        row("completed, as documented",           payload::completed(),                                     Arrives(Kind::Completed, video)),
        row("failed, as documented",              payload::failed("UNSAFE_CONTENT"),                        Arrives(Kind::Failed, failure)),
        row("timeout, as documented",             payload::failed("TIMEOUT"),                               Arrives(Kind::Timeout, failure)),
        row("to a path without a hook",           payload::completed().below("/elsewhere"),                 Refused(Reason::UnknownHook)),
        row("over plain HTTP",                    payload::completed().through(Channel::PlainHttp),         Refused(Reason::HttpsRequired)),
        row("from an address off the allowlist",  payload::completed().through(Channel::OtherAddress),      Refused(Reason::SourceDenied)),
        row("by GET",                             payload::completed().method(Method::GET),                 Refused(Reason::MethodNotAllowed)),
        row("with content-encoding twice",        payload::completed().header("content-encoding", "gzip")
                                                                      .header("content-encoding", "gzip"),  Refused(Reason::HeaderInvalid)),
        row("with content-encoding: gzip",        payload::completed().header("content-encoding", "gzip"),  Refused(Reason::UnsupportedEncoding)),
        row("70,000 bytes (limit 65,536)",        payload::of_size(70_000),                                 Refused(Reason::BodyTooLarge)),
        row("without a body",                     payload::none(),                                          Refused(Reason::BodyMissing)),
        row("half of the JSON",                   payload::completed().cut_in_half(),                       Refused(Reason::JsonInvalid)),
        row("20 levels deep (limit 16)",          payload::nested(20),                                      Refused(Reason::JsonTooDeep)),
        row("with status twice",                  payload::completed().with_field(r#""status": "failed""#), Refused(Reason::JsonDuplicateKey)),
        row("completed without video_url",        payload::completed().without_line("video_url"),           Refused(Reason::SchemaInvalid)),
        row("with an id that is no UUID",         payload::with_id("video-42"),                             Refused(Reason::GenerationIdInvalid)),

        // It takes longest: the demo orders it first and waits for it last.
        row("generated, without a callback",      payload::generated_without_callback().with_token(TokenKind::Valid), Reconciled(Kind::Completed, video)),
        row("generated, with a token",            payload::generated().with_token(TokenKind::Valid),        Authenticated(Kind::Completed, video, Proof::Token)),
        row("generated, without a token",         payload::generated().with_token(TokenKind::None),         Authenticated(Kind::Completed, video, Proof::Confirmed)),
        row("forged, without a token",            payload::completed().with_token(TokenKind::None),         Refused(Reason::NotConfirmed)),
        row("forged, with another key's token",   payload::completed().with_token(TokenKind::Foreign),      Refused(Reason::NotConfirmed)),
        row("expired token, half of the JSON",    payload::completed().with_token(TokenKind::Expired).cut_in_half(), Quarantined(Reason::TokenExpired)),
        row("valid token, result elsewhere",      payload::completed().with_token(TokenKind::Valid).with_result_at("cdn.example.com"), Quarantined(Reason::ResultUrlDenied)),
    ]
}

fn row(sent: &'static str, delivery: DemoDelivery, expected: RowExpectation) -> Row {
    Row { sent, delivery, expected }
}

impl RowExpectation {
    /// `None` without a request to the gate.
    pub(super) fn status(self) -> Option<u16> {
        match self {
            Self::Arrives(..) | Self::Authenticated(..) | Self::Quarantined(_) => Some(200),
            Self::Reconciled(..) => None,
            Self::Refused(reason) => Some(reason.status()),
        }
    }

    /// `blobgate-reason` of the answer.
    pub(super) fn code(self) -> Option<&'static str> {
        match self {
            Self::Arrives(..) | Self::Authenticated(..) | Self::Reconciled(..) | Self::Quarantined(_) => None,
            Self::Refused(reason) => Some(reason.code()),
        }
    }

    pub(super) fn service(self) -> Option<&'static str> {
        match self {
            Self::Arrives(_, service) | Self::Authenticated(_, service, _) | Self::Reconciled(_, service) => {
                Some(service)
            }
            Self::Quarantined(_) => Some(QUARANTINE),
            Self::Refused(_) => None,
        }
    }

    /// `blobgate-verdict` at the service.
    pub(super) fn verdict(self) -> Option<Verdict> {
        match self {
            Self::Arrives(..) | Self::Authenticated(..) | Self::Reconciled(..) => Some(Verdict::Accepted),
            Self::Quarantined(_) => Some(Verdict::Quarantined),
            Self::Refused(_) => None,
        }
    }

    /// The violation.
    pub(super) fn reason(self) -> Option<Reason> {
        match self {
            Self::Arrives(..) | Self::Authenticated(..) | Self::Reconciled(..) => None,
            Self::Quarantined(reason) | Self::Refused(reason) => Some(reason),
        }
    }

    pub(super) fn event(self) -> Option<Kind> {
        match self {
            Self::Arrives(kind, _) | Self::Authenticated(kind, ..) | Self::Reconciled(kind, _) => Some(kind),
            Self::Quarantined(_) | Self::Refused(_) => None,
        }
    }

    pub(super) fn proof(self) -> Option<Proof> {
        match self {
            Self::Authenticated(_, _, proof) => Some(proof),
            Self::Reconciled(..) => Some(Proof::Confirmed),
            Self::Arrives(..) | Self::Quarantined(_) | Self::Refused(_) => None,
        }
    }

    /// `blobgate-source` at the service.
    pub(super) fn source(self) -> Option<&'static str> {
        matches!(self, Self::Reconciled(..)).then_some(EventSource::Reconcile.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_a_row_for_each_refusal_of_the_shipped_gate() {
        let shown: Vec<_> = rows().iter().filter_map(|row| row.expected.reason()).collect();
        // These need a broken service, a broken setup, an unreachable provider, or no gate.
        let not_refusals =
            [Reason::HostMisconfigured, Reason::UpstreamError, Reason::ConfirmUnavailable, Reason::NotJudged];
        // The shipped hook also accepts a confirmation. It refuses with `not-confirmed` instead.
        let replaced = [Reason::TokenMissing, Reason::TokenInvalid, Reason::TokenAudience];
        // This one needs a token that is bound to a prompt.
        let unshown = [Reason::TokenMismatch];
        let left_out = [&not_refusals[..], &replaced, &unshown].concat();
        for reason in Reason::ALL.iter().filter(|reason| !left_out.contains(reason)) {
            assert!(shown.contains(reason), "{} has no row", reason.code());
        }
    }

    #[test]
    fn has_a_row_for_each_event() {
        for kind in [Kind::Completed, Kind::Failed, Kind::Timeout] {
            let is_of_kind = |row: &Row| matches!(row.expected, RowExpectation::Arrives(k, _) if k == kind);
            assert!(rows().iter().any(is_of_kind));
        }
    }
}
