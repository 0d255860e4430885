//! Reports the outcome of a change.

use crate::output::eprint_line;
use blobgate_inbox::service::EntryRefusal;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Refused entries, by reason.
#[derive(Default)]
pub(super) struct Refusals(BTreeMap<String, Vec<i64>>);

impl Refusals {
    pub(super) fn add(&mut self, refused: Vec<EntryRefusal>) {
        for EntryRefusal { id, why } in refused {
            self.0.entry(why).or_default().push(id);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.values().map(Vec::len).fold(0, usize::saturating_add)
    }

    /// An object for each entry.
    pub(super) fn json(&self) -> Vec<Value> {
        let of_reason = |(why, ids): (&String, &Vec<i64>)| {
            ids.iter().map(|id| json!({"id": id, "why": why})).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of_reason).collect()
    }

    /// A line for each reason.
    pub(super) fn eprint(&self, outcome: &str) {
        /// The ids on one line.
        const MAX_NAMED: usize = 10;
        for (why, ids) in &self.0 {
            let named: Vec<_> = ids.iter().take(MAX_NAMED).map(i64::to_string).collect();
            let more = if ids.len() > MAX_NAMED { ", …" } else { "" };
            eprint_line(format_args!("{} {outcome}: {why} ({}{more})", count(ids), named.join(", ")));
        }
    }
}

/// `1 entry` or `7 entries`.
pub(super) fn entries(count: impl TryInto<u64>) -> String {
    match count.try_into().unwrap_or(u64::MAX) {
        1 => "1 entry".to_owned(),
        count => format!("{count} entries"),
    }
}

/// `1 entry` or `7 entries`, for these ids.
pub(super) fn count(ids: &[i64]) -> String {
    entries(ids.len())
}
