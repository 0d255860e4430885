//! Stage 1: which hook a path belongs to, and what a hook is.

use crate::Reason;
use crate::answer::Answers;
use crate::config::{ConfigError, Node, not_in_this_version};
use crate::dialect::{Dialect, Schema};
use crate::policy::Trust;
use crate::result_url::ResultUrl;
use crate::source::Source;
use crate::transport::Transport;
use std::sync::Arc;

/// One guarded path, complete in itself.
#[derive(Debug)]
pub struct Hook {
    /// Its name in headers, logs and counters: `[a-z0-9-]{1,32}`.
    pub name: Arc<str>,
    /// The path, matched exactly, without a query.
    pub path: String,
    /// The shape of the payload.
    pub dialect: Dialect,
    /// Whether flaws refuse or are only marked.
    pub mode: Mode,
    /// What is asked of the connection.
    pub transport: Transport,
    /// Who may call.
    pub source: Source,
    /// Whose word counts.
    pub trust: Trust,
    /// Where results may be downloaded from.
    pub result_url: ResultUrl,
    /// What drift does.
    pub schema: Schema,
    /// What the sender hears of the upstream's answer.
    pub answers: Answers,
    /// The largest body, in bytes.
    pub max_body_bytes: usize,
    /// The deepest nesting of a body: its outermost object is 1.
    pub max_depth: usize,
    /// Which single checks only mark.
    pub checks: Checks,
}

/// Whether a hook's flaws refuse (`mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They refuse.
    Enforce,
    /// Everything is judged, marked and forwarded.
    Observe,
}

/// Whether one check refuses (`checks`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// A flaw refuses.
    Enforce,
    /// A flaw is named in `blobgate-observed`.
    Observe,
}

/// The checks that can be set one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checks {
    /// The allowlist.
    pub source: Check,
    /// The result URL.
    pub result_url: Check,
}

/// The hook of a path. Whatever follows `?` is ignored.
///
/// # Errors
/// [`Reason::UnknownHook`].
pub fn find<'h>(hooks: &'h [Arc<Hook>], path: &[u8]) -> Result<&'h Arc<Hook>, Reason> {
    let path = path.split(|byte| *byte == b'?').next().unwrap_or(path);
    hooks.iter().find(|hook| hook.path.as_bytes() == path).ok_or(Reason::UnknownHook)
}

/// The largest `max_body_bytes`: below the 1 MiB that Envoy buffers of a request by default, past which it answers
/// its own 413.
const MOST_BODY_BYTES: usize = 1_000_000;
/// The smallest that still takes the documented samples.
const LEAST_BODY_BYTES: usize = 1_024;
/// A 4,000-character prompt of emoji, escaped, is 48 KB.
const DEFAULT_BODY_BYTES: usize = 65_536;
/// Below serde_json's own limit of 128.
const MOST_DEPTH: usize = 64;
/// The depth of a documented failure, `error.details`.
const LEAST_DEPTH: usize = 3;
const DEFAULT_DEPTH: usize = 16;

const KEYS: &[&str] = &[
    "name",
    "path",
    "dialect",
    "mode",
    "transport",
    "source",
    "trust",
    "schema",
    "result_url",
    "quarantine",
    "answers",
    "max_body_bytes",
    "max_depth",
    "checks",
];

impl Hook {
    pub(crate) fn parse(node: &Node<'_>) -> Result<Self, ConfigError> {
        let fields =
            node.fields(KEYS, "a hook: an object with name, path, dialect, source, trust and more")?;
        let name = fields.required("name", "a name such as veo3")?.name()?.into();
        let path = parse_path(&fields.required("path", "a path such as /webhook")?)?;
        let dialect = Dialect::parse(&fields.required("dialect", "veo3")?)?;
        let source = Source::parse(&fields.required("source", "a list of addresses and ranges, or any")?)?;
        let trust = Trust::parse(&fields.required("trust", "open")?)?;
        let result_url = ResultUrl::parse(&fields.required("result_url", "a list of hosts, or any")?)?;
        only_word(&fields.required("quarantine", "none")?, "none")?;
        let size = |key, least, most, default| match fields.optional(key) {
            Some(node) => node.whole_number(least, most),
            None => Ok(default),
        };
        Ok(Self {
            name,
            path,
            dialect,
            mode: fields.optional("mode").map_or(Ok(Mode::Enforce), |node| Mode::parse(&node))?,
            transport: fields
                .optional("transport")
                .map_or(Ok(Transport::TlsHere), |n| Transport::parse(&n))?,
            source,
            trust,
            result_url,
            schema: fields.optional("schema").map_or(Ok(Schema::Tolerant), |node| Schema::parse(&node))?,
            answers: fields.optional("answers").map_or(Ok(Answers::Status), |node| Answers::parse(&node))?,
            max_body_bytes: size("max_body_bytes", LEAST_BODY_BYTES, MOST_BODY_BYTES, DEFAULT_BODY_BYTES)?,
            max_depth: size("max_depth", LEAST_DEPTH, MOST_DEPTH, DEFAULT_DEPTH)?,
            checks: fields.optional("checks").map_or(Ok(Checks::ENFORCED), |node| Checks::parse(&node))?,
        })
    }
}

impl Mode {
    fn parse(node: &Node<'_>) -> Result<Self, ConfigError> {
        node.one_of(&[("enforce", Mode::Enforce), ("observe", Mode::Observe)])
    }
}

impl Checks {
    const ENFORCED: Self = Self { source: Check::Enforce, result_url: Check::Enforce };

    fn parse(node: &Node<'_>) -> Result<Self, ConfigError> {
        let fields = node.fields(
            &["source", "result_url", "trust", "prompt"],
            "an object with some of source, result_url, trust and prompt",
        )?;
        let check = |key: &str| fields.optional(key).map_or(Ok(Check::Enforce), |node| Check::parse(&node));
        // No trust that it could observe loads in this version, so that its setting has no effect yet.
        check("trust")?;
        match fields.optional("prompt") {
            // Unquoted, YAML's `off` arrives as the boolean false.
            Some(node) if node.as_text() != Some("off") && !node.is_false() => {
                return Err(match Check::parse(&node) {
                    Ok(_) => not_in_this_version(&node, "off"),
                    Err(_) => node.wrong("off"),
                });
            }
            _ => {}
        }
        Ok(Self { source: check("source")?, result_url: check("result_url")? })
    }
}

impl Check {
    fn parse(node: &Node<'_>) -> Result<Self, ConfigError> {
        node.one_of(&[("enforce", Check::Enforce), ("observe", Check::Observe)])
    }
}

/// The keys of which one value loads so far.
fn only_word(node: &Node<'_>, word: &str) -> Result<(), ConfigError> {
    if node.as_text() == Some(word) { Ok(()) } else { Err(not_in_this_version(node, word)) }
}

/// Plain segments only: what Envoy's path normalisation, a proxy or a human could read in two ways does not load.
fn parse_path(node: &Node<'_>) -> Result<String, ConfigError> {
    const RIGHT: &str = "a path such as /webhook: segments of A-Z a-z 0-9 . _ ~ -, with no slash at the end";
    let path = node.text(RIGHT)?;
    if path.contains(['{', '}']) {
        return Err(not_in_this_version(node, "a path without {token}"));
    }
    let is_plain = |segment: &str| {
        !segment.is_empty()
            && segment != "."
            && segment != ".."
            && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~-".contains(&b))
    };
    match path.strip_prefix('/') {
        Some(segments) if segments.split('/').all(is_plain) => Ok(path.to_owned()),
        _ => Err(node.wrong(RIGHT)),
    }
}
