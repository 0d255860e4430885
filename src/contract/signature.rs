//! Standard Webhooks (<https://www.standardwebhooks.com>): HMAC-SHA256 over an id, a time and a body. The gate signs. The
//! inbox verifies and signs again. The official crate takes only UTF-8 text, and a quarantined body may be other bytes.

use super::header;
use crate::secret::{MAC_BYTES, Secret};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use std::ops::RangeInclusive;

/// The prefix of a key's text. The key's base64 follows.
pub const KEY_PREFIX: &str = "whsec_";
/// The length of a key in bytes, by the specification.
pub const KEY_BYTES: RangeInclusive<usize> = 24..=64;
/// The largest age and the largest lead of a signature, in seconds, as in the official libraries.
pub const TOLERANCE: u64 = 5 * 60;
/// A signature's text and the space after it.
const SIGNATURE_BYTES: usize = 48;
/// The signature version of HMAC-SHA256.
const VERSION: &str = "v1";

/// A signing key.
#[derive(Clone, Debug)]
pub struct SigningKey(Secret);

/// One key, or two during a rotation.
#[derive(Clone, Debug)]
pub struct SigningKeys(Vec<SigningKey>);

/// The three headers of a signature.
#[derive(Clone, Copy, Debug)]
pub struct Signature<'a> {
    /// [`header::WEBHOOK_ID`].
    pub id: &'a str,
    /// [`header::WEBHOOK_TIMESTAMP`].
    pub timestamp: &'a str,
    /// [`header::WEBHOOK_SIGNATURE`].
    pub signatures: &'a str,
}

/// The time of a valid signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SigningTime {
    /// In seconds since 1970, by the signer's clock.
    pub at: i64,
    /// In seconds: its lead over the verifier's clock.
    pub offset: i64,
}

/// Why a signature is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureError {
    /// There is no signature, or none in the right form and in time.
    NoSignature,
    /// The signature has the right form and is in time, but is by none of the keys, or for another message.
    OtherKey,
    /// The signature is by one of the keys, but more than [`TOLERANCE`] before or after now.
    OutOfTime(SigningTime),
}

impl SigningKey {
    /// Reads `whsec_` and the base64 of 24 to 64 bytes.
    pub fn parse(text: &str) -> Option<Self> {
        let key = STANDARD.decode(text.strip_prefix(KEY_PREFIX)?).ok()?;
        if KEY_BYTES.contains(&key.len()) { Secret::new(&key).map(Self) } else { None }
    }

    /// Whether two keys make the same signatures.
    pub fn is_same(&self, other: &Self) -> bool {
        other.0.verifies(&[], &self.0.mac(&[]))
    }

    /// Adds the signature of a message to a header's value.
    fn sign(&self, id: &str, timestamp: &str, body: &[u8], value: &mut String) {
        value.extend([VERSION, ","]);
        STANDARD.encode_string(self.0.mac(&signed_parts(id, timestamp, body)), value);
    }

    fn verifies(&self, signature: &Signature<'_>, body: &[u8], mac: &[u8]) -> bool {
        self.0.verifies(&signed_parts(signature.id, signature.timestamp, body), mac)
    }
}

impl SigningKeys {
    /// Makes a set of the keys. They sign in this order.
    pub fn new(keys: Vec<SigningKey>) -> Self {
        Self(keys)
    }

    /// Whether the set has this key.
    pub fn contains(&self, key: &SigningKey) -> bool {
        self.0.iter().any(|own| own.is_same(key))
    }

    /// Signs a message at `now`, in seconds since 1970, and returns the three headers.
    ///
    /// The signature covers the id, the time and the exact body, but no other header.
    ///
    /// ```
    /// use blobgate::contract::signature::{SigningKey, SigningKeys};
    ///
    /// // The example of the specification.
    /// let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    /// let headers = SigningKeys::new(vec![key]).headers(
    ///     "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned(),
    ///     1_614_265_330,
    ///     br#"{"test": 2432232314}"#,
    /// );
    /// assert_eq!(headers[0], ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned()));
    /// assert_eq!(headers[1], ("webhook-timestamp", "1614265330".to_owned()));
    /// assert_eq!(headers[2].1, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    /// ```
    pub fn headers(&self, id: String, now: u64, body: &[u8]) -> [(&'static str, String); 3] {
        let timestamp = now.to_string();
        let mut signatures = String::with_capacity(self.0.len().saturating_mul(SIGNATURE_BYTES));
        for key in &self.0 {
            if !signatures.is_empty() {
                signatures.push(' ');
            }
            key.sign(&id, &timestamp, body, &mut signatures);
        }
        [
            (header::WEBHOOK_ID, id),
            (header::WEBHOOK_TIMESTAMP, timestamp),
            (header::WEBHOOK_SIGNATURE, signatures),
        ]
    }

    /// Whether one of the keys signed this body, within [`TOLERANCE`] of `now`, in seconds since 1970.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn verify(
        &self,
        signature: Signature<'_>,
        body: &[u8],
        now: u64,
    ) -> Result<SigningTime, SignatureError> {
        let of_version = signature.signatures.split(' ').filter_map(|one| one.split_once(','));
        let mut macs = of_version
            .filter(|(version, _)| *version == VERSION)
            .filter_map(|(_, encoded)| STANDARD.decode(encoded).ok())
            .filter(|mac| mac.len() == MAC_BYTES)
            .peekable();
        let has_form = macs.peek().is_some();
        let at = signature.timestamp.parse().ok().filter(|_| has_form).ok_or(SignatureError::NoSignature)?;
        let is_signed = macs.any(|mac| self.0.iter().any(|key| key.verifies(&signature, body, &mac)));
        let signed = SigningTime { at, offset: at.saturating_sub_unsigned(now) };
        match (is_signed, signed.offset.unsigned_abs() <= TOLERANCE) {
            (true, true) => Ok(signed),
            (true, false) => Err(SignatureError::OutOfTime(signed)),
            (false, true) => Err(SignatureError::OtherKey),
            (false, false) => Err(SignatureError::NoSignature),
        }
    }
}

