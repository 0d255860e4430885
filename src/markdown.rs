//! Plain text from the Markdown of doc comments, for terminals and editors.

/// Markdown whose links are their words alone, each followed by what `page` writes for its target.
pub(crate) fn without_links(markdown: &str, page: impl Fn(&str) -> String) -> String {
    let mut text = String::new();
    let mut rest = markdown;
    while let Some((before, target)) = rest.split_once("](") {
        let Some((target, after)) = target.split_once(')') else { break };
        text.push_str(before);
        // The bracket that this one closes: a link's words can contain others.
        let mut open = 1_usize;
        let start = text.char_indices().rev().find(|(_, character)| {
            open = match character {
                ']' => open.saturating_add(1),
                '[' => open.saturating_sub(1),
                _ => open,
            };
            open == 0
        });
        if let Some((place, _)) = start {
            text.remove(place);
        }
        text.push_str(&page(target));
        rest = after;
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_the_words_of_links() {
        for (markdown, text) in [
            ("See [a page](a.md) and [another](../b.md#c).", "See a page<a.md> and another<../b.md#c>."),
            ("Write [token, confirmed], see [a](b).", "Write [token, confirmed], see a<b>."),
            ("[`[a]`](b)", "`[a]`<b>"),
            ("none", "none"),
            ("a [b](c", "a [b](c"),
            ("", ""),
        ] {
            assert_eq!(without_links(markdown, |page| format!("<{page}>")), text);
        }
    }
}
