//! The chart of deliveries by minute. It is SVG with classes alone: the page's policy forbids styles in HTML.

use crate::service::{TrafficAnswer, TrafficMinute};
use serde::Serialize;
use std::fmt::Write;

/// The spans of the chart: minutes, the title, and the words below the quarters. A young inbox has the shortest one that fits.
const SPANS: [ChartSpan; 3] = [
    ChartSpan { minutes: 60, title: "last hour", axis: ["60 min ago", "45 min", "30 min", "15 min", "now"] },
    ChartSpan { minutes: 360, title: "last 6 hours", axis: ["6 h ago", "4.5 h", "3 h", "1.5 h", "now"] },
    DAY,
];
const DAY: ChartSpan =
    ChartSpan { minutes: 1_440, title: "last 24 hours", axis: ["24 h ago", "18 h", "12 h", "6 h", "now"] };
/// The height of the drawing, in units of its own.
const HEIGHT: u64 = 100;

/// The time that a chart shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct ChartSpan {
    minutes: usize,
    title: &'static str,
    axis: [&'static str; 5],
}

/// The deliveries of the last 24 hours, or since the start.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct TrafficChart {
    span: ChartSpan,
    since: String,
    /// Whether the inbox started in this time.
    is_partial: bool,
    upper: ChartPanel,
    lower: ChartPanel,
    totals: TrafficHour,
    /// The table, the newest hour first.
    hours: Vec<TrafficHour>,
}

/// The lines with one scale.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct ChartPanel {
    /// The value at the top.
    top: u64,
    /// The busiest minute.
    max: u64,
    lines: Vec<ChartLine>,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct ChartLine {
    class: &'static str,
    line: String,
    area: String,
}

/// The sums of an hour.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct TrafficHour {
    at: String,
    stored: u64,
    delivered: u64,
    refused: u64,
    gate_refused: u64,
}

impl TrafficChart {
    pub(super) fn new(traffic: TrafficAnswer) -> Self {
        let count = traffic.minutes.len();
        let span = SPANS.into_iter().find(|span| span.minutes >= count).unwrap_or(DAY);
        let minutes = traffic.minutes.get(count.saturating_sub(span.minutes)..).unwrap_or_default();
        let first = span.minutes.saturating_sub(minutes.len());
        let values = |of: fn(&TrafficMinute) -> u64| minutes.iter().map(of).collect::<Vec<_>>();
        let refused = values(|minute| minute.refused.saturating_add(minute.gate_refused));
        let mut totals = TrafficHour::default();
        minutes.iter().for_each(|minute| totals.add(minute));
        Self {
            span,
            is_partial: first > 0,
            upper: ChartPanel::new(
                span,
                first,
                &[
                    ("stored", values(|minute| minute.stored)),
                    ("delivered", values(|minute| minute.delivered)),
                ],
            ),
            lower: ChartPanel::new(span, first, &[("refused", refused)]),
            hours: hours(minutes),
            totals,
            since: traffic.since,
        }
    }
}

