//! The ids that join the request at the edge, the entry and each attempt.

use axum::http::header::{HeaderMap, HeaderName, HeaderValue};
use blobgate::contract::{header, is_request_id, is_traceparent};
use sqlx::FromRow;
use uuid::Uuid;

/// The ids of a delivery. An entry has none after a purge.
#[derive(Clone, Debug, Default, PartialEq, Eq, FromRow)]
pub(crate) struct RequestIds {
    pub(crate) request_id: Option<String>,
    pub(crate) traceparent: Option<String>,
}

impl RequestIds {
    /// Reads the ids of a request. A delivery without a safe request id gets a new one.
    pub(crate) fn read(headers: &HeaderMap) -> Self {
        let request_id = safe_request_id(headers);
        let traceparent = only(headers, header::TRACEPARENT).filter(|parent| is_traceparent(parent));
        Self {
            request_id: Some(request_id.map_or_else(|| Uuid::new_v4().to_string(), str::to_owned)),
            traceparent: traceparent.map(str::to_owned),
        }
    }

    /// Sets the ids on a request.
    pub(crate) fn set(&self, headers: &mut HeaderMap) {
        for (name, value) in
            [(header::REQUEST_ID, &self.request_id), (header::TRACEPARENT, &self.traceparent)]
        {
            if let Some(value) = value.as_deref().and_then(|value| HeaderValue::from_str(value).ok()) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }
}

/// The id of a request, if it is safe to write.
pub(crate) fn safe_request_id(headers: &HeaderMap) -> Option<&str> {
    only(headers, header::REQUEST_ID).filter(|id| is_request_id(id))
}

/// The value of a header that the request has once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    value.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn read(name: &'static str, values: &[&[u8]]) -> RequestIds {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        RequestIds::read(&headers)
    }

    #[test]
    fn replaces_an_unsafe_request_id() {
        let safe = read(header::REQUEST_ID, &[b"01J.order_17-a"]);
        assert_eq!(safe.request_id.as_deref(), Some("01J.order_17-a"));
        let long = "a".repeat(65);
        let unsafe_values: [&[&[u8]]; 7] =
            [&[], &[b""], &[b"a b"], &[b"a\xff"], &[b"a\tb"], &[long.as_bytes()], &[b"a", b"a"]];
        for values in unsafe_values {
            let made = read(header::REQUEST_ID, values).request_id.unwrap();
            assert_eq!(Uuid::parse_str(&made).unwrap().get_version_num(), 4, "{values:?}");
        }
    }

    #[test]
    fn drops_an_unsafe_traceparent() {
        let parent = |values: &[&[u8]]| read(header::TRACEPARENT, values).traceparent;
        assert_eq!(parent(&[PARENT.as_bytes()]).as_deref(), Some(PARENT));
        assert_eq!(parent(&[PARENT.as_bytes(), PARENT.as_bytes()]), None);
        for other in [
            PARENT.to_uppercase(),
            PARENT.replace("00-0a", "01-0a"),
            PARENT.replace("b7ad6b7169203331", "0000000000000000"),
            format!("{PARENT}-00"),
            format!("{PARENT} "),
            PARENT.replace("-01", ""),
            String::new(),
        ] {
            assert_eq!(parent(&[other.as_bytes()]), None, "{other}");
        }
    }

    #[test]
    fn sets_the_ids_that_it_reads() {
        let ids = RequestIds { request_id: Some("a".to_owned()), traceparent: Some(PARENT.to_owned()) };
        let mut headers = HeaderMap::from_iter([(
            HeaderName::from_static(header::REQUEST_ID),
            HeaderValue::from_static("old"),
        )]);
        ids.set(&mut headers);
        assert_eq!(RequestIds::read(&headers), ids);
        RequestIds::default().set(&mut headers);
        assert_eq!(RequestIds::read(&headers), ids);
    }
}
