//! Stage 1: which hook a path belongs to, and what a hook is.

use crate::Reason;
use crate::answer::Answers;
use crate::config::{ConfigError, Node, Shared};
use crate::confirm::Provider;
use crate::contract::token::audience;
use crate::dialect::{Dialect, Schema};
use crate::result_url::ResultUrl;
use crate::sign::Signer;
use crate::source::Source;
use crate::token::Expected;
use crate::transport::Transport;
use crate::trust::Trust;
use std::sync::Arc;

/// One guarded path, complete in itself.
#[derive(Debug)]
pub struct Hook {
    /// Its name in headers, logs and counters: `[a-z0-9-]{1,32}`.
    pub name: Arc<str>,
    /// The path without a query, and without the token's segment.
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
    /// What is asked of a token, the last segment of the path, where the hook takes one.
    pub token: Option<Expected>,
    /// How the provider is asked, where the trust rule names its word.
    pub confirm: Option<Arc<Provider>>,
    /// What becomes of proven deliveries that are wrong.
    pub quarantine: Quarantine,
    /// Who signs what leaves.
    pub sign: Option<Arc<Signer>>,
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

/// What becomes of a delivery that is proven, and wrong (`quarantine`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quarantine {
    /// It is forwarded as quarantined, and answered 200 once it is kept.
    Route,
    /// It is refused as a stranger's is.
    None,
}

/// Whether one check refuses (`checks`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// A flaw refuses.
    Enforce,
    /// A flaw is named in `blobgate-observed`.
    Observe,
    /// Nothing is checked. Only the prompt's check can be off.
    Off,
}

/// The checks that can be set one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checks {
    /// The allowlist.
    pub source: Check,
    /// The result URL.
    pub result_url: Check,
    /// The trust rule.
    pub trust: Check,
    /// The prompt that a token is bound to.
    pub prompt: Check,
}

/// A hook, and the token in the path that led to it.
pub type Found<'h, 'p> = (&'h Arc<Hook>, Option<&'p [u8]>);

/// The hook of a path, and the token in it. Whatever follows `?` is ignored.
///
/// A hook that takes a token is found without one as well: that is a missing token, not an unknown hook.
///
/// # Errors
/// [`Reason::UnknownHook`].
pub fn find<'h, 'p>(hooks: &'h [Arc<Hook>], path: &'p [u8]) -> Result<Found<'h, 'p>, Reason> {
    let path = path.split(|byte| *byte == b'?').next().unwrap_or(path);
    let under = |hook: &'h Arc<Hook>| {
        let rest = path.strip_prefix(hook.path.as_bytes())?;
        match (rest, &hook.token) {
            ([], _) | ([b'/'], Some(_)) => Some((hook, None)),
            ([b'/', segment @ ..], Some(_)) if !segment.contains(&b'/') => Some((hook, Some(segment))),
            _ => None,
        }
    };
    hooks.iter().find_map(under).ok_or(Reason::UnknownHook)
}

/// What a hook has the host asked about a delivery. Each of these is a call, and the dearest there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asks {
    /// Whether this hop used TLS.
    pub hop: bool,
    /// The client's address.
    pub source: bool,
    /// The direct peer's address.
    pub peer: bool,
    /// The time.
    pub time: bool,
}

/// The hook whose token `path` can hold, wherever in it.
pub fn taking_token<'h>(hooks: &'h [Arc<Hook>], path: &[u8]) -> Option<&'h Arc<Hook>> {
    hooks.iter().find(|hook| hook.token.is_some() && is_at_or_under(path, &hook.path))
}

