//! The provider's time, and how fast it goes.

use std::time::Duration;
use time::OffsetDateTime;
use time::macros::format_description;

/// A generation that takes longer ends as `TIMEOUT`: the provider's pages on webhooks and on the status.
const TIME_LIMIT: Duration = Duration::from_secs(600);
/// Between two attempts at a callback: "30-second intervals" of the page on webhooks.
const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(30);

#[derive(Clone, Copy)]
pub(super) struct Clock {
    generation: Duration,
    speed: f64,
}

impl Clock {
    pub(super) const fn new(generation: Duration, speed: f64) -> Self {
        Self { generation, speed }
    }

    /// How long a generation takes here, or `None` where it does not come to its end.
    pub(super) fn generation(&self) -> Option<Duration> {
        (self.generation < TIME_LIMIT).then(|| self.generation.div_f64(self.speed))
    }

    pub(super) fn time_limit(&self) -> Duration {
        TIME_LIMIT.div_f64(self.speed)
    }

    pub(super) fn between_attempts(&self) -> Duration {
        BETWEEN_ATTEMPTS.div_f64(self.speed)
    }
}

/// Now, as the provider writes it: UTC without saying so, with microseconds.
pub(super) fn now() -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]");
    OffsetDateTime::now_utc().format(format).unwrap_or_default()
}

/// `120s`, `2m` or `500ms`.
pub(super) fn parse_time(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match text.strip_prefix(digits) {
        Some("ms") => Some(1),
        Some("s") => Some(1_000),
        Some("m") => Some(60_000),
        _ => None,
    };
    let millis = unit.zip(digits.parse::<u64>().ok()).and_then(|(unit, count)| count.checked_mul(unit));
    millis.map(Duration::from_millis).ok_or_else(|| "write it like 120s, 2m or 500ms".to_owned())
}

/// Slower than a hundredth is standing still, and faster than this is no time at all.
pub(super) fn parse_speed(text: &str) -> Result<f64, String> {
    let speed = text.parse().ok().filter(|speed| (0.01..=1_000_000.0).contains(speed));
    speed.ok_or_else(|| "a number from 0.01 to 1000000".to_owned())
}
