//! Envoy's response code details of requests that it refuses itself, in words.

/// The details, the meaning and the remedy. A name with a dot at its end is a prefix.
const DETAILS: &[(&str, &str, &str)] = &[(
    "route_not_found",
    "No route of the listener has this path.",
    "If it was the provider, compare the callback URL with the `path` of the hooks.",
)];

/// The meaning and the remedy of some details.
pub(super) fn find(details: &str) -> Option<(&'static str, &'static str)> {
    let matches = |name: &str| match name.strip_suffix('.') {
        Some(prefix) => details.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.')),
        None => name == details,
    };
    DETAILS.iter().find(|(name, ..)| matches(name)).map(|(_, meaning, remedy)| (*meaning, *remedy))
}
