//! The table: what the demo sends, and what has to come of it.

use super::delivery::{Delivery, Door, payload};
use blobgate::Reason;
use blobgate::event::Kind;
use reqwest::Method;

/// The services of the repository's `envoy.yaml`, by the names in the table.
pub(super) const SERVICES: [&str; 2] = ["video", "failure"];

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
    /// The reason's answer, and it arrives nowhere.
    Refused(Reason),
}

#[rustfmt::skip]
pub(super) fn rows() -> Vec<Row> {
    use Expected::{Arrives, Refused};
    let [video, failure] = SERVICES;
    vec![
        row("completed, as documented",           payload::completed(),                                     Arrives(Kind::Completed, video)),
        row("failed, as documented",              payload::failed("UNSAFE_CONTENT"),                        Arrives(Kind::Failed, failure)),
        row("timed out, as documented",           payload::failed("TIMEOUT"),                               Arrives(Kind::Timeout, failure)),
        row("to a path that is no hook",          payload::completed().below("/elsewhere"),                 Refused(Reason::UnknownHook)),
        row("without TLS",                        payload::completed().through(Door::Plain),                Refused(Reason::HttpsRequired)),
        row("from an address off the list",       payload::completed().through(Door::Elsewhere),            Refused(Reason::SourceDenied)),
        row("by GET",                             payload::none().method(Method::GET),                      Refused(Reason::MethodNotAllowed)),
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
    ]
}

fn row(sent: &'static str, delivery: Delivery, expected: Expected) -> Row {
    Row { sent, delivery, expected }
}

impl Expected {
    pub(super) fn status(self) -> u16 {
        match self {
            Expected::Arrives(..) => 200,
            Expected::Refused(reason) => reason.status(),
        }
    }

    pub(super) fn code(self) -> Option<&'static str> {
        match self {
            Expected::Arrives(..) => None,
            Expected::Refused(reason) => Some(reason.code()),
        }
    }

    pub(super) fn service(self) -> Option<&'static str> {
        match self {
            Expected::Arrives(_, service) => Some(service),
            Expected::Refused(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_that_the_shipped_gate_can_give_has_a_row() {
        let shown: Vec<_> = rows().iter().filter_map(|row| row.expected.code()).collect();
        // Those need a broken service, a broken set-up, or no gate at all.
        let not_refusals = [Reason::HostMisconfigured, Reason::UpstreamError, Reason::NotJudged];
        for reason in Reason::ALL.iter().filter(|reason| !not_refusals.contains(reason)) {
            assert!(shown.contains(&reason.code()), "{} has no row", reason.code());
        }
    }

    #[test]
    fn every_event_has_a_row() {
        for kind in [Kind::Completed, Kind::Failed, Kind::Timeout] {
            assert!(rows().iter().any(|row| matches!(row.expected, Expected::Arrives(k, _) if k == kind)));
        }
    }
}
