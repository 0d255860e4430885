//! Where a visitor goes on: only to a view of the page.

use super::render::{Html, NavPlace, PageError, render};
use super::visitor::Visitor;
use axum::response::Redirect;
use serde::Serialize;
use url::{Url, form_urlencoded};

/// Longer than any list's filter.
const MAX_NEXT: usize = 2_000;

#[derive(Serialize)]
struct NextView {
    next: String,
}

/// A path below the page as a browser reads it; else the overview. It is no other site, and no part of the sign-in.
pub(super) fn safe_next(text: &str) -> String {
    let base = Url::parse("http://inbox.invalid/");
    let url = base.ok().filter(|_| text.len() <= MAX_NEXT && text.starts_with('/')).and_then(|base| {
        let url = base.join(text).ok()?;
        (url.origin() == base.origin()).then_some(url)
    });
    let is_view = |url: &Url| {
        let path = url.path();
        path.starts_with(super::HOME) && !path.starts_with("/page/sign-")
    };
    match url.filter(is_view) {
        Some(url) => url.query().map_or(url.path().to_owned(), |query| format!("{}?{query}", url.path())),
        None => super::HOME.to_owned(),
    }
}

/// Redirects to the sign-in, which leads back to the path.
pub(super) fn sign_in_at(path: &str) -> Redirect {
    let next = safe_next(path);
    if next == super::HOME {
        return Redirect::to(super::SIGN_IN);
    }
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("next", &next).finish();
    Redirect::to(&format!("{}?{query}", super::SIGN_IN))
}

/// Loads the path again from the page itself. After a link on another site, the browser sends the session's cookie only then.
pub(super) fn elsewhere(path: &str) -> Result<Html, PageError> {
    render("next.html", &Visitor::nobody(), NavPlace::Nowhere, &NextView { next: safe_next(path) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_below_the_page() {
        for (text, next) in [
            ("/page/", "/page/"),
            ("/page/entries?state=dead&since=24h", "/page/entries?state=dead&since=24h"),
            ("/page/entries/17#body", "/page/entries/17"),
            ("/page/a/../entries", "/page/entries"),
            ("/page/entries?q=%0d%0aset-cookie:a", "/page/entries?q=%0d%0aset-cookie:a"),
            ("/page/entries?q=\"<b>", "/page/entries?q=%22%3Cb%3E"),
            ("/page/\r\nentries", "/page/entries"),
        ] {
            assert_eq!(safe_next(text), next, "{text:?}");
        }
        for text in [
            "",
            "//evil.example",
            "//evil.example/page/",
            "/\\evil.example/page/",
            "\\\\evil.example/page/",
            "https://evil.example/page/",
            "http://inbox.invalid/page/",
            "javascript:alert(1)",
            "page/entries",
            "/pages",
            "/page",
            "/entries",
            "/page/../entries",
            "/page/..",
            "/page/%2e%2e/entries",
            "/page/.%2E/entries",
            "/page/..\\entries",
            "/page/.\t./entries",
            "/page/sign-out",
            "/page/sign-in?next=/page/",
            "/\t/evil.example/page/",
            "/\n/evil.example",
            &format!("/page/{}", "x".repeat(2_000)),
        ] {
            assert_eq!(safe_next(text), "/page/", "{text:?}");
        }
    }
}
