//! The provider's times, divided by the sandbox's speed.

use std::time::Duration;
use time::OffsetDateTime;
use time::macros::format_description;

/// A longer generation ends as `TIMEOUT`: the provider's pages on webhooks and on the status.
const TIME_LIMIT: Duration = Duration::from_secs(600);
/// "30-second intervals" of the page on webhooks.
const ATTEMPT_INTERVAL: Duration = Duration::from_secs(30);

#[derive(Clone, Copy)]
pub(super) struct SandboxClock {
    generation: Duration,
    speed: f64,
}

/// An option's value is no time or no speed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ClockError {
    #[error("a time has a unit. Write 120s, 2m or 500ms")]
    Time,
    #[error("a speed is a number from 0.01 to 1000000")]
    Speed,
}

impl SandboxClock {
    pub(super) const fn new(generation: Duration, speed: f64) -> Self {
        Self { generation, speed }
    }

    /// The duration of a generation. `None`: it reaches the time limit.
    pub(super) fn generation(&self) -> Option<Duration> {
        (self.generation < TIME_LIMIT).then(|| self.generation.div_f64(self.speed))
    }

    pub(super) fn time_limit(&self) -> Duration {
        TIME_LIMIT.div_f64(self.speed)
    }

    pub(super) fn attempt_interval(&self) -> Duration {
        ATTEMPT_INTERVAL.div_f64(self.speed)
    }
}

/// Now, in the provider's format: UTC without a zone, with microseconds.
pub(super) fn now() -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]");
    OffsetDateTime::now_utc().format(format).unwrap_or_default()
}

/// Parses `120s`, `2m` or `500ms`.
pub(super) fn parse_time(text: &str) -> Result<Duration, ClockError> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match text.strip_prefix(digits) {
        Some("ms") => Some(1),
        Some("s") => Some(1_000),
        Some("m") => Some(60_000),
        _ => None,
    };
    let millis = unit.zip(digits.parse::<u64>().ok()).and_then(|(unit, count)| count.checked_mul(unit));
    millis.map(Duration::from_millis).ok_or(ClockError::Time)
}

/// At these limits, the time limit of 10 minutes becomes 0.6 ms and 17 hours.
pub(super) fn parse_speed(text: &str) -> Result<f64, ClockError> {
    let speed = text.parse().ok().filter(|speed| (0.01..=1_000_000.0).contains(speed));
    speed.ok_or(ClockError::Speed)
}
