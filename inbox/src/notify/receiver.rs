//! The receiver of notifications: an HTTPS endpoint of the team or of a service that it uses.

use super::message::NotificationMessage;
use crate::key::WebhookKeys;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, header};
use std::error::Error;
use std::fmt;
use std::iter::successors;
use std::time::Duration;
use thiserror::Error;
use time::OffsetDateTime;
use url::{Host, Url};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The time for the head of an answer. The inbox reads no body.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The URL of the receiver. Its path or query often is a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct NotificationUrl(Url);

/// Why a text is no URL of a receiver. The text is not repeated: it may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidNotificationUrl {
    /// It cannot be read, or has another scheme.
    #[error("it is no https URL. Write one such as https://HOST/PATH")]
    Form,
    /// The call would cross a network in plain text.
    #[error("it is an http URL of another machine. Use https, or a loopback address")]
    Plaintext,
    /// It has a user name or a password.
    #[error("it has a user name or a password. Remove them: the signature authenticates each call")]
    UserInfo,
}

/// Why a call failed.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum NotificationError {
    /// Another status than 2xx. A redirect is one too.
    #[error("the receiver answered {0}")]
    Status(u16),
    /// 410: Standard Webhooks has the sender stop.
    #[error("the receiver answered 410, which ends all notifications")]
    Gone,
    /// No answer in time.
    #[error("the receiver did not answer within {} s", ANSWER_TIMEOUT.as_secs())]
    Timeout,
    /// No answer.
    #[error("the receiver did not answer: {0}")]
    NoAnswer(String),
    /// The certificates of this machine cannot be read.
    #[error(
        "cannot prepare TLS for notifications: {0}. Install this machine's certificates (ca-certificates), or set SSL_CERT_FILE"
    )]
    NoTls(String),
}

/// The settings of notifications.
#[derive(Debug)]
pub struct Notifications {
    url: NotificationUrl,
    keys: WebhookKeys,
    client: Client,
    /// The times. Tests use shorter ones.
    pub pace: NotificationPace,
}

/// The times of notifications.
#[derive(Clone, Copy, Debug)]
pub struct NotificationPace {
    /// The time between two notifications of a kind.
    pub every: Duration,
    /// The first notification of a kind waits this long for the incidents that come with the first one.
    pub gather: Duration,
    /// A fault that ends within this time, and refuses no delivery, is no incident: a store restarts in less.
    pub fault_lasts: Duration,
}

impl Default for NotificationPace {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(3_600),
            gather: Duration::from_secs(3),
            fault_lasts: Duration::from_secs(60),
        }
    }
}

impl NotificationUrl {
    /// Reads an https URL, or an http URL of this machine.
    ///
    /// # Errors
    /// [`InvalidNotificationUrl`].
    pub fn parse(text: &str) -> Result<Self, InvalidNotificationUrl> {
        let url = Url::parse(text).map_err(|_| InvalidNotificationUrl::Form)?;
        if !["https", "http"].contains(&url.scheme()) || !url.has_host() {
            return Err(InvalidNotificationUrl::Form);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidNotificationUrl::UserInfo);
        }
        let this = Self(url);
        if this.is_plaintext() && !this.is_loopback() {
            Err(InvalidNotificationUrl::Plaintext)
        } else {
            Ok(this)
        }
    }

    fn is_plaintext(&self) -> bool {
        self.0.scheme() == "http"
    }

    fn is_loopback(&self) -> bool {
        match self.0.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        }
    }
}

impl fmt::Debug for NotificationUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NotificationUrl([REDACTED])")
    }
}

