//! Hides secrets in what the command prints: tokens in paths, and values of headers that have secrets.

use blobgate::contract::header;
use blobgate::explain::HeaderList;
use blobgate::mask;
use blobgate::sanitize::is_reserved;
use serde::Serialize;

/// A header as the command prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct ShownHeader {
    pub(super) name: String,
    pub(super) value: String,
}

/// What the command hides.
pub(super) struct Mask {
    token: Option<String>,
}

const HIDDEN: &str = "(hidden)";
/// Parts of names of headers that have secrets.
const SECRET: [&str; 9] =
    ["auth", "cookie", "token", "secret", "passw", "api-key", "apikey", "session", "signature"];

impl Mask {
    pub(super) fn new(token: Option<String>) -> Self {
        Self { token }
    }

    pub(super) fn path(&self, path: &[u8]) -> String {
        mask::path(path, self.token.as_deref())
    }

    /// The headers without pseudo-headers.
    pub(super) fn headers(&self, headers: &HeaderList) -> Vec<ShownHeader> {
        let plain = headers.iter().filter(|(name, _)| !name.starts_with(':'));
        plain
            .map(|(name, value)| ShownHeader { name: name.clone(), value: self.value(name, value) })
            .collect()
    }

    fn value(&self, name: &str, value: &[u8]) -> String {
        let is_secret = SECRET.iter().any(|part| name.contains(part));
        if name == header::WEBHOOK_SIGNATURE || (is_secret && !is_reserved(name)) {
            return HIDDEN.to_owned();
        }
        mask::text(&String::from_utf8_lossy(value), self.token.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hides_tokens_and_secrets() {
        let mask = Mask::new(Some("a-long-token.b.c".to_owned()));
        assert_eq!(mask.path(b"/hooks/veo3/a-long-token.b.c"), "/hooks/veo3/{token}");
        let list = [
            (":path", "/x"),
            ("authorization", "Bearer s"),
            ("cookie", "s"),
            ("x-api-key", "s"),
            (header::WEBHOOK_SIGNATURE, "v1,s"),
            (header::TOKEN_ID, "id"),
            ("x-copy", "https://gate/a-long-token.b.c"),
            ("x-original-url", "/hooks/eyJhbGciOi.x.y?a=1"),
            ("content-type", "a/b"),
        ];
        let list = list.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec())).to_vec();
        let shown: Vec<_> = mask.headers(&list).into_iter().map(|it| it.value).collect();
        let hidden = [HIDDEN; 4];
        assert_eq!(shown[..4], hidden);
        assert_eq!(shown[4..], ["id", "https://gate/{token}", "/hooks/{token}?a=1", "a/b"]);
    }
}