fn signed_parts<'a>(id: &'a str, timestamp: &'a str, body: &'a [u8]) -> [&'a [u8]; 5] {
    [id.as_bytes(), b".", timestamp.as_bytes(), b".", body]
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SignatureError::NoSignature => f.write_str("it has no signature by the gate's key"),
            SignatureError::OtherKey => f.write_str(
                "its signature is by another key: set the same signing key for the gate and the inbox",
            ),
            SignatureError::OutOfTime(SigningTime { offset, .. }) => write!(
                f,
                "the time of its signature is {} s {} this machine's clock, and the limit is {TOLERANCE} s: \
                 synchronize both clocks by NTP",
                offset.unsigned_abs(),
                if *offset < 0 { "behind" } else { "ahead of" }
            ),
        }
    }
}

impl std::error::Error for SignatureError {}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = b"\xff";
    const NOW: u64 = 1_800_000_000;

    fn key(byte: u8) -> SigningKey {
        SigningKey::parse(&format!("{KEY_PREFIX}{}", STANDARD.encode([byte; 32]))).unwrap()
    }

    #[track_caller]
    fn verified(signers: &[u8], verifiers: &[u8], later: i64, expected: Result<SigningTime, SignatureError>) {
        let keys = |bytes: &[u8]| SigningKeys::new(bytes.iter().map(|byte| key(*byte)).collect());
        let [id, timestamp, signatures] = keys(signers).headers("veo3:1:failed".to_owned(), NOW, BODY);
        let signature = Signature { id: &id.1, timestamp: &timestamp.1, signatures: &signatures.1 };
        let verifiers = keys(verifiers);
        assert_eq!(verifiers.verify(signature, BODY, NOW.checked_add_signed(later).unwrap()), expected);
        let other = verifiers.verify(signature, b"\xfe", NOW);
        assert_eq!(other, Err(SignatureError::OtherKey));
    }

    #[test]
    fn another_key_makes_a_signature_of_the_right_form() {
        let row = |timestamp: u64, signatures: &str, expected| {
            let timestamp = timestamp.to_string();
            let signature = Signature { id: "veo3:1:failed", timestamp: &timestamp, signatures };
            assert_eq!(SigningKeys::new(vec![key(1)]).verify(signature, BODY, NOW), Err(expected));
        };
        let forged = format!("v1,{}", STANDARD.encode([0; 32]));
        row(NOW, &forged, SignatureError::OtherKey);
        row(NOW, &format!("v1a,eA== v1,eA== {forged}"), SignatureError::OtherKey);
        // An old message is no sign of another key.
        row(NOW - 301, &forged, SignatureError::NoSignature);
        for signatures in
            ["", "v1", "v1,", "v1,bm9uZQ==", "v2,eA==", &format!("v1a,{}", STANDARD.encode([0; 32]))]
        {
            row(NOW, signatures, SignatureError::NoSignature);
        }
    }

    #[test]
    fn accepts_each_of_two_keys_for_five_minutes() {
        let at = i64::try_from(NOW).unwrap();
        let of = |offset| SigningTime { at, offset };
        verified(&[1], &[1], 0, Ok(of(0)));
        verified(&[1, 2], &[2], 300, Ok(of(-300)));
        verified(&[2], &[1, 2], -300, Ok(of(300)));
        verified(&[1], &[1], 301, Err(SignatureError::OutOfTime(of(-301))));
        verified(&[1], &[1], -301, Err(SignatureError::OutOfTime(of(301))));
        verified(&[1], &[2], 0, Err(SignatureError::OtherKey));
        verified(&[1], &[2], 301, Err(SignatureError::NoSignature));
    }

    #[test]
    fn accepts_keys_of_24_to_64_bytes() {
        for (bytes, expected) in [(23, false), (24, true), (64, true), (65, false)] {
            let text = format!("{KEY_PREFIX}{}", STANDARD.encode(vec![7; bytes]));
            assert_eq!(SigningKey::parse(&text).is_some(), expected, "{bytes}");
        }
        for text in
            ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS"]
        {
            assert!(SigningKey::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", SigningKeys::new(vec![key(1)])), "SigningKeys([SigningKey([REDACTED])])");
    }
}
