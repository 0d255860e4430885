//! Faults of a service.

use crate::operator::Operator;
use crate::stack::{Stack, until};
use crate::traffic::TestEvent;
use blobgate_testkit::{Reply, needs};

#[needs(Prometheus)]
#[test]
fn service_is_down() {
    let mut stack = Stack::start(TestEvent::GOOD);
    stack.video.stop();
    let operator = Operator::at_fault();
    let alert = operator.sees(&stack, "BlobgateRouteDown");
    assert_eq!(alert.label("route"), "veo3-token/completed");
    operator.runs(&stack, "route-down", &[], &["down, answers 5xx since"]);
    stack.video.on();
    operator.runs(&stack, "route-down-remedy", &[], &["retried"]);
    none_waits(&stack);
    operator.sees_end(&stack, "BlobgateRouteDown", 2);
    operator.was_woken_by(&["BlobgateRouteDown"]);
}

#[needs(Prometheus)]
#[test]
fn service_answers_404() {
    let stack = Stack::start(TestEvent::GOOD);
    stack.video.reply(Reply::status(404));
    let operator = Operator::at_fault();
    let alert = operator.sees(&stack, "BlobgateServiceFails");
    assert_eq!((alert.label("route"), alert.label("outcome")), ("veo3-token/completed", "4xx"));
    operator.runs(&stack, "service-fails", &[], &["404", "veo3-token"]);
    stack.video.reply(Reply::status(200));
    operator.runs(&stack, "service-fails-remedy", &[], &["retried"]);
    none_waits(&stack);
    operator.sees_end(&stack, "BlobgateServiceFails", 2);
    operator.was_woken_by(&["BlobgateServiceFails"]);
}

/// Waits until the events of the outage are delivered.
#[track_caller]
fn none_waits(stack: &Stack) {
    until("end of the backlog", || {
        stack.run("blobgate inbox ls --state waiting", &[]).contains("no entry matches")
    });
    stack.delivers();
}
