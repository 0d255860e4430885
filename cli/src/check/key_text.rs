//! Recognizes keys in texts: `check` never prints one.

use blobgate::contract::signature::KEY_PREFIX;

/// Shorter texts are names. A key has at least 32 bytes.
const MIN_LENGTH: usize = 31;
/// The longest part of a UUID has 12 characters.
const MIN_PART: usize = 24;
/// A random text of this length has at least these digits, and a name rarely has.
const MIN_DIGITS: usize = 3;

/// Whether a text looks like a key, and not like a name.
pub(crate) fn is_like_key(text: &str) -> bool {
    let has = |kind: fn(&u8) -> bool| text.bytes().any(|byte| kind(&byte));
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let is_mixed = has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase);
    let has_parts = text.trim_end_matches('=').bytes().any(|byte| !byte.is_ascii_alphanumeric());
    let is_random = text.len() >= MIN_LENGTH && digits >= MIN_DIGITS && (is_mixed || !has_parts);
    let has_random_part = text.split(['_', '-']).any(|part| {
        let digits = part.bytes().filter(u8::is_ascii_digit).count();
        part.len() >= MIN_PART
            && digits >= MIN_DIGITS
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    });
    is_random || has_random_part || (text.starts_with(KEY_PREFIX) && text.len() > KEY_PREFIX.len())
}

/// A line of a file with stars in the place of each key.
pub(crate) fn mask_keys(line: &str) -> String {
    let is_of_key = |letter: char| letter.is_ascii_alphanumeric() || "+/=_-".contains(letter);
    let (mut shown, mut word) = (String::with_capacity(line.len()), String::new());
    let end = |word: &mut String, shown: &mut String| {
        match is_like_key(word) {
            true => shown.extend(std::iter::repeat_n('*', word.len())),
            false => shown.push_str(word),
        }
        word.clear();
    };
    for letter in line.chars() {
        if is_of_key(letter) {
            word.push(letter);
            continue;
        }
        end(&mut word, &mut shown);
        shown.push(letter);
    }
    end(&mut word, &mut shown);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognizes_keys_and_not_names() {
        for key in [
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_short",
            "rb_live_4f8a9b7c6d5e4f3a2b1c0d9e",
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "9F86D081884C7D659A2FEAA0C55AD015",
            "q1B/5t+oG2cHq8x0yQbYw3Yk6m9WlqR0pV5uT4e1ZkM=",
        ] {
            assert!(is_like_key(key), "{key}");
        }
        for name in [
            "BLOBGATE_TOKEN_KEY",
            "PRODUCTION_BLOBGATE_TOKEN_SIGNING_KEY_2024_A",
            "blobgate_token_signing_key_of_production_2024",
            "BlobgateTokenSigningKeyOfProduction",
            "/target/wasm32-wasip1/release/blobgate",
            "per_connection_buffer_limit_bytes",
            "whsec_",
            "veo3-550e8400-e29b-41d4-a716-446655440000",
        ] {
            assert!(!is_like_key(name), "{name}");
        }
    }

    #[test]
    fn masks_keys_in_a_line() {
        let line = "a: {env: \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\", alg: HS256} # 東京";
        let stars = "*".repeat(38);
        assert_eq!(mask_keys(line), format!("a: {{env: \"{stars}\", alg: HS256}} # 東京"));
    }
}
