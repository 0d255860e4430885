//! The formats of a scrape: OpenMetrics, and Prometheus' text format for clients that do not request OpenMetrics.
//!
//! `prometheus-client` writes OpenMetrics alone, and has no setting for the other one.

use axum::http::{HeaderMap, header};
use std::collections::BTreeSet;

/// A format of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExpositionFormat {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4, which tools and persons read.
    Text,
}

impl ExpositionFormat {
    /// The format that a client prefers (RFC 9110, section 12.5.1). A scraper names OpenMetrics; browsers and curl do not, and get
    /// text. A client that accepts neither gets text too: it can show that.
    pub(crate) fn preferred(headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let ranges: Vec<MediaRange> =
            accepted.flat_map(|value| value.split(',')).filter_map(MediaRange::parse).collect();
        let is_named = ranges.iter().any(|range| range.matches(Self::OpenMetrics) == Some(Match::Named));
        let weight = |format| {
            let best = ranges.iter().filter_map(|range| Some((range.matches(format)?, range.weight)));
            best.max_by_key(|(precision, weight)| (*precision, *weight)).map_or(0, |(_, weight)| weight)
        };
        let open = weight(Self::OpenMetrics);
        if is_named && open > 0 && open >= weight(Self::Text) { Self::OpenMetrics } else { Self::Text }
    }

    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    const fn media_type(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::OpenMetrics => ("application", "openmetrics-text", "1.0.0"),
            Self::Text => ("text", "plain", "0.0.4"),
        }
    }
}

/// How exactly a media range names a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Match {
    /// `*/*`
    Any,
    /// `text/*`
    Type,
    Named,
}

/// One element of `Accept`.
#[derive(Debug)]
struct MediaRange<'a> {
    r#type: &'a str,
    subtype: &'a str,
    version: Option<&'a str>,
    /// In thousandths.
    weight: u32,
}

impl<'a> MediaRange<'a> {
    /// `None` for an invalid range or weight.
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (r#type, subtype) = parts.next()?.split_once('/')?;
        let mut range = Self { r#type, subtype, version: None, weight: 1_000 };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            if name.eq_ignore_ascii_case("q") {
                range.weight = weight(value)?;
                // What follows belongs to no media type.
                break;
            }
            if name.eq_ignore_ascii_case("version") {
                range.version = Some(value.trim_matches('"'));
            }
        }
        Some(range)
    }

    fn matches(&self, format: ExpositionFormat) -> Option<Match> {
        let (r#type, subtype, version) = format.media_type();
        if (self.r#type, self.subtype) == ("*", "*") {
            return Some(Match::Any);
        }
        if !self.r#type.eq_ignore_ascii_case(r#type) {
            return None;
        }
        if self.subtype == "*" {
            return Some(Match::Type);
        }
        let is_named = self.subtype.eq_ignore_ascii_case(subtype);
        (is_named && self.version.is_none_or(|wanted| wanted == version)).then_some(Match::Named)
    }
}

/// A weight of up to three decimals, in thousandths: RFC 9110, section 12.4.2.
fn weight(text: &str) -> Option<u32> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let is_short = decimals.len() <= 3 && decimals.bytes().all(|byte| byte.is_ascii_digit());
    let thousandths: u32 = format!("{decimals:0<3}").parse().ok().filter(|_| is_short)?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1_000),
        _ => None,
    }
}

/// Rewrites OpenMetrics in Prometheus' text format: a counter's metadata has the name of its samples, and there are neither units
/// nor an end. No metric here has an exemplar, a creation time or another type that only OpenMetrics has.
pub(super) fn to_text(open: &str) -> String {
    let types = open.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let counters: BTreeSet<&str> =
        types.filter(|(_, kind)| *kind == "counter").map(|(name, _)| name).collect();
    let mut text = String::with_capacity(open.len());
    for line in open.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        let metadata = ["# TYPE ", "# HELP "].into_iter().find_map(|keyword| {
            let (name, rest) = line.strip_prefix(keyword)?.split_once(' ')?;
            counters.contains(name).then_some([keyword, name, "_total ", rest])
        });
        match metadata {
            Some(parts) => parts.iter().for_each(|part| text.push_str(part)),
            None => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::ExpositionFormat::{OpenMetrics, Text};
    use super::*;
    use axum::http::HeaderValue;

    #[track_caller]
    fn accepts(values: &[&str], expected: ExpositionFormat) {
        let headers = values.iter().map(|value| (header::ACCEPT, HeaderValue::from_str(value).unwrap()));
        assert_eq!(ExpositionFormat::preferred(&headers.collect()), expected, "{values:?}");
    }

    #[test]
    fn a_scraper_gets_openmetrics() {
        // Prometheus 2.42.
        accepts(
            &[
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            ],
            OpenMetrics,
        );
        // Prometheus 3.
        accepts(
            &[
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            ],
            OpenMetrics,
        );
        accepts(&["application/openmetrics-text"], OpenMetrics);
        accepts(&["Application/OpenMetrics-Text; Version=\"1.0.0\" ; Q=0.1"], OpenMetrics);
        accepts(&["text/plain;q=0.2", "application/openmetrics-text; q=0.3"], OpenMetrics);
        accepts(&["text/plain, application/openmetrics-text"], OpenMetrics);
    }

    #[test]
    fn others_get_text() {
        accepts(&[], Text);
        accepts(&["*/*"], Text);
        accepts(&["application/*"], Text);
        accepts(&["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], Text);
        accepts(&["application/openmetrics-text;q=0.4,text/plain;q=0.5"], Text);
        accepts(&["application/openmetrics-text;q=0, */*;q=0.1"], Text);
        accepts(&["application/openmetrics-text;q=0.5, */*"], Text);
        // An older version has other rules.
        accepts(&["application/openmetrics-text;version=0.0.1"], Text);
        for weight in ["2", "1.001", "0.1234", "-1", "x", ""] {
            accepts(&[&format!("application/openmetrics-text;q={weight}")], Text);
        }
        accepts(&["application/json", "", ";;", "text"], Text);
    }

    #[test]
    fn rewrites_the_metadata_of_counters() {
        let open = "# HELP a_received Some a_received.\n# TYPE a_received counter\na_received_total{b=\"# EOF\"} 1\n\
            # HELP a_wait_seconds Age.\n# TYPE a_wait_seconds gauge\n# UNIT a_wait_seconds seconds\na_wait_seconds 2\n# EOF\n";
        let text = "# HELP a_received_total Some a_received.\n# TYPE a_received_total counter\na_received_total{b=\"# EOF\"} 1\n\
            # HELP a_wait_seconds Age.\n# TYPE a_wait_seconds gauge\na_wait_seconds 2\n";
        assert_eq!(to_text(open), text);
    }
}
