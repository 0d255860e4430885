//! A session of the page. It is in a signed cookie alone, so it survives a restart, and several inboxes with one token share it.

use super::Caller;
use super::token::AccessToken;
use std::sync::Arc;
use uuid::Uuid;

/// A session's time: a working day.
pub(crate) const SESSION_SECONDS: u64 = 12 * 60 * 60;

/// A visitor's session.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    caller: Caller,
    id: Arc<str>,
    /// Seconds since 1970.
    expires: u64,
    form_proof: String,
}

impl Session {
    /// Begins a session, and returns the value of its cookie: the end, the id, and the MAC of both.
    pub(super) fn begin(token: &AccessToken, now: u64) -> (Self, String) {
        let (expires, id) = (now.saturating_add(SESSION_SECONDS), Uuid::new_v4().simple().to_string());
        let signed = format!("{expires}.{id}");
        let cookie = format!("{signed}.{}", token.sessions().mac(&[b"session", signed.as_bytes()]));
        (Self::new(token, &id, expires), cookie)
    }

    /// Reads the value of a cookie that this token signed. The role is the token's of today.
    pub(super) fn read(token: &AccessToken, cookie: &str, now: u64) -> Option<Self> {
        let (signed, mac) = cookie.rsplit_once('.')?;
        if !token.sessions().verifies(&[b"session", signed.as_bytes()], mac) {
            return None;
        }
        let (expires, id) = signed.split_once('.')?;
        let expires = expires.parse().ok().filter(|expires| *expires > now)?;
        Some(Self::new(token, id, expires))
    }

    fn new(token: &AccessToken, id: &str, expires: u64) -> Self {
        let form_proof = token.sessions().mac(&[b"form", id.as_bytes()]);
        Self { caller: token.caller(), id: id.into(), expires, form_proof }
    }

    pub(crate) const fn caller(&self) -> &Caller {
        &self.caller
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) const fn expires(&self) -> u64 {
        self.expires
    }

    /// The value that proves a form to be of this session.
    pub(crate) fn form_proof(&self) -> &str {
        &self.form_proof
    }
}
