//! Whose word counts: the trust rule, as one table.

use crate::Reason;
use crate::enforcement::{Check, Quarantine};
use crate::settings::{ConfigError, Node};
use crate::token::Token;

/// The rule of a hook (`trust`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Nobody proves anything: whoever passes the other checks is believed.
    Open,
    /// A callback token of ours.
    Token,
    /// The provider says the same.
    Confirmed,
    /// A callback token of ours; or else the provider says the same.
    TokenOrConfirmed,
    /// Both.
    TokenAndConfirmed,
}

/// What a delivery says, apart from who says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Nothing is wrong with it.
    Fine,
    /// Something is wrong, and id, status and URL are readable.
    Flawed(Reason),
    /// Something is wrong, and the provider could not even be asked about it.
    Unreadable(Reason),
}

/// What becomes of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is what it says.
    Accept,
    /// Proven, but wrong: to quarantine.
    Keep(Reason),
    /// Not proven.
    Refuse(Reason),
    /// The provider decides.
    Ask,
}

/// What the provider says of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The same.
    Confirmed,
    /// Something else, or that there is no such generation.
    Contradicted,
    /// Nothing, for now.
    Unavailable,
}

impl Trust {
    /// Whether a delivery can still prove itself once its token is known.
    pub fn can_prove(self, check: Check, token: &Token) -> bool {
        match self {
            Trust::Open => false,
            Trust::Token | Trust::TokenAndConfirmed => token.claims().is_some(),
            Trust::Confirmed | Trust::TokenOrConfirmed => check == Check::Enforce || token.claims().is_some(),
        }
    }

    /// Whether nothing but a token helps.
    pub fn needs_token(self) -> bool {
        matches!(self, Trust::Token | Trust::TokenAndConfirmed)
    }

    /// Whether the rule names the token.
    pub fn names_token(self) -> bool {
        matches!(self, Trust::Token | Trust::TokenOrConfirmed | Trust::TokenAndConfirmed)
    }

    /// Whether the rule names the provider's word.
    pub fn names_confirmed(self) -> bool {
        matches!(self, Trust::Confirmed | Trust::TokenOrConfirmed | Trust::TokenAndConfirmed)
    }

    /// What becomes of a delivery, by its token and payload. `kept` is its first flaw, the token's included.
    pub fn judge(self, token: &Token, payload: Payload, kept: Option<Reason>) -> Step {
        use Payload::{Fine, Flawed, Unreadable};
        use Token::{Absent, Bad, Good, Late};
        let kept = kept.map_or(Step::Accept, Step::Keep);
        match (self, token, payload) {
            (Trust::Open, _, Fine) => Step::Accept,
            (Trust::Open, _, Flawed(flaw) | Unreadable(flaw)) => Step::Refuse(flaw),

            (Trust::Confirmed, _, Fine | Flawed(_)) => Step::Ask,
            (Trust::Confirmed, _, Unreadable(flaw)) => Step::Refuse(flaw),

            (Trust::Token, Good(_) | Late(..), _) => kept,

            (Trust::TokenOrConfirmed, Good(_), _) => kept,
            (Trust::TokenOrConfirmed, Late(..), Fine) => Step::Ask,
            (Trust::TokenOrConfirmed, Late(..), _) => kept,
            (Trust::TokenOrConfirmed, Absent | Bad(_), Fine | Flawed(_)) => Step::Ask,
            (Trust::TokenOrConfirmed, Absent | Bad(_), Unreadable(flaw)) => Step::Refuse(flaw),

            (Trust::TokenAndConfirmed, Good(_), Fine) => Step::Ask,
            (Trust::TokenAndConfirmed, Good(_) | Late(..), _) => kept,

            // Refused at the head already.
            (Trust::Token | Trust::TokenAndConfirmed, Absent | Bad(_), _) => {
                Step::Refuse(token.flaw().unwrap_or(Reason::TokenInvalid))
            }
        }
    }

    /// What becomes of a delivery that the provider was asked about. `kept` as above; where nothing is kept, a late token
    /// fares as none.
    pub fn conclude(
        self,
        token: &Token,
        quarantine: Quarantine,
        payload: Payload,
        kept: Option<Reason>,
        answer: Answer,
    ) -> Step {
        let flaw = match payload {
            Payload::Fine => None,
            Payload::Flawed(flaw) | Payload::Unreadable(flaw) => Some(flaw),
        };
        let can_be_kept = quarantine == Quarantine::Route && self.names_token() && token.claims().is_some();
        match (answer, can_be_kept) {
            (Answer::Confirmed, _) => flaw.map_or(Step::Accept, Step::Keep),
            (Answer::Contradicted, true) => Step::Keep(kept.unwrap_or(Reason::NotConfirmed)),
            (Answer::Contradicted, false) => Step::Refuse(flaw.unwrap_or(Reason::NotConfirmed)),
            (Answer::Unavailable, true) => Step::Keep(kept.unwrap_or(Reason::ConfirmUnavailable)),
            (Answer::Unavailable, false) => Step::Refuse(Reason::ConfirmUnavailable),
        }
    }

    pub(crate) fn parse(node: &Node<'_>) -> Result<Self, ConfigError> {
        const EXPECTED: &str = "open, {any_of: [...]} or {all_of: [...]} with token and confirmed";
        const UNPROTECTED: &str = "unprotected_budget";
        match node.as_text() {
            Some("open") => return Ok(Trust::Open),
            Some(_) => return Err(node.invalid(EXPECTED)),
            None => {}
        }
        let fields = node.fields(&["any_of", "all_of", UNPROTECTED], EXPECTED)?;
        let (proofs, both) = match (fields.optional("any_of"), fields.optional("all_of")) {
            (Some(proofs), None) => (proofs, Trust::TokenOrConfirmed),
            (None, Some(proofs)) => (proofs, Trust::TokenAndConfirmed),
            (Some(_), Some(_)) => return Err(node.conflict("has both any_of and all_of", "one of them")),
            (None, None) => return Err(node.invalid(EXPECTED)),
        };
        let mut named = proofs
            .list("a list of token and confirmed")?
            .iter()
            .map(|proof| proof.one_of(&[("token", Trust::Token), ("confirmed", Trust::Confirmed)]))
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
                "lets strangers spend the calls to the provider",
                "{any_of: [confirmed], unprotected_budget: true} if that is meant",
            )),
            (Trust::Confirmed, true) | (_, false) => Ok(trust),
            (_, true) => Err(node.conflict(
                "names token, and unprotected_budget is for confirmed alone",
                "it without unprotected_budget",
            )),
        }
    }
}
