//! Stage 1: which hook a path belongs to, and what a hook is.

mod parse;

use crate::Reason;
use crate::answer::Answers;
use crate::confirm::Provider;
use crate::dialect::{Dialect, Schema};
pub use crate::enforcement::{Check, Checks, Mode, Quarantine};
use crate::result_url::ResultUrl;
use crate::sign::Signer;
use crate::source::Source;
use crate::token::{TokenKeys, TokenRequirement};
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
    pub token: Option<TokenRequirement>,
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

/// What all hooks of a configuration share: its name, and the sections beside `hooks`.
#[derive(Debug)]
pub(crate) struct SharedSections {
    pub(crate) environment: String,
    pub(crate) token: Option<Arc<TokenKeys>>,
    pub(crate) confirm: Option<Arc<Provider>>,
    pub(crate) sign: Option<Arc<Signer>>,
}

/// A hook, and the token in the path that led to it.
pub type HookMatch<'h, 'p> = (&'h Arc<Hook>, Option<&'p [u8]>);

/// The hook of a path, and the token in it. Whatever follows `?` is ignored.
///
/// A hook that takes a token is found without one as well: that is a missing token, not an unknown hook.
///
/// # Errors
/// [`Reason::UnknownHook`].
pub fn find<'h, 'p>(hooks: &'h [Arc<Hook>], path: &'p [u8]) -> Result<HookMatch<'h, 'p>, Reason> {
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

/// Host properties that a hook needs. Each is an expensive host call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequiredProperties {
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

impl Hook {
    /// The host properties that it needs.
    pub fn required_properties(&self) -> RequiredProperties {
        RequiredProperties {
            hop: matches!(self.transport, Transport::TlsHere),
            source: matches!(self.source, Source::In(_)),
            peer: self.transport.is_behind_proxy(),
            time: self.token.is_some(),
        }
    }

    /// Whether one path could belong to both.
    pub(crate) fn meets(&self, other: &Hook) -> bool {
        let under =
            |path: &str, hook: &Hook| hook.token.is_some() && is_at_or_under(path.as_bytes(), &hook.path);
        self.path == other.path || under(&self.path, other) || under(&other.path, self)
    }
}
