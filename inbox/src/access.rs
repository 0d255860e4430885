//! The clients of the admin listener, and what each may do.

mod ended;
mod session;
mod token;

use ended::EndedSessions;
use serde::{Deserialize, Serialize};
pub(crate) use session::{SESSION_SECONDS, Session};
use std::sync::Arc;
use std::time::Duration;
use token::AccessKey;
pub use token::{AccessToken, InvalidAccessToken, check_tokens};
use uuid::Uuid;

/// What a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessRole {
    /// Read metrics, entries and counts.
    Read,
    /// Announce generations, and nothing else.
    Expect,
    /// Everything.
    Operate,
}

impl AccessRole {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Read, Self::Expect, Self::Operate];

    /// Its name in options and errors.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Expect => "expect",
            Self::Operate => "operate",
        }
    }

    /// The role of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    /// Whether a client with this role may do what needs the other one.
    pub(crate) const fn permits(self, needed: Self) -> bool {
        matches!((self, needed), (Self::Operate, _) | (Self::Read, Self::Read) | (Self::Expect, Self::Expect))
    }
}

/// The client of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The name of its token; nothing without sign-in.
    name: Option<Arc<str>>,
    role: AccessRole,
}

impl Caller {
    /// A client on this machine, where the listener has no tokens.
    pub(crate) const fn unnamed() -> Self {
        Self { name: None, role: AccessRole::Operate }
    }

    pub(crate) const fn named(name: Arc<str>, role: AccessRole) -> Self {
        Self { name: Some(name), role }
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(crate) const fn may(&self, needed: AccessRole) -> bool {
        self.role.permits(needed)
    }
}

/// The time between two looks at whether a session is over.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The tokens of the admin listener, and the sessions that visitors of the page began with them.
pub(crate) struct Access {
    tokens: Vec<AccessToken>,
    /// The key of forms where the listener has no tokens. Each start of the inbox has another one.
    process: AccessKey,
    ended: EndedSessions,
}

impl Access {
    pub(crate) fn new(tokens: Vec<AccessToken>) -> Self {
        let random = [Uuid::new_v4(), Uuid::new_v4()].map(Uuid::into_bytes).concat();
        Self { tokens, process: AccessKey::new(&random), ended: EndedSessions::default() }
    }

    /// Without tokens, the listener takes requests of anybody but web pages.
    pub(crate) const fn has_tokens(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// The client that sends a token. It compares every token, so that the time says nothing.
    pub(crate) fn caller(&self, sent: &[u8]) -> Option<Caller> {
        self.find(sent).map(AccessToken::caller)
    }

    fn find(&self, sent: &[u8]) -> Option<&AccessToken> {
        self.tokens.iter().fold(None, |found, token| if token.is(sent) { Some(token) } else { found })
    }

    /// Begins a session of the page.
    pub(crate) fn sign_in(&self, sent: &[u8], now: u64) -> Result<SignedIn, SignInRefusal> {
        let token = self.find(sent).ok_or(SignInRefusal::WrongToken)?;
        if !token.caller().may(AccessRole::Read) {
            return Err(SignInRefusal::NoVisitor);
        }
        let (session, cookie) = Session::begin(token, now);
        Ok(SignedIn { session, cookie })
    }

    /// The session of a cookie's value: it is over after its time, with its token, and after the sign-out.
    pub(crate) fn session(&self, cookie: &str, now: u64) -> Option<Session> {
        let session = self.tokens.iter().find_map(|token| Session::read(token, cookie, now))?;
        (session.caller().may(AccessRole::Read) && !self.ended.has(session.id())).then_some(session)
    }

    /// Ends a session: its cookie is worthless at this inbox.
    pub(crate) fn sign_out(&self, session: &Session, now: u64) {
        self.ended.add(session.id(), session.expires(), now);
    }

    /// Returns once a session is over, at most some seconds later.
    pub(crate) async fn until_over(&self, session: &Session) {
        while !self.ended.has(session.id()) && session.expires() > unix_now() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The value that proves a form to be the page's own, where the listener has no tokens.
    pub(crate) fn form_proof(&self) -> String {
        self.process.mac(&[b"form"])
    }
}

/// A session, and the value of its cookie.
pub(crate) struct SignedIn {
    pub(crate) session: Session,
    pub(crate) cookie: String,
}

/// Why a token begins no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignInRefusal {
    WrongToken,
    /// The token may announce generations alone.
    NoVisitor,
}

/// Seconds since 1970.
pub(crate) fn unix_now() -> u64 {
    time::OffsetDateTime::now_utc().unix_timestamp().unsigned_abs()
}

#[cfg(test)]
#[allow(clippy::string_slice, reason = "a test may panic: that is how it fails")]
mod tests;
