//! Faults on request, only in the module for tests. The released module does not contain this code.

use blobgate::exchange::Host;

#[expect(clippy::panic, reason = "only in the module for tests")]
pub(super) fn crash_if_asked(host: &mut impl Host, place: &[u8]) {
    if host.request_header("x-crash-test").as_deref() == Some(place) {
        panic!("asked to crash");
    }
}
