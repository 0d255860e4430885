//! The smallest test of inbox and service together.

use crate::{PROGRAM, on_each_store};
use blobgate::contract::header;
use blobgate_testkit::inbox::{forwarded, fresh_generation};
use blobgate_testkit::{InboxProcess, Upstream};

on_each_store! { delivers_a_stored_event }

fn delivers_a_stored_event(store: &str) {
    let service = Upstream::start();
    let inbox = InboxProcess::start(PROGRAM, store, service.port, &[]).ready();
    let generation = fresh_generation();
    assert_eq!(inbox.receive(&forwarded(&generation)).unwrap().status, 200);
    let arrival = service.take_one();
    assert_eq!(arrival.header(header::GENERATION_ID), Some(generation));
}
