//! Notes on what Envoy itself does with a request, before the gate. The limits are those of `envoy.yaml`.

use blobgate::explain::ExplainedRequest;

/// `max_headers_count`, which counts the five that HTTP needs too.
const MAX_HEADERS: usize = 100;
/// `max_request_headers_kb`.
const MAX_HEAD: usize = 32 * 1024;

/// The notes on a request.
pub(super) fn of(request: &ExplainedRequest) -> Vec<String> {
    let mut notes = Vec::new();
    let mut note = |applies: bool, text: &str| {
        if applies {
            notes.push(format!("envoy.yaml: Envoy {text}"));
        }
    };
    let values = |name: &str| {
        let named = request.headers.iter().filter(|(other, _)| other == name);
        named.map(|(_, value)| value.as_slice()).collect::<Vec<_>>()
    };
    let size = |(name, value): &(String, Vec<u8>)| name.len().saturating_add(value.len());
    let head = request.headers.iter().map(size).fold(request.path.len(), usize::saturating_add);
    note(request.headers.len() > MAX_HEADERS || head > MAX_HEAD, "answers 431: the head is over its limits");
    // Each method of HTTP's registry is of these.
    let is_of_registry = |byte: u8| byte.is_ascii_uppercase() || byte == b'-';
    let is_method = !request.method.is_empty() && request.method.bytes().all(is_of_registry);
    note(!is_method, "answers 400 to a method that is not in HTTP's registry");
    let (encodings, lengths) = (values("transfer-encoding"), values("content-length"));
    note(encodings.iter().any(|value| *value != b"chunked"), "answers 501 to this transfer-encoding");
    note(
        !encodings.is_empty() && !lengths.is_empty(),
        "answers 400 to both transfer-encoding and content-length",
    );
    let is_number = |value: &&[u8]| !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    note(lengths.len() > 1 || !lengths.iter().all(is_number), "answers 400 to this content-length");
    let size = request.body.as_ref().map(|body| body.len().to_string());
    let differs = lengths.iter().any(|length| size.as_ref().is_some_and(|size| *length != size.as_bytes()));
    note(differs, "reads as many bytes as content-length says, and this command reads the whole body");
    let underscore = request.headers.iter().any(|(name, _)| name.contains('_'));
    note(underscore, "drops a header with _ in its name");

    let path = request.path.split(|byte| *byte == b'?').next().unwrap_or_default();
    let refused = request.path.iter().any(|byte| *byte == b'#' || !byte.is_ascii_graphic());
    note(refused, "answers 400 to this path");
    note(
        is_normalised(path),
        "normalises this path first, and this command does not. Pass the normalised path",
    );
    notes
}

/// Whether `normalize_path`, `merge_slashes` or `path_with_escaped_slashes_action` may change a path.
fn is_normalised(path: &[u8]) -> bool {
    let path = String::from_utf8_lossy(path).to_ascii_lowercase();
    let dots = path.split('/').any(|segment| segment == "." || segment == "..");
    dots || path.contains("//") || path.contains('\\') || path.contains('%')
}

#[cfg(test)]
mod tests {
    use super::*;
    use blobgate::head::Hop;
    use std::time::Duration;

    fn request(path: &str, method: &str, headers: &[(&str, &str)]) -> ExplainedRequest {
        ExplainedRequest {
            method: method.to_owned(),
            path: path.as_bytes().to_vec(),
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
                .collect(),
            body: None,
            hop: Hop::Tls,
            source: None,
            peer: None,
            now: Duration::ZERO,
        }
    }

    #[track_caller]
    fn row(path: &str, method: &str, headers: &[(&str, &str)], expected: &[&str]) {
        let request = request(path, method, headers);
        let notes = of(&request);
        assert_eq!(notes.len(), expected.len(), "{notes:?}");
        for (note, expected) in notes.iter().zip(expected) {
            assert!(note.contains(expected), "{note} without {expected}");
        }
    }

    #[test]
    fn compares_the_declared_size_with_the_body() {
        for (length, expected) in [("3", 0), ("4", 1)] {
            let headers = vec![("content-length".to_owned(), length.as_bytes().to_vec())];
            let request =
                ExplainedRequest { headers, body: Some(b"abc".to_vec()), ..request("/a", "POST", &[]) };
            assert_eq!(of(&request).len(), expected, "{length}");
        }
    }

    #[test]
    fn names_what_envoy_does_first() {
        row("/webhook?a=//&b=%2f", "POST", &[("content-length", "2")], &[]);
        row("/webhook", "post", &[], &["answers 400 to a method"]);
        row("/a//b", "POST", &[], &["normalises"]);
        row("/a/../b", "POST", &[], &["normalises"]);
        row("/a%2Fb", "POST", &[], &["normalises"]);
        row("/a#b", "POST", &[], &["answers 400 to this path"]);
        row(
            "/a",
            "POST",
            &[("content-length", "2"), ("content-length", "2")],
            &["answers 400 to this content-length"],
        );
        row("/a", "POST", &[("content-length", "-1")], &["answers 400 to this content-length"]);
        row("/a", "POST", &[("transfer-encoding", "gzip")], &["answers 501"]);
        row(
            "/a",
            "POST",
            &[("transfer-encoding", "chunked"), ("content-length", "2")],
            &["answers 400 to both"],
        );
        row("/a", "POST", &[("x_y", "1")], &["drops"]);
        row("/a", "POST", &[("x", &"y".repeat(40_000))], &["431"]);
        row("/a", "POST", &[("x", "y"); 101], &["431"]);
    }
}
