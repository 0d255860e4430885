//! An inbox with a store of its own, and a browser without script: it reads forms, and sends them as they are.

use crate::settings::settings;
use axum::Router;
use axum::body::Bytes;
use axum::http::request::Builder;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use blobgate::contract::{self, Verdict, header};
use blobgate_inbox::store::Place;
use blobgate_inbox::{AccessToken, Settings, serve};
use blobgate_testkit::Cluster;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, SqliteConnection, raw_sql};
use std::any::Any;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::{Url, form_urlencoded};

const MAX_WAIT: Duration = Duration::from_secs(60);

pub(crate) struct ActionSite {
    receive: SocketAddr,
    admin: SocketAddr,
    ending: CancellationToken,
    client: Client<HttpConnector, Full<Bytes>>,
    pub(crate) place: Place,
    /// The token of the API's calls.
    token: Option<&'static str>,
    /// The cookie of the browser.
    cookie: Option<String>,
    _beside: Box<dyn Any + Send>,
}

/// A response of the page.
#[derive(Debug)]
pub(crate) struct PageResponse {
    pub(crate) status: u16,
    pub(crate) location: Option<String>,
    pub(crate) text: String,
}

impl ActionSite {
    pub(crate) async fn sqlite() -> Self {
        Self::sqlite_with(Vec::new(), None).await
    }

    /// An inbox whose admin listener has tokens. The API's calls have one of them.
    pub(crate) async fn sqlite_with(tokens: Vec<AccessToken>, token: Option<&'static str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::Sqlite(folder.path().join("inbox.db"));
        Self::start(place, Box::new(folder), tokens, token).await
    }

    pub(crate) async fn postgres() -> Self {
        let cluster = Cluster::shared();
        let place = cluster.database().parse().unwrap();
        Self::start(place, Box::new(cluster), Vec::new(), None).await
    }

