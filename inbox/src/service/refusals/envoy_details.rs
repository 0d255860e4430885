//! Envoy's response code details of requests that it refuses itself, in words.

const READ_ON: &str = "The provider sends valid requests. If it was the provider, read what Envoy refuses before the gate (docs/explanation/before-the-gate.md).";
const LIMITS: &str = "The provider's requests are far below the limits of `envoy.yaml`. If it was the provider, look for a proxy that adds headers.";
const SLOW: &str = "If it was the provider, look at the network in front of Envoy. Otherwise ignore it.";
const LOAD: &str =
    "The sender retries. Read what clients can take (docs/explanation/what-clients-can-take.md).";
const SERVICE: &str = "Look at the service behind the route. The sender retries.";

/// The details, the meaning and the remedy. A name with a dot at its end is the start of others. The first match counts.
const DETAILS: [(&str, &str, &str); 21] = [
    (
        "route_not_found",
        "No route has this path.",
        "If it was the provider, compare the callback URL with the `path` of the hooks, and the routes with the hooks.",
    ),
    ("path_normalization_failed", "Envoy refuses the path, such as one with `#` or `%00`.", READ_ON),
    ("http1.headers_too_large", "The headers have more than 32 KiB.", LIMITS),
    ("http1.too_many_headers", "The request has more than 100 headers.", LIMITS),
    ("http2.too_many_headers", "The request has more than 100 headers. Envoy reset its stream.", LIMITS),
    ("http1.invalid_transfer_encoding", "The `transfer-encoding` is not `chunked`.", READ_ON),
    ("http1.invalid_url", "The target of the request is not a path.", READ_ON),
    ("http.invalid_authority", "The `Host` header is invalid.", READ_ON),
    ("missing_host_header", "The request has no `Host` header.", READ_ON),
    ("http1.", "The request is not valid HTTP/1.", READ_ON),
    ("http2.", "The request is not valid HTTP/2. Envoy reset its stream.", READ_ON),
    ("http.", "The request is not valid HTTP.", READ_ON),
    ("request_header_timeout", "The headers took longer than 5 s.", SLOW),
    ("request_overall_timeout", "The request took longer than 5 s.", SLOW),
    ("stream_idle_timeout", "The request stopped for longer than 30 s.", SLOW),
    (
        "request_payload_too_large",
        "The body exceeds Envoy's buffer.",
        "Set `per_connection_buffer_limit_bytes` above `max_body_bytes`, as in envoy.yaml.",
    ),
    ("overload", "Envoy's memory is almost full.", LOAD),
    (
        "wasm_fail_stream",
        "The module trapped, and Envoy loads it again.",
        "Follow the runbook (docs/operate/runbooks/blobgate-module-trapped.md). The sender retries.",
    ),
    ("no_healthy_upstream", "The cluster of the route has no service.", SERVICE),
    ("upstream_reset_before_response_started", "The service behind the route did not answer.", SERVICE),
    ("response_timeout", "The service behind the route did not answer in time.", SERVICE),
];

/// The meaning and the remedy of some details.
pub(super) fn find(details: &str) -> Option<(&'static str, &'static str)> {
    let matches = |name: &str| if name.ends_with('.') { details.starts_with(name) } else { details == name };
    DETAILS.iter().find(|(name, ..)| matches(name)).map(|(_, meaning, remedy)| (*meaning, *remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_of_a_remedy_is_in_the_book() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for (.., remedy) in DETAILS {
            let Some((_, page)) = remedy.split_once("(docs/") else { continue };
            let page = root.join("docs").join(page.split(')').next().unwrap());
            assert!(page.is_file(), "{}", page.display());
        }
    }

    #[test]
    fn takes_the_first_match() {
        let meaning = |details| find(details).map(|(meaning, _)| meaning);
        assert_eq!(meaning("http1.codec_error"), Some("The request is not valid HTTP/1."));
        assert_eq!(meaning("http1.too_many_headers"), Some("The request has more than 100 headers."));
        assert_eq!(meaning("http10"), None);
        assert_eq!(meaning("unknown"), None);
    }
}
