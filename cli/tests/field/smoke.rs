//! The parts work together: what an inbox has stored reaches a service.

use crate::{PROGRAM, on_each_store};
use blobgate::contract::header;
use blobgate_testkit::inbox::{forwarded, fresh_generation};
use blobgate_testkit::{InboxProcess, Upstream};

on_each_store! { delivers_what_it_stored }

fn delivers_what_it_stored(store: &str) {
    let service = Upstream::start();
    let inbox = InboxProcess::start(PROGRAM, store, service.port, &[]).ready();
    let generation = fresh_generation();
    assert_eq!(inbox.receive(&forwarded(&generation)).unwrap().status, 200);
    let arrival = service.take_one();
    assert_eq!(arrival.header(header::GENERATION_ID), Some(generation));
}
