//! Stage 1: finds the hook of a path.

mod list;
mod parse;

pub use list::Hooks;
#[cfg(not(target_family = "wasm"))]
pub(crate) use parse::section;
pub use parse::{DEFAULT_BODY_BYTES, MAX_BODY_BYTES};

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
use crate::violation::Detail;
use crate::{Reason, Violation};
use std::sync::Arc;

/// One guarded path with its rules.
#[derive(Debug)]
pub struct Hook {
    /// The name in headers, logs and counters: `[a-z0-9-]{1,32}`.
    pub name: Arc<str>,
    /// The path without a query, and without the token's segment.
    pub path: String,
    /// The form of the payload.
    pub dialect: Dialect,
    /// The effect of violations.
    pub mode: Mode,
    /// The rule for the connection.
    pub transport: Transport,
    /// The allowlist of client addresses.
    pub source: Source,
    /// The trust rule.
    pub trust: Trust,
    /// The rule for the token in the last segment of the path, if the hook takes one.
    pub token: Option<TokenRequirement>,
    /// The provider's status API, if the trust rule names `confirmed`.
    pub confirm: Option<Arc<Provider>>,
    /// The effect of an authenticated sender's violation.
    pub quarantine: Quarantine,
    /// The signer of forwarded deliveries.
    pub sign: Option<Arc<Signer>>,
    /// The allowlist of result hosts.
    pub result_url: ResultUrl,
    /// The effect of drift.
    pub schema: Schema,
    /// The part of the service's response that the sender gets.
    pub answers: Answers,
    /// The largest size of a body, in bytes.
    pub max_body_bytes: usize,
    /// The largest nesting of a body. The outermost object counts as 1.
    pub max_depth: usize,
    /// The effect of single checks.
    pub checks: Checks,
}

/// The environment's name and the sections that all hooks share.
#[derive(Debug)]
pub(crate) struct SharedSections {
    pub(crate) environment: String,
    pub(crate) token: Option<Arc<TokenKeys>>,
    pub(crate) confirm: Option<Arc<Provider>>,
    pub(crate) sign: Option<Arc<Signer>>,
}

/// The hook of a path, and the token in the path.
pub type HookMatch<'h, 'p> = (&'h Arc<Hook>, Option<&'p [u8]>);

/// Finds the hook of a path, and the token in the path. The query is ignored.
///
/// A path without a token also matches a hook that takes one: the violation is then a missing token, not an unknown hook.
///
/// # Errors
/// [`Reason::UnknownHook`].
pub fn find<'h, 'p>(hooks: &'h Hooks, path: &'p [u8]) -> Result<HookMatch<'h, 'p>, Violation> {
    matched(hooks.locate(path))
}

/// The result of [`find`] for a hook and what follows its path.
pub(crate) fn matched<'h, 'p>(
    located: Option<(&'h Arc<Hook>, &'p [u8])>,
) -> Result<HookMatch<'h, 'p>, Violation> {
    const UNKNOWN: Violation =
        Detail::new("path", "matches no hook", "the path of a hook").of(Reason::UnknownHook);
    let (hook, rest) = located.ok_or(UNKNOWN)?;
    match rest.split(|byte| *byte == b'?').next() {
        None | Some([] | [b'/']) => Ok((hook, None)),
        Some([_, segment @ ..]) if !segment.contains(&b'/') => Ok((hook, Some(segment))),
        _ => Err(UNKNOWN),
    }
}

/// The host properties that a hook needs. Each is an expensive host call.
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

impl Hook {
    /// The host properties that the hook needs.
    pub fn required_properties(&self) -> RequiredProperties {
        RequiredProperties {
            hop: matches!(self.transport, Transport::TlsHere),
            source: matches!(self.source, Source::In(_)),
            peer: self.transport.is_behind_proxy(),
            time: self.token.is_some(),
        }
    }

    /// Whether the gate may quarantine a delivery at this hook for this reason.
    pub(crate) fn may_quarantine_for(&self, reason: Reason) -> bool {
        use Reason::*;
        let enforces_trust = self.checks.trust == Check::Enforce;
        let by_token = self.trust.names_token();
        let by_provider = self.trust.names_confirmed() && enforces_trust;
        if self.mode == Mode::Observe || self.quarantine == Quarantine::None || !(by_token || by_provider) {
            return false;
        }
        match reason {
            UnknownHook | HttpsRequired | MethodNotAllowed | BodyTooLarge => false,
            // Such a token authenticates no sender.
            TokenMissing | TokenInvalid => false,
            HostMisconfigured | UpstreamError | NotJudged => false,
            SourceDenied => matches!(self.source, Source::In(_)) && self.checks.source == Check::Enforce,
            HeaderInvalid | UnsupportedEncoding => true,
            TokenAudience | TokenExpired => by_token && enforces_trust,
            // The status API cannot confirm a delivery without a readable event.
            BodyMissing | JsonInvalid | JsonTooDeep | JsonDuplicateKey | GenerationIdInvalid => by_token,
            SchemaInvalid => by_token || self.schema == Schema::Strict,
            ResultUrlDenied => self.checks.result_url == Check::Enforce,
            TokenMismatch => by_token && self.checks.prompt == Check::Enforce,
            NotConfirmed | ConfirmUnavailable => self.trust == Trust::TokenAndConfirmed && enforces_trust,
        }
    }
}
