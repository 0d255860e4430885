//! Faults that quarantine deliveries.

use crate::operator::{Operator, entry_in};
use crate::stack::{Stack, replaced};
use crate::traffic::{BodyForm, TestEvent, TestToken};
use blobgate_testkit::needs;
use std::fs;
use std::net::Ipv4Addr;

/// RunBlob's new address.
const MOVED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

#[needs(Prometheus)]
#[test]
fn token_has_expired() {
    let only_token = |config: &str| replaced(config, "{any_of: [token, confirmed]}", "{any_of: [token]}");
    let stack = Stack::with(TestEvent::GOOD, only_token, None);
    // One delivery is enough.
    stack.traffic.send(TestEvent { token: TestToken::Expired, ..TestEvent::GOOD });
    let operator = Operator::at_fault();
    let alert = operator.sees(&stack, "BlobgateQuarantined");
    assert_eq!(alert.label("reason"), "token-expired");
    operator.runs(&stack, "quarantined", &[], &["reason      token-expired"]);
    operator.runs(&stack, "quarantined-genuine", &[], &["released"]);
    stack.delivers();
    operator.sees_end(&stack, "BlobgateQuarantined", 4);
    operator.was_woken_by(&["BlobgateQuarantined"]);
}

#[needs(Prometheus)]
#[test]
fn allowlist_is_wrong() {
    const ALL: &str = "source: [127.0.0.0/8, \"::1\"]";
    let one = |config: &str| replaced(config, ALL, "source: [127.0.0.1]");
    let mut stack = Stack::with(TestEvent::GOOD, one, None);
    stack.traffic.change(TestEvent { from: MOVED, ..TestEvent::GOOD });
    let operator = Operator::at_fault();
    let alert = operator.sees(&stack, "BlobgateQuarantined");
    assert_eq!(alert.label("reason"), "source-denied");
    operator.runs(&stack, "quarantined", &[], &["reason      source-denied", "client      127.0.0.9"]);
    let config = fs::read_to_string(stack.path("envoy.yaml")).unwrap();
    let widened = replaced(&config, "source: [127.0.0.1]", "source: [127.0.0.1, 127.0.0.9]");
    fs::write(stack.path("envoy.yaml"), widened).unwrap();
    stack.envoy = None;
    stack.start_envoy();
    stack.delivers();
    operator.runs(&stack, "quarantined-widened", &[], &["released"]);
    operator.sees_end(&stack, "BlobgateQuarantined", 4);
    operator.was_woken_by(&["BlobgateQuarantined"]);
}

#[needs(Prometheus)]
#[test]
fn load_bearing_field_is_renamed() {
    let stack = Stack::start(TestEvent::GOOD);
    stack.traffic.send(TestEvent { form: BodyForm::Renamed, ..TestEvent::GOOD });
    let operator = Operator::at_fault();
    let alert = operator.sees(&stack, "BlobgateQuarantined");
    assert_eq!(alert.label("reason"), "schema-invalid");
    let shown = operator.runs(&stack, "quarantined", &[], &["reason      schema-invalid", "status"]);
    let id = format!(" {} ", entry_in(&shown));
    operator.runs(&stack, "quarantined-unreadable", &[(" 17 ", &id)], &["completed"]);
    stack.delivers();
    operator.sees_end(&stack, "BlobgateQuarantined", 4);
    operator.was_woken_by(&["BlobgateQuarantined"]);
}

#[needs(Prometheus)]
#[test]
fn harmless_drift_wakes_nobody() {
    let stack = Stack::start(TestEvent::GOOD);
    stack.traffic.change(TestEvent { form: BodyForm::Drifted, ..TestEvent::GOOD });
    let operator = Operator::at_fault();
    let alert = operator.sees(&stack, "BlobgateDrift");
    assert_eq!(alert.label("severity"), "info");
    operator.runs(&stack, "drift", &[], &["blobgate_drift_total", alert.label("field")]);
    stack.delivers();
    operator.was_woken_by(&[]);
    let firing: Vec<_> = stack.alerts().into_iter().map(|alert| alert.name).collect();
    assert_eq!(firing, ["BlobgateDrift"]);
}