fn is_at_or_under(path: &[u8], base: &str) -> bool {
    path.strip_prefix(base.as_bytes()).is_some_and(|rest| matches!(rest.first(), None | Some(b'/' | b'?')))
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
    /// What it has the host asked about a delivery.
    pub fn asks(&self) -> Asks {
        Asks {
            hop: matches!(self.transport, Transport::TlsHere),
            source: matches!(self.source, Source::In(_)),
            peer: self.transport.is_behind_proxy(),
            time: self.token.is_some(),
        }
    }

    pub(crate) fn parse(node: &Node<'_>, shared: &Shared) -> Result<Self, ConfigError> {
        let fields =
            node.fields(KEYS, "a hook: an object with name, path, dialect, source, trust and more")?;
        let name: Arc<str> = fields.required("name", "a name such as veo3")?.name()?.into();
        let path_node = fields.required("path", "a path such as /webhook")?;
        let (path, takes_token) = parse_path(&path_node)?;
        let dialect = Dialect::parse(&fields.required("dialect", "veo3")?)?;
        let source = Source::parse(&fields.required("source", "a list of addresses and ranges, or any")?)?;
        let trust_node = fields.required("trust", "open, {any_of: [...]} or {all_of: [...]}")?;
        let trust = Trust::parse(&trust_node)?;
        let token = match (trust.names_token(), takes_token, &shared.token) {
            (true, true, Some(keys)) => {
                Some(Expected { keys: Arc::clone(keys), audience: audience(&shared.environment, &name) })
            }
            (false, false, _) => None,
            (true, true, None) => {
                return Err(
                    trust_node.because("names token, and there is no section token", "one with its keys")
                );
            }
            (true, false, _) => {
                return Err(
                    path_node.because("takes no token, and trust names one", "it with /{token} at the end")
                );
            }
            (false, true, _) => {
                return Err(path_node.because("takes a token, and trust names none", "it without {token}"));
            }
        };
        let confirm = match (trust.names_confirmed(), &shared.confirm) {
            (true, None) => {
                return Err(trust_node
                    .because("names confirmed, and there is no section confirm", "one with a cluster"));
            }
            (true, Some(provider)) => Some(Arc::clone(provider)),
            (false, _) => None,
        };
        let quarantine_node = fields.required("quarantine", "route or none")?;
        let quarantine = Quarantine::parse(&quarantine_node)?;
        if quarantine == Quarantine::Route && trust == Trust::Open {
            return Err(quarantine_node.because("keeps what is proven, and trust is open", "none"));
        }
        let result_url = ResultUrl::parse(&fields.required("result_url", "a list of hosts, or any")?)?;
        let size = |key, least, most, default| match fields.optional(key) {
            Some(node) => node.whole_number(least, most),
            None => Ok(default),
        };
        let checks = match fields.optional("checks") {
            Some(node) => Checks::parse(&node, token.as_ref())?,
            None => Checks::DEFAULT,
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
            token,
            confirm,
            quarantine,
            sign: shared.sign.clone(),
            result_url,
            schema: fields.optional("schema").map_or(Ok(Schema::Tolerant), |node| Schema::parse(&node))?,
            answers: fields.optional("answers").map_or(Ok(Answers::Status), |node| Answers::parse(&node))?,
            max_body_bytes: size("max_body_bytes", LEAST_BODY_BYTES, MOST_BODY_BYTES, DEFAULT_BODY_BYTES)?,
            max_depth: size("max_depth", LEAST_DEPTH, MOST_DEPTH, DEFAULT_DEPTH)?,
            checks,
        })
    }
}

impl Hook {
    /// Whether one path could belong to both.
    pub(crate) fn meets(&self, other: &Hook) -> bool {
        let under =
            |path: &str, hook: &Hook| hook.token.is_some() && is_at_or_under(path.as_bytes(), &hook.path);
        self.path == other.path || under(&self.path, other) || under(&other.path, self)
    }
}

impl Mode {
    fn parse(node: &Node<'_>) -> Result<Self, ConfigError> {
        node.one_of(&[("enforce", Mode::Enforce), ("observe", Mode::Observe)])
    }
}

impl Quarantine {
    fn parse(node: &Node<'_>) -> Result<Self, ConfigError> {
        node.one_of(&[("route", Quarantine::Route), ("none", Quarantine::None)])
    }
}

impl Checks {
    const DEFAULT: Self = Self {
        source: Check::Enforce,
        result_url: Check::Enforce,
        trust: Check::Enforce,
        prompt: Check::Off,
    };

    fn parse(node: &Node<'_>, token: Option<&Expected>) -> Result<Self, ConfigError> {
        let fields = node.fields(
            &["source", "result_url", "trust", "prompt"],
            "an object with some of source, result_url, trust and prompt",
        )?;
        let check = |key: &str| fields.optional(key).map_or(Ok(Check::Enforce), |node| Check::parse(&node));
        let prompt = match fields.optional("prompt") {
            // Unquoted, YAML's `off` arrives as the boolean false.
            Some(node) if node.is_false() => Check::Off,
            Some(node) => {
                const WORDS: &[(&str, Check)] =
                    &[("enforce", Check::Enforce), ("observe", Check::Observe), ("off", Check::Off)];
                match (node.one_of(WORDS)?, token) {
                    (Check::Enforce | Check::Observe, None) => {
                        return Err(node.because("is about a token, and the path takes none", "off"));
                    }
                    (check, _) => check,
                }
            }
            None => Check::Off,
        };
        Ok(Self {
            source: check("source")?,
            result_url: check("result_url")?,
            trust: check("trust")?,
            prompt,
        })
    }
}

impl Check {
    fn parse(node: &Node<'_>) -> Result<Self, ConfigError> {
        node.one_of(&[("enforce", Check::Enforce), ("observe", Check::Observe)])
    }
}

/// The path before a `{token}`, and whether there is one. Plain segments only: what Envoy's path normalisation, a proxy
/// or a human could read in two ways does not load.
fn parse_path(node: &Node<'_>) -> Result<(String, bool), ConfigError> {
    const RIGHT: &str = "a path such as /webhook or /hooks/veo3/{token}: segments of A-Z a-z 0-9 . _ ~ -, with no slash at the end";
    let text = node.text(RIGHT)?;
    let (path, takes_token) = match text.strip_suffix("/{token}") {
        Some(path) => (path, true),
        None => (text, false),
    };
    let is_plain = |segment: &str| {
        !segment.is_empty()
            && segment != "."
            && segment != ".."
            && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~-".contains(&b))
    };
    match path.strip_prefix('/') {
        Some(segments) if segments.split('/').all(is_plain) => Ok((path.to_owned(), takes_token)),
        _ => Err(node.wrong(RIGHT)),
    }
}
