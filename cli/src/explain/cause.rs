//! The causes behind a reason: the outcome of a confirmation, the outcome of a token, and Envoy's cause.

use super::log_line::LoggedLine;
use serde::Serialize;

/// A cause in a line of a log.
#[derive(Debug, Serialize)]
pub(super) struct LoggedCause {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) meaning: Option<&'static str>,
    pub(super) remedy: Option<&'static str>,
}

/// An outcome, its meaning as the reference has it, and its remedy.
type OutcomeRow = (&'static str, &'static str, &'static str);

const SENDER_RETRIES: &str = "Wait: the sender retries, and the reconciler calls again.";
const PASS_WHOLE_URL: &str = "Make tokens as docs/howto/tokens.md says, and pass the callback URL unchanged.";

const TOKEN: &[OutcomeRow] = &[
    (
        "expired",
        "The signature is valid. The token has expired, or is not valid yet.",
        "Compare the clocks, and give tokens a longer lifetime.",
    ),
    (
        "audience",
        "The signature is valid. The token is for another hook or environment.",
        "Make tokens with the `aud` of this hook: its environment, a slash, its name.",
    ),
    ("too-long", "The token has more than 2,048 bytes.", PASS_WHOLE_URL),
    ("form", "The token is not three segments of canonical unpadded base64url.", PASS_WHOLE_URL),
    ("header", "The header is not an object, has another `typ` than `JWT`, or has `crit`.", PASS_WHOLE_URL),
    (
        "kid",
        "The configuration has no key with this `kid`.",
        "Make tokens with a `kid` of `token.keys`, or add the key there.",
    ),
    ("algorithm", "The algorithm is not that of the key.", "Make tokens with the `alg` of the key."),
    (
        "signature",
        "The signature is not valid.",
        "Give the gate and the program that makes tokens the same key under this `kid`.",
    ),
    ("claims", "A claim is missing or invalid.", PASS_WHOLE_URL),
];

const CONFIRM: &[OutcomeRow] = &[
    ("contradicted", "200 with another status, result URL or error code.", "Treat the event as forged."),
    (
        "unknown",
        "404 with a message of the provider, such as `TASK_NOT_FOUND`: it has no such generation.",
        "Treat the event as forged, unless its generation belongs to another API key.",
    ),
    ("still-working", "200 with `pending` or `processing`.", SENDER_RETRIES),
    (
        "unauthorized",
        "401 or 403: the API key is not valid.",
        "Replace the API key in the cluster of the status API.",
    ),
    (
        "limited",
        "429: the provider's rate limit.",
        "Lower `per_minute`, or use a key of your own for the gate.",
    ),
    (
        "status",
        "Any other status, also Envoy's own 503 when it cannot connect.",
        "Look at the cluster of the status API and at the provider's health.",
    ),
    (
        "unreadable",
        "200 in an undocumented form, or without the error code that the event has.",
        "Compare the answer with the provider's documentation.",
    ),
    (
        "no-answer",
        "No response within `timeout`, a broken response, or 504.",
        "Look at the cluster of the status API and at the provider's health.",
    ),
    (
        "budget",
        "No call: the gate made `per_minute` calls in the last 65 s. The limit is half of that for an invalid delivery from an unauthenticated sender.",
        "Pass a token with each generation: such a delivery needs no call.",
    ),
    ("in-flight", "No call: this worker has 16 calls in flight.", SENDER_RETRIES),
    (
        "not-started",
        "No call: Envoy could not start it, for example because it has no such cluster.",
        "Compare `confirm.cluster` with the clusters of Envoy.",
    ),
    (
        "remembered",
        "No call: the status API contradicted this event within the last 20 s.",
        "Treat the event as forged.",
    ),
];

/// The causes of a line.
pub(super) fn causes(line: &LoggedLine) -> Vec<LoggedCause> {
    let outcome = |name: &'static str, rows: &[OutcomeRow]| {
        let value = line.field(&[name])?;
        let row = rows.iter().find(|(outcome, ..)| *outcome == value);
        let (meaning, remedy) = row.map(|(_, meaning, remedy)| (*meaning, *remedy)).unzip();
        Some(LoggedCause { name, value: value.to_owned(), meaning, remedy })
    };
    let plain = |name: &'static str| {
        let value = line.field(&[name]).filter(|value| *value != "via_upstream")?.to_owned();
        Some(LoggedCause { name, value, meaning: None, remedy: None })
    };
    let causes = [
        outcome("confirm", CONFIRM),
        outcome("token", TOKEN),
        plain("kid"),
        plain("response"),
        plain("details"),
    ];
    causes.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use blobgate::confirm::Outcome;
    use std::collections::BTreeSet;

    /// The reference is made from the gate's own code.
    #[test]
    fn has_each_outcome_as_the_reference_has_it() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let page = std::fs::read_to_string(root.join("docs/reference/metrics.md")).unwrap();
        let part = |heading: &str| {
            page.split(heading)
                .nth(1)
                .unwrap()
                .split("###")
                .next()
                .unwrap()
                .split("<!--")
                .next()
                .unwrap()
                .to_owned()
        };
        for (heading, rows, others) in [
            ("### Confirm outcomes", CONFIRM, &["confirmed"][..]),
            ("### Token outcomes", TOKEN, &["good", "absent"]),
        ] {
            let part = part(heading);
            let codes = part.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
            let codes: BTreeSet<&str> =
                codes.map(|(code, _)| code).filter(|code| !others.contains(code)).collect();
            assert_eq!(codes, rows.iter().map(|row| row.0).collect(), "{heading}");
            for (code, meaning, _) in rows {
                assert!(part.contains(&format!("| `{code}` | {meaning}")), "{code}: {meaning}");
            }
        }
        assert!(CONFIRM.iter().all(|row| Outcome::ALL.iter().any(|outcome| outcome.name() == row.0)));
    }

    #[test]
    fn names_no_cause_of_a_delivery_that_arrived() {
        let line = |details: &str| {
            let text = format!(r#"{{"reason":null,"status":200,"details":"{details}"}}"#);
            causes(&LoggedLine::parse(&text).unwrap()).into_iter().map(|it| it.value).collect::<Vec<_>>()
        };
        assert_eq!(line("via_upstream"), [""; 0]);
        assert_eq!(line("response_timeout"), ["response_timeout"]);
    }
}
