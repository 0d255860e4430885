//! The log: a line for each delivery that an operator may look for. Each kind of line has its own limit, 10 a second, and a
//! count of its omitted lines.

use super::{Gate, Host, LogHost, Property, locked};
use crate::Violation;
use crate::confirm::Outcome;
use crate::contract::{header, is_request_id};
use crate::event::GenerationId;
use crate::hook::Hook;
use crate::policy::{Delivery, Disposition};
use crate::token::Token;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

/// A line has some 150 bytes, so 10 a second of one kind are 130 MB a day.
const MAX_LINES_PER_SECOND: u32 = 10;
const SECOND: Duration = Duration::from_secs(1);
/// Envoy's reason for a response names the cause in its first bytes.
const MAX_DETAILS: usize = 120;

/// A kind of line. Lines of one kind never displace those of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineKind {
    /// A refused delivery. Any client can cause these lines.
    Refused,
    /// A quarantined delivery.
    Quarantined,
    /// An accepted delivery with a token that is not valid.
    Token,
    /// A delivery that the gate refused because the status API gave no usable response.
    Confirmation,
    /// A delivery that the inbox or the service did not accept.
    Upstream,
}

/// A line about a delivery.
pub(super) struct Line<'a> {
    pub(super) kind: LineKind,
    pub(super) verdict: &'a str,
    pub(super) violation: Option<Violation>,
    pub(super) hook: Option<&'a Arc<Hook>>,
    pub(super) id: Option<GenerationId>,
    pub(super) cause: Cause<'a>,
}

/// The cause behind the reason, for the last fields of a line.
#[derive(Clone, Copy)]
pub(super) enum Cause<'a> {
    /// The judged token, and the outcome of the confirmation.
    Judged { token: Option<&'a Token>, confirmation: Option<Outcome> },
    /// The `:status` of the response that the gate replaced.
    Response { status: &'a [u8] },
}

/// The limit of lines a second, for each kind.
#[derive(Debug, Default)]
pub(super) struct LogLimit {
    buckets: [Bucket; LineKind::ALL.len()],
    is_ticking: bool,
}

/// The lines of one kind in one second. It uses a monotonic clock, so that a change of the wall clock has no effect.
#[derive(Debug, Default)]
struct Bucket {
    second: Option<Duration>,
    written: u32,
    omitted: u64,
}

/// The limit's decision on a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineDecision {
    Write,
    /// Omit the line, and start the tick that reports the count.
    OmitFirst,
    Omit,
}

/// The line of a forwarded delivery, if it has one.
pub(super) fn kind_of(delivery: &Delivery) -> Option<(LineKind, Option<Violation>)> {
    match (delivery.disposition(), delivery.token()) {
        (Disposition::Quarantined { violation, .. }, _) => Some((LineKind::Quarantined, Some(*violation))),
        // Another proof covers for the token, or its check only observes. Without a line it stays unseen.
        (Disposition::Accepted(_), token @ (Token::Invalid(_) | Token::OutOfScope { .. })) => {
            Some((LineKind::Token, token.rejection()))
        }
        _ => None,
    }
}

impl Gate {
    /// Reports the numbers of omitted lines, once their second is over. The tick runs only while there are omitted lines.
    pub fn on_tick(&self, host: &mut impl LogHost) {
        let now = host.uptime();
        for kind in LineKind::ALL {
            let omitted = locked(&self.log).bucket(kind).start_second(now);
            self.report_omitted(host, kind, omitted);
        }
        if locked(&self.log).stops_ticking() {
            host.set_tick_period(Duration::ZERO);
        }
    }

    /// Writes the line of a refused delivery.
    pub(super) fn log_refusal(
        &self,
        host: &mut impl Host,
        hook: Option<&Arc<Hook>>,
        violation: Violation,
        id: Option<GenerationId>,
        cause: Cause<'_>,
    ) {
        let kind = match cause {
            // No client can cause these outcomes.
            Cause::Judged { confirmation: Some(outcome), .. } if outcome.is_failure_of_provider() => {
                LineKind::Confirmation
            }
            _ => LineKind::Refused,
        };
        self.log(host, &Line { kind, verdict: "refused", violation: Some(violation), hook, id, cause });
    }

    /// Writes the line of a response that is not the gate's.
    pub(super) fn log_response(
        &self,
        host: &mut impl Host,
        verdict: &str,
        violation: Option<Violation>,
        hook: &Arc<Hook>,
        id: Option<GenerationId>,
        status: &[u8],
    ) {
        let (kind, cause) = (LineKind::Upstream, Cause::Response { status });
        self.log(host, &Line { kind, verdict, violation, hook: Some(hook), id, cause });
    }

    /// Writes a line, within the limit of its kind.
    pub(super) fn log(&self, host: &mut impl Host, line: &Line<'_>) {
        let now = host.uptime();
        let (omitted, decision) = {
            let mut log = locked(&self.log);
            (log.bucket(line.kind).start_second(now), log.take(line.kind))
        };
        self.report_omitted(host, line.kind, omitted);
        match decision {
            LineDecision::Write => {
                let text = self.text(host, line);
                host.log(&text);
            }
            LineDecision::OmitFirst => host.set_tick_period(SECOND),
            LineDecision::Omit => {}
        }
    }

