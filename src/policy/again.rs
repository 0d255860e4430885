//! A delivery that was kept, judged again: its body by today's configuration, its head by what was found when it came.

use super::{Admitted, Judged, accept, conclude};
use crate::Reason;
use crate::confirm::Outcome;
use crate::hook::Hook;
use crate::request::ContentType;
use crate::token::{Claims, Token};
use std::sync::Arc;

/// What was found of a delivery when it came.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The first flaw of its head, the token's aside.
    pub flaw: Option<Reason>,
    /// Its token.
    pub token: RecordedToken,
    /// Whether the provider said the same.
    pub confirmed: bool,
    /// What its head said that the body is.
    pub content_type: ContentType,
}

/// What the token of a delivery was worth when it came.
#[derive(Clone, Debug)]
pub enum RecordedToken {
    /// There was none that is ours.
    Absent,
    /// It was authentic, and late: why, its id, its job.
    Late(Reason, String, Option<String>),
    /// It held: its id, its job.
    Good(String, Option<String>),
}

/// Judges the body again. [`Judged::Ask`] where the provider has to be asked, and its word is not on record.
pub fn judge_again(hook: &Arc<Hook>, recorded: Recorded, body: &[u8]) -> Judged {
    let admitted = Admitted {
        hook: Arc::clone(hook),
        flaw: recorded.flaw,
        token: recorded.token.into(),
        observed: Vec::new(),
        content_type: recorded.content_type,
    };
    match accept(admitted, body) {
        Judged::Ask(question) if recorded.confirmed => conclude(question, Outcome::Confirmed),
        judged => judged,
    }
}

impl From<RecordedToken> for Token {
    fn from(recorded: RecordedToken) -> Self {
        // Which key, and which prompt it was bound to, is on no record.
        let claims = |id, job| Box::new(Claims { kid: "".into(), id, job, prompt_hash: None });
        match recorded {
            RecordedToken::Absent => Token::Absent,
            RecordedToken::Late(reason, id, job) => Token::Late(reason, claims(id, job)),
            RecordedToken::Good(id, job) => Token::Good(claims(id, job)),
        }
    }
}
