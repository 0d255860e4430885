//! Stage 5: verifies the callback token, which proves that the sender has its URL from the team.
//!
//! The token is a compact JWT (RFC 7519, RFC 7515) in the last segment of the path. Its signature is `EdDSA` (RFC 8037) or
//! `HS256` (RFC 7518). The gate verifies the signature before it reads a claim.

mod keys;

pub(crate) use keys::TokenKeys;
#[cfg(not(target_family = "wasm"))]
pub(crate) use keys::{key_section, section};

use crate::contract::token::{digest, is_digest, is_kid, is_reference, is_token_id};
use crate::json::{self, Value};
use crate::violation::Detail;
use crate::{Reason, Violation};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::sync::Arc;

/// A hook's rule for tokens.
#[derive(Clone, Debug)]
pub struct TokenRequirement {
    /// The keys by `kid`, shared by all hooks.
    pub(crate) keys: Arc<TokenKeys>,
    /// `<environment>/<hook>`.
    pub(crate) audience: String,
}

/// The judged token of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// The path has no token, or the hook takes none.
    Absent,
    /// The token is not authentic. Only a counter and the log disclose the cause.
    Invalid(InvalidToken),
    /// The token is authentic, but out of time or for another hook or environment.
    OutOfScope {
        /// Of [`Reason::TokenAudience`] or [`Reason::TokenExpired`].
        violation: Violation,
        /// The token's claims.
        claims: Box<Claims>,
    },
    /// The token is authentic, in time and for this hook.
    Good(Box<Claims>),
}

/// The claims of an authentic token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The name of the token's key.
    pub kid: Arc<str>,
    /// `jti`; without one, the unpadded base64url SHA-256 of the token.
    pub id: String,
    /// The team's reference, `[A-Za-z0-9._~-]{1,64}`.
    pub job: Option<String>,
    /// Unpadded base64url SHA-256 of the exact prompt (`ph`).
    pub prompt_hash: Option<String>,
}

/// A token that is not authentic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidToken {
    /// Why.
    pub error: TokenError,
    /// The `kid` in its header, if it has a kid's form and the gate has read it.
    pub kid: Option<String>,
    /// What the gate found and expected.
    detail: Detail,
}

/// Why a token is not authentic: the label `outcome` of `blobgate_token_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TokenError {
    /// The token has more than 2,048 bytes.
    TooLong,
    /// The token is not three segments of canonical unpadded base64url.
    Form,
    /// The header is not an object, has another `typ` than `JWT`, or has `crit`.
    Header,
    /// The configuration has no key with this `kid`.
    Kid,
    /// The algorithm is not that of the key.
    Algorithm,
    /// The signature is not valid.
    Signature,
    /// A claim is missing or invalid.
    Claims,
}

/// The longest token: five times as long as those of `mint`, and well below the path limits of proxies.
pub const MAX_BYTES: usize = 2048;
/// Only the claim `aud` nests: it may be a list.
const MAX_DEPTH: usize = 4;
/// The last second of the year 9999. A later time is a mistake.
const LAST_SECOND: f64 = 253_402_300_799.0;

/// Judges a token at `now`, in seconds since the epoch.
pub fn check(expected: Option<&TokenRequirement>, token: Option<&[u8]>, now: u64) -> Token {
    let (Some(expected), Some(token)) = (expected, token) else {
        return Token::Absent;
    };
    match verify(&expected.keys, token) {
        Err(invalid) => Token::Invalid(invalid),
        Ok(verified) => match verified.check_scope(expected, now) {
            Ok(()) => Token::Good(verified.claims.into()),
            Err(violation) => Token::OutOfScope { violation, claims: verified.claims.into() },
        },
    }
}

/// Compares the prompt of a payload with the one that the token is bound to, if any.
///
/// # Errors
/// [`Reason::TokenMismatch`], also if the payload has no prompt.
pub fn check_prompt(token: &Token, prompt: Option<&str>) -> Result<(), Violation> {
    let Some(hash) = token.claims().and_then(|claims| claims.prompt_hash.as_ref()) else {
        return Ok(());
    };
    let found = match prompt {
        Some(prompt) if digest(prompt.as_bytes()) == *hash => return Ok(()),
        Some(_) => "is another text",
        None => "is no text",
    };
    Err(Detail::new("prompt", found, "the prompt of the token's claim ph").of(Reason::TokenMismatch))
}

