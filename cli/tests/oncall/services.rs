//! Faults of a service.

use crate::operator::Operator;
use crate::stack::Stack;
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
    stack.delivers();
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
    stack.delivers();
    operator.sees_end(&stack, "BlobgateServiceFails", 2);
    operator.was_woken_by(&["BlobgateServiceFails"]);
}
