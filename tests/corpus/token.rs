//! Callback tokens from rows: valid ones, and edited ones.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use ed25519_dalek::{Signer, SigningKey};
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::Sha256;
use std::time::{SystemTime, UNIX_EPOCH};

/// The HS256 key of the tests' gate, in the variable of the shipped configuration.
pub const HS_KEY: &str = "the key of the tests, of 32 bytes.";
/// The EdDSA key: RFC 8037, appendix A, and RFC 8032, section 7.1, test 1.
const ED_SECRET: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
pub const ED_PUBLIC: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

/// The default claims.
pub const ID: &str = "t-1";
pub const JOB: &str = "order-17";

/// A token.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenRow {
    /// `hs`, `ed`, or a name that the gate does not have.
    kid: Option<String>,
    /// The signing key: `hs`, `ed`, `other-hs`, `other-ed`, `none`, `ed-public-as-hs`. The default is the key of `kid`.
    key: Option<String>,
    /// Changes to the header. Null removes a key.
    header: Option<String>,
    /// Changes to the claims. Null removes a key.
    claims: Option<String>,
    /// The whole header or payload.
    raw_header: Option<String>,
    raw_claims: Option<String>,
    /// Seconds from now.
    expires_in: Option<i64>,
    /// The name of an edit after signing.
    edit: Option<String>,
    /// The whole token.
    raw: Option<String>,
}

/// Seconds since the epoch.
#[expect(clippy::disallowed_methods, reason = "not the core")]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

impl TokenRow {
    /// A named token: `good`, `late`, `bad`.
    pub fn named(name: &str) -> Self {
        match name {
            "good" => Self::default(),
            "late" => Self { expires_in: Some(-3600), ..Self::default() },
            "bad" => Self { key: Some("other-hs".to_owned()), ..Self::default() },
            _ => panic!("no token has the name {name}"),
        }
    }

    /// The path segment, for a hook.
    pub fn mint(&self, hook: &str) -> String {
        if let Some(raw) = &self.raw {
            return raw.clone();
        }
        let kid = self.kid.as_deref().unwrap_or("hs");
        let key = self.key.as_deref().unwrap_or(kid);
        let alg = if kid == "ed" { "EdDSA" } else { "HS256" };
        let expires = i64::try_from(now()).unwrap() + self.expires_in.unwrap_or(3600);
        let mut header = json!({"alg": alg, "typ": "JWT", "kid": kid});
        let mut claims = json!({"exp": expires, "aud": format!("test/{hook}"), "job": JOB, "jti": ID});
        lay_over(&mut header, self.header.as_deref());
        lay_over(&mut claims, self.claims.as_deref());
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let header = self.raw_header.clone().unwrap_or_else(|| header.to_string());
        let claims = self.raw_claims.clone().unwrap_or_else(|| claims.to_string());
        let claims = claims.replace("EXP", &expires.to_string());
        let signed = format!("{}.{}", encode(header.as_bytes()), encode(claims.as_bytes()));
        let signature = sign(key, signed.as_bytes());
        edited(&signed, &signature, self.edit.as_deref())
    }
}

fn lay_over(onto: &mut Value, patch: Option<&str>) {
    let Some(patch) = patch else { return };
    let patch: Value = serde_json::from_str(patch).unwrap_or_else(|error| panic!("{patch}: {error}"));
    for (key, value) in patch.as_object().expect("an object") {
        match value {
            Value::Null => drop(onto.as_object_mut().unwrap().remove(key)),
            value => onto[key] = value.clone(),
        }
    }
}

fn sign(key: &str, bytes: &[u8]) -> Vec<u8> {
    let seed = |text: &str| <[u8; 32]>::try_from(URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap();
    let hmac = |key: &[u8]| {
        Hmac::<Sha256>::new_from_slice(key).unwrap().chain_update(bytes).finalize().into_bytes().to_vec()
    };
    match key {
        "ed" => SigningKey::from_bytes(&seed(ED_SECRET)).sign(bytes).to_bytes().to_vec(),
        "other-ed" => SigningKey::from_bytes(&[7; 32]).sign(bytes).to_bytes().to_vec(),
        "other-hs" => hmac(b"another key of the tests, 32 bytes"),
        // The classic algorithm confusion: the public key as an HMAC secret.
        "ed-public-as-hs" => hmac(&seed(ED_PUBLIC)),
        "ed-public-text-as-hs" => hmac(ED_PUBLIC.as_bytes()),
        "empty-hs" => hmac(b""),
        "none" => Vec::new(),
        _ => hmac(HS_KEY.as_bytes()),
    }
}

fn edited(signed: &str, signature: &[u8], edit: Option<&str>) -> String {
    let plain = |signature: &[u8]| format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
    let (header, claims) = signed.split_once('.').unwrap();
    match edit {
        None => plain(signature),
        Some("no-signature") => format!("{signed}."),
        Some("no-last-dot") => signed.to_owned(),
        Some("half-signature") => plain(&signature[..signature.len() / 2]),
        Some("short-signature") => plain(&signature[..signature.len() - 1]),
        Some("long-signature") => plain(&[signature, &[0]].concat()),
        Some("doubled-signature") => plain(&[signature, signature].concat()),
        Some("flipped-signature") => {
            let mut signature = signature.to_vec();
            signature[0] ^= 1;
            plain(&signature)
        }
        Some("zero-signature") => plain(&vec![0; signature.len()]),
        // s + L satisfies the same equation (RFC 8032, section 8.4).
        Some("malleable-signature") => plain(&plus_order(signature)),
        Some("padded") => format!("{signed}.{}", URL_SAFE.encode(signature)),
        Some("standard-alphabet") => format!("{signed}.{}", STANDARD.encode(signature).trim_end_matches('=')),
        Some("trailing-bits") => {
            let text = plain(signature);
            let mut bytes = text.into_bytes();
            *bytes.last_mut().unwrap() += 1;
            String::from_utf8(bytes).unwrap()
        }
        Some("four-segments") => format!("{}.{claims}", plain(signature)),
        Some("upper-case") => plain(signature).to_uppercase(),
        Some("swapped") => format!("{claims}.{header}.{}", URL_SAFE_NO_PAD.encode(signature)),
        Some("with-space") => format!("{}%20", plain(signature)),
        Some("with-nul") => format!("{}%00", plain(signature)),
        Some("with-dot") => format!("{}.", plain(signature)),
        Some("escaped") => plain(signature).replacen('.', "%2E", 1).replacen('e', "%65", 1),
        Some("other-claims") => {
            let other = URL_SAFE_NO_PAD.encode(r#"{"exp":9999999999,"aud":"test/any-token"}"#);
            format!("{header}.{other}.{}", URL_SAFE_NO_PAD.encode(signature))
        }
        Some(other) => panic!("no edit has the name {other}"),
    }
}

fn plus_order(signature: &[u8]) -> Vec<u8> {
    /// L, little-endian: RFC 8032, section 5.1.
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut changed = signature.to_vec();
    let mut carry = 0_u16;
    for (byte, order) in changed[32..].iter_mut().zip(ORDER) {
        carry += u16::from(*byte) + u16::from(order);
        *byte = u8::try_from(carry & 0xff).unwrap();
        carry >>= 8;
    }
    changed
}