    /// A line such as `blobgate verdict=refused reason=source-denied hook=veo3 source=203.0.113.9 id=- environment=production`.
    /// It never contains a header value, a path or a body. Of a token it has at most the `kid`.
    fn text(&self, host: &mut impl Host, line: &Line<'_>) -> String {
        let source = host.property(Property::Source);
        let mut text = format!(
            "blobgate verdict={} reason={} hook={} source={} id={} environment={}",
            line.verdict,
            line.violation.map_or("-", |violation| violation.reason.code()),
            line.hook.map_or("-", |hook| &hook.name),
            source.as_deref().map_or_else(|| "-".to_owned(), without_port),
            line.id.map_or_else(|| "-".to_owned(), GenerationId::text),
            self.config.environment,
        );
        if let Some(id) = request_id(host) {
            let _ = write!(text, " request_id={id}");
        }
        match line.cause {
            Cause::Judged { token, confirmation } => {
                if let Some(outcome) = confirmation.filter(|outcome| *outcome != Outcome::Confirmed) {
                    let _ = write!(text, " confirm={}", outcome.name());
                }
                if let Some(token @ (Token::Invalid(_) | Token::OutOfScope { .. })) = token {
                    let _ = write!(text, " token={} kid={}", token.outcome(), token.kid().unwrap_or("-"));
                }
            }
            Cause::Response { status } => {
                let details = host.property(Property::ResponseCodeDetails).unwrap_or_default();
                let details = visible(&details, MAX_DETAILS);
                let _ = write!(text, " response={} details={details}", visible(status, 3));
            }
        }
        // Last, because it contains spaces.
        if let Some(detail) = line.violation.and_then(|violation| violation.text()) {
            let _ = write!(text, " detail=\"{detail}\"");
        }
        text
    }

    fn report_omitted(&self, host: &mut impl LogHost, kind: LineKind, omitted: Option<u64>) {
        if let Some(count) = omitted {
            let (kind, environment) = (kind.name(), &self.config.environment);
            host.log(&format!("blobgate lines-left-out={count} kind={kind} environment={environment}"));
        }
    }
}

impl LineKind {
    const ALL: [Self; 5] =
        [Self::Refused, Self::Quarantined, Self::Token, Self::Confirmation, Self::Upstream];

    const fn name(self) -> &'static str {
        match self {
            LineKind::Refused => "refused",
            LineKind::Quarantined => "quarantined",
            LineKind::Token => "token",
            LineKind::Confirmation => "confirmation",
            LineKind::Upstream => "upstream",
        }
    }
}

impl LogLimit {
    fn bucket(&mut self, kind: LineKind) -> &mut Bucket {
        let [refused, quarantined, token, confirmation, upstream] = &mut self.buckets;
        match kind {
            LineKind::Refused => refused,
            LineKind::Quarantined => quarantined,
            LineKind::Token => token,
            LineKind::Confirmation => confirmation,
            LineKind::Upstream => upstream,
        }
    }

    /// Decides on one line of this second.
    fn take(&mut self, kind: LineKind) -> LineDecision {
        if self.bucket(kind).take() {
            return LineDecision::Write;
        }
        // To start a running tick again would postpone it.
        if std::mem::replace(&mut self.is_ticking, true) {
            LineDecision::Omit
        } else {
            LineDecision::OmitFirst
        }
    }

    /// Whether the tick stops: no kind has omitted a line since its last count.
    fn stops_ticking(&mut self) -> bool {
        self.is_ticking = self.buckets.iter().any(|bucket| bucket.omitted > 0);
        !self.is_ticking
    }
}

impl Bucket {
    /// Starts a new second at `now` if the last one is over. Returns the number of lines that the last one omitted.
    fn start_second(&mut self, now: Duration) -> Option<u64> {
        if self.second.is_some_and(|second| now.saturating_sub(second) < SECOND) {
            return None;
        }
        let omitted = Some(self.omitted).filter(|count| *count > 0);
        *self = Self { second: Some(now), written: 0, omitted: 0 };
        omitted
    }

    /// Whether this second may have one more line.
    fn take(&mut self) -> bool {
        let may = self.written < MAX_LINES_PER_SECOND;
        let count = u64::from(!may);
        self.written = self.written.saturating_add(u32::from(may));
        self.omitted = self.omitted.saturating_add(count);
        may
    }
}

/// The request's id, if it has a safe form. While Envoy's router has not run, the client's own is in a header of its own.
fn request_id(host: &mut impl Host) -> Option<String> {
    let mut safe = |name| {
        let id = String::from_utf8(host.request_header(name)?).ok()?;
        is_request_id(&id).then_some(id)
    };
    safe(header::CLIENT_REQUEST_ID).or_else(|| safe(header::REQUEST_ID))
}

/// The first bytes of Envoy's text, without bytes that could end the field or the line.
fn visible(text: &[u8], max: usize) -> String {
    let visible =
        text.iter().take(max).map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '_' });
    let visible: String = visible.collect();
    if visible.is_empty() { "-".to_owned() } else { visible }
}

/// Returns `203.0.113.9` for `203.0.113.9:4711`, and `2001:db8::1` for `[2001:db8::1]:4711`.
fn without_port(address: &[u8]) -> String {
    let address = String::from_utf8_lossy(address);
    match address.parse::<std::net::SocketAddr>() {
        Ok(address) => address.ip().to_string(),
        Err(_) => address.into_owned(),
    }
}
