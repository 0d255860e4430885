//! A token is valid only with the key's signature, and for this hook.
//!
//! After a first byte `!`, the target signs the rest, `header LF claims`, so that the fuzzer reaches the reader of claims.

#![no_main]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use blobgate::Config;
use blobgate::token::{self, Token};
use hmac::{Hmac, KeyInit, Mac};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use sha2::Sha256;
use std::sync::LazyLock;

const KEY: &str = "the key of the tests, of 32 bytes.";
const NOW: u64 = 1_800_000_000;
const CONFIGURATION: &str = r#"{
    "version": 1, "environment": "test",
    "token": {"keys": {
        "hs": {"alg": "HS256", "env": "KEY"},
        "ed": {"alg": "EdDSA", "public": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    }},
    "hooks": [{
        "name": "any-token", "path": "/any-token/{token}", "dialect": "veo3", "source": "any",
        "trust": {"any_of": ["token"]}, "result_url": "any", "quarantine": "route"
    }]
}"#;

static CONFIG: LazyLock<Config> =
    LazyLock::new(|| Config::load(CONFIGURATION.as_bytes(), &|_| Some(KEY.to_owned())).unwrap());

fuzz_target!(|bytes: &[u8]| match bytes {
    [b'!', rest @ ..] => judge(&signed(rest), TokenOrigin::Here),
    bytes => judge(bytes, TokenOrigin::Elsewhere),
});

#[derive(PartialEq)]
enum TokenOrigin {
    Here,
    Elsewhere,
}

fn judge(text: &[u8], made: TokenOrigin) {
    let judged = token::check(CONFIG.hooks[0].token.as_ref(), Some(text), NOW);
    let (claims, good) = match &judged {
        Token::Good(claims) => (claims, true),
        Token::OutOfScope { claims, .. } => (claims, false),
        Token::Invalid(_) => return,
        Token::Absent => panic!("the token is absent"),
    };
    let text = std::str::from_utf8(text).unwrap();
    let [header, payload, signature] = text.split('.').collect::<Vec<_>>()[..] else {
        panic!("three segments")
    };
    let decode = |segment: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(segment).unwrap();
        assert_eq!(URL_SAFE_NO_PAD.encode(&bytes), segment, "one form");
        bytes
    };
    let read = |segment| -> Value { serde_json::from_slice(&decode(segment)).unwrap() };
    let (header, payload, signature) = (read(header), read(payload), decode(signature));
    // The target has no private key of EdDSA. The only such tokens are seeds with these claims.
    match header["kid"].as_str() {
        Some("hs") => {
            assert_eq!(header["alg"], "HS256");
            let (signed, _) = text.rsplit_once('.').unwrap();
            assert_eq!(mac(signed.as_bytes()), signature);
        }
        Some("ed") => {
            assert_eq!(header["alg"], "EdDSA");
            assert!(made == TokenOrigin::Elsewhere && claims.id == "t-1");
        }
        kid => panic!("{kid:?}"),
    }
    assert!(claims.job.as_ref().is_none_or(|job| !job.is_empty() && job.len() <= 64));
    assert!(!claims.id.is_empty() && claims.id.bytes().all(|byte| byte.is_ascii_graphic()));
    if good {
        let audience = &payload["aud"];
        assert!(
            audience == "test/any-token"
                || audience.as_array().unwrap().iter().any(|one| one == "test/any-token")
        );
        assert!(payload["exp"].as_f64().unwrap() + 60.0 > NOW as f64);
        assert!(payload.get("nbf").is_none_or(|time| time.as_f64().unwrap() <= NOW as f64 + 60.0));
    }
}

fn signed(parts: &[u8]) -> Vec<u8> {
    let mut parts = parts.splitn(2, |byte| *byte == b'\n');
    let mut encode = || URL_SAFE_NO_PAD.encode(parts.next().unwrap_or_default());
    let signed = format!("{}.{}", encode(), encode());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac(signed.as_bytes()))).into_bytes()
}

fn mac(bytes: &[u8]) -> Vec<u8> {
    Hmac::<Sha256>::new_from_slice(KEY.as_bytes())
        .unwrap()
        .chain_update(bytes)
        .finalize()
        .into_bytes()
        .to_vec()
}
