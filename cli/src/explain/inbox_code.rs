//! The codes of the inbox: its reasons for a quarantine, its refusals and its faults.

use blobgate_inbox::service::own_reasons;
use std::sync::LazyLock;

/// A code, its meaning and its remedy.
pub(super) struct InboxCode {
    pub(super) code: &'static str,
    pub(super) meaning: &'static str,
    pub(super) remedy: &'static str,
}

pub(super) const fn row(code: &'static str, meaning: &'static str, remedy: &'static str) -> InboxCode {
    InboxCode { code, meaning, remedy }
}

/// Every code, quarantine first.
pub(super) static CODES: LazyLock<Vec<InboxCode>> = LazyLock::new(|| {
    let own = own_reasons().map(|(code, meaning, remedy)| row(code, meaning, remedy));
    own.chain(OTHERS).collect()
});

const OTHERS: [InboxCode; 14] = [
    row("method", "The method is not POST.", "Send deliveries through the gate, which only sends POST."),
    row(
        "host",
        "The `Host` header is a name, as a page in a browser sends it.",
        "Use an address in Envoy's cluster, or set a signing key.",
    ),
    row(
        "body",
        "The body did not end in time, or cannot be read.",
        "Look at the network between gate and inbox.",
    ),
    row(
        "signature",
        "There is no valid signature of the gate, or it is for another event.",
        "Give the gate (`sign`) and the inbox (`--signing-key-env`) the same key.",
    ),
    row(
        "clock-offset",
        "The clocks of gate and inbox differ by more than a signature tolerates.",
        "Set both clocks.",
    ),
    row(
        "not-ours",
        "The gate headers are missing or wrong: no gate sent this delivery.",
        "Send deliveries through the gate, and enable the filter on every route of a hook.",
    ),
    row(
        "full",
        "The store or its part for this delivery has reached `--limit`, or the disk is almost full.",
        "Raise `--limit`, free disk space, or decide on quarantined entries.",
    ),
    row(
        "token-full",
        "The quarantine has no room for more entries of this token.",
        "Decide on the token's entries: `blobgate inbox ls --state quarantined` lists them.",
    ),
    row(
        "not-stored",
        "The commit failed, or its outcome is unknown. The sender retries.",
        "Look at the disk, the network or the database of the store.",
    ),
    row(
        "store-replaced",
        "The store's files were removed or replaced.",
        "Follow the log line, and when a store's files change (docs/operate/store-files.md).",
    ),
    row(
        "store-damaged",
        "The store is damaged. It could lose events that it acknowledges.",
        "Stop the inbox, restore a copy (docs/howto/backup.md), and start it.",
    ),
    row(
        "store-denied",
        "The store denies a right that the inbox needs.",
        "Run the GRANT that the log line names.",
    ),
    row(
        "store-failing",
        "The newest commit or probe failed.",
        "Look at the disk, the network or the database. The inbox continues once a commit succeeds.",
    ),
    row(
        "descriptors-exhausted",
        "The process has no free file descriptor.",
        "Raise the hard limit of the process (`ulimit -Hn`, `LimitNOFILE`).",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use blobgate::Reason;
    use std::collections::BTreeSet;

    #[test]
    fn has_each_code_of_the_inbox_once() {
        let codes: BTreeSet<&str> = CODES.iter().map(|row| row.code).collect();
        assert_eq!(codes.len(), CODES.len());
        assert_eq!(codes, blobgate_inbox::service::codes().collect());
        assert!(codes.iter().all(|code| Reason::parse(code).is_none()));
    }
}
