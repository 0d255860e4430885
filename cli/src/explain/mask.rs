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
/// A shorter segment in a token's place is no token, and may be a part of any word.
const MIN_TOKEN: usize = 16;
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
            _ => self.text(segment),
        };
        format!("{}{query}", path.split('/').map(shown).collect::<Vec<_>>().join("/"))
    }

    /// A text with `{token}` in the place of the request's token, and of each part that has the form of a JWT.
    fn text(&self, text: &str) -> String {
        let text = match &self.token {
            Some(token) if token.len() >= MIN_TOKEN => text.replace(token.as_str(), TOKEN),
            _ => text.to_owned(),
        };
        let is_of_token = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let parts = text.split_inclusive(|c: char| !is_of_token(c));
        let shown = parts.map(|part| match part.trim_end_matches(|c: char| !is_of_token(c)) {
            word if is_like_token(word) => part.replace(word, TOKEN),
            _ => part.to_owned(),
        });
        shown.collect()
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
        self.text(&String::from_utf8_lossy(value))
    }
}

/// Whether a word has the form of a JWT: its header is an object in base64url.
fn is_like_token(word: &str) -> bool {
    word.starts_with("eyJ") || word.starts_with("ey") && word.contains('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hides_tokens_and_secrets() {
        let mask = Mask::new(Some("a-long-token.b.c".to_owned()));
        assert_eq!(
            mask.path(b"/hooks/veo3/a-long-token.b.c?x=a-long-token.b.c"),
            "/hooks/veo3/{token}?(query)"
        );
        assert_eq!(mask.path(b"/wrong/eyJhbGciOi.x.y/more"), "/wrong/{token}/more");
        assert_eq!(mask.path(b"/webhook"), "/webhook");
        assert_eq!(Mask::new(Some("h".to_owned())).path(b"/hooks/h"), "/hooks/{token}");
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
