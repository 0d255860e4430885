//! RunBlob's API key as a person passes it: typed, copied from the documentation's header, or in a file.

use std::fmt;
use std::str::FromStr;

/// One word of visible ASCII. It reaches RunBlob after `authorization: Bearer`.
pub(crate) struct RunBlobKey(String);

/// A text that is no API key. No variant contains the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ApiKeyFault {
    #[error("it is empty. Write the key that RunBlob shows once")]
    Empty,
    #[error("it is the path of a file and no key. Name that file instead")]
    Path,
    #[error("it is the example of RunBlob's documentation. Write your own key")]
    Example,
    #[error("it is a private key or a certificate. Write the API key of RunBlob")]
    Pem,
    #[error("it has more than one line. Write the key alone")]
    Lines,
    #[error("it is not one word of visible ASCII. Write the key alone")]
    NoWord,
    #[error("it is in quotes, and no shell reads this file. Write the key without them")]
    Quotes,
    #[error("it is a variable with its value. Write the value alone")]
    Variable,
    #[error("it has over 1,024 characters. Write the key alone")]
    TooLong,
}

/// Envoy sends at most 60 KB of headers. No known API key has a tenth of this.
const MAX_LENGTH: usize = 1024;

/// Of RunBlob's samples.
const EXAMPLES: [&str; 4] = ["YOUR_API_KEY", "YOUR_TOKEN", "RUNBLOB_API_KEY", "API_KEY"];

impl RunBlobKey {
    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RunBlobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RunBlobKey([REDACTED])")
    }
}

impl FromStr for RunBlobKey {
    type Err = ApiKeyFault;

    /// Takes the key out of `Bearer KEY` and of white space around it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim_start_matches('\u{feff}').trim();
        let key = match text.split_at_checked("Bearer".len()) {
            Some((word, rest)) if word.eq_ignore_ascii_case("Bearer") && rest.starts_with([' ', '\t']) => {
                rest.trim()
            }
            _ => text,
        };
        let bare = key.trim_matches(['$', '{', '}', '<', '>']);
        if key.is_empty() || key.eq_ignore_ascii_case("Bearer") {
            Err(ApiKeyFault::Empty)
        } else if key.starts_with("-----BEGIN ") {
            Err(ApiKeyFault::Pem)
        } else if key.contains(['\n', '\r']) {
            Err(ApiKeyFault::Lines)
        } else if ["/", "./", "../", "~/", "file:", "\\\\"].iter().any(|start| key.starts_with(start)) {
            Err(ApiKeyFault::Path)
        } else if EXAMPLES.iter().any(|example| bare.eq_ignore_ascii_case(example)) {
            Err(ApiKeyFault::Example)
        } else if key.starts_with(['"', '\'']) || key.ends_with(['"', '\'']) {
            Err(ApiKeyFault::Quotes)
        } else if is_variable(key) {
            Err(ApiKeyFault::Variable)
        } else if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            Err(ApiKeyFault::NoWord)
        } else if key.len() > MAX_LENGTH {
            Err(ApiKeyFault::TooLong)
        } else {
            Ok(Self(key.to_owned()))
        }
    }
}

/// `NAME=KEY`, as a file of variables has it. Base64 has `=` at its end alone.
fn is_variable(key: &str) -> bool {
    key.split_once('=').is_some_and(|(name, value)| {
        !value.trim_start_matches('=').is_empty()
            && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
    })
}

#[cfg(test)]
mod tests {
    use super::{ApiKeyFault, RunBlobKey};

    #[test]
    fn reads_keys_as_people_pass_them() {
        for text in ["rb-1", " rb-1\n", "Bearer rb-1", "bearer \t rb-1\r\n", "\u{feff}rb-1\n\n"] {
            assert_eq!(text.parse::<RunBlobKey>().unwrap().text(), "rb-1", "{text:?}");
        }
        // Base64 has slashes.
        assert_eq!("abc==".parse::<RunBlobKey>().unwrap().text(), "abc==");
        assert_eq!("a/b+c==".parse::<RunBlobKey>().unwrap().text(), "a/b+c==");
        assert_eq!("Bearerless".parse::<RunBlobKey>().unwrap().text(), "Bearerless");
        assert_eq!(format!("{:?}", "rb-1".parse::<RunBlobKey>()), "Ok(RunBlobKey([REDACTED]))");
    }

    #[test]
    fn refuses_what_is_no_key() {
        let long = "k".repeat(1025);
        for (text, fault) in [
            ("", ApiKeyFault::Empty),
            (" \n", ApiKeyFault::Empty),
            ("Bearer ", ApiKeyFault::Empty),
            ("/run/secrets/runblob", ApiKeyFault::Path),
            ("~/key", ApiKeyFault::Path),
            ("./key", ApiKeyFault::Path),
            ("Bearer ../key", ApiKeyFault::Path),
            ("YOUR_API_KEY", ApiKeyFault::Example),
            ("Bearer $RUNBLOB_API_KEY", ApiKeyFault::Example),
            ("-----BEGIN PRIVATE KEY-----\nMC4C\n", ApiKeyFault::Pem),
            ("rb-1\nrb-2", ApiKeyFault::Lines),
            ("\"rb-1\"", ApiKeyFault::Quotes),
            ("Bearer 'rb-1'", ApiKeyFault::Quotes),
            ("RUNBLOB_KEY=rb-1", ApiKeyFault::Variable),
            ("export KEY=rb-1", ApiKeyFault::NoWord),
            ("rb 1", ApiKeyFault::NoWord),
            ("schlüssel", ApiKeyFault::NoWord),
            ("rb-1\u{200b}", ApiKeyFault::NoWord),
            ("rb\0", ApiKeyFault::NoWord),
            (&long, ApiKeyFault::TooLong),
        ] {
            assert_eq!(text.parse::<RunBlobKey>().map(|_| ()), Err(fault), "{text:?}");
        }
    }
}
