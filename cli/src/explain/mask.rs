//! Hides secrets in what the command prints: tokens in paths, and values of headers that have secrets.

use blobgate::contract::header;
use blobgate::explain::HeaderList;
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

const TOKEN: &str = "{token}";
const HIDDEN: &str = "(hidden)";
/// Parts of names of headers that have secrets.
const SECRET: [&str; 9] =
    ["auth", "cookie", "token", "secret", "passw", "api-key", "apikey", "session", "signature"];

impl Mask {
    pub(super) fn new(token: Option<String>) -> Self {
        Self { token }
    }

    /// A path with `{token}` in the place of a token, and without the values of its query.
    pub(super) fn path(&self, path: &[u8]) -> String {
        let path = String::from_utf8_lossy(path);
        let (path, query) = path.split_once('?').map_or((&*path, ""), |(path, _)| (path, "?(query)"));
        let shown = |segment: &str| match &self.token {
            Some(token) if segment == token => TOKEN.to_owned(),
            _ if is_like_token(segment) => TOKEN.to_owned(),
            _ => segment.to_owned(),
        };
        let segments: Vec<String> = path.split('/').map(shown).collect();
        format!("{}{query}", segments.join("/"))
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
        let value = String::from_utf8_lossy(value).into_owned();
        match &self.token {
            Some(token) => value.replace(token, TOKEN),
            None => value,
        }
    }
}

/// Whether a segment has the form of a JWT: its header is an object in base64url.
fn is_like_token(segment: &str) -> bool {
    segment.starts_with("eyJ") || segment.starts_with("ey") && segment.contains('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hides_tokens_and_secrets() {
        let mask = Mask::new(Some("a.b.c".to_owned()));
        assert_eq!(mask.path(b"/hooks/veo3/a.b.c?x=a.b.c"), "/hooks/veo3/{token}?(query)");
        assert_eq!(mask.path(b"/wrong/eyJhbGciOi.x.y/more"), "/wrong/{token}/more");
        assert_eq!(mask.path(b"/webhook"), "/webhook");
        let list = [
            (":path", "/x"),
            ("authorization", "Bearer s"),
            ("cookie", "s"),
            ("x-api-key", "s"),
            (header::WEBHOOK_SIGNATURE, "v1,s"),
            (header::TOKEN_ID, "id"),
            ("x-copy", "https://gate/a.b.c"),
            ("content-type", "a/b"),
        ];
        let list = list.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec())).to_vec();
        let shown: Vec<_> = mask.headers(&list).into_iter().map(|it| it.value).collect();
        let hidden = [HIDDEN; 4];
        assert_eq!(shown[..4], hidden);
        assert_eq!(shown[4..], ["id", "https://gate/{token}", "a/b"]);
    }
}