/// The field of a detail about the token.
const FIELD: &str = "token";

impl Token {
    /// The label `outcome` of a good token.
    pub(crate) const GOOD: &'static str = "good";

    /// The claims of an authentic token.
    pub fn claims(&self) -> Option<&Claims> {
        match self {
            Token::Good(claims) | Token::OutOfScope { claims, .. } => Some(claims),
            Token::Absent | Token::Invalid(_) => None,
        }
    }

    /// The name of the key that the token claims, or of its key.
    pub fn kid(&self) -> Option<&str> {
        match self {
            Token::Good(claims) | Token::OutOfScope { claims, .. } => Some(&claims.kid),
            Token::Invalid(invalid) => invalid.kid.as_deref(),
            Token::Absent => None,
        }
    }

    /// The violation, for a trust rule that needs a token.
    pub fn rejection(&self) -> Option<Violation> {
        match self {
            Token::Absent => Some(Self::MISSING),
            Token::Invalid(invalid) => Some(invalid.detail.of(Reason::TokenInvalid)),
            Token::OutOfScope { violation, .. } => Some(*violation),
            Token::Good(_) => None,
        }
    }

    const MISSING: Violation =
        Detail::new(FIELD, "is missing", "a callback token after the hook's path").of(Reason::TokenMissing);

    /// The label `outcome` of `blobgate_token_total`.
    pub const fn outcome(&self) -> &'static str {
        match self {
            Token::Absent => "absent",
            Token::Invalid(invalid) => invalid.error.name(),
            Token::OutOfScope { violation: Violation { reason: Reason::TokenAudience, .. }, .. } => {
                "audience"
            }
            Token::OutOfScope { .. } => "expired",
            Token::Good(_) => Self::GOOD,
        }
    }
}

impl From<TokenError> for InvalidToken {
    fn from(error: TokenError) -> Self {
        Self { error, kid: None, detail: error.detail() }
    }
}

impl TokenError {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 7] =
        [Self::TooLong, Self::Form, Self::Header, Self::Kid, Self::Algorithm, Self::Signature, Self::Claims];

    const fn detail(self) -> Detail {
        let (found, expected) = match self {
            TokenError::TooLong => ("is over the limit", "at most # bytes"),
            TokenError::Form => ("is not three parts of base64url", "a compact JWT"),
            TokenError::Header => ("has an invalid header", "a JSON object with typ JWT and without crit"),
            TokenError::Kid => ("has an unknown kid", "the kid of a configured key"),
            TokenError::Algorithm => ("has another alg than its key", "the alg of the key"),
            TokenError::Signature => ("has an invalid signature", "a signature by its key"),
            TokenError::Claims => ("has no readable claims", "a JSON object"),
        };
        Detail::new(FIELD, found, expected).with_number(MAX_BYTES)
    }

    /// The label `outcome` of `blobgate_token_total`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            TokenError::TooLong => "too-long",
            TokenError::Form => "form",
            TokenError::Header => "header",
            TokenError::Kid => "kid",
            TokenError::Algorithm => "algorithm",
            TokenError::Signature => "signature",
            TokenError::Claims => "claims",
        }
    }
}

/// An authentic token. Only [`verify`] makes one.
struct VerifiedToken {
    claims: Claims,
    audiences: Vec<String>,
    not_before: f64,
    expires: f64,
}

impl VerifiedToken {
    #[expect(clippy::as_conversions, reason = "a time in seconds is exact in a double")]
    fn check_scope(&self, expected: &TokenRequirement, now: u64) -> Result<(), Violation> {
        let (now, leeway) = (now as f64, expected.keys.leeway.as_secs_f64());
        if !self.audiences.contains(&expected.audience) {
            let detail = Detail::new(FIELD, "has another aud", "the environment, a slash and the hook");
            return Err(detail.of(Reason::TokenAudience));
        }
        if now >= self.expires + leeway {
            return Err(Detail::new(FIELD, "has expired", "an exp in the future").of(Reason::TokenExpired));
        }
        if now + leeway < self.not_before {
            return Err(Detail::new(FIELD, "is not valid yet", "an nbf in the past").of(Reason::TokenExpired));
        }
        Ok(())
    }
}

