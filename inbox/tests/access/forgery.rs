//! Forged requests. Each is refused and changes nothing; beside them stands the request that does.

use super::site::{AccessSite, OPERATOR, READER, SiteRequest, cookie_of, now, tokens};
use serde_json::json;

/// The inbox closed the connection before the whole request was sent.
const GONE: u16 = 0;
const PAUSE: &str = "/page/actions/pause";

/// Sends requests that must not pause.
async fn refuses(site: &AccessSite, token: Option<&str>, rows: Vec<(&str, SiteRequest, &[u16])>) {
    for (what, request, expected) in rows {
        let answer = request.send().await;
        assert!(expected.contains(&answer.status), "{what}: {} {}", answer.status, answer.text);
        assert_eq!(answer.header("access-control-allow-origin"), None, "{what}");
        assert_eq!(site.pauses(token).await, json!([]), "{what} changed something");
    }
}

#[tokio::test]
async fn refuses_forged_forms() {
    let site = AccessSite::start(tokens()).await;
    let cookie = site.sign_in(OPERATOR).await;
    let proof = site.proof(&cookie).await;
    let (other, reader) = (site.sign_in(OPERATOR).await, site.sign_in(READER).await);
    let (others_proof, readers_proof) = (site.proof(&other).await, site.proof(&reader).await);
    let body = |proof: &str| format!("csrf={proof}&hook=veo3");
    let form = || site.form(PAUSE, &body(&proof)).set("cookie", &cookie);
    let own = format!("http://{}", site.admin);

    let value = cookie.strip_prefix("blobgate=").unwrap();
    let readers_value = reader.strip_prefix("blobgate=").unwrap();
    let (_, mac) = value.rsplit_once('.').unwrap();
    let (readers_signed, _) = readers_value.rsplit_once('.').unwrap();
    let (_, id_and_mac) = value.split_once('.').unwrap();
    let expired = cookie_of(OPERATOR, now() - 1, "0123456789abcdef0123456789abcdef");

    let mut rows: Vec<(&str, SiteRequest, &[u16])> = vec![
        ("another origin", form().set("origin", "http://evil.example"), &[403]),
        ("the origin null", form().set("origin", "null"), &[403]),
        ("another port", form().set("origin", "http://127.0.0.1:3000"), &[403]),
        (
            "another name of this machine",
            form().set("origin", &own.replace("127.0.0.1", "localhost")),
            &[403],
        ),
        ("two origins", form().add("origin", &own), &[403]),
        ("the origin of a longer name", form().set("origin", &format!("{own}.evil.example")), &[403]),
        ("a cross-site request", form().set("sec-fetch-site", "cross-site"), &[403]),
        ("a same-site request", form().without("origin").set("sec-fetch-site", "same-site"), &[403]),
        ("a host of another site", form().set("host", "evil.example"), &[403]),
        ("two hosts", form().add("host", "evil.example"), &[400]),
        ("no proof", form().body("hook=veo3"), &[403]),
        ("an empty proof", form().body(&body("")), &[403]),
        ("a short proof", form().body(&body(&proof[..63])), &[403]),
        ("the proof twice", form().body(&format!("csrf={proof}&{}", body(&proof))), &[403]),
        ("the proof of another session", form().body(&body(&others_proof)), &[403]),
        ("the proof of another visitor", form().body(&body(&readers_proof)), &[403]),
        ("the proof in the query", form().at(&format!("{PAUSE}?csrf={proof}")).body("hook=veo3"), &[403]),
        ("the proof in a header", form().body("hook=veo3").set("x-csrf-token", &proof), &[403]),
        ("JSON", form().set("content-type", "application/json").body(r#"{"hook":"veo3"}"#), &[415]),
        ("text", form().set("content-type", "text/plain"), &[415]),
        ("no content type", form().without("content-type"), &[415]),
        ("no cookie", form().without("cookie"), &[401]),
        ("an empty cookie", form().set("cookie", "blobgate="), &[401]),
        ("a cut cookie", form().set("cookie", &cookie[..cookie.len() - 1]), &[401]),
        ("a longer cookie", form().set("cookie", &format!("{cookie}0")), &[401]),
        ("two cookies", form().set("cookie", &format!("{cookie}; {other}")), &[401]),
        ("two lines of cookies", form().add("cookie", &cookie), &[401]),
        ("an expired cookie", form().set("cookie", &expired), &[401]),
        (
            "a cookie with a later end",
            form().set("cookie", &format!("blobgate=9{}.{id_and_mac}", now())),
            &[401],
        ),
        (
            "a reader's cookie with an operator's signature",
            form().set("cookie", &format!("blobgate={readers_signed}.{mac}")),
            &[401],
        ),
        (
            "a cookie of plain HTTP under TLS",
            form().without("origin").set("x-forwarded-proto", "https"),
            &[401],
        ),
        ("a reader", form().set("cookie", &reader).body(&body(&readers_proof)), &[403]),
        (
            "a bearer token",
            form().without("cookie").set("authorization", &format!("Bearer {OPERATOR}")),
            &[401],
        ),
        ("another method by a header", form().method("GET").set("x-http-method-override", "POST"), &[200]),
        (
            "another method by a field",
            form().method("GET").at(&format!("{PAUSE}?_method=POST&{}", body(&proof))),
            &[200, 400],
        ),
        ("PUT", form().method("PUT"), &[405]),
        ("DELETE", form().method("DELETE"), &[405]),
        ("PATCH", form().method("PATCH"), &[405]),
        ("a large form", form().body(&format!("{}&x={}", body(&proof), "x".repeat(1 << 20))), &[413, GONE]),
        ("a huge header", form().add("x-huge", &"x".repeat(200 << 10)), &[431, 503, GONE]),
        (
            "many headers",
            (0..300).fold(form(), |form, number| form.add(&format!("x-{number}"), "1")),
            &[431, 503, GONE],
        ),
    ];
    let preflight =
        form().method("OPTIONS").set("access-control-request-method", "POST").without("cookie").body("");
    rows.push((
        "a preflight of another site",
        preflight.clone().set("origin", "http://evil.example"),
        &[403],
    ));
    rows.push(("a preflight", preflight.set("cookie", &cookie), &[405]));
    refuses(&site, Some(READER), rows).await;

    // The controls: a cookie that the test signed, and the page's own form.
    let signed = cookie_of(OPERATOR, now() + 60, "0123456789abcdef0123456789abcdef");
    assert_eq!(site.get("/page/").set("cookie", &signed).send().await.status, 200);
    let answer = form().set("sec-fetch-site", "same-origin").send().await;
    assert_eq!(answer.status, 303, "{}", answer.text);
    assert_eq!(site.pauses(Some(READER)).await[0]["hook"], "veo3");
}

#[tokio::test]
async fn refuses_forged_files() {
    let site = AccessSite::start(tokens()).await;
    let (cookie, reader) = (site.sign_in(OPERATOR).await, site.sign_in(READER).await);
    let (proof, readers_proof) = (site.proof(&cookie).await, site.proof(&reader).await);
    let part = |name: &str, value: &str| {
        format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let body = |proof: &str| format!("{}{}--b--\r\n", part("csrf", proof), part("hook", "veo3"));
    let form = || {
        let form = site.form(PAUSE, &body(&proof)).set("cookie", &cookie);
        form.set("content-type", "multipart/form-data; boundary=b")
    };
    let rows: Vec<(&str, SiteRequest, &[u16])> = vec![
        ("another origin", form().set("origin", "http://evil.example"), &[403]),
        ("another proof", form().body(&body(&readers_proof)), &[403]),
        ("no proof", form().body(&format!("{}--b--\r\n", part("hook", "veo3"))), &[403]),
        ("the proof twice", form().body(&format!("{}{}", part("csrf", &proof), body(&proof))), &[403]),
        ("no boundary", form().set("content-type", "multipart/form-data"), &[415]),
        ("a cut body", form().body(&part("csrf", &proof)), &[415]),
        ("a reader", form().set("cookie", &reader).body(&body(&readers_proof)), &[403]),
    ];
    refuses(&site, Some(READER), rows).await;
    assert_eq!(form().send().await.status, 303);
    assert_eq!(site.pauses(Some(READER)).await[0]["hook"], "veo3");
}

#[tokio::test]
async fn without_tokens_the_page_is_for_this_machine() {
    let site = AccessSite::start(Vec::new()).await;
    let proof = site.proof("").await;
    let old = AccessSite::start(Vec::new()).await.proof("").await;
    let body = format!("csrf={proof}&hook=veo3");
    let form = || site.form(PAUSE, &body);
    let rebound = |request: SiteRequest| request.set("host", "evil.example:9085");
    let rows: Vec<(&str, SiteRequest, &[u16])> = vec![
        ("a rebound name", rebound(form()).set("origin", "http://evil.example:9085"), &[403]),
        ("a rebound name without an origin", rebound(form()).without("origin"), &[403]),
        ("another origin", form().set("origin", "http://evil.example"), &[403]),
        ("a cross-site request", form().without("origin").set("sec-fetch-site", "cross-site"), &[403]),
        ("no proof", form().body("hook=veo3"), &[403]),
        ("the proof of an older start", form().body(&format!("csrf={old}&hook=veo3")), &[403]),
        ("no form", form().set("content-type", "text/plain"), &[415]),
    ];
    refuses(&site, None, rows).await;
    // Another site can neither read a view nor show it in a frame.
    assert_eq!(rebound(site.get("/page/")).send().await.status, 403);
    assert_eq!(rebound(site.get("/page/sign-in")).send().await.status, 403);
    let script = site.get("/page/").set("sec-fetch-site", "cross-site").set("sec-fetch-mode", "no-cors");
    assert_eq!(script.send().await.status, 403);
    let frame = site.get("/page/").set("sec-fetch-site", "same-site").set("sec-fetch-mode", "navigate");
    assert_eq!(frame.set("sec-fetch-dest", "iframe").send().await.status, 403);
    assert_eq!(form().send().await.status, 303);
    assert_eq!(site.pauses(None).await[0]["hook"], "veo3");
}

#[tokio::test]
async fn each_answer_of_the_page_has_the_headers() {
    let site = AccessSite::start(tokens()).await;
    let cookie = site.sign_in(READER).await;
    for (request, status) in [
        (site.get("/page/").set("cookie", &cookie), 200),
        (site.get("/page/"), 303),
        (site.get("/page/sign-in"), 200),
        (site.get("/page/no-such-view").set("cookie", &cookie), 404),
        (site.get("/page/sign-out"), 303),
        (site.request("PUT", "/page/sign-in"), 405),
        (site.form("/page/actions/pause", ""), 401),
        (site.form("/page/sign-in", "token=x").set("origin", "null"), 403),
        (site.get("/page/assets/no-such-file"), 404),
        (site.get("/page"), 303),
        (site.get("/"), 303),
    ] {
        let answer = request.send().await;
        assert_eq!(answer.status, status, "{}", answer.head());
        let policy = answer.header("content-security-policy").unwrap();
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"));
        for (name, value) in [
            ("x-frame-options", "DENY"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "same-origin"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{status} {name}");
        }
        if status >= 400 {
            assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"), "{}", answer.head());
        }
    }
}
