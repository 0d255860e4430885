//! A WHATWG parser finds the same listed host in an accepted URL.

#![no_main]

use blobgate::{Config, result_url};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

const CONFIGURATION: &str = r#"{"version": 1, "environment": "test", "hooks": [{
    "name": "hosts", "path": "/hosts", "dialect": "veo3", "source": "any", "trust": "open",
    "result_url": ["runblob.io", "*.runblob.io"], "quarantine": "none"
}]}"#;

static CONFIG: LazyLock<Config> =
    LazyLock::new(|| Config::load(CONFIGURATION.as_bytes(), &|_| None).unwrap());

fuzz_target!(|text: &str| {
    let host = result_url::host(text);
    let passes = result_url::check(&CONFIG.hooks[0].result_url, "video_url", text).is_ok();
    assert!(!passes || host.is_some());
    let Some(host) = host else { return };
    assert!(
        host.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b)),
        "{host}"
    );
    // A WHATWG parser refuses an invalid `xn--`.
    let Ok(whatwg) = url::Url::parse(text) else {
        assert!(host.contains("xn--"), "{host}");
        return;
    };
    assert_eq!(whatwg.host_str(), Some(&*host));
    assert_eq!((whatwg.scheme(), whatwg.port(), whatwg.username()), ("https", None, ""));
    assert_eq!(whatwg.password(), None);
    assert_eq!(passes, host == "runblob.io" || host.ends_with(".runblob.io"));
});
