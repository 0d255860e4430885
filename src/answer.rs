//! What the sender hears: refusals, and what becomes of the upstream's answer.

use crate::Reason;
use crate::settings::{ConfigError, Node};

/// What the sender hears of the upstream's answer (`answers`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// 200 for any 2xx and 503 for the rest, with the upstream's body.
    Status,
    /// The same statuses with a body of ours, so that nothing of the service leaks.
    Receipt,
}

impl Answers {
    pub(crate) fn parse(node: &Node<'_>) -> Result<Self, ConfigError> {
        node.one_of(&[("status", Answers::Status), ("receipt", Answers::Receipt)])
    }
}

/// The body of a 200 where the answer is a receipt. The provider's own samples answer so.
pub const RECEIPT: &str = "{\"status\":\"received\"}";

/// The media type of [`RECEIPT`].
pub const RECEIPT_TYPE: &str = "application/json";

/// The media type of [`problem`]: RFC 9457.
pub const PROBLEM_TYPE: &str = "application/problem+json";

/// Headers of an upstream's answer that mean nothing to a webhook's sender, or the wrong thing: RunBlob's retries
/// are its own, and a redirect is not followed.
pub const REMOVED: &[&str] = &["retry-after", "location", "set-cookie"];

/// Judges a released delivery by its upstream's `:status`.
///
/// # Errors
/// [`Reason::UpstreamError`] for anything but 2xx.
pub fn check(status: &[u8]) -> Result<(), Reason> {
    match status {
        [b'2', _, _] => Ok(()),
        _ => Err(Reason::UpstreamError),
    }
}

/// The body of a refusal: a problem document of RFC 9457 with the member `code`.
pub fn problem(reason: Reason) -> String {
    let (code, title, status) = (reason.code(), reason.sentence(), reason.status());
    format!(r#"{{"type":"urn:blobgate:reason:{code}","title":"{title}","status":{status},"code":"{code}"}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_json_and_says_what_the_table_says() {
        for reason in Reason::ALL {
            let problem: serde_json::Value = serde_json::from_str(&problem(*reason)).unwrap();
            assert_eq!(problem["code"], reason.code());
            assert_eq!(problem["title"], reason.sentence());
            assert_eq!(problem["status"], reason.status());
            assert_eq!(problem["type"], format!("urn:blobgate:reason:{}", reason.code()));
        }
    }

    #[test]
    fn only_2xx_is_handed_over() {
        for status in ["200", "201", "204", "299"] {
            assert_eq!(check(status.as_bytes()), Ok(()));
        }
        for status in ["", "2", "100", "301", "304", "404", "500", "2000"] {
            assert_eq!(check(status.as_bytes()), Err(Reason::UpstreamError));
        }
    }
}
