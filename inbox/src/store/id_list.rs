//! Lists of ids in statements.

/// Writes ids into a statement. The two databases bind lists in different ways.
pub(super) fn list<'a>(ids: impl IntoIterator<Item = &'a i64>) -> String {
    let ids: Vec<_> = ids.into_iter().map(i64::to_string).collect();
    // `IN ()` is invalid in PostgreSQL. No entry has the id -1.
    if ids.is_empty() { "-1".to_owned() } else { ids.join(", ") }
}
