//! Texts with code and references to the book, in pieces that a template can escape.

use serde::Serialize;

/// A piece of a text.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct ProsePiece {
    text: String,
    /// Whether it is code.
    code: bool,
    /// The page of the book that it names.
    href: Option<String>,
}

/// Splits a text at its backticks, and at page names such as `(docs/howto/tokens.md#jobs)`. `docs` is the base URL of the book.
pub(super) fn pieces(text: &str, docs: &str) -> Vec<ProsePiece> {
    let mut pieces = Vec::new();
    for (at, part) in text.split('`').enumerate() {
        // Every second part is between two backticks.
        if at.checked_rem(2) == Some(1) {
            pieces.push(ProsePiece { text: part.to_owned(), code: true, href: None });
        } else {
            split_pages(part, docs, &mut pieces);
        }
    }
    pieces.retain(|piece| !piece.text.is_empty());
    pieces
}

fn split_pages(text: &str, docs: &str, pieces: &mut Vec<ProsePiece>) {
    let plain = |text: &str| ProsePiece { text: text.to_owned(), ..ProsePiece::default() };
    let mut rest = text;
    while let Some((before, page, after)) = next_page(rest) {
        pieces.push(plain(before));
        let (page, fragment) = page.split_once('#').map_or((page, None), |(page, id)| (page, Some(id)));
        let page = page.strip_suffix(".md").unwrap_or(page);
        let fragment = fragment.map(|id| format!("#{id}")).unwrap_or_default();
        let href = Some(format!("{docs}/{page}.html{fragment}"));
        let name = page.rsplit('/').next().unwrap_or(page).replace('-', " ");
        pieces.push(ProsePiece { text: name, code: false, href });
        rest = after;
    }
    pieces.push(plain(rest));
}

/// The text before a page's name, the name in the book, and the text after it.
fn next_page(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once("docs/")?;
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "-_/.#".contains(c))).unwrap_or(rest.len());
    let (page, _) = rest.split_at_checked(end)?;
    // A sentence may end behind the name.
    let page = page.trim_end_matches('.');
    Some((before, page, rest.strip_prefix(page)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_pages_and_marks_code() {
        let docs = "https://docs.example";
        let text = |text: &str| ProsePiece { text: text.to_owned(), ..ProsePiece::default() };
        let code = |text: &str| ProsePiece { text: text.to_owned(), code: true, href: None };
        let link = |text: &str, href: &str| ProsePiece {
            text: text.to_owned(),
            code: false,
            href: Some(format!("{docs}/{href}")),
        };
        assert_eq!(
            pieces("Add it to `source`. See its page (docs/howto/load-balancers.md).", docs),
            [
                text("Add it to "),
                code("source"),
                text(". See its page ("),
                link("load balancers", "howto/load-balancers.html"),
                text(")."),
            ]
        );
        assert_eq!(
            pieces("See docs/reference/metrics.md#confirm-outcomes. Then", docs),
            [text("See "), link("metrics", "reference/metrics.html#confirm-outcomes"), text(". Then")]
        );
        assert_eq!(pieces("<b> & `", docs), [text("<b> & ")]);
        assert_eq!(pieces("", docs), []);
    }
}
