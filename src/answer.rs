//! Responses to the sender: refusals, and the service's response.

use crate::Reason;
use crate::contract::problem_type;
#[cfg(not(target_family = "wasm"))]
use crate::settings::ValueForm;
use crate::settings::{ConfigError, Node};
use fluent_uri::Uri;

/// The part of the service's response that the sender gets (`answers`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// 200 for any 2xx and 503 for other statuses, with the service's body.
    Status,
    /// The same statuses with the gate's body. The sender sees no header and no body of the service.
    Receipt,
}

impl Answers {
    pub(crate) const WORDS: &[(&str, Self)] = &[("status", Answers::Status), ("receipt", Answers::Receipt)];

    pub(crate) fn parse(node: &Node<'_>) -> Result<Self, ConfigError> {
        node.one_of(Self::WORDS)
    }
}

/// The body of a 200 with [`Answers::Receipt`], as in the provider's sample receivers.
pub const RECEIPT: &str = "{\"status\":\"received\"}";

/// The media type of [`RECEIPT`].
pub const RECEIPT_TYPE: &str = "application/json";

/// The media type of [`problem`]: RFC 9457.
pub const PROBLEM_TYPE: &str = "application/problem+json";

/// Headers that the gate removes from a service's response. RunBlob has its own retry times and follows no redirect.
pub const REMOVED: &[&str] = &["retry-after", "location", "set-cookie"];

/// Judges the `:status` of a service's response.
///
/// # Errors
/// [`Reason::UpstreamError`] for every status except 2xx.
pub fn check(status: &[u8]) -> Result<(), Reason> {
    match status {
        [b'2', _, _] => Ok(()),
        _ => Err(Reason::UpstreamError),
    }
}

/// The body of a refusal: a problem document of RFC 9457 with the member `code`. `docs` is [`crate::Config::docs`].
pub fn problem(reason: Reason, docs: &str) -> String {
    let (code, title, status) = (reason.code(), reason.sentence(), reason.status());
    let problem_type = problem_type(docs, code);
    format!(r#"{{"type":"{problem_type}","title":"{title}","status":{status},"code":"{code}"}}"#)
}

/// Reads the base URL of the documentation (`docs`), without the slash at its end. No URI character needs an escape in JSON.
pub(crate) fn parse_docs(node: &Node<'_>) -> Result<String, ConfigError> {
    const EXPECTED: &str =
        "an https URL without query and fragment, such as https://docs.example.com/blobgate";
    let text = node.text(EXPECTED)?;
    let is_base = |url: Uri<&str>| {
        url.scheme().as_str().eq_ignore_ascii_case("https")
            && url
                .authority()
                .is_some_and(|authority| !authority.host().is_empty() && !authority.has_userinfo())
            && url.query().is_none()
            && url.fragment().is_none()
    };
    match Uri::parse(text) {
        Ok(url) if is_base(url) => Ok(text.trim_end_matches('/').to_owned()),
        _ => Err(node.invalid(EXPECTED)),
    }
}

/// RFC 3986, with a host and without userinfo, query and fragment.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn docs_form() -> ValueForm {
    const ESCAPED: &str = "%[0-9A-Fa-f]{2}";
    const NAME: &str = "-A-Za-z0-9._~!$&'()*+,;=";
    let address = crate::ip_ranges::patterns::v6();
    let host = format!(r"(?:[{NAME}]|{ESCAPED})+|\[(?:{address}|[Vv][0-9A-Fa-f]+\.[{NAME}:]+)\]");
    let pattern = format!("[Hh][Tt][Tt][Pp][Ss]://(?:{host})(?::[0-9]*)?(?:/(?:[{NAME}:@]|{ESCAPED})*)*");
    ValueForm::text("an https URL without query and fragment", &pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problem_has_the_values_of_the_table() {
        for reason in Reason::ALL {
            let problem = problem(*reason, "https://docs.example");
            let problem: serde_json::Value = serde_json::from_str(&problem).unwrap();
            assert_eq!(problem["code"], reason.code());
            assert_eq!(problem["title"], reason.sentence());
            assert_eq!(problem["status"], reason.status());
            let url = format!("https://docs.example/reference/reasons.html#{}", reason.code());
            assert_eq!(problem["type"], url);
        }
    }

    #[test]
    fn accepts_only_2xx() {
        for status in ["200", "201", "204", "299"] {
            assert_eq!(check(status.as_bytes()), Ok(()));
        }
        for status in ["", "2", "100", "301", "304", "404", "500", "2000"] {
            assert_eq!(check(status.as_bytes()), Err(Reason::UpstreamError));
        }
    }
}
