//! Tests of each endpoint with each role.

use super::endpoints;
use crate::access::{AccessRole, AccessToken};
use crate::reconcile::Reconcile;
use crate::serve::{Settings, serve};
use crate::store::Place;
use axum::routing::MethodFilter;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Role, method and path of every endpoint that needs a role.
pub(crate) fn closed_endpoints() -> impl Iterator<Item = (AccessRole, &'static str, &'static str)> {
    const METHODS: [(MethodFilter, &str); 4] = [
        (MethodFilter::GET, "GET"),
        (MethodFilter::POST, "POST"),
        (MethodFilter::PUT, "PUT"),
        (MethodFilter::DELETE, "DELETE"),
    ];
    endpoints().into_iter().map(|endpoint| {
        let method = METHODS.into_iter().find(|(filter, _)| *filter == endpoint.method);
        (endpoint.role, method.expect("a method of the table").1, endpoint.path)
    })
}

struct AdminSite {
    admin: SocketAddr,
    _ending: tokio_util::sync::DropGuard,
    _folder: tempfile::TempDir,
}

impl AdminSite {
    async fn start(tokens: Vec<AccessToken>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Place::Sqlite(folder.path().join("inbox.db"));
        store.migrate().await.unwrap();
        let listen = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = listen().await;
        let address = admin.local_addr().unwrap();
        let settings = Settings {
            store,
            receive: listen().await,
            admin,
            metrics: None,
            deliver_to: "http://127.0.0.1:9".parse().unwrap(),
            sign: None,
            verify: None,
            admin_tokens: tokens,
            access_log: None,
            timeout: Duration::from_secs(5),
            concurrency: 1,
            drain: NonZeroU32::MIN,
            limit: 1_000_000,
            batch: 1,
            reconcile: Reconcile {
                provider: None,
                after: Duration::from_secs(1),
                per_minute: 1,
                again: Duration::from_secs(1),
            },
            docs: "https://docs.example".to_owned(),
            notify: None,
        };
        let ending = CancellationToken::new();
        tokio::spawn(serve(settings, ending.clone(), || ()));
        Self { admin: address, _ending: ending.drop_guard(), _folder: folder }
    }

    /// The status and the whole answer.
    async fn call(&self, method: &str, path: &str, headers: &[&str]) -> (u16, String) {
        let mut stream = TcpStream::connect(self.admin).await.unwrap();
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: 0\r\n{headers}\r\n",
            self.admin
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
    }
}

const SECRETS: [(AccessRole, &str); 3] = [
    (AccessRole::Read, "reader-0123456789"),
    (AccessRole::Expect, "application-0123456789"),
    (AccessRole::Operate, "operator-0123456789"),
];

fn tokens() -> Vec<AccessToken> {
    SECRETS.map(|(role, secret)| AccessToken::new(role.name(), role, secret).unwrap()).into()
}

#[tokio::test]
async fn each_endpoint_needs_its_role() {
    let site = AdminSite::start(tokens()).await;
    assert!(closed_endpoints().count() >= 18, "the table has every endpoint");
    for (needed, method, path) in closed_endpoints() {
        let path = path.replace("{id}", "1");
        let (status, answer) = site.call(method, &path, &[]).await;
        assert_eq!(status, 401, "{method} {path}");
        assert!(answer.contains(r#""code":"token-invalid""#) && answer.contains("www-authenticate: Bearer"));
        for (role, secret) in SECRETS {
            let header = format!("authorization: Bearer {secret}");
            let (status, answer) = site.call(method, &path, &[&header]).await;
            let permitted = match role {
                AccessRole::Operate => true,
                other => other == needed,
            };
            if permitted {
                // Without a body and without entries, an endpoint answers 200 or says what is missing.
                assert!([200, 400, 404].contains(&status), "{role:?} {method} {path}: {answer}");
            } else {
                assert_eq!(status, 403, "{role:?} {method} {path}");
                let detail =
                    format!("this endpoint needs the role {}: send a token of that role", needed.name());
                assert!(answer.contains(r#""code":"role-denied""#) && answer.contains(&detail), "{answer}");
            }
            assert!(!answer.contains(secret));
        }
    }
}

#[tokio::test]
async fn only_the_header_brings_a_token() {
    let site = AdminSite::start(tokens()).await;
    let secret = SECRETS[2].1;
    for header in [
        format!("authorization: Bearer {secret}"),
        format!("authorization: bearer {secret}"),
        format!("Authorization:   BEARER   {secret}  "),
    ] {
        assert_eq!(site.call("GET", "/stats", &[&header]).await.0, 200, "{header}");
    }
    let right = format!("authorization: Bearer {secret}");
    for headers in [
        vec![format!("authorization: Basic {secret}")],
        vec![format!("authorization: {secret}")],
        vec![format!("authorization: Bearer{secret}")],
        vec![format!("authorization: Bearer {secret}x")],
        vec![format!("authorization: Bearer {}", &secret[1..])],
        vec!["authorization: Bearer ".to_owned()],
        vec!["authorization: Bearer \u{e9}".to_owned()],
        vec![format!("authorization: Bearer {secret}, Bearer {secret}")],
        vec![right.clone(), right],
        vec![format!("cookie: blobgate={secret}")],
        vec![format!("x-api-key: {secret}")],
    ] {
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        assert_eq!(site.call("GET", "/stats", &headers).await.0, 401, "{headers:?}");
    }
    for path in [format!("/stats?token={secret}"), format!("/stats?access_token={secret}")] {
        assert_eq!(site.call("GET", &path, &[]).await.0, 401);
    }
    let user = "authorization: Basic b3BzOm9wZXJhdG9yLTAxMjM0NTY3ODk=".to_owned();
    assert_eq!(site.call("GET", "/stats", &[&user]).await.0, 401);
}

#[tokio::test]
async fn without_tokens_each_endpoint_is_open_here() {
    let site = AdminSite::start(Vec::new()).await;
    for (_, method, path) in closed_endpoints() {
        let path = path.replace("{id}", "1");
        let (status, answer) = site.call(method, &path, &["content-type: application/json"]).await;
        assert!([200, 400, 404].contains(&status), "{method} {path}: {answer}");
    }
}
