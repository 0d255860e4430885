//! Any bytes load as a configuration, or fail with an error. Neither shows a key.

#![no_main]

use blobgate::{Config, hook};
use libfuzzer_sys::fuzz_target;

/// A valid key of each kind.
const TOKEN_KEY: &str = "0123456789abcdef0123456789abcdef";
const SIGNING_KEY: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

fuzz_target!(|bytes: &[u8]| {
    let env = |name: &str| match name.bytes().last() {
        Some(b'T') => Some(TOKEN_KEY.to_owned()),
        Some(b'S') => Some(SIGNING_KEY.to_owned()),
        _ => None,
    };
    let text = match Config::load(bytes, &env) {
        Ok(config) => {
            assert!(!config.hooks.is_empty());
            for (index, hook) in config.hooks.iter().enumerate() {
                let (found, token) = hook::find(&config.hooks, hook.path.as_bytes()).unwrap();
                assert_eq!((&found.name, token), (&hook.name, None), "a path has one hook");
                assert!(config.hooks[..index].iter().all(|other| other.name != hook.name));
            }
            format!("{config:?}")
        }
        Err(error) => {
            let sentence = error.to_string();
            assert!(!sentence.contains('\n'), "{sentence}");
            sentence
        }
    };
    for key in [TOKEN_KEY, &SIGNING_KEY[6..]] {
        let is_written = bytes.windows(key.len()).any(|window| window == key.as_bytes());
        assert!(is_written || !text.contains(key), "{text}");
    }
});
