//! Sign-in, sessions and sign-out.

use super::site::{APP, AccessSite, OPERATOR, READER, cookie_of, now, tokens};
use blobgate_inbox::{AccessRole, AccessToken};
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_token_begins_a_session() {
    let site = AccessSite::start(tokens()).await;
    let asked = site.get("/page/sign-in?next=/page/entries%3Fstate%3Ddead").send().await;
    assert_eq!(asked.status, 200);
    assert!(asked.text.contains(r#"name="next" value="/page/entries?state=dead""#), "{}", asked.text);
    let form =
        site.form("/page/sign-in", &format!("next=%2Fpage%2Fentries%3Fstate%3Ddead&token=+{READER}%0A"));
    let answer = form.send().await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/page/entries?state=dead")));
    let set = answer.header("set-cookie").unwrap();
    assert!(
        set.starts_with("blobgate=")
            && set.ends_with("; Path=/page/; HttpOnly; SameSite=Strict; Max-Age=43200")
    );
    for secure in [form.clone().set("x-forwarded-proto", "https").without("origin"), {
        form.clone().set("origin", &format!("https://{}", site.admin))
    }] {
        let answer = secure.send().await;
        let set = answer.header("set-cookie").unwrap().to_owned();
        let end = "; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=43200";
        assert!(set.starts_with("__Host-blobgate=") && set.ends_with(end), "{set}");
        let cookie = set.split(';').next().unwrap();
        let page = site.get("/page/").set("cookie", cookie).set("x-forwarded-proto", "https");
        assert_eq!(page.send().await.status, 200);
    }
    let cookie = set.split(';').next().unwrap();
    let page = site.get("/page/").set("cookie", cookie).send().await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains("grafana") && page.text.contains("read only"), "{}", page.text);
    assert!(!page.text.contains(READER) && !page.text.contains("No sign-in configured"));
    // The cookie counts for the page alone.
    assert_eq!(site.get("/stats").set("cookie", cookie).send().await.status, 401);
    let operator = site.sign_in(OPERATOR).await;
    assert_eq!(site.request("POST", "/reconcile").set("cookie", &operator).send().await.status, 401);
    let page = site.get("/page/").set("cookie", &operator).send().await;
    assert!(page.text.contains("ops") && !page.text.contains("read only"), "{}", page.text);
    // A visitor with a session does not sign in again.
    let again = site.get("/page/sign-in?next=/page/audit").set("cookie", cookie).send().await;
    assert_eq!((again.status, again.header("location")), (303, Some("/page/audit")));
}

#[tokio::test]
async fn unsigned_visitors_sign_in_first() {
    let site = AccessSite::start(tokens()).await;
    for (path, location) in [
        ("/page/", "/page/sign-in"),
        (
            "/page/entries?state=dead&hook=veo3",
            "/page/sign-in?next=%2Fpage%2Fentries%3Fstate%3Ddead%26hook%3Dveo3",
        ),
        ("/page/no-such-view", "/page/sign-in?next=%2Fpage%2Fno-such-view"),
        ("/page/../entries", "/page/sign-in"),
    ] {
        for method in ["GET", "HEAD"] {
            let answer = site.request(method, path).send().await;
            assert_eq!((answer.status, answer.header("location")), (303, Some(location)), "{method} {path}");
        }
    }
    let stream = site.get("/page/live").set("accept", "text/event-stream").send().await;
    assert_eq!(stream.status, 401);
    // A bearer token is for the API.
    let bearer = site.get("/page/").set("authorization", &format!("Bearer {OPERATOR}")).send().await;
    assert_eq!(bearer.status, 303);
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let answer = site.request(method, "/page/actions/pause").send().await;
        assert_eq!(answer.status, 401, "{method}");
        assert!(answer.text.contains("nothing changed"), "{}", answer.text);
    }
    // After a link on another site, the browser comes again from the page itself, with its cookie.
    let link = site.get("/page/entries/17").set("sec-fetch-site", "cross-site");
    let link = link.set("sec-fetch-mode", "navigate").set("sec-fetch-dest", "document");
    let answer = link.send().await;
    assert_eq!(answer.status, 200);
    assert!(answer.text.contains(r#"content="0; url=/page/entries/17""#), "{}", answer.text);
    let again = link.set("sec-fetch-site", "same-origin").send().await;
    assert_eq!(again.header("location"), Some("/page/sign-in?next=%2Fpage%2Fentries%2F17"));
}

#[tokio::test]
async fn leads_only_to_views() {
    let site = AccessSite::start(tokens()).await;
    let cookie = site.sign_in(READER).await;
    for next in [
        "//evil.example",
        "%2F%2Fevil.example%2Fpage%2F",
        "https:%2F%2Fevil.example%2Fpage%2F",
        "/page/..%2Fx",
        "/page/../x",
        "/page/%252e%252e/../../x",
        "/%5Cevil.example",
        "/page/sign-out",
        "%0d%0aset-cookie:a=b",
        "",
    ] {
        let answer = site.form("/page/sign-in", &format!("token={READER}&next={next}")).send().await;
        assert_eq!((answer.status, answer.header("location")), (303, Some("/page/")), "{next}");
        let answer = site.get(&format!("/page/sign-in?next={next}")).set("cookie", &cookie).send().await;
        assert_eq!((answer.status, answer.header("location")), (303, Some("/page/")), "{next}");
    }
    let split = "/page/entries%3Fq%3D%0d%0aset-cookie:a=b%0d%0a%0d%0a%3Cb%3E";
    let answer = site.form("/page/sign-in", &format!("token={READER}&next={split}")).send().await;
    assert_eq!(answer.header("location"), Some("/page/entries?q=set-cookie:a=b%3Cb%3E"));
    assert_eq!(answer.head().matches("set-cookie: ").count(), 1, "{}", answer.head());
}

#[tokio::test]
async fn a_session_lasts_as_long_as_its_token() {
    let site = AccessSite::start(tokens()).await;
    let cookie = site.sign_in(OPERATOR).await;
    let opens =
        async |site: &AccessSite, cookie: &str| site.get("/page/").set("cookie", cookie).send().await.status;
    assert_eq!(opens(&site, &cookie).await, 200);
    let id = "0123456789abcdef0123456789abcdef";
    assert_eq!(opens(&site, &cookie_of(OPERATOR, now() + 60, id)).await, 200, "the control of the next line");
    assert_eq!(opens(&site, &cookie_of(OPERATOR, now() - 1, id)).await, 303, "expired");
    assert_eq!(opens(&site, &cookie_of("another-0123456789", now() + 60, id)).await, 303);
    assert_eq!(opens(&site, &cookie_of(APP, now() + 60, id)).await, 303, "it may only announce");
    // Another inbox with the token, or this one after a restart.
    let other = AccessSite::start(tokens()).await;
    assert_eq!(opens(&other, &cookie).await, 200);
    let rotated = AccessToken::new("ops", AccessRole::Operate, "rotated-0123456789").unwrap();
    let without = AccessSite::start(vec![rotated]).await;
    assert_eq!(opens(&without, &cookie).await, 303);
    // A role that is lowered counts at once.
    let lowered = AccessToken::new("ops", AccessRole::Read, OPERATOR).unwrap();
    let lowered = AccessSite::start(vec![lowered]).await;
    let page = lowered.get("/page/").set("cookie", &cookie).send().await;
    assert!(page.status == 200 && page.text.contains("read only"), "{}", page.text);
}

#[tokio::test]
async fn a_sign_out_ends_the_session() {
    let site = AccessSite::start(tokens()).await;
    let (cookie, other) = (site.sign_in(READER).await, site.sign_in(READER).await);
    let proof = site.proof(&cookie).await;
    let sign_out = site.form("/page/sign-out", &format!("csrf={proof}")).set("cookie", &cookie);
    let opens = async |cookie: &str| site.get("/page/").set("cookie", cookie).send().await.status;
    for (refused, status) in [
        (sign_out.clone().body("csrf="), 403),
        (sign_out.clone().set("origin", "http://evil.example"), 403),
        (sign_out.clone().set("cookie", &other), 403),
        (sign_out.clone().without("cookie"), 401),
        (sign_out.clone().method("GET"), 405),
    ] {
        assert_eq!(refused.send().await.status, status);
        assert_eq!(opens(&cookie).await, 200);
    }
    let answer = sign_out.send().await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/page/sign-in")));
    assert_eq!(answer.head().matches("Max-Age=0").count(), 2, "{}", answer.head());
    assert_eq!((opens(&cookie).await, opens(&other).await), (303, 200));
    assert_eq!(sign_out.send().await.status, 401, "a second time");
}

#[tokio::test]
async fn a_wrong_token_waits_and_a_right_one_does_not() {
    let site = AccessSite::start(tokens()).await;
    let started = Instant::now();
    let wrong = site.form("/page/sign-in", "token=wrong-0123456789&next=/page/audit").send().await;
    assert_eq!((wrong.status, wrong.header("set-cookie")), (403, None));
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
    assert!(
        wrong.text.contains("No admin token is equal to this one")
            && !wrong.text.contains("wrong-0123456789")
    );
    assert!(wrong.text.contains(r#"name="next" value="/page/audit""#), "{}", wrong.text);
    let app = site.form("/page/sign-in", &format!("token={APP}")).send().await;
    assert!(app.status == 403 && app.text.contains("announces generations"), "{}", app.text);
    for body in ["", "token=", &format!("token={OPERATOR}&token={OPERATOR}"), &format!("Token={OPERATOR}")] {
        assert_eq!(site.form("/page/sign-in", body).send().await.status, 403, "{body}");
    }
    // Neither in the URL, nor of another site, nor in another form.
    let at = format!("/page/sign-in?token={OPERATOR}");
    let url = site.get(&at).send().await;
    assert_eq!((url.status, url.header("set-cookie")), (200, None));
    assert!(!url.text.contains(OPERATOR));
    let right = site.form("/page/sign-in", &format!("token={OPERATOR}"));
    assert_eq!(right.clone().set("origin", "http://evil.example").send().await.status, 403);
    assert_eq!(right.clone().set("content-type", "text/plain").send().await.status, 415);
    assert_eq!(right.clone().body(&"x".repeat(9_000)).send().await.status, 413);
    // Many wrong ones at a time: some wait, the others get 429, and operators still sign in.
    let flood: Vec<_> = (0..40)
        .map(|number| {
            let request = site.form("/page/sign-in", &format!("token=wrong-{number:010}"));
            tokio::spawn(async move { request.send().await.status })
        })
        .collect();
    assert_eq!(right.send().await.status, 303);
    let mut statuses = Vec::new();
    for one in flood {
        statuses.push(one.await.unwrap());
    }
    assert!(statuses.iter().all(|status| [403, 429].contains(status)), "{statuses:?}");
    assert!(statuses.contains(&429) && statuses.contains(&403), "{statuses:?}");
}

#[tokio::test]
async fn without_tokens_there_is_no_sign_in() {
    let site = AccessSite::start(Vec::new()).await;
    let page = site.get("/page/").send().await;
    assert!(page.status == 200 && page.text.contains("No sign-in configured"), "{}", page.text);
    let asked = site.get("/page/sign-in").send().await;
    assert_eq!((asked.status, asked.header("location")), (303, Some("/page/")));
    let sent = site.form("/page/sign-in", &format!("token={OPERATOR}")).send().await;
    assert_eq!((sent.status, sent.header("set-cookie")), (303, None));
}
