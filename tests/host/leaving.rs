//! A client leaves in each state of its delivery. The gate forgets the delivery, and serves the next one.

use crate::support::client::Protocol;
use crate::support::delivery::RequestEnding;
use crate::support::{
    Bootstrap, H1, Length, Reply, TestDelivery, TestGate, eventually, metrics, on_every_envoy,
};
use crate::trust::{confirms, tokenless};
use serde_json::json;

/// The times that a client leaves in each state, over each protocol.
const TIMES: u64 = 5;

/// What the gate or Envoy does while the client leaves.
#[derive(Clone, Copy, Debug)]
enum LeftState {
    BeforeBody,
    WithinBody,
    Confirming,
    Forwarded,
    WithinResponse,
}

const STATES: [LeftState; 5] = [
    LeftState::BeforeBody,
    LeftState::WithinBody,
    LeftState::Confirming,
    LeftState::Forwarded,
    LeftState::WithinResponse,
];

impl LeftState {
    fn delivery(self) -> TestDelivery {
        let whole = TestDelivery::completed();
        let length = Length::Claimed(whole.body().len().try_into().unwrap());
        let unfinished = |pieces: Vec<Vec<u8>>| TestDelivery { pieces, ..whole.clone() };
        match self {
            Self::BeforeBody => unfinished(Vec::new()).length(length).ending(RequestEnding::Open),
            Self::WithinBody => {
                unfinished(vec![whole.body()[..100].to_vec()]).length(length).ending(RequestEnding::Open)
            }
            Self::Confirming => tokenless(),
            Self::Forwarded | Self::WithinResponse => whole,
        }
    }

    /// A number that grows with each delivery in this state.
    fn reached(self, gate: &TestGate) -> u64 {
        let stat = |name: &str| gate.envoy.stat(name).unwrap_or_default();
        match self {
            Self::BeforeBody | Self::WithinBody => stat("http.edge.downstream_rq_active"),
            Self::Confirming => gate.provider.heads().try_into().unwrap(),
            Self::Forwarded => gate.video.heads().try_into().unwrap(),
            Self::WithinResponse => stat("cluster.video_service.upstream_rq_200"),
        }
    }
}

fn leave(gate: &TestGate, state: LeftState, protocol: Protocol) {
    gate.provider.reply(Reply::Hang);
    gate.video.reply(if matches!(state, LeftState::WithinResponse) { Reply::Stall } else { Reply::Hang });
    let before = state.reached(gate);
    let reached = || state.reached(gate) > before;
    gate.tls(protocol).open().leave(&state.delivery(), "the state", reached);
    let active = || gate.envoy.stat("http.edge.downstream_rq_active");
    eventually("end of the delivery", || (active() == Some(0)).then_some(()));
}

#[test]
fn a_client_may_leave_in_each_state() {
    on_every_envoy(|envoy| {
        for answers in ["status", "receipt"] {
            let gate = TestGate::with(envoy, |shipped| {
                let mut configuration = Bootstrap::shipped_gate();
                configuration["confirm"]["per_minute"] = 6000.into();
                for hook in configuration["hooks"].as_array_mut().unwrap() {
                    hook["answers"] = json!(answers);
                }
                shipped.gate(&configuration)
            });
            for protocol in Protocol::BOTH {
                for state in STATES {
                    for _ in 0..TIMES {
                        leave(&gate, state, protocol);
                    }
                    // The next one passes, and its own request alone reaches a service.
                    gate.video.reply(Reply::status(200));
                    gate.provider.reply(confirms(&tokenless()));
                    gate.accepts(protocol, &TestDelivery::completed());
                    gate.accepts(protocol, &tokenless());
                }
            }
            assert_eq!(gate.envoy.crashes(), 0);
            // Each that left before its response counts with the status `-`.
            let left =
                || metrics::sum(&gate.envoy.prometheus(), "blobgate_responses_total", &[("status", "-")]);
            let before_response = f64::from(u32::try_from(TIMES).unwrap() * 4 * 2);
            eventually("counters", || (left() >= before_response).then_some(()));
            gate.accepts(H1, &TestDelivery::completed());
        }
    });
}
