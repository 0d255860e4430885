//! An inbox with an admin listener, and a client that sends any bytes.

use crate::settings::settings;
use blobgate_inbox::store::Place;
use blobgate_inbox::{AccessRole, AccessToken, Settings, serve};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) const OPERATOR: &str = "operator-0123456789";
pub(crate) const READER: &str = "reader-0123456789";
pub(crate) const APP: &str = "application-0123456789";
const MAX_WAIT: Duration = Duration::from_secs(60);

pub(crate) fn tokens() -> Vec<AccessToken> {
    [
        ("ops", AccessRole::Operate, OPERATOR),
        ("grafana", AccessRole::Read, READER),
        ("app", AccessRole::Expect, APP),
    ]
    .map(|(name, role, token)| AccessToken::new(name, role, token).unwrap())
    .into()
}

pub(crate) struct AccessSite {
    pub(crate) admin: SocketAddr,
    _ending: DropGuard,
    _folder: TempDir,
}

/// A request, byte for byte.
#[derive(Clone)]
pub(crate) struct SentRequest {
    method: &'static str,
    path: String,
    headers: Vec<(String, String)>,
    body: String,
}

pub(crate) struct RawAnswer {
    pub(crate) status: u16,
    head: String,
    pub(crate) text: String,
}

impl AccessSite {
    pub(crate) async fn start(tokens: Vec<AccessToken>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Place::Sqlite(folder.path().join("inbox.db"));
        store.migrate().await.unwrap();
        let settings = Settings { admin_tokens: tokens, ..settings(store).await };
        let admin = settings.admin.local_addr().unwrap();
        let ending = CancellationToken::new();
        tokio::spawn(serve(settings, ending.clone(), || ()));
        let site = Self { admin, _ending: ending.drop_guard(), _folder: folder };
        let until = Instant::now() + MAX_WAIT;
        while site.get("/healthz").send().await.status != 200 {
            assert!(Instant::now() < until, "the inbox is not ready");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        site
    }

    pub(crate) fn get(&self, path: &str) -> SiteRequest {
        self.request("GET", path)
    }

    pub(crate) fn request(&self, method: &'static str, path: &str) -> SiteRequest {
        let headers = vec![("host".to_owned(), self.admin.to_string())];
        let request = SentRequest { method, path: path.to_owned(), headers, body: String::new() };
        SiteRequest { admin: self.admin, request }
    }

    /// A form as a browser sends it from the page.
    pub(crate) fn form(&self, path: &str, body: &str) -> SiteRequest {
        let request = self.request("POST", path).set("origin", &format!("http://{}", self.admin));
        request.set("content-type", "application/x-www-form-urlencoded").body(body)
    }

    /// The cookie of a new session.
    pub(crate) async fn sign_in(&self, token: &str) -> String {
        let answer = self.form("/page/sign-in", &format!("token={token}")).send().await;
        assert_eq!(answer.status, 303, "{}", answer.text);
        let set = answer.header("set-cookie").unwrap();
        set.split(';').next().unwrap().to_owned()
    }

    /// The proof that the page gives to a visitor.
    pub(crate) async fn proof(&self, cookie: &str) -> String {
        // Without tokens there is no form of the sign-out.
        let view = if cookie.is_empty() { "/page/actions/pause?hook=veo3" } else { "/page/" };
        let page = self.get(view).set("cookie", cookie).send().await;
        assert_eq!(page.status, 200, "{}", page.text);
        page.proof().expect("a form of the page")
    }

    /// The pauses, by the API.
    pub(crate) async fn pauses(&self, token: Option<&str>) -> serde_json::Value {
        let request = self.get("/pauses");
        let request = match token {
            Some(token) => request.set("authorization", &format!("Bearer {token}")),
            None => request,
        };
        let answer = request.send().await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        serde_json::from_str(&answer.text).unwrap()
    }
}

/// A request to a site.
#[derive(Clone)]
pub(crate) struct SiteRequest {
    admin: SocketAddr,
    request: SentRequest,
}

impl SiteRequest {
    /// Replaces a header.
    pub(crate) fn set(self, name: &str, value: &str) -> Self {
        self.without(name).add(name, value)
    }

    pub(crate) fn add(mut self, name: &str, value: &str) -> Self {
        self.request.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.request.headers.retain(|(known, _)| known != name);
        self
    }

    pub(crate) fn body(mut self, body: &str) -> Self {
        self.request.body = body.to_owned();
        self
    }

    pub(crate) fn at(mut self, path: &str) -> Self {
        self.request.path = path.to_owned();
        self
    }

    pub(crate) fn method(mut self, method: &'static str) -> Self {
        self.request.method = method;
        self
    }

    pub(crate) async fn send(&self) -> RawAnswer {
        let SentRequest { method, path, headers, body } = &self.request;
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = body.len();
        let text = format!(
            "{method} {path} HTTP/1.1\r\n{headers}connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        let mut stream = TcpStream::connect(self.admin).await.unwrap();
        // The inbox may answer before it has read everything.
        let _sent = stream.write_all(text.as_bytes()).await;
        let mut bytes = Vec::new();
        let _read = stream.read_to_end(&mut bytes).await;
        let answer = String::from_utf8(bytes).unwrap();
        let (head, text) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        RawAnswer { status, head: head.to_owned(), text: text.replace("&#x2f;", "/") }
    }
}

impl RawAnswer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(crate) fn head(&self) -> &str {
        &self.head
    }

    pub(crate) fn proof(&self) -> Option<String> {
        let (_, rest) = self.text.split_once(r#"name="csrf" value=""#)?;
        Some(rest.split('"').next()?.to_owned())
    }
}

/// A cookie as the inbox signs it, written a second time: the format is one that several inboxes share.
pub(crate) fn cookie_of(token: &str, expires: u64, id: &str) -> String {
    let key = Sha256::digest(format!("page session\0{token}"));
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    let signed = format!("{expires}.{id}");
    for part in ["session", &signed] {
        mac.update(&u64::try_from(part.len()).unwrap().to_be_bytes());
        mac.update(part.as_bytes());
    }
    format!("blobgate={signed}.{}", hex::encode(mac.finalize().into_bytes()))
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}
