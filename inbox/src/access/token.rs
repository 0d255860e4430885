//! The tokens of the admin listener. Only digests and derived keys stay in memory.

use super::{AccessRole, Caller};
use hmac::digest::CtOutput;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;
use thiserror::Error;

/// The characters of the shortest token: 16 hexadecimal digits have 64 bits, which nobody guesses over the network.
const MIN_TOKEN: usize = 16;
/// Longer than any token that a generator makes, and within a header.
const MAX_TOKEN: usize = 512;
/// A longer name would fill the page's header and the audit.
const MAX_NAME: usize = 64;

/// A named token of the admin listener.
#[derive(Clone)]
pub struct AccessToken {
    name: Arc<str>,
    role: AccessRole,
    digest: CtOutput<Sha256>,
    sessions: AccessKey,
}

/// Why the tokens of the admin listener cannot be used. No error shows a token.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidAccessToken {
    /// The name is empty, too long, or has an unusual character.
    #[error(
        "the name of an admin token is not one to {MAX_NAME} letters, digits, `-`, `_` or `.`. Write one such as prometheus"
    )]
    Name,
    /// The token is too short to be secret.
    #[error(
        "the token {0} has under {MIN_TOKEN} characters, so it can be guessed. Make one with `openssl rand -hex 32`"
    )]
    Short(String),
    /// No client sends one this long.
    #[error("the token {0} has over {MAX_TOKEN} characters. Make one with `openssl rand -hex 32`")]
    Long(String),
    /// No client can send it.
    #[error("the token {0} is not one word of visible ASCII. Make one with `openssl rand -hex 32`")]
    Characters(String),
    /// Two tokens are equal, so one of them has a wrong name or role.
    #[error("two admin tokens are equal: {0} and {1}. Set each variable to a token of its own")]
    Equal(String, String),
    /// A name stands for two roles.
    #[error("the admin token {0} has two roles: {1} and {2}. Give each role a name of its own")]
    Roles(String, &'static str, &'static str),
}

impl AccessToken {
    /// A token with its name and role.
    ///
    /// # Errors
    /// [`InvalidAccessToken`] for a name or a token that cannot be used.
    ///
    /// ```
    /// use blobgate_inbox::{AccessRole, AccessToken, InvalidAccessToken};
    ///
    /// assert!(AccessToken::new("prometheus", AccessRole::Read, "0123456789abcdef").is_ok());
    /// let short = AccessToken::new("prometheus", AccessRole::Read, "secret");
    /// assert_eq!(short.unwrap_err(), InvalidAccessToken::Short("prometheus".to_owned()));
    /// ```
    pub fn new(name: &str, role: AccessRole, token: &str) -> Result<Self, InvalidAccessToken> {
        if !Self::is_name(name) {
            return Err(InvalidAccessToken::Name);
        }
        let wrong = match token.len() {
            _ if !token.bytes().all(|byte| byte.is_ascii_graphic()) => InvalidAccessToken::Characters,
            ..MIN_TOKEN => InvalidAccessToken::Short,
            MIN_TOKEN..=MAX_TOKEN => {
                return Ok(Self {
                    name: name.into(),
                    role,
                    digest: digest(token.as_bytes()),
                    sessions: AccessKey::new(token.as_bytes()),
                });
            }
            _ => InvalidAccessToken::Long,
        };
        Err(wrong(name.to_owned()))
    }

    /// Whether a text can be the name of a token.
    pub fn is_name(text: &str) -> bool {
        let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(is_usual)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Compares in constant time.
    pub(super) fn is(&self, sent: &[u8]) -> bool {
        self.digest == digest(sent)
    }

    pub(super) fn caller(&self) -> Caller {
        Caller::named(Arc::clone(&self.name), self.role)
    }

    /// The key of the sessions that this token begins. They end with it, and each inbox with the token reads them.
    pub(super) const fn sessions(&self) -> &AccessKey {
        &self.sessions
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken")
            .field("name", &self.name)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// Checks the tokens of a listener together. During a rotation, two tokens have one name and one role.
///
/// # Errors
/// [`InvalidAccessToken`] for two equal tokens, and for a name with two roles.
pub fn check_tokens(tokens: &[AccessToken]) -> Result<(), InvalidAccessToken> {
    let pairs =
        tokens.iter().enumerate().flat_map(|(at, one)| tokens.iter().take(at).map(move |other| (other, one)));
    for (one, other) in pairs {
        if one.digest == other.digest {
            return Err(InvalidAccessToken::Equal(one.name.to_string(), other.name.to_string()));
        }
        if one.name == other.name && one.role != other.role {
            return Err(InvalidAccessToken::Roles(one.name.to_string(), one.role.name(), other.role.name()));
        }
    }
    Ok(())
}

fn digest(bytes: &[u8]) -> CtOutput<Sha256> {
    CtOutput::new(Sha256::digest(bytes))
}

/// A key for what the page gives to a browser and gets back.
#[derive(Clone)]
pub(super) struct AccessKey(Hmac<Sha256>);

impl AccessKey {
    /// The key is derived, so that the secret itself does not stay in memory.
    pub(super) fn new(secret: &[u8]) -> Self {
        let derived = Sha256::new().chain_update(b"page session\0").chain_update(secret).finalize();
        // RFC 2104 fills a short key with zeros.
        let mut key = hmac::digest::common::Key::<Hmac<Sha256>>::default();
        key.iter_mut().zip(derived).for_each(|(byte, derived)| *byte = derived);
        Self(Hmac::new(&key))
    }

    /// The MAC of the parts, in hexadecimal digits.
    pub(super) fn mac(&self, parts: &[&[u8]]) -> String {
        hex::encode(self.over(parts).finalize().into_bytes())
    }

    /// Whether a text is the MAC of the parts, in constant time.
    pub(super) fn verifies(&self, parts: &[&[u8]], mac: &str) -> bool {
        hex::decode(mac).is_ok_and(|mac| self.over(parts).verify_slice(&mac).is_ok())
    }

    /// Each part has its length before it, so that no two lists of parts are equal.
    fn over(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut hmac = self.0.clone();
        for part in parts {
            hmac.update(&part.len().to_be_bytes());
            hmac.update(part);
        }
        hmac
    }
}
