//! The forms of a callback token's claims and names. `mint` writes them, and the gate reads them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// The longest name of a key.
pub const MAX_KID: usize = 32;
/// The longest name of an environment or a hook.
pub const MAX_NAME: usize = 32;
/// The longest `job`, and the longest `jti` that `mint` writes.
pub const MAX_REFERENCE: usize = 64;
/// The longest `jti` that the gate accepts.
pub const MAX_TOKEN_ID: usize = 128;
/// In bytes. RFC 7518, section 3.2: a key of HS256 is at least as long as the hash.
pub const MIN_HS256_KEY: usize = 32;
/// The prefix of a secret in base64. A secret in an environment variable is its bytes, or this prefix and its standard
/// base64.
pub const BASE64_PREFIX: &str = "base64:";

/// Whether a text is a valid name of a key (`kid`): 1 to 32 of `A-Z a-z 0-9 _ -`.
pub fn is_kid(text: &str) -> bool {
    has_form(text, MAX_KID, |byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

/// Whether a text is a valid name of an environment or a hook: 1 to 32 of `a-z 0-9 -`. A dot would end a counter's label.
pub fn is_name(text: &str) -> bool {
    has_form(text, MAX_NAME, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// The audience of a hook's tokens (`aud`).
///
/// ```
/// use blobgate::contract::token::{audience, is_audience};
///
/// assert_eq!(audience("production", "veo3"), "production/veo3");
/// assert!(is_audience("production/veo3") && !is_audience("veo3"));
/// ```
pub fn audience(environment: &str, hook: &str) -> String {
    format!("{environment}/{hook}")
}

/// Whether a text has the form of an audience.
pub fn is_audience(text: &str) -> bool {
    text.split_once('/').is_some_and(|(environment, hook)| is_name(environment) && is_name(hook))
}

/// Whether a text is a valid `job`, or a `jti` that `mint` writes: 1 to 64 of `A-Z a-z 0-9 . _ ~ -`.
///
/// These characters need no escape in a URL, a file name or a header. The gate accepts more as `jti`: [`is_token_id`].
pub fn is_reference(text: &str) -> bool {
    has_form(text, MAX_REFERENCE, |byte| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte))
}

/// Whether the gate accepts a text as `jti`: 1 to 128 characters of visible ASCII, which fit in a header. RFC 7519 allows any
/// text, and other programs write more than [references](is_reference).
pub fn is_token_id(text: &str) -> bool {
    has_form(text, MAX_TOKEN_ID, |byte| byte.is_ascii_graphic())
}

/// Unpadded base64url SHA-256. The digest of a prompt is the claim `ph`; the digest of a token without `jti` is its id.
///
/// ```
/// use blobgate::contract::token::{digest, is_digest};
///
/// assert_eq!(digest(b"A cat"), "p6g3f2NoBB6SJASS125oYd57aD8WsUr5I7HREM1G7JA");
/// assert!(is_digest(&digest(b"A cat")));
/// ```
pub fn digest(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(bytes))
}

/// Whether a text is a [`digest`]. The last character has 4 bits of the hash and 2 zero bits, so three of four texts of this
/// length are not.
pub fn is_digest(text: &str) -> bool {
    const SHA256_BYTES: usize = 32;
    URL_SAFE_NO_PAD.decode(text).is_ok_and(|bytes| bytes.len() == SHA256_BYTES)
}

/// Whether a token's id has the form of a digest: 43 characters of base64url. Without a `job`, such an id binds the token to no
/// generation.
pub fn is_like_digest(text: &str) -> bool {
    const CHARACTERS: usize = 43;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    text.len() == CHARACTERS && text.bytes().all(fits)
}

fn has_form(text: &str, longest: usize, allows: impl Fn(u8) -> bool) -> bool {
    (1..=longest).contains(&text.len()) && text.bytes().all(allows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_an_id_with_the_form_of_a_digest() {
        let id = "V1StGXR8_Z5jdHi6B-myTV1StGXR8_Z5jdHi6B-myTx";
        assert!(is_like_digest(id) && !is_digest(id));
        assert!(is_like_digest(&digest(b"A cat")) && is_digest(&digest(b"A cat")));
        for other in ["", &id.replace("V1", "V"), &format!("{id}x"), &id.replace('_', "."), "order-17"] {
            assert!(!is_like_digest(other), "{other}");
        }
    }

    #[track_caller]
    fn allows(is: fn(&str) -> bool, longest: usize, characters: &str) {
        let allowed: String = (0..=u8::MAX).map(char::from).filter(|c| is(&c.to_string())).collect();
        assert_eq!(allowed, characters);
        let lengths = [0, 1, longest, longest.saturating_add(1)];
        assert_eq!(lengths.map(|length| is(&"a".repeat(length))), [false, true, true, false]);
    }

    #[test]
    fn accepts_only_the_characters_and_lengths_of_each_form() {
        const DIGITS: &str = "0123456789";
        const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
        const LOWER: &str = "abcdefghijklmnopqrstuvwxyz";
        let visible: String = ('!'..='~').collect();
        allows(is_name, 32, &format!("-{DIGITS}{LOWER}"));
        allows(is_kid, 32, &format!("-{DIGITS}{UPPER}_{LOWER}"));
        allows(is_reference, 64, &format!("-.{DIGITS}{UPPER}_{LOWER}~"));
        allows(is_token_id, 128, &visible);
    }

    #[test]
    fn accepts_each_id_that_mint_writes() {
        for byte in 0..=u8::MAX {
            let text = char::from(byte).to_string();
            assert!(is_token_id(&text) || !is_reference(&text), "{text:?}");
        }
        const { assert!(MAX_REFERENCE <= MAX_TOKEN_ID) };
    }
}
