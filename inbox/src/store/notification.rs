//! The statements of notifications, for both stores.

/// A time further ahead than the longest wait is of a clock that was set back since.
pub(super) const BEGIN: &str = "
INSERT INTO notification AS n (kind, next_at) VALUES ($1, $2 + $3)
ON CONFLICT (kind) DO UPDATE SET next_at = excluded.next_at WHERE n.next_at <= $2 OR n.next_at > $2 + $4";

pub(super) const END: &str = "UPDATE notification SET next_at = $2 + $3 WHERE kind = $1";
