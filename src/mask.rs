//! Hides tokens in what an operator's terminal shows. The gate shows nothing of this.

/// Stands in the place of a token.
pub const TOKEN: &str = "{token}";

/// A shorter token may be a part of any word.
const MIN_TOKEN: usize = 16;
/// The longest segment of a path that is no token.
const MAX_SEGMENT: usize = 40;

/// A path with [`TOKEN`] in the place of this token, and of each segment in the form of one: a wrong path may contain one. Without
/// the values of its query.
///
/// ```
/// use blobgate::mask;
///
/// assert_eq!(mask::path(b"/webhook/secret?a=b", Some("secret")), "/webhook/{token}?(query)");
/// assert_eq!(mask::path(b"/wrong/eyJhbGciOi.x.y", None), "/wrong/{token}");
/// ```
pub fn path(path: &[u8], token: Option<&str>) -> String {
    let path = String::from_utf8_lossy(path);
    let (path, query) = path.split_once('?').map_or((&*path, ""), |(path, _)| (path, "?(query)"));
    let shown = |segment: &str| {
        let is_token = segment.len() > MAX_SEGMENT || segment.matches('.').count() > 1;
        if is_token || token == Some(segment) { TOKEN.to_owned() } else { text(segment, token) }
    };
    format!("{}{query}", path.split('/').map(shown).collect::<Vec<_>>().join("/"))
}

/// A text with [`TOKEN`] in the place of this token, and of each word in the form of a JWT.
pub fn text(text: &str, token: Option<&str>) -> String {
    let text = match token {
        Some(token) if token.len() >= MIN_TOKEN => text.replace(token, TOKEN),
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

/// Whether a word has the form of a JWT: its header is an object in base64url.
fn is_like_token(word: &str) -> bool {
    word.starts_with("eyJ") || word.starts_with("ey") && word.contains('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hides_tokens_in_paths() {
        let long = "a-long-token.b.c";
        for (given, token, shown) in [
            ("/hooks/veo3/a-long-token.b.c?x=a-long-token.b.c", Some(long), "/hooks/veo3/{token}?(query)"),
            ("/hooks/xa-long-token.b.c", Some(long), "/hooks/{token}"),
            ("/hooks/h", Some("h"), "/hooks/{token}"),
            ("/wrong/eyJhbGciOi.x.y/more", None, "/wrong/{token}/more"),
            ("/wrong/t=eyJhbGciOi", None, "/wrong/t={token}"),
            ("/a.b.c", None, "/{token}"),
            ("/webhook", Some(long), "/webhook"),
            ("/webhook/", None, "/webhook/"),
            ("/?", None, "/?(query)"),
            ("", None, ""),
        ] {
            assert_eq!(path(given.as_bytes(), token), shown);
        }
        assert_eq!(path(format!("/{}", "a".repeat(MAX_SEGMENT + 1)).as_bytes(), None), "/{token}");
        assert_eq!(path(b"/\xff", None), "/\u{fffd}");
    }

    #[test]
    fn hides_tokens_in_texts() {
        let long = "a-long-token.b.c";
        for (given, shown) in [
            ("https://gate/a-long-token.b.c", "https://gate/{token}"),
            ("/hooks/eyJhbGciOi.x.y?a=1", "/hooks/{token}?a=1"),
            ("application/vnd.a.b", "application/vnd.a.b"),
            ("hey, they", "hey, they"),
        ] {
            assert_eq!(text(given, Some(long)), shown);
        }
        assert_eq!(text("id h", Some("h")), "id h", "a short token is a part of any word");
    }
}
