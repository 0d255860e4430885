//! Parses a hook from its section of the configuration.

use super::{Hook, SharedSections, TokenRequirement};
use crate::answer::Answers;
use crate::confirm::Provider;
use crate::contract::token::audience;
use crate::dialect::{Dialect, Schema};
use crate::enforcement::{Checks, Mode, Quarantine};
use crate::result_url::ResultUrl;
#[cfg(not(target_family = "wasm"))]
use crate::settings::ValueForm;
use crate::settings::{ConfigError, Node, keys};
use crate::source::Source;
use crate::transport::Transport;
use crate::trust::Trust;
use std::sync::Arc;

/// The largest `max_body_bytes`. Envoy buffers 1 MiB of a request by default, and sends its own 413 for more.
pub const MAX_BODY_BYTES: usize = 1_000_000;
/// The smallest `max_body_bytes`. The documented samples fit.
const MIN_BODY_BYTES: usize = 1_024;
/// The default `max_body_bytes`. A prompt of 4,000 emoji, escaped, is 48 KB.
pub const DEFAULT_BODY_BYTES: usize = 65_536;
/// The largest `max_depth`, below the 128 of serde_json.
const MAX_DEPTH: usize = 64;
/// The depth of a documented failure, `error.details`.
const MIN_DEPTH: usize = 3;
const DEFAULT_DEPTH: usize = 16;

keys! {
    /// A hook: one guarded path with its rules.
    "hooks[]": KEYS, section {
        /// The hook's name in logs, counters, headers and token audiences. No two hooks share one.
        "name": ValueForm::name();
        /// The path, matched exactly. The gate ignores the query and removes it before the service. `/{token}` stands at the
        /// end exactly when `trust` names `token`; services get the path without it. No path is below a path with a token.
        "path": path_form();
        /// The form of the provider's payloads.
        "dialect": ValueForm::words(&Dialect::words());
        /// `enforce` refuses violations. `observe` forwards every delivery with its verdict, refuses only `unknown-hook`, and
        /// never calls the status API.
        "mode": ValueForm::words(Mode::WORDS) => "`enforce`";
        /// The encryption. `tls_here`: this Envoy ends TLS. `any` also accepts plain HTTP.
        "transport": crate::transport::form() => "`tls_here`";
        /// The client addresses that may call. A list that covers all of IPv4 or IPv6 does not load.
        "source": crate::source::form();
        /// The proofs that authenticate senders. `open` authenticates no sender.
        "trust": crate::trust::form();
        /// `strict` refuses drift as `schema-invalid`.
        "schema": ValueForm::words(Schema::WORDS) => "`tolerant`";
        /// The hosts of results. A wildcard matches every name below, but not the name itself. `any` matches every https URL.
        "result_url": crate::result_url::form();
        /// The effect of an authenticated sender's violation. `route` forwards the delivery as quarantined. `none` refuses it, and
        /// is the only value for `trust: open`.
        "quarantine": ValueForm::words(Quarantine::WORDS);
        /// The response to the sender. `status`: 200 or 503 with the service's body; a plain 200 is unchanged, other
        /// responses lose `retry-after`, `location` and `set-cookie`. `receipt`: a body of the gate, and no header of the service.
        "answers": ValueForm::words(Answers::WORDS) => "`status`";
        /// The largest size of a body, in bytes. A prompt of 4,000 emoji, escaped, has 48 KB.
        "max_body_bytes": ValueForm::whole_number(MIN_BODY_BYTES, MAX_BODY_BYTES) => format!("`{DEFAULT_BODY_BYTES}`");
        /// The largest nesting of a body. The outermost object counts as 1.
        "max_depth": ValueForm::whole_number(MIN_DEPTH, MAX_DEPTH) => format!("`{DEFAULT_DEPTH}`");
        /// Checks that only observe.
        "checks": ValueForm::section("checks") => "all enforced, `prompt` off";
    }
}

