//! The trust rule of a hook: which proofs authenticate a sender.

use crate::enforcement::Check;
#[cfg(not(target_family = "wasm"))]
use crate::settings::ValueForm;
use crate::settings::{ConfigError, Node, keys};
use crate::token::Token;

keys! {
    /// A rule, as the value of a hook's `trust`. It has `any_of` or `all_of`. The [trust table](trust-table.md) shows what
    /// each rule decides.
    "hooks[].trust": KEYS, section {
        /// One of these proofs authenticates a sender.
        "any_of": proofs_form() => "either this or `all_of`";
        /// An accepted delivery needs all of these proofs.
        "all_of": proofs_form() => "either this or `any_of`";
        /// Required with `{any_of: [confirmed]}`: clients without a proof can use up the calls to the status API.
        "unprotected_budget": ValueForm::exactly(true.into()) => "absent";
    }
}

/// The proofs of a rule.
const PROOFS: &[(&str, Trust)] = &[("token", Trust::Token), ("confirmed", Trust::Confirmed)];

#[cfg(not(target_family = "wasm"))]
fn proofs_form() -> ValueForm {
    ValueForm::list(&ValueForm::words(PROOFS))
        .written("a list of `token` and `confirmed`")
        .with("uniqueItems", true.into())
}

/// The word for [`Trust::Open`].
const OPEN: &str = "open";

/// A hook's `trust`.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn form() -> ValueForm {
    ValueForm::words(&[(OPEN, Trust::Open)])
        .or(ValueForm::section("trust"))
        .written("`open`, or a [rule](#trust)")
}

/// The rule of a hook (`trust`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// No proof: the gate accepts every delivery that passes the other checks.
    Open,
    /// A valid callback token.
    Token,
    /// A confirmation by the provider's status API.
    Confirmed,
    /// A valid token, or else a confirmation.
    TokenOrConfirmed,
    /// A valid token and a confirmation.
    TokenAndConfirmed,
}

/// The result of a confirmation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The provider confirms the event.
    Confirmed,
    /// The provider contradicts the event, or has no such generation.
    Contradicted,
    /// The provider gave no usable response.
    Unavailable,
}

impl Trust {
    /// Whether the sender is authenticated by its token, or a confirmation may still authenticate it.
    pub fn may_authenticate(self, check: Check, token: &Token) -> bool {
        match self {
            Trust::Open => false,
            Trust::Token | Trust::TokenAndConfirmed => token.claims().is_some(),
            Trust::Confirmed | Trust::TokenOrConfirmed => check == Check::Enforce || token.claims().is_some(),
        }
    }

    /// Whether the rule requires a token.
    pub fn needs_token(self) -> bool {
        matches!(self, Trust::Token | Trust::TokenAndConfirmed)
    }

    /// Whether the rule names the token.
    pub fn names_token(self) -> bool {
        matches!(self, Trust::Token | Trust::TokenOrConfirmed | Trust::TokenAndConfirmed)
    }

    /// Whether the rule names the confirmation.
    pub fn names_confirmed(self) -> bool {
        matches!(self, Trust::Confirmed | Trust::TokenOrConfirmed | Trust::TokenAndConfirmed)
    }

    pub(crate) fn parse(node: &Node<'_>) -> Result<Self, ConfigError> {
        const EXPECTED: &str = "open, {any_of: [...]} or {all_of: [...]} with token and confirmed";
        const UNPROTECTED: &str = "unprotected_budget";
        match node.as_text() {
            Some(OPEN) => return Ok(Trust::Open),
            Some(_) => return Err(node.invalid(EXPECTED)),
            None => {}
        }
        let fields = node.fields(KEYS, EXPECTED)?;
        let (proofs, both) = match (fields.optional("any_of"), fields.optional("all_of")) {
            (Some(proofs), None) => (proofs, Trust::TokenOrConfirmed),
            (None, Some(proofs)) => (proofs, Trust::TokenAndConfirmed),
            (Some(_), Some(_)) => return Err(node.conflict("has both any_of and all_of", "one of them")),
            (None, None) => return Err(node.invalid(EXPECTED)),
        };
        let mut named = proofs
            .list("a list of token and confirmed")?
            .iter()
            .map(|proof| proof.one_of(PROOFS))
            .collect::<Result<Vec<_>, _>>()?;
        let written_out = match fields.optional(UNPROTECTED) {
            Some(node) if node.is_true() => true,
            Some(node) => return Err(node.invalid("true, or leave it out")),
            None => false,
        };
        let trust = match (named.pop(), named.pop(), named.pop()) {
            (Some(only), None, None) => only,
            (Some(one), Some(other), None) if one != other => both,
            (None, ..) => return Err(proofs.invalid("at least one of token and confirmed")),
            _ => return Err(proofs.invalid("each of token and confirmed once")),
        };
        match (trust, written_out) {
            (Trust::Confirmed, false) => Err(node.conflict(
                "lets unauthenticated senders spend the budget of calls to the provider",
                "{any_of: [confirmed], unprotected_budget: true} to allow that",
            )),
            (Trust::Confirmed, true) | (_, false) => Ok(trust),
            (_, true) => Err(node.conflict(
                "names token, and unprotected_budget is only for confirmed alone",
                "the rule without unprotected_budget",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_rules_that_need_a_token() {
        for (trust, expected) in [
            (Trust::Open, false),
            (Trust::Token, true),
            (Trust::Confirmed, false),
            (Trust::TokenOrConfirmed, false),
            (Trust::TokenAndConfirmed, true),
        ] {
            assert_eq!(trust.needs_token(), expected, "{trust:?}");
        }
    }
}