    async fn start(
        place: Place,
        beside: Box<dyn Any + Send>,
        tokens: Vec<AccessToken>,
        token: Option<&'static str>,
    ) -> Self {
        place.migrate().await.unwrap();
        // Nothing is delivered, so that states stay.
        run_sql(&place, "INSERT INTO pause (hook, event, since) VALUES ('veo3', '', 1769860800000000)").await;
        let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let deliver_to = format!("http://{}", service.local_addr().unwrap()).parse().unwrap();
        let routes = Router::new().fallback(async || StatusCode::OK);
        tokio::spawn(async move { axum::serve(service, routes).await.unwrap() });
        let settings = Settings { deliver_to, admin_tokens: tokens, ..settings(place.clone()).await };
        let (receive, admin) = (settings.receive.local_addr().unwrap(), settings.admin.local_addr().unwrap());
        let ending = CancellationToken::new();
        tokio::spawn(serve(settings, ending.clone(), || ()));
        let client = Client::builder(TokioExecutor::new()).build_http();
        let site = Self { receive, admin, ending, client, place, token, cookie: None, _beside: beside };
        let until = Instant::now() + MAX_WAIT;
        while site.try_get("/healthz").await.is_none_or(|response| response.status != 200) {
            assert!(Instant::now() < until, "the inbox is not ready");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        site
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Option<PageResponse> {
        let (head, body) = self.client.request(request).await.ok()?.into_parts();
        let text = String::from_utf8(body.collect().await.ok()?.to_bytes().to_vec()).unwrap();
        let location = head.headers.get("location").map(|value| value.to_str().unwrap().to_owned());
        Some(PageResponse { status: head.status.as_u16(), location, text })
    }

    /// A request of the browser.
    fn request(&self, method: Method, path: &str) -> Builder {
        let request = Request::builder().method(method).uri(format!("http://{}{path}", self.admin));
        self.cookie.iter().fold(request, |request, cookie| request.header("cookie", cookie))
    }

    /// Signs in to the page.
    pub(crate) async fn sign_in(&mut self, token: &str) {
        let form = format!("token={token}");
        let request = self.request(Method::POST, "/page/sign-in");
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let response = self.client.request(request.body(Full::from(form)).unwrap()).await.unwrap();
        let set = response.headers()["set-cookie"].to_str().unwrap();
        self.cookie = Some(set.split(';').next().unwrap().to_owned());
    }

    async fn try_get(&self, path: &str) -> Option<PageResponse> {
        let request = self.request(Method::GET, path);
        self.send(request.body(Full::default()).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> PageResponse {
        self.try_get(path).await.unwrap()
    }

    /// Sends fields as the page's own form would, also where no view has such a form.
    pub(crate) async fn submit(&self, path: &str, fields: &[(&str, &str)]) -> PageResponse {
        const OTHER: &str = "/page/actions/pause";
        let mut all = self.get(&format!("{OTHER}?hook=unpaused")).await.fields(OTHER);
        all.retain(|(name, _)| name == "csrf");
        assert_eq!(all.len(), 1);
        all.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self.post(path, &all).await
    }

    /// Sends a form.
    pub(crate) async fn post(&self, path: &str, fields: &[(String, String)]) -> PageResponse {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.post_as(path, "application/x-www-form-urlencoded", body).await
    }

    pub(crate) async fn post_as(&self, path: &str, kind: &str, body: impl Into<Bytes>) -> PageResponse {
        let request = self.request(Method::POST, path);
        let request = request.header("content-type", kind).body(Full::new(body.into())).unwrap();
        self.send(request).await.unwrap()
    }

    /// Presses the button of the view's form, and returns the view of the outcome.
    pub(crate) async fn press(&self, view: &PageResponse, path: &str) -> PageResponse {
        let sent = self.post(path, &view.fields(path)).await;
        assert_eq!(sent.status, 303, "{}", sent.text);
        self.get(sent.location.as_deref().unwrap()).await
    }

    /// Calls the API.
    pub(crate) async fn api(&self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let request = Request::builder().method(method).uri(format!("http://{}{path}", self.admin));
        let token = self.token.map(|token| format!("Bearer {token}"));
        let request = token.iter().fold(request, |request, token| request.header("authorization", token));
        let request = request.header("content-type", "application/json");
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let response = self.send(request.body(Full::from(body)).unwrap()).await.unwrap();
        (response.status, serde_json::from_str(&response.text).unwrap_or(Value::Null))
    }

    /// An entry from the API.
    pub(crate) async fn entry(&self, id: i64) -> Value {
        let (status, entry) = self.api(Method::GET, &format!("/entries/{id}"), &Value::Null).await;
        assert_eq!(status, 200, "{entry}");
        entry
    }

    pub(crate) async fn state(&self, id: i64) -> String {
        self.entry(id).await["state"].as_str().unwrap().to_owned()
    }

    /// The newest entry of a generation. A preview takes numbers, too, so they have gaps.
    pub(crate) async fn id_of(&self, generation: &str) -> i64 {
        let path = format!("/entries?generation={generation}");
        let (_, page) = self.api(Method::GET, &path, &Value::Null).await;
        page["entries"][0]["id"].as_i64().unwrap()
    }

    /// The rows of the audit, the newest first: action, number of entries, ids.
    pub(crate) async fn audit(&self) -> Vec<(String, i64, Vec<i64>)> {
        let (status, page) = self.api(Method::GET, "/audit", &Value::Null).await;
        assert_eq!(status, 200, "{page}");
        let row = |row: &Value| {
            let ids = serde_json::from_value(row["ids"].clone()).unwrap();
            (row["action"].as_str().unwrap().to_owned(), row["entries"].as_i64().unwrap(), ids)
        };
        let rows = page["actions"].as_array().unwrap().iter().map(row);
        rows.collect()
    }

    /// Runs a statement that the inbox has no request for.
    pub(crate) async fn sql(&self, text: &'static str) {
        run_sql(&self.place, text).await;
    }

    async fn receive(&self, headers: &HeaderMap, body: String) {
        let mut request =
            Request::builder().method(Method::POST).uri(format!("http://{}/hooks/veo3", self.receive));
        *request.headers_mut().unwrap() = headers.clone();
        let response = self.send(request.body(Full::from(body)).unwrap()).await.unwrap();
        assert_eq!(response.status, 200, "{}", response.text);
    }

    /// Stores an event that the gate accepts. It waits.
    pub(crate) async fn accepted(&self, generation: &str) {
        let headers = headers(&[
            (header::VERDICT, Verdict::Accepted.name()),
            (header::EVENT, "completed"),
            (header::GENERATION_ID, generation),
            (header::IDEMPOTENCY_KEY, &format!("veo3:{generation}:completed")),
        ]);
        self.receive(&headers, completed(generation)).await;
    }

    /// Stores an event that the gate quarantines for this reason.
    pub(crate) async fn quarantined(&self, generation: &str, reason: &str) {
        let headers = headers(&[
            (header::VERDICT, Verdict::Quarantined.name()),
            (header::REASON, reason),
            (header::CLAIMED_EVENT, "completed"),
            (header::GENERATION_ID, generation),
        ]);
        self.receive(&headers, completed(generation)).await;
    }

    /// Stores a delivery in which the gate finds no event.
    pub(crate) async fn without_event(&self, generation: &str) {
        self.without_event_in(&completed(generation)).await;
    }

    pub(crate) async fn without_event_in(&self, body: &str) {
        let headers =
            headers(&[(header::VERDICT, Verdict::Quarantined.name()), (header::REASON, "schema-invalid")]);
        self.receive(&headers, body.to_owned()).await;
    }
}

impl Drop for ActionSite {
    fn drop(&mut self) {
        self.ending.cancel();
    }
}

impl PageResponse {
    #[track_caller]
    pub(crate) fn shows(&self, status: u16, texts: &[&str]) {
        assert_eq!(self.status, status, "{}", self.text);
        for text in texts {
            assert!(self.words().contains(text), "no {text:?} in {}", self.words());
        }
    }

    #[track_caller]
    pub(crate) fn lacks(&self, text: &str) {
        assert!(!self.words().contains(text), "{text:?} in {}", self.words());
    }

    /// The text of the view, without markup, and with one space between words.
    pub(crate) fn words(&self) -> String {
        let parts = self.text.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text));
        let text = unescape(&parts.collect::<Vec<_>>().join(" "));
        text.split_whitespace().collect::<Vec<_>>().join(" ").replace(" ,", ",").replace(" .", ".")
    }

    /// The hidden fields of the first form with this action and a button.
    #[track_caller]
    pub(crate) fn fields(&self, action: &str) -> Vec<(String, String)> {
        let form = self.form(action, 0);
        form.split("<input type=\"hidden\" name=\"").skip(1).map(read_hidden).collect()
    }

    /// The text of a form that is sent by POST.
    #[track_caller]
    pub(crate) fn form(&self, action: &str, number: usize) -> &str {
        let opening = format!("<form method=\"post\" action=\"{action}\"");
        let rest = self.text.split(&opening).nth(number + 1);
        let rest = rest.unwrap_or_else(|| panic!("no form {action} in {}", self.text));
        rest.split("</form>").next().unwrap()
    }
}

/// `csrf" value="…">…`
fn read_hidden(text: &str) -> (String, String) {
    let (name, rest) = text.split_once("\" value=\"").unwrap();
    (name.to_owned(), unescape(rest.split_once('"').unwrap().0))
}

pub(crate) fn unescape(text: &str) -> String {
    [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#x27;", "'"), ("&#x2f;", "/"), ("&amp;", "&")]
        .into_iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

async fn run_sql(place: &Place, text: &'static str) {
    match place {
        Place::Sqlite(path) => {
            let url = format!("sqlite://{}", path.display());
            let mut connection = SqliteConnection::connect(&url).await.unwrap();
            raw_sql(text).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        }
        Place::Postgres(url) => {
            let mut connection = connect(url).await;
            raw_sql(text).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        }
    }
}

/// A connection that finds the inbox's tables.
pub(crate) async fn connect(url: &Url) -> PgConnection {
    let mut connection = PgConnection::connect(url.as_str()).await.unwrap();
    raw_sql("SET search_path TO blobgate_inbox").execute(&mut connection).await.unwrap();
    connection
}

fn headers(more: &[(&'static str, &str)]) -> HeaderMap {
    let shared = [
        (header::HOOK, "veo3"),
        (header::DIALECT, "veo3"),
        (header::CONTRACT, contract::VERSION),
        ("content-type", "application/json"),
    ];
    let pairs = shared.iter().chain(more);
    pairs.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

pub(crate) fn completed(generation: &str) -> String {
    let url = format!("https://cdn.runblob.io/{generation}.mp4?s=1");
    json!({"generation_id": generation, "status": "completed", "video_url": url}).to_string()
}

/// The generation of a number.
pub(crate) fn generation(number: i64) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}
