//! What the tests' own module does on request, and the shipped one never.

use crate::headers::Headers;
use proxy_wasm::hostcalls;

/// Whether as many configurations as `BLOBGATE_CONFIGURES` says have been read in this process. Envoy's main thread
/// reads it twice, to try it and for itself, and each worker after that.
pub(super) fn fails_on_this_thread() -> bool {
    const READ: &str = "crash-test.read";
    let limit = std::env::var("BLOBGATE_CONFIGURES").ok().and_then(|number| number.parse().ok());
    let read = match hostcalls::get_shared_data(READ) {
        Ok((Some(read), _)) => read.len(),
        _ => 0,
    };
    let _ = hostcalls::set_shared_data(READ, Some(&vec![0; read.saturating_add(1)]), None);
    limit.is_some_and(|limit: usize| read >= limit)
}

#[expect(clippy::panic, reason = "the tests' own module, never the shipped one")]
pub(super) fn crash_if_asked(headers: &Headers, place: &[u8]) {
    if headers.first("x-crash-test") == place {
        panic!("asked to crash");
    }
}
