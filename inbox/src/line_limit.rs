//! Limits log lines, each kind on its own: many lines of one kind hide no other kind.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// The lines of a kind in a second. The counters have all of them.
const MAX_LINES: u32 = 10;
const SECOND: Duration = Duration::from_secs(1);

static LINES: Mutex<LineBuckets> = Mutex::new(LineBuckets(BTreeMap::new()));

/// The kind of a line: its subject, and the code or the name that tells lines of the subject apart, or nothing.
pub(crate) type LogKind = (&'static str, &'static str);

/// Whether another line of this kind may be written now. [`report`] writes the number of the others.
pub(crate) fn permits(kind: LogKind) -> bool {
    LINES.lock().unwrap_or_else(PoisonError::into_inner).permits(kind, MAX_LINES, Instant::now())
}

/// As [`permits`], for a condition that lasts and whose loop notices it many times a second: one line, and no count.
pub(crate) fn permits_condition(kind: LogKind) -> bool {
    let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    let permitted = lines.permits(kind, 1, Instant::now());
    lines.forget_omitted(kind);
    permitted
}

/// Writes the number of omitted lines of each kind, once a second.
pub(crate) async fn report(ending: CancellationToken) {
    loop {
        tokio::select! {
            () = ending.cancelled() => return,
            () = tokio::time::sleep(SECOND) => (),
        }
        let omitted = LINES.lock().unwrap_or_else(PoisonError::into_inner).take_omitted();
        for ((subject, code), count) in omitted {
            let kind = if code.is_empty() { subject.to_owned() } else { format!("{subject}/{code}") };
            tracing::warn!(kind, omitted = count, "lines-left-out={count} kind={kind}");
        }
    }
}

/// A bucket for each kind. The kinds are fixed words of the program, so there are few.
struct LineBuckets(BTreeMap<LogKind, LineBucket>);

/// The lines of a kind in its latest second.
struct LineBucket {
    began: Instant,
    written: u32,
    omitted: u64,
}

impl LineBuckets {
    fn permits(&mut self, kind: LogKind, max: u32, now: Instant) -> bool {
        let bucket = self.0.entry(kind).or_insert(LineBucket { began: now, written: 0, omitted: 0 });
        if now.saturating_duration_since(bucket.began) >= SECOND {
            (bucket.began, bucket.written) = (now, 0);
        }
        let permitted = bucket.written < max;
        if permitted {
            bucket.written = bucket.written.saturating_add(1);
        } else {
            bucket.omitted = bucket.omitted.saturating_add(1);
        }
        permitted
    }

    fn forget_omitted(&mut self, kind: LogKind) {
        if let Some(bucket) = self.0.get_mut(&kind) {
            bucket.omitted = 0;
        }
    }

    /// Also of a second that is not over: a steady flood always has begun another one.
    fn take_omitted(&mut self) -> Vec<(LogKind, u64)> {
        let omitted = self.0.iter_mut().filter(|(_, bucket)| bucket.omitted > 0);
        omitted.map(|(kind, bucket)| (*kind, std::mem::take(&mut bucket.omitted))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOISY: LogKind = ("refused", "not-ours");
    const RARE: LogKind = ("refused", "signature");

    fn after(start: Instant, millis: u64) -> Instant {
        start.checked_add(Duration::from_millis(millis)).unwrap()
    }

    #[test]
    fn writes_ten_lines_a_second_of_each_kind() {
        let (mut lines, start) = (LineBuckets(BTreeMap::new()), Instant::now());
        let noisy = (0..1_000).filter(|_| lines.permits(NOISY, MAX_LINES, start)).count();
        assert_eq!(noisy, 10);
        assert!(lines.permits(RARE, MAX_LINES, start), "one kind hides another");
        assert!(!lines.permits(NOISY, MAX_LINES, after(start, 999)));
        assert!(lines.permits(NOISY, MAX_LINES, after(start, 1_000)));
    }

    #[test]
    fn counts_omitted_lines_of_each_kind() {
        let (mut lines, start) = (LineBuckets(BTreeMap::new()), Instant::now());
        for _ in 0..17 {
            lines.permits(NOISY, MAX_LINES, start);
        }
        for _ in 0..12 {
            lines.permits(RARE, MAX_LINES, start);
        }
        assert_eq!(lines.take_omitted(), [(NOISY, 7), (RARE, 2)]);
        assert_eq!(lines.take_omitted(), []);
        // A second that begins before the report keeps the count.
        for at in [3_000, 4_000] {
            (0..11).for_each(|_| _ = lines.permits(NOISY, MAX_LINES, after(start, at)));
        }
        assert_eq!(lines.take_omitted(), [(NOISY, 2)]);
    }

    #[test]
    fn does_not_count_a_condition() {
        let (mut lines, start) = (LineBuckets(BTreeMap::new()), Instant::now());
        assert_eq!((0..50).filter(|_| lines.permits(NOISY, 1, start)).count(), 1);
        lines.forget_omitted(NOISY);
        assert_eq!(lines.take_omitted(), []);
    }
}