impl Hook {
    pub(crate) fn parse(node: &Node<'_>, shared: &SharedSections) -> Result<Self, ConfigError> {
        let fields =
            node.fields(KEYS, "a hook: an object with name, path, dialect, source, trust and more")?;
        let name: Arc<str> = fields.required("name", "a name such as veo3")?.name()?.into();
        let path_node = fields.required("path", "a path such as /webhook")?;
        let (path, takes_token) = parse_path(&path_node)?;
        let dialect = Dialect::parse(&fields.required("dialect", &Dialect::names())?)?;
        let source = Source::parse(&fields.required("source", "a list of addresses and ranges, or any")?)?;
        let trust_node = fields.required("trust", "open, {any_of: [...]} or {all_of: [...]}")?;
        let trust = Trust::parse(&trust_node)?;
        let token = match (trust.names_token(), takes_token) {
            (true, true) => Some(TokenRequirement {
                keys: shared.token.clone().ok_or_else(|| {
                    trust_node.conflict(
                        "names token, and the section token is missing",
                        "a section token with keys",
                    )
                })?,
                audience: audience(&shared.environment, &name),
            }),
            (false, false) => None,
            (true, false) => {
                return Err(path_node
                    .conflict("takes no token, and trust names one", "the path with /{token} at its end"));
            }
            (false, true) => {
                return Err(
                    path_node.conflict("takes a token, and trust names none", "the path without {token}")
                );
            }
        };
        let confirm = parse_provider(trust, &trust_node, shared)?;
        let quarantine = parse_quarantine(trust, &fields.required("quarantine", "route or none")?)?;
        let result_url = ResultUrl::parse(&fields.required("result_url", "a list of hosts, or any")?)?;
        let size = |key, min, max, default| match fields.optional(key) {
            Some(node) => node.whole_number(min, max),
            None => Ok(default),
        };
        let checks = match fields.optional("checks") {
            Some(node) => Checks::parse(&node, takes_token)?,
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
            max_body_bytes: size("max_body_bytes", MIN_BODY_BYTES, MAX_BODY_BYTES, DEFAULT_BODY_BYTES)?,
            max_depth: size("max_depth", MIN_DEPTH, MAX_DEPTH, DEFAULT_DEPTH)?,
            checks,
        })
    }
}

fn parse_provider(
    trust: Trust,
    node: &Node<'_>,
    shared: &SharedSections,
) -> Result<Option<Arc<Provider>>, ConfigError> {
    match (trust.names_confirmed(), &shared.confirm) {
        (true, None) => Err(node.conflict(
            "names confirmed, and the section confirm is missing",
            "a section confirm with cluster and authority",
        )),
        (true, Some(provider)) => Ok(Some(Arc::clone(provider))),
        (false, _) => Ok(None),
    }
}

fn parse_quarantine(trust: Trust, node: &Node<'_>) -> Result<Quarantine, ConfigError> {
    match (Quarantine::parse(node)?, trust) {
        (Quarantine::Route, Trust::Open) => {
            Err(node.conflict("needs authenticated senders, and trust is open", "none"))
        }
        (quarantine, _) => Ok(quarantine),
    }
}

/// The path before `{token}`, and whether it has one. Only plain segments load: Envoy's path normalisation, a proxy or a
/// person could read others in two ways.
fn parse_path(node: &Node<'_>) -> Result<(String, bool), ConfigError> {
    const EXPECTED: &str = "a path such as /webhook or /hooks/veo3/{token}: segments of A-Z a-z 0-9 . _ ~ -, with no slash at the end";
    let text = node.text(EXPECTED)?;
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
        _ => Err(node.invalid(EXPECTED)),
    }
}

#[cfg(not(target_family = "wasm"))]
fn path_form() -> ValueForm {
    const PATH: &str = "(?:/[A-Za-z0-9._~-]+)+";
    const WRITTEN: &str = "segments of `A-Z a-z 0-9 . _ ~ -`, such as `/webhook` or `/hooks/veo3/{token}`";
    ValueForm::text(WRITTEN, &format!(r"{PATH}(?:/\{{token\}})?")).without(r"/\.{1,2}(?:/|$)")
}