fn verify(keys: &TokenKeys, token: &[u8]) -> Result<VerifiedToken, InvalidToken> {
    if token.len() > MAX_BYTES {
        return Err(TokenError::TooLong.into());
    }
    let text = std::str::from_utf8(token).map_err(|_| TokenError::Form)?;
    let (signed, signature) = text.rsplit_once('.').ok_or(TokenError::Form)?;
    let (header, payload) = signed.split_once('.').ok_or(TokenError::Form)?;
    // The decoder refuses padding, other alphabets and trailing bits, so that a token has only one form.
    let decode = |segment: &str| URL_SAFE_NO_PAD.decode(segment).map_err(|_| TokenError::Form);
    let (header, payload, signature) = (decode(header)?, decode(payload)?, decode(signature)?);

    let header = json::parse(&header, MAX_DEPTH, &[]).map_err(|_| TokenError::Header)?;
    let named = |key| header.field(key).and_then(Value::as_text);
    let is_jwt =
        header.field("typ").is_none() || named("typ").is_some_and(|typ| typ.eq_ignore_ascii_case("JWT"));
    if !is_jwt || header.field("crit").is_some() {
        return Err(TokenError::Header.into());
    }
    let claimed = named("kid").unwrap_or_default();
    let invalid = |error: TokenError| {
        let kid = is_kid(claimed).then(|| claimed.to_owned());
        InvalidToken { error, kid, detail: error.detail() }
    };
    let (kid, key) = keys.find(claimed).ok_or_else(|| invalid(TokenError::Kid))?;
    if named("alg") != Some(key.algorithm()) {
        return Err(invalid(TokenError::Algorithm));
    }
    if !key.verifies(signed.as_bytes(), &signature) {
        return Err(invalid(TokenError::Signature));
    }
    let claims = json::parse(&payload, MAX_DEPTH, &[]).map_err(|_| invalid(TokenError::Claims))?;
    read(&claims, kid, token).map_err(|detail| InvalidToken { detail, ..invalid(TokenError::Claims) })
}

/// Reads the claims of a payload with a valid signature.
fn read(payload: &Value<'_>, kid: &Arc<str>, token: &[u8]) -> Result<VerifiedToken, Detail> {
    const SECONDS: &str = "a time in seconds, before the year 10000";
    const EXP: Detail = Detail::new(FIELD, "has no valid exp", SECONDS);
    const AUD: Detail = Detail::new(FIELD, "has no valid aud", "a text, or a list of texts");
    const NBF: Detail = Detail::new(FIELD, "has an invalid nbf", SECONDS);
    const JTI: Detail = Detail::new(FIELD, "has an invalid jti", "the form of a token id");
    const JOB: Detail = Detail::new(FIELD, "has an invalid job", "1 to 64 of A-Za-z0-9._~-");
    const PH: Detail = Detail::new(FIELD, "has an invalid ph", "a SHA-256 in unpadded base64url");
    if !matches!(payload, Value::Object(_)) {
        return Err(TokenError::Claims.detail());
    }
    let time = |claim: &Value<'_>| match claim {
        Value::Number(seconds) if (0.0..=LAST_SECOND).contains(seconds) => Some(*seconds),
        _ => None,
    };
    // An optional claim must be valid if it is present.
    let optional = |key, fits: fn(&str) -> bool, detail: Detail| match payload.field(key) {
        None => Ok(None),
        Some(claim) => claim.as_text().filter(|text| fits(text)).map(str::to_owned).ok_or(detail).map(Some),
    };
    let audiences = match payload.field("aud") {
        Some(Value::String(audience)) => vec![audience.to_string()],
        Some(Value::Array(list)) => {
            let texts = list.iter().map(|item| item.as_text().map(str::to_owned));
            texts.collect::<Option<_>>().ok_or(AUD)?
        }
        _ => return Err(AUD),
    };
    Ok(VerifiedToken {
        claims: Claims {
            kid: Arc::clone(kid),
            id: optional("jti", is_token_id, JTI)?.unwrap_or_else(|| digest(token)),
            job: optional("job", is_reference, JOB)?,
            prompt_hash: optional("ph", is_digest, PH)?,
        },
        audiences,
        not_before: payload.field("nbf").map_or(Some(0.0), time).ok_or(NBF)?,
        expires: payload.field("exp").and_then(time).ok_or(EXP)?,
    })
}
