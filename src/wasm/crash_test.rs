//! Faults on request, only in the module for tests. The released module does not contain this code.

use crate::exchange::Host;

/// Whether this process has already loaded `BLOBGATE_CONFIGURES` configurations. Envoy's main thread loads the configuration
/// twice: once to validate it and once for itself. Each worker then loads it once.
pub(super) fn fails_on_this_thread(host: &mut impl Host) -> bool {
    const READ: &str = "crash-test.read";
    let limit = std::env::var("BLOBGATE_CONFIGURES").ok().and_then(|number| number.parse().ok());
    let read = host.shared(READ);
    let count = read.value.len();
    let _ = host.replace_shared(READ, &vec![0; count.saturating_add(1)], read.version);
    limit.is_some_and(|limit: usize| count >= limit)
}

#[expect(clippy::panic, reason = "only in the module for tests")]
pub(super) fn crash_if_asked(host: &mut impl Host, place: &[u8]) {
    if host.request_headers().first("x-crash-test") == place {
        panic!("asked to crash");
    }
}