impl ChartPanel {
    fn new(span: ChartSpan, first: usize, series: &[(&'static str, Vec<u64>)]) -> Self {
        let max = series.iter().flat_map(|(_, values)| values).copied().max().unwrap_or_default();
        let top = round_up(max);
        let line = |(class, values): &(&'static str, Vec<u64>)| {
            let line = line(span.minutes, first, values, top);
            let area = if line.is_empty() { String::new() } else { format!("{line}V{HEIGHT}H{first}Z") };
            ChartLine { class, line, area }
        };
        Self { top, max, lines: series.iter().map(line).collect() }
    }
}

/// Steps from minute to minute. Equal values are one step.
fn line(end: usize, first: usize, values: &[u64], top: u64) -> String {
    let mut path = String::new();
    let mut before = None;
    for (at, value) in values.iter().enumerate() {
        if before == Some(*value) {
            continue;
        }
        let (x, y) = (first.saturating_add(at), height(*value, top));
        let _written = match before {
            None => write!(path, "M{x} {y}"),
            Some(_) => write!(path, "H{x}V{y}"),
        };
        before = Some(*value);
    }
    if before.is_some() {
        let _written = write!(path, "H{end}");
    }
    path
}

/// The distance from the top.
fn height(value: u64, top: u64) -> u64 {
    let share = value.saturating_mul(HEIGHT).checked_div(top).unwrap_or_default();
    HEIGHT.saturating_sub(share.min(HEIGHT))
}

/// The next of 1, 2, 5, 10, 20, 50 and so on.
fn round_up(max: u64) -> u64 {
    let mut power = 1_u64;
    loop {
        for step in [1, 2, 5] {
            let top = power.saturating_mul(step);
            if top >= max {
                return top;
            }
        }
        power = power.saturating_mul(10);
    }
}

/// The sums by hour, the newest first.
fn hours(minutes: &[TrafficMinute]) -> Vec<TrafficHour> {
    /// The characters of `2026-01-31T12`.
    const HOUR: usize = 13;
    let mut hours: Vec<TrafficHour> = Vec::new();
    for minute in minutes {
        let hour = minute.at.get(..HOUR).unwrap_or_default();
        if !hours.last().is_some_and(|last| last.at.starts_with(hour)) {
            hours.push(TrafficHour { at: format!("{hour}:00:00.000Z"), ..TrafficHour::default() });
        }
        if let Some(last) = hours.last_mut() {
            last.add(minute);
        }
    }
    hours.reverse();
    hours
}

impl TrafficHour {
    fn add(&mut self, minute: &TrafficMinute) {
        self.stored = self.stored.saturating_add(minute.stored);
        self.delivered = self.delivered.saturating_add(minute.delivered);
        self.refused = self.refused.saturating_add(minute.refused);
        self.gate_refused = self.gate_refused.saturating_add(minute.gate_refused);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(at: &str, stored: u64, refused: u64) -> TrafficMinute {
        TrafficMinute { at: at.to_owned(), stored, delivered: stored, refused, gate_refused: 1 }
    }

    #[test]
    fn draws_steps_up_to_now() {
        let minutes = vec![
            minute("2026-01-31T11:58:00.000Z", 4, 0),
            minute("2026-01-31T11:59:00.000Z", 4, 0),
            minute("2026-01-31T12:00:00.000Z", 0, 2),
        ];
        let chart = TrafficChart::new(TrafficAnswer { since: "S".to_owned(), minutes });
        assert_eq!((chart.upper.top, chart.upper.max, chart.is_partial), (5, 4, true));
        assert_eq!(chart.upper.lines[0].line, "M57 20H59V100H60");
        assert_eq!(chart.upper.lines[0].area, "M57 20H59V100H60V100H57Z");
        assert_eq!((chart.lower.top, chart.lower.lines[0].line.as_str()), (5, "M57 80H59V40H60"));
        let hours: Vec<_> =
            chart.hours.iter().map(|hour| (hour.at.as_str(), hour.stored, hour.refused)).collect();
        assert_eq!(hours, [("2026-01-31T12:00:00.000Z", 0, 2), ("2026-01-31T11:00:00.000Z", 8, 0)]);
        assert_eq!((chart.totals.stored, chart.totals.gate_refused), (8, 3));
    }

    #[test]
    fn draws_nothing_and_everything() {
        let empty = TrafficChart::new(TrafficAnswer { since: String::new(), minutes: Vec::new() });
        assert_eq!((empty.upper.lines[0].line.as_str(), empty.upper.lines[0].area.as_str()), ("", ""));
        let minutes = vec![minute("2026-01-31T11:58:00.000Z", u64::MAX, 0); 3_000];
        let full = TrafficChart::new(TrafficAnswer { since: String::new(), minutes });
        assert_eq!((full.is_partial, full.upper.lines[0].line.as_str()), (false, "M0 99H1440"));
    }

    #[test]
    fn rounds_the_scale() {
        for (max, top) in [(0, 1), (1, 1), (3, 5), (10, 10), (11, 20), (501, 1_000), (u64::MAX, u64::MAX)] {
            assert_eq!(round_up(max), top);
        }
    }
}