impl Notifications {
    /// Notifications to this URL, signed by these keys.
    ///
    /// # Errors
    /// [`NotificationError::NoTls`] on a machine without certificates, for an https URL.
    pub fn new(url: NotificationUrl, keys: WebhookKeys) -> Result<Self, NotificationError> {
        // A redirect would send the call to an address outside of the configuration.
        let mut client = Client::builder()
            .redirect(Policy::none())
            .timeout(ANSWER_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(0)
            .http1_only()
            .user_agent("blobgate");
        if url.is_loopback() {
            client = client.no_proxy();
        }
        if url.is_plaintext() {
            // A slim container has no certificates, and plain HTTP needs none.
            client = client.tls_certs_only([]);
        }
        let client = client.build().map_err(|error| NotificationError::NoTls(cause(&error, &url)))?;
        Ok(Self { url, keys, client, pace: NotificationPace::default() })
    }

    /// Sends `blobgate.test`, once.
    ///
    /// # Errors
    /// [`NotificationError`].
    pub async fn test(&self, docs: &str) -> Result<(), NotificationError> {
        self.send(&NotificationMessage::test(docs, OffsetDateTime::now_utc())).await
    }

    pub(super) async fn send(&self, message: &NotificationMessage) -> Result<(), NotificationError> {
        let mut request =
            self.client.post(self.url.0.clone()).header(header::CONTENT_TYPE, "application/json");
        for (name, value) in self.keys.headers(&message.id, &message.body) {
            request = request.header(name, value);
        }
        let answer = request.body(message.body.clone()).send().await.map_err(|error| {
            if error.is_timeout() {
                NotificationError::Timeout
            } else {
                NotificationError::NoAnswer(cause(&error, &self.url))
            }
        })?;
        // Its body may have any size. Dropping the answer closes the connection.
        match answer.status() {
            status if status.is_success() => Ok(()),
            StatusCode::GONE => Err(NotificationError::Gone),
            status => Err(NotificationError::Status(status.as_u16())),
        }
    }
}

/// The innermost cause, without the host. The outer errors repeat the URL.
fn cause(error: &reqwest::Error, url: &NotificationUrl) -> String {
    let causes = successors(error.source(), |&cause| cause.source());
    let cause = causes.last().map_or_else(|| "the request failed".to_owned(), ToString::to_string);
    url.0.host_str().map_or(cause.clone(), |host| cause.replace(host, "HOST"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_https_and_http_on_this_machine() {
        for text in [
            "https://hooks.example/services/T0/B0/secret?a=b",
            "https://10.0.0.1:8443/",
            "http://127.0.0.1:8000/alerts",
            "http://127.9.9.9",
            "http://[::1]:8000/",
            "http://localhost:3000/x",
        ] {
            assert_eq!(
                NotificationUrl::parse(text).map(|url| url.0),
                Ok(Url::parse(text).unwrap()),
                "{text}"
            );
        }
        for (text, expected) in [
            ("", InvalidNotificationUrl::Form),
            ("hooks.example", InvalidNotificationUrl::Form),
            ("localhost:3000", InvalidNotificationUrl::Form),
            ("https://", InvalidNotificationUrl::Form),
            ("ftp://hooks.example/", InvalidNotificationUrl::Form),
            ("file:///etc/passwd", InvalidNotificationUrl::Form),
            ("http://hooks.example/", InvalidNotificationUrl::Plaintext),
            ("http://10.0.0.1/", InvalidNotificationUrl::Plaintext),
            ("http://127.0.0.1.example/", InvalidNotificationUrl::Plaintext),
            ("http://localhost.example/", InvalidNotificationUrl::Plaintext),
            ("http://[::2]/", InvalidNotificationUrl::Plaintext),
            ("https://user@hooks.example/", InvalidNotificationUrl::UserInfo),
            ("https://:word@hooks.example/", InvalidNotificationUrl::UserInfo),
            ("http://user:word@127.0.0.1/", InvalidNotificationUrl::UserInfo),
        ] {
            assert_eq!(NotificationUrl::parse(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn debug_shows_no_url() {
        let url = NotificationUrl::parse("https://hooks.example/secret").unwrap();
        assert_eq!(format!("{url:?}"), "NotificationUrl([REDACTED])");
    }
}
