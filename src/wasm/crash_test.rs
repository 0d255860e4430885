//! What the tests' own module does on request, and the shipped one never.

use crate::exchange::Host;

/// Whether as many configurations as `BLOBGATE_CONFIGURES` says have been read in this process. Envoy's main thread
/// reads it twice, to try it and for itself, and each worker after that.
pub(super) fn fails_on_this_thread(host: &mut impl Host) -> bool {
    const READ: &str = "crash-test.read";
    let limit = std::env::var("BLOBGATE_CONFIGURES").ok().and_then(|number| number.parse().ok());
    let read = host.shared(READ);
    let count = read.value.len();
    let _ = host.replace_shared(READ, &vec![0; count.saturating_add(1)], read.version);
    limit.is_some_and(|limit: usize| count >= limit)
}

#[expect(clippy::panic, reason = "the tests' own module, never the shipped one")]
pub(super) fn crash_if_asked(host: &mut impl Host, place: &[u8]) {
    if host.request_headers().first("x-crash-test") == place {
        panic!("asked to crash");
    }
}
